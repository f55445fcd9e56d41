//! Two sites behind one name: registries with TLS on one port at two loopback addresses, name servers that hold the name, clients
//! that know nothing but the name, and `transship` between the sites.

pub mod aged;
pub mod barrier;
pub mod client;
pub mod front;
pub mod gate;
pub mod hosted_zones;
pub mod names;
pub mod others;
pub mod servers;
pub mod stage;
pub mod there_and_back;

pub use aged::age_comparisons;
pub use barrier::Barrier;
pub use client::{Client, Pulled, Pulling};
pub use front::Front;
pub use gate::{Gate, Updates};
pub use hosted_zones::HostedZones;
pub use names::Names;
pub use others::{assert_refused, assert_untouched, lost_ledger, records_of_others};
pub use servers::NameServers;
pub use stage::{CLIENTS, Stage};
pub use there_and_back::there_and_back;
