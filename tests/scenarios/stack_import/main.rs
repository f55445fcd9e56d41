//! The deployed stack and a bucket: what is dropped there arrives in a registry, in whatever order, and once.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

mod buckets;
mod orders;
mod seed;
mod stage;
mod tree;
mod waits;
