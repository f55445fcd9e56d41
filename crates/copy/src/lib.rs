//! One image graph from a source to a destination.
//!
//! *Graph first, tag last*: children before parents, blobs before the manifests that name them, referrers before
//! the tag. The ports say what a source and a destination must be able to do; a registry and a layout are adapters
//! above. Nothing here knows HTTP.

mod approach;
mod compare;
mod continuation;
mod copy;
mod decide;
mod flights;
pub mod graph;
mod inline;
pub mod memory;
mod parallel;
mod platforms;
mod ports;
mod precedence;
mod progress;
mod request;
mod selection;
mod time_budget;
mod verify;

pub use compare::{
    Action, Attachment, CompareRequest, Comparison, DigestTags, Extent, Presence, WriteRequests, compare,
};
pub use continuation::{Continuation, Continuations};
pub use copy::copy;
pub use decide::{Decision, KeepReason, Owner, decide};
pub use flights::Flights;
pub use platforms::{Selected, Selection};
pub use ports::{
    Arrival, BlobLocation, BlobLocations, BlobSource, ByteStream, Clock, CommitLease, Destination, Gate, Manifests,
    Mount, NoLocations, NoReplicas, Replicas, Source, SystemClock, TagClaim, UploadOptions, UploadSession,
    source_manifest,
};
pub use progress::{BlobEnd, NoProgress, Progress, Step};
pub use request::{Counts, Options, Report, Request, State};
pub use selection::SkipReason;
pub use time_budget::TimeBudget;
pub use transship_oci::{Existing, Platforms, Referrers};
pub use verify::{Verifier, verify_stream};
