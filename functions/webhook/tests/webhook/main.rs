//! The webhook's binary with a Lambda Runtime API, on `MiniStack`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed, in its helpers too"
)]

mod events;
mod fixture;
mod hooks;
mod reports;
