//! Layouts, archives and storage trees as sources of copies.
//!
//! Everything is read through the [`ObjectStore`] port by range, so that folders and buckets are treated alike and nothing is
//! staged on disk. [`discover`] finds the sources below a prefix ([`Discovery`]: page by page), [`OpenSource`] opens one, and [`Images`]
//! lists and reads its images. [`ObjectMeaning`] is the meaning of a new object, and [`inspect`] checks whether its source is complete.
//! Every digest is validated before it becomes part of a key, and the copy verifies every byte against its digest. The content
//! of an archive is never trusted.

mod archive;
#[cfg(test)]
mod counting_store;
mod discover;
mod discovery;
mod docker_archive;
mod images;
mod inspection;
mod layout;
mod memory_store;
mod missing;
mod object_meaning;
mod open_source;
mod read_all;
mod source_ref;
mod storage_tree;
mod store;

pub use archive::{Archive, Limits};
pub use discover::discover;
pub use discovery::Discovery;
pub use images::{Image, Images, Listing, Refused, name_conflict};
pub use inspection::{Inspection, arrived_since, index_version, inspect};
pub use layout::{Completeness, Entry, Layout};
pub use memory_store::MemoryStore;
pub use missing::Missing;
pub use object_meaning::ObjectMeaning;
pub use open_source::{OpenSource, open};
pub use source_ref::{SourceKind, SourceRef};
pub use storage_tree::TreeRepository;
pub use store::{Object, ObjectStore, PAGE_MAX, Page, Part, Put, changed, unreadable};
