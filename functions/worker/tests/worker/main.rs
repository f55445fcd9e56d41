//! The worker's binary with a Lambda Runtime API, on `MiniStack`, between two registries.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed, in its helpers too"
)]

mod comparisons;
mod configuration;
mod fixture;
mod letters;
mod messages;
mod operator;
mod orders;
mod outages;
mod recovery;
