//! Schedules: each due time starts one run, across restarts, workers and daylight saving.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use transship_copy::Clock as _;
use transship_embedded_registry::EmbeddedRegistry;
use transship_engine::operations::StartDue;
use transship_engine::{Due, ExecutionState, Outgoing, TaskQueue as _, Trigger};
use transship_testkit::images;

use crate::fixture::{Fixture, document};
use crate::replicate::now;

fn rule(trigger: &str, more: &str) -> String {
    format!(
        "  - {{ name: core-images, trigger: [{trigger}], source: {{ registry: a, namespace: core }}, destination: {{ registry: b, namespace: copy }}{more} }}\n"
    )
}

const NIGHTLY: &str = "{ schedule: \"30 2 * * *\", timezone: Europe/Berlin }";

async fn fixture_of(rules: &str) -> Fixture {
    Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), rules).await
}

fn set_clock(fixture: &Fixture, to: &str) {
    let to: Timestamp = to.parse().unwrap();
    let to = SystemTime::from(to);
    fixture.clock.advance(to.duration_since(fixture.clock.now()).unwrap());
}

/// What a worker with a document and clients of its own does.
fn timer(fixture: &Fixture, configuration: &transship_engine::Configuration) -> StartDue {
    StartDue {
        configuration: configuration.clone(),
        schedules: fixture.jobs.ledger.schedules.clone(),
        history: Arc::clone(&fixture.ledger) as _,
        queue: Arc::clone(&fixture.queue) as _,
        clock: Arc::new(fixture.clock.clone()),
    }
}

/// The timer of a worker fires, and the queue is worked on until it is empty.
async fn tick(fixture: &Fixture) {
    fixture.queue.send(&[Outgoing::now(Due::default())]).await.unwrap();
    fixture.drain().await;
}

/// The times of runs that a schedule started, the oldest first.
async fn runs(fixture: &Fixture) -> Vec<String> {
    let mut executions = fixture.executions().await;
    executions.retain(|execution| execution.trigger == Trigger::Schedule);
    executions.reverse();
    executions
        .iter()
        .map(|execution| execution.created.to_string())
        .collect()
}

#[tokio::test]
async fn two_workers_run_each_due_time_once_across_both_changes_of_daylight_saving() {
    for (from, hours, expected) in [
        (
            "2026-03-28T00:00:00Z",
            72,
            &["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"][..],
        ),
        (
            "2026-10-24T00:00:00Z",
            72,
            &["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"][..],
        ),
    ] {
        let fixture = fixture_of(&rule(NIGHTLY, "")).await;
        set_clock(&fixture, from);
        let workers = [
            timer(&fixture, &fixture.configuration),
            timer(&fixture, &fixture.configuration),
        ];
        let mut started = 0;
        for _ in 0..hours * 6 {
            let (first, second) = tokio::join!(workers[0].run(), workers[1].run());
            started += first.unwrap().len() + second.unwrap().len();
            let time = now(&fixture);
            fixture.drain().await;
            assert_eq!(now(&fixture), time, "the work takes no time");
            fixture.clock.advance(Duration::from_mins(10));
        }
        assert_eq!(runs(&fixture).await, expected);
        assert_eq!(started, expected.len());
    }
}

#[tokio::test]
async fn times_that_were_missed_run_once_on_return() {
    let fixture = fixture_of(&rule("{ schedule: \"0 3 * * *\" }", "")).await;
    set_clock(&fixture, "2026-01-01T12:00:00Z");
    tick(&fixture).await;
    assert_eq!(runs(&fixture).await, [""; 0], "it is not due when it is first seen");
    set_clock(&fixture, "2026-02-10T12:00:00Z");
    tick(&fixture).await;
    tick(&fixture).await;
    assert_eq!(runs(&fixture).await, ["2026-02-10T12:00:00Z"]);
    set_clock(&fixture, "2026-02-11T03:00:00Z");
    tick(&fixture).await;
    assert_eq!(runs(&fixture).await.len(), 2);
}

#[tokio::test]
async fn a_worker_that_ends_between_the_run_and_its_note_starts_no_second_run() {
    let fixture = fixture_of(&rule("{ schedule: \"0 3 * * *\" }", "")).await;
    set_clock(&fixture, "2026-01-01T12:00:00Z");
    tick(&fixture).await;
    set_clock(&fixture, "2026-01-02T03:00:00Z");
    fixture.ledger.fail(|call, _| call == "record_put_if");
    let timer = timer(&fixture, &fixture.configuration);
    assert!(timer.run().await.is_err());
    fixture.ledger.heal();
    fixture.drain().await;
    fixture.clock.advance(Duration::from_mins(1));
    tick(&fixture).await;
    assert_eq!(runs(&fixture).await.len(), 1);
    let tasks = fixture.tasks().await;
    assert_eq!(tasks.len(), 1, "the walk: {tasks:?}");
}

