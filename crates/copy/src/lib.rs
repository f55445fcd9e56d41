//! One image graph from a source to a destination.
//!
//! *Graph first, tag last*: children before parents, blobs before the manifests that name them, referrers before
//! the tag. The ports say what a source and a destination must be able to do; a registry and a layout are adapters
//! above. Nothing here knows HTTP.

mod attachments;
mod bring;
mod continuation;
mod copy;
mod fallback;
mod graph;
mod parallel;
mod ports;
mod progress;
mod request;
mod transfer;
mod verify;
mod work;

pub use continuation::{Continuation, Continuations, Slot};
pub use copy::copy;
pub use ports::{
    BlobLocations, BlobSource, ByteStream, Clock, CommitLease, Destination, Manifests, Mount, NoLocations, NoReplicas,
    Replicas, Sending, Source, SystemClock, Upload, source_manifest,
};
pub use progress::{BlobEnd, NoProgress, Progress, Step};
pub use request::{Counts, Options, Report, Request, State};
pub use transship_oci::{Existing, Referrers};
pub use verify::{Proof, verified};
