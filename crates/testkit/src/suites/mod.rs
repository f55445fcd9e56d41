//! The checks that every adapter of a port must pass: one check for each promise in the port's documentation.
//!
//! An adapter's tests call [`ledger`], [`queue`], [`awaited()`] or [`object_store()`] with a function that creates a new one. A check
//! that fails panics; the last name on standard error identifies it.

#![expect(clippy::unwrap_used, reason = "a check fails by panicking, as every test does")]
#![expect(
    clippy::missing_panics_doc,
    reason = "a check fails by panicking, as every test does"
)]

mod awaited;
mod execution;
mod ledger;
mod memory;
mod object_store;
mod queue;
mod samples;
mod task;

use std::sync::Arc;

use transship_engine::{Awaited, Ledger};
use transship_layout::ObjectStore;

pub use ledger::{ending, entry, entry_alone, hints, history, records, replica, replicas};
pub use queue::{Advance, MINUTE, QueueUnderTest, queue};
pub use samples::{at, copy_task, execution, task};

/// Runs the named checks one after another, each on a new adapter.
macro_rules! run_checks {
    ($make:expr, [$($module:ident :: $check:ident),+ $(,)?]) => {
        $(
            eprintln!("check {}", stringify!($check));
            $module::$check($make().await).await;
        )+
    };
}
pub(crate) use run_checks;

/// Every promise of [`Ledger`], which the four ports replace. `make` returns an empty ledger each time.
pub async fn ledger(make: impl AsyncFn() -> Arc<dyn Ledger>) {
    run_checks!(
        make,
        [
            task::recording_makes_tasks_queued,
            task::recording_again_changes_nothing,
            task::a_task_nobody_recorded_can_begin,
            task::each_beginning_counts,
            task::simultaneous_beginnings_count_once_each,
            task::a_late_record_leaves_a_running_task_alone,
            task::waiting_says_why_and_until_when,
            task::an_end_is_recorded_whole,
            task::an_end_is_written_once,
            task::simultaneous_ends_write_one,
            task::an_end_stays_whatever_comes_later,
            task::an_unknown_task_neither_waits_nor_ends,
            task::tasks_are_listed_newest_first_and_filtered,
            task::tasks_are_kept_as_they_were_sent,
            task::tasks_left_by_their_worker_are_found,
            task::a_repository_is_busy_while_a_task_reads_it,
            task::a_task_that_follows_keeps_no_repository_busy,
            execution::the_state_of_an_execution_follows_its_tasks,
            execution::totals_are_those_of_the_tasks,
            execution::a_duplicate_end_counts_once,
            execution::executions_are_listed_newest_first,
            memory::a_replica_is_remembered_whole_and_replaced,
            memory::replicas_are_remembered_though_the_task_had_ended,
            memory::an_intent_keeps_what_was_before_it,
            memory::a_replica_by_digest_is_found_by_its_manifests,
            memory::replicas_are_found_by_any_manifest_they_hold,
            memory::a_lease_has_one_holder,
            memory::a_lease_expires_and_is_taken_over,
            memory::a_lease_is_extended_by_its_holder,
            memory::only_the_holder_releases_a_lease,
            memory::simultaneous_takers_get_one_lease,
            memory::locations_come_latest_first_and_three_at_most,
            memory::a_location_is_forgotten_alone,
            memory::locations_of_hosts_do_not_mix,
            memory::many_digests_are_found_at_once,
            memory::a_pause_is_never_shortened,
            memory::the_longest_pause_is_told,
            memory::an_upload_is_taken_up_until_it_expires,
        ]
    );
}

/// Every promise of [`Awaited`]. `make` returns one for which nothing waits each time.
pub async fn awaited(make: impl AsyncFn() -> Arc<dyn Awaited>) {
    run_checks!(
        make,
        [
            awaited::what_nobody_waits_for_tells_nobody,
            awaited::the_last_arrival_tells,
            awaited::a_blob_named_twice_is_one,
            awaited::simultaneous_arrivals_tell_at_least_once,
            awaited::it_is_told_again_until_it_is_settled,
            awaited::waiting_anew_forgets_what_was_waited_for,
            awaited::simultaneous_waits_of_one_look_lose_no_arrival,
            awaited::one_blob_completes_several_looks,
            awaited::settling_what_never_waited_is_nothing,
            awaited::what_expired_is_forgotten,
            awaited::those_that_wait_are_listed_the_longest_first,
        ]
    );
}

/// Every promise of [`ObjectStore`]. `make` returns an empty store each time.
pub async fn object_store(make: impl AsyncFn() -> Arc<dyn ObjectStore>) {
    run_checks!(
        make,
        [
            object_store::what_is_not_there_is_nothing,
            object_store::any_key_keeps_its_bytes,
            object_store::parts_are_read_and_nothing_lies_beyond_the_end,
            object_store::an_object_that_was_replaced_is_noticed,
            object_store::when_an_object_was_written_is_told,
            object_store::what_is_there_is_not_written_again,
            object_store::only_what_was_seen_is_replaced,
            object_store::of_simultaneous_writers_one_wins,
            object_store::listings_are_in_order_and_complete,
        ]
    );
}
