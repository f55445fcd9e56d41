//! Copies between registries inside this process: the client and the copy together, under every fault they promise to bear.
//!
//! The registry at either end keeps to the specification and can be looked into, so that what arrived is proven by its
//! bytes, and what it cost by the requests that were made. Faults are scripted; nothing is slept for.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, in its helpers too"
)]

mod ahead;
mod attached;
mod auth;
mod catalog;
mod chunks;
mod compare;
mod economy;
mod existing;
mod gates;
mod graphs;
mod handover;
mod heads;
mod hosts;
mod kept;
mod large;
mod limits;
mod lists;
mod logins;
mod moving;
mod order;
mod platforms;
mod reads;
mod referrers;
mod remembered;
mod samples;
mod secrets;
mod site;
mod stage;
mod tls;
mod together;
mod unknown_limits;
mod world;
mod writes;
