//! One image graph from a source to a destination.
//!
//! *Graph first, tag last*: children before parents, blobs before the manifests that name them, referrers before
//! the tag. The ports say what a source and a destination must be able to do; a registry and a layout are adapters
//! above. Nothing here knows HTTP.

mod error;
mod ports;
mod progress;
mod verify;

pub use error::{Error, ErrorKind, Result};
pub use ports::{
    BlobLocations, BlobSource, ByteStream, Clock, CommitLease, Destination, Mount, NoLocations, Source, SystemClock,
    Upload,
};
pub use progress::{BlobEnd, NoProgress, Progress, Step};
pub use verify::verified;
