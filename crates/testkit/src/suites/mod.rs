//! The checks that every adapter of a port must pass: one check for each promise in the port's documentation.
//!
//! An adapter's tests call [`history`], [`replicas`], [`hints`], [`records`], [`queue`], [`names()`] or [`object_store()`] with a function
//! that creates a new one. A check that fails panics; the last name on standard error identifies it.

#![expect(clippy::unwrap_used, reason = "a check fails by panicking, as every test does")]
#![expect(
    clippy::missing_panics_doc,
    reason = "a check fails by panicking, as every test does"
)]

mod ledger;
mod names;
mod object_store;
mod queue;
mod samples;

use std::sync::Arc;

use transship_layout::ObjectStore;

pub use ledger::{ending, entry, entry_alone, hints, history, records, replica, replicas};
pub use names::{EXTERNAL_DNS, NamesUnderTest, OWNED};
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

/// Every promise of [`Names`](transship_engine::names::Names), and those of a switch over it. `make` returns a new zone each
/// time.
pub async fn names(make: impl AsyncFn() -> NamesUnderTest) {
    run_checks!(
        make,
        [
            names::the_zone_is_named,
            names::a_name_without_records_is_empty,
            names::every_kind_of_record_is_read_as_it_was_written,
            names::the_time_to_live_is_changed_with_the_record,
            names::nothing_is_changed_if_the_records_are_not_the_expected_ones,
            names::a_record_of_another_kind_is_noticed,
            names::asking_whether_a_change_is_allowed_changes_nothing,
            names::a_change_concerns_one_name,
            names::of_simultaneous_operators_one_wins,
            names::external_dns_is_named_as_the_owner,
            names::a_switch_is_made_once_and_answered_everywhere,
            names::an_older_epoch_cannot_switch_back,
            names::a_record_that_another_client_changed_is_shown_and_kept,
            names::a_switch_that_was_interrupted_is_continued,
            names::an_alias_at_the_apex_is_refused_before_it_is_sent,
        ]
    );
}
