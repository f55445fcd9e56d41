//! The deployed functions with failures of AWS, registries and workers.
//!
//! Replay a seed with `TRANSSHIP_SEED=<seed> cargo test -p transship-tests --test fleet`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests, and what they share")]

mod fire;
mod import;
mod moving_tag;
mod slots;
mod stage;
mod sweep;
mod unrest;
