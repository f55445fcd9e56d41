//! Layouts, archives and storage trees as sources of copies, wherever their files lie.
//!
//! Everything is read through the [`ObjectStore`] port by range, so that a folder and a bucket are the same to it, and
//! nothing is staged on a disk. [`discover`] says what lies under a prefix ([`Search`]: page by page), [`open`] opens one of
//! it, [`Images`] lists its images and reads them; [`Upload`] says what a single object means that arrived, and [`look`]
//! whether all of its source is there. Every digest is checked before it becomes part of a key, and every byte against its digest by
//! whoever writes it on; of an archive nothing is believed, not even that it is one.

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
