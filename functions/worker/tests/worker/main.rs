//! The worker's own program under a Lambda Runtime API, on `MiniStack`, between two registries.

mod configuration;
mod house;
mod letters;
mod messages;
mod outages;
