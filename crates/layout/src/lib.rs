//! Layouts, archives and storage trees as sources of copies, wherever their files lie.
//!
//! Everything is read through the [`ObjectStore`] port by range, so that a folder and a bucket are the same to it, and
//! nothing is staged on a disk. [`discover`] says what lies under a prefix, [`open`] opens one of it, [`Images`] lists its
//! images and reads them. Every digest is checked before it becomes part of a key, and every byte against its digest by
//! whoever writes it on; of an archive nothing is believed, not even that it is one.

mod archive;
mod discover;
mod docker_archive;
mod error;
mod found;
mod images;
mod layout;
mod memory_store;
mod storage_tree;
mod store;
#[cfg(test)]
mod test_support;
mod whole;

pub use archive::{Archive, Limits};
pub use discover::discover;
pub use error::{Error, ErrorKind, Result};
pub use found::{Found, FoundKind, open};
pub use images::{Image, Images, Listing, Refused};
pub use layout::{Completeness, Entry, Layout, Missing};
pub use memory_store::MemoryStore;
pub use storage_tree::TreeRepository;
pub use store::{Object, ObjectStore, PAGE_MAX, Page, Part, Put};
