//! The suites of the four ports of the ledger, and of what stands on its hints.

mod baselines;
mod comparisons;
mod failovers;
mod hints;
mod lists;
mod pending;
mod records;
mod replicas;
mod samples;
mod tasks;
mod totals;
mod values;

use std::sync::Arc;

use transship_engine::ledger::{Hints, History, Records, Replicas};

use super::run_checks;
pub use samples::{ending, entry, entry_alone, replica};

/// The two ports that a task's end changes together.
#[derive(Clone)]
pub(crate) struct Ledger {
    pub(crate) history: Arc<dyn History>,
    pub(crate) replicas: Arc<dyn Replicas>,
}

/// Every promise of [`History`], and of the replicas that [`History::finish`] settles. `make` returns an empty ledger each
/// time.
pub async fn history<L: History + Replicas + 'static>(make: impl AsyncFn() -> Arc<L>) {
    let make = async || {
        let ledger = make().await;
        Ledger {
            history: Arc::clone(&ledger) as Arc<dyn History>,
            replicas: ledger,
        }
    };
    run_checks!(
        make,
        [
            tasks::recording_makes_tasks_queued,
            tasks::recording_again_changes_nothing,
            tasks::many_tasks_are_recorded_at_once,
            tasks::a_task_nobody_recorded_can_begin,
            tasks::each_beginning_counts,
            tasks::simultaneous_beginnings_count_once_each,
            tasks::a_late_record_leaves_a_running_task_alone,
            tasks::waiting_says_why_and_until_when,
            tasks::an_end_is_recorded_whole,
            tasks::an_end_is_written_once,
            tasks::simultaneous_ends_write_one,
            tasks::an_end_stays_whatever_comes_later,
            tasks::an_unknown_task_neither_waits_nor_ends,
            tasks::tasks_are_kept_as_they_were_recorded,
            tasks::a_task_and_the_one_that_repeats_it_name_each_other,
            tasks::untouched_tasks_are_found,
            tasks::a_repository_is_busy_while_a_task_reads_it,
            tasks::an_attachment_keeps_no_repository_busy,
            tasks::an_end_settles_its_replicas_and_releases_the_lease,
            tasks::replicas_are_settled_though_the_task_had_ended,
            lists::tasks_are_listed_newest_first_and_filtered,
            lists::pages_hold_every_task_once,
            lists::a_cursor_survives_inserts,
            lists::a_filter_makes_short_pages_that_continue,
            lists::a_rule_is_listed_by_time,
            lists::tasks_are_listed_since_a_time,
            lists::tasks_of_a_repository_and_tasks_that_were_redriven_are_told_apart,
            lists::a_destination_is_listed,
            lists::open_tasks_are_listed_across_origins,
            lists::failed_tasks_are_listed,
            lists::executions_are_listed_newest_first,
            lists::executions_of_a_rule_and_a_time_are_listed,
            lists::a_cursor_of_another_list_is_refused,
            totals::the_state_of_an_execution_follows_its_tasks,
            totals::an_execution_whose_tasks_were_all_cancelled_is_cancelled,
            totals::totals_are_those_of_the_tasks,
            totals::a_duplicate_counts_once,
            totals::an_execution_is_known_by_its_first_task,
            totals::simultaneous_ends_are_all_counted,
            totals::totals_equal_the_tasks_after_any_history,
        ]
    );
}

/// Every promise of [`Replicas`]. `make` returns an empty one each time.
pub async fn replicas(make: impl AsyncFn() -> Arc<dyn Replicas>) {
    run_checks!(
        make,
        [
            replicas::a_replica_is_remembered_whole_and_replaced,
            replicas::a_claim_keeps_what_was_before_it,
            replicas::several_replicas_are_found_at_once,
            replicas::a_replica_by_digest_is_found_by_its_manifests,
            replicas::replicas_are_found_by_any_manifest_they_hold,
            replicas::replicas_are_found_by_the_digest_they_were_made_of,
            replicas::a_lease_has_one_holder,
            replicas::a_claim_that_is_refused_changes_nothing,
            replicas::a_lease_expires_and_is_taken_over,
            replicas::a_lease_is_extended_by_its_holder,
            replicas::only_the_holder_releases_a_lease,
            replicas::an_intent_that_was_not_written_is_forgotten,
            replicas::simultaneous_claims_grant_one,
            replicas::a_late_settlement_leaves_the_claim_of_another_worker,
            replicas::of_two_sources_of_one_tag_the_last_push_has_it,
            replicas::an_earlier_push_of_the_same_source_writes_for_the_last,
            replicas::a_clock_that_was_ahead_decides_nothing,
        ]
    );
}

