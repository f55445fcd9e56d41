//! The webhook's own program under a Lambda Runtime API, on `MiniStack`.

mod events;
mod hooks;
mod house;
