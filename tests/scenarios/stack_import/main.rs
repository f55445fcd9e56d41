//! The deployed stack and a bucket: uploads in any order are imported into a registry once.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

mod buckets;
mod orders;
mod seed;
mod stage;
mod tree;
mod waits;
