//! Layouts, archives and storage trees as sources of copies.
//!
//! Everything is read through the [`ObjectStore`] port by range, so that folders and buckets are treated alike and nothing is
//! staged on disk. [`discover`] finds the sources below a prefix ([`Search`]: page by page), [`open`] opens one, and [`Images`]
//! lists and reads its images. [`Upload`] is the meaning of a new object, and [`look`] checks whether its source is complete.
//! Every digest is validated before it becomes part of a key, and the copy verifies every byte against its digest. The content
//! of an archive is never trusted.

mod archive;
#[cfg(test)]
mod counting_store;
mod discover;
mod docker_archive;
mod found;
mod images;
mod layout;
mod look;
mod memory_store;
mod missing;
mod read_all;
mod search;
mod storage_tree;
mod store;
mod upload;

pub use archive::{Archive, Limits};
pub use discover::discover;
pub use found::{Found, FoundKind, open};
pub use images::{Image, Images, Listing, Refused, name_conflict};
pub use layout::{Completeness, Entry, Layout};
pub use look::{Looked, look, names_version, present};
pub use memory_store::MemoryStore;
pub use missing::Missing;
pub use search::Search;
pub use storage_tree::TreeRepository;
pub use store::{Object, ObjectStore, PAGE_MAX, Page, Part, Put, changed, unreadable};
pub use upload::Upload;
