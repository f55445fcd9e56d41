//! The use cases over registries inside this process, and a queue and a ledger in memory: from a delivery to an equal image.
//!
//! Time is turned by hand; what must be tried again is driven at once. Faults are scripted or seeded; a seed that fails
//! says how to replay it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed, in its helpers too"
)]

mod accept;
mod attempts;
mod baseline;
mod bucket;
mod bus;
mod cancel;
mod compare_refresh;
mod compare_slices;
mod deletes;
mod early;
mod expected;
mod facts;
mod failover_check;
mod failover_drill;
mod failover_images;
mod failover_machine;
mod failover_pushes;
mod failover_stage;
mod failover_switch;
mod fixture;
mod healing;
mod import;
mod inspect;
mod kept_chunks;
mod late_reads;
mod ledger;
mod odd_lists;
mod orders;
mod ours;
mod pauses;
mod platforms;
mod races;
mod redrive;
mod referrers;
mod repeated_reports;
mod replicate;
mod retries;
mod run_requests;
mod runs;
mod scan;
mod schedules;
mod seeded;
mod seeding;
mod selection;
mod senders;
mod silence;
mod stopped;
mod sweep;
mod sweep_attachments;
mod unsigned;
