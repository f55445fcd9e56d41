//! The checks that every adapter of a port must pass: one check for each promise in the port's documentation.
//!
//! An adapter's tests call [`history`], [`replicas`], [`hints`], [`records`], [`queue`] or [`object_store()`] with a function
//! that creates a new one. A check that fails panics; the last name on standard error identifies it.

#![expect(clippy::unwrap_used, reason = "a check fails by panicking, as every test does")]
#![expect(
    clippy::missing_panics_doc,
    reason = "a check fails by panicking, as every test does"
)]

mod ledger;
mod object_store;
mod queue;
mod samples;

use std::sync::Arc;

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
