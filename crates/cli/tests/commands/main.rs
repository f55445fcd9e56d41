//! The built binary as a user runs it: exit codes, standard output, standard error.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests, and what they share")]

mod cancel;
mod copy;
mod copy_dry_run;
mod deletes;
mod deliveries;
mod demo;
mod failover;
mod import;
mod input;
mod redrive;
mod resume;
mod run;
mod runs;
mod serve;
mod silence;
