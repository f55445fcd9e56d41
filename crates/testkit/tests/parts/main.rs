//! Tests of the testkit itself, against embedded and real registries.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, in its helpers too"
)]
#![expect(
    clippy::print_stdout,
    reason = "what was skipped, and how long it took, is for those who read the output"
)]

mod delay_proxy;
mod docker_registry;
mod fault_proxy;
mod samples;
mod suites;