/// Every promise of [`Hints`], and of what stands on them. `make` returns an empty one each time.
pub async fn hints(make: impl AsyncFn() -> Arc<dyn Hints>) {
    run_checks!(
        make,
        [
            hints::a_value_is_found_until_it_expires,
            hints::many_values_are_written_and_found_at_once,
            hints::a_value_is_replaced_only_if_it_is_the_expected_one,
            hints::of_simultaneous_writers_one_wins,
            hints::a_value_is_removed_only_if_it_is_the_expected_one,
            hints::children_are_listed_in_order,
            values::a_lease_has_one_holder,
            values::a_lease_expires_and_is_taken_over,
            values::a_lease_is_extended_by_its_holder,
            values::a_lease_of_a_clock_that_was_ahead_is_taken_over,
            values::only_the_holder_releases_a_lease,
            values::simultaneous_takers_get_one_lease,
            values::locations_come_latest_first_and_three_at_most,
            values::a_location_is_forgotten_alone,
            values::sources_are_remembered_with_a_location,
            values::what_another_process_added_is_found,
            values::locations_of_hosts_do_not_mix,
            values::many_digests_are_found_at_once,
            values::a_pause_of_a_clock_that_was_ahead_is_over,
            values::a_pause_is_never_shortened,
            values::the_longest_pause_is_reported,
            values::a_pause_is_ended,
            values::simultaneous_pauses_leave_the_longest,
            values::an_upload_is_found_until_it_expires,
            values::the_last_failure_of_each_tag_is_found_until_it_expires,
            pending::a_blob_nobody_waits_for_reports_nothing,
            pending::the_last_arrival_reports,
            pending::a_blob_named_twice_is_one,
            pending::simultaneous_arrivals_report_at_least_once,
            pending::a_scan_is_reported_again_until_it_is_settled,
            pending::waiting_again_forgets_what_was_waited_for,
            pending::simultaneous_waits_of_one_scan_lose_no_arrival,
            pending::one_blob_completes_several_scans,
            pending::settling_what_never_waited_is_nothing,
            pending::what_expired_is_forgotten,
            pending::scans_are_listed_the_longest_waiting_first,
        ]
    );
}

/// Every promise of [`Records`], and of what stands on them. `make` returns an empty one each time.
pub async fn records(make: impl AsyncFn() -> Arc<dyn Records>) {
    run_checks!(
        make,
        [
            records::a_record_changes_by_compare_and_set,
            records::of_simultaneous_writers_one_wins,
            records::a_record_is_removed_by_its_version,
            records::a_removed_record_has_no_earlier_version,
            records::records_are_listed_by_prefix_in_pages,
            records::one_sweep_is_the_first_and_one_caller_reports,
            baselines::a_state_changes_by_compare_and_set_and_rules_are_listed,
            baselines::marks_of_many_tags_are_found_replaced_and_released,
            baselines::simultaneous_writers_of_marks_lose_none,
            baselines::a_rule_that_is_forgotten_or_settled_has_no_marks,
            comparisons::a_comparison_is_kept_whole_with_its_names,
            comparisons::a_failed_comparison_leaves_the_last_whole_one,
            comparisons::many_names_and_verifications_are_bounded,
            comparisons::an_unfinished_comparison_grows_beside_the_last_whole_one,
            comparisons::of_two_workers_at_one_place_of_a_comparison_one_is_refused,
            comparisons::an_unfinished_comparison_of_many_images_fits_into_records,
            comparisons::an_unfinished_comparison_of_another_release_is_replaced,
            comparisons::drills_are_kept_by_time_and_the_last_good_one_is_known,
            comparisons::the_last_check_is_the_latest,
            failovers::a_group_changes_by_compare_and_set,
            failovers::of_simultaneous_operators_one_wins,
            failovers::a_slot_is_seen_until_it_ends,
            failovers::every_slot_is_listed,
            failovers::what_an_operator_accepted_is_kept_by_epoch,
        ]
    );
}
