//! One registry over HTTP: the verbs of the distribution specification, and what it takes to speak them safely.
//!
//! A [`Registry`] is a host: connections, authentication, limits, what was learned of it. A [`RemoteRepository`] is one
//! repository there; it is a [`transship_copy::Source`] and a [`transship_copy::Destination`]. One request has one owner
//! of retries ([`Retries`]): requests without a streamed body repeat themselves in `exchange`, an upload is repeated
//! in `upload`, a broken read continues in `read`. Everything read is bounded; credentials go to the
//! registry and its validated realm only.

mod auth;
mod catalog;
mod clients;
mod credentials;
mod destination;
mod exchange;
mod limits;
mod location;
mod login;
mod manifests;
mod network;
mod pages;
mod profile;
mod read;
mod referrers;
mod registry;
mod repository;
mod retry;
mod tags;
mod tls;
mod upload;

pub use catalog::Catalog;
pub use clients::use_ring;
pub use credentials::{Anonymous, Credentials, Login};
pub use exchange::failure::ErrorBody;
pub use login::NoLogin;
pub use profile::{Profile, UploadForm};
pub use registry::{Options, Registry};
pub use repository::RemoteRepository;
pub use retry::Retries;
pub use tls::{TlsMaterial, TlsSource};
