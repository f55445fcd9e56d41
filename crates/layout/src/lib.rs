//! OCI image layouts as sources of copies, wherever their files lie.
//!
//! A [`Layout`] reads through the [`ObjectStore`] port, so that a folder and a bucket are the same to it. Every digest is
//! checked before it becomes part of a key, and every byte against its digest by whoever writes it on.

mod error;
mod layout;
mod store;

pub use error::{Error, ErrorKind, Result};
pub use layout::{Entry, Layout};
pub use store::{MemoryStore, ObjectStore};