#[tokio::test]
async fn a_rule_with_a_schedule_alone_takes_no_events_and_copies_all_that_exists() {
    let fixture = fixture_of(&rule("{ schedule: \"0 3 * * *\" }", "")).await;
    set_clock(&fixture, "2026-01-01T12:00:00Z");
    tick(&fixture).await;
    let sample = images::image(1, &[100]);
    fixture.push(&sample);
    fixture.deliver(&[fixture.event("v1", &sample.root)]).await.unwrap();
    crate::sweep::sweep(&fixture).await;
    assert!(fixture.tasks().await.is_empty());
    set_clock(&fixture, "2026-01-02T03:00:00Z");
    tick(&fixture).await;
    fixture.assert_equal(&sample);
    assert_eq!(runs(&fixture).await.len(), 1);
}

#[tokio::test]
async fn a_due_time_during_an_active_run_is_recorded_as_skipped() {
    let fixture = fixture_of(&rule("{ schedule: \"0 * * * *\" }", "")).await;
    set_clock(&fixture, "2026-01-01T12:10:00Z");
    fixture.push(&images::image(1, &[100]));
    let timer = timer(&fixture, &fixture.configuration);
    timer.run().await.unwrap();
    set_clock(&fixture, "2026-01-01T13:00:00Z");
    let first = timer.run().await.unwrap();
    // The first run walks, and the copy that it found is not worked on yet.
    fixture.attempt().await;
    set_clock(&fixture, "2026-01-01T14:00:00Z");
    let second = timer.run().await.unwrap();
    assert_eq!((first.len(), second.len()), (1, 1));
    let mut states = Vec::new();
    let mut receive = Vec::new();
    // The second walk is worked on before the copy.
    for delivery in fixture.queue_messages().await {
        receive.push(delivery);
    }
    for (receipt, body) in receive {
        if body.contains(&second[0]) {
            fixture.work(&body, None).await;
            fixture.complete(&receipt).await;
        } else {
            fixture.give_back(&receipt).await;
        }
    }
    fixture.drain().await;
    for id in [&first[0], &second[0]] {
        let found = transship_engine::operations::find_execution(fixture.ledger.as_ref(), id)
            .await
            .unwrap();
        states.push(found.unwrap().state);
    }
    assert_eq!(states, [ExecutionState::Succeeded, ExecutionState::Skipped]);
    let listed = fixture.executions().await;
    assert_eq!(listed[0].state, ExecutionState::Skipped);
    assert_eq!(listed[0].code.as_deref(), Some("RUN_ACTIVE"));
}

#[tokio::test]
async fn a_schedule_that_changes_or_is_disabled_misses_no_time() {
    let fixture = fixture_of(&rule("{ schedule: \"0 3 * * *\" }", "")).await;
    let change = |rules: &str| fixture.configuration.replace(document(&fixture.a, &fixture.b, rules));
    set_clock(&fixture, "2026-01-01T12:00:00Z");
    tick(&fixture).await;
    change(&rule("{ schedule: \"0 3 * * *\" }", ", enabled: false"));
    set_clock(&fixture, "2026-01-05T12:00:00Z");
    tick(&fixture).await;
    change(&rule("{ schedule: \"0 3 * * *\" }", ""));
    tick(&fixture).await;
    assert_eq!(
        runs(&fixture).await,
        [""; 0],
        "what passed while it was disabled is not made up for"
    );
    set_clock(&fixture, "2026-01-06T02:00:00Z");
    change(&rule("{ schedule: \"0 1 * * *\" }", ""));
    tick(&fixture).await;
    assert_eq!(runs(&fixture).await, [""; 0], "01:00 was not its time today");
    set_clock(&fixture, "2026-01-07T01:00:00Z");
    tick(&fixture).await;
    assert_eq!(runs(&fixture).await.len(), 1);
}

#[tokio::test]
async fn of_several_schedules_each_time_counts() {
    let both = "{ schedule: \"0 3 * * *\" }, { schedule: \"0 15 * * *\" }, event";
    let fixture = fixture_of(&rule(both, "")).await;
    set_clock(&fixture, "2026-01-01T12:00:00Z");
    tick(&fixture).await;
    for time in ["2026-01-01T15:00:00Z", "2026-01-02T03:00:00Z"] {
        set_clock(&fixture, time);
        tick(&fixture).await;
    }
    assert_eq!(runs(&fixture).await, ["2026-01-01T15:00:00Z", "2026-01-02T03:00:00Z"]);
}
