//! One registry over HTTP: the requests of the distribution specification, with authentication, limits and retries.
//!
//! A [`Registry`] is a host with its connections, authentication, limits and learned behaviour. A [`RemoteRepository`] is one
//! of its repositories; it is a [`transship_copy::Source`] and a [`transship_copy::Destination`]. Each request has one owner
//! of its retries ([`Retries`]): `exchange` retries requests without a streamed body, `upload` retries uploads, and `read`
//! resumes broken reads. Everything that is read has a size limit. Credentials are sent only to the registry and its
//! validated realm.

mod adaptive;
mod auth;
mod catalog;
mod clients;
mod credentials;
mod deletes;
mod destination;
mod exchange;
mod heads;
mod limits;
mod location;
mod login;
mod manifests;
mod network;
mod pace;
mod pages;
mod profile;
mod public_file;
mod quota;
mod read;
mod redaction;
mod referrers;
mod registry;
mod repository;
mod retry;
mod site;
mod spares;
mod tags;
mod tls;
mod upload;

pub use clients::use_ring;
pub use credentials::{Anonymous, Credentials, Login};
pub use deletes::{TagDelete, TagPresence};
pub use exchange::failure::ErrorBody;
pub use limits::Bandwidth;
pub use login::NoLogin;
pub use pages::{Listing, Page, PageCursor};
pub use profile::{Profile, UploadForm};
pub use public_file::{ApiCall, fetch_public, post_api};
pub use quota::Quota;
pub use registry::{Options, Registry};
pub use repository::RemoteRepository;
pub use retry::Retries;
pub use site::{SiteAnswer, SiteTarget};
pub use tls::{TlsMaterial, TlsSource};
