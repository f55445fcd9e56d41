//! The configuration document: registries, rules, imports, matching, naming and topology. No I/O.
//!
//! A [`Document`] is always valid: its names are valid, its patterns are compiled, every registry that it uses is defined, no
//! rule can start itself again, and all of its settings are supported. Settings that this version does not support are
//! rejected, never ignored. Matching is a pure function of the document and a push.

mod aws_only;
mod check;
mod deletes;
mod document;
mod error;
mod failover;
mod import;
mod index;
mod namespace;
mod naming;
mod path;
mod pattern;
mod pitfalls;
mod policy;
mod rate;
mod raw;
mod registry;
mod rule;
mod schedule;
mod schema;
mod secret_reference;
mod selection;
mod syntax;
mod topology;
mod verdict;

pub use deletes::{DeleteLimit, Deletes};
pub use document::{Document, Link, Parsed};
pub use error::{Error, Errors, Position, Warning};
pub use failover::{
    CloudZone, Failover, Hostname, NotAHostname, REVERSE_SUFFIX, RecordKind, ServerAddress, Site, SiteRecord, Writers,
    Zone, ZoneService,
};
pub use import::{Import, ImportDestination};
pub use namespace::Namespace;
pub use policy::Topology;
pub use rate::bytes_per_second;
pub use registry::{PUBLIC_PARTITION, Registry, Tls, TlsIdentity, Webhook};
pub use rule::{LatestTags, Rule, RuleDestination, Source, Trigger};
pub use schedule::Schedule;
pub use schema::schema;
pub use secret_reference::{CredentialsRef, NotAReference, SECRET_SCHEMES, SecretReference, SecretScheme};
pub use selection::{Selected, Selection};
pub use verdict::{Destination, Evaluation, Pushed, Reason, Verdict};
