//! Runs: what exists and differs is copied once, also after crashes and beside other runs, and what could not be read is named.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use transship_copy::{NoProgress, TimeBudget};
use transship_embedded_registry::faults::Action;
use transship_embedded_registry::{EmbeddedRegistry, RequestRecord};
use transship_engine::ledger::{DeleteGrants, Ledger, RunProgress};
use transship_engine::operations::{Redrive, StartRun, Started};
use transship_engine::{
    Envelope, ExecutionRecord, ExecutionState, Job, Narrow, Next, TaskQueue, TaskReceiver, TaskState, Trigger,
};
use transship_oci::Result;
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images::{self, Sample};

use crate::fixture::{Fixture, RULE, name, settle, tag};

/// Starts a run, or joins one.
pub async fn try_start(fixture: &Fixture, narrow: Narrow) -> Result<Started> {
    let ledger = Ledger::new(&fixture.ledger);
    let start = StartRun {
        runs: ledger.runs,
        history: ledger.history,
        queue: Arc::clone(&fixture.queue) as _,
        clock: Arc::new(fixture.clock.clone()),
    };
    let snapshot = fixture.configuration.current();
    let rule = snapshot.document.rule("core-images").unwrap();
    start.start(rule, Trigger::Manual, narrow).await
}

async fn start(fixture: &Fixture) -> String {
    try_start(fixture, Narrow::default()).await.unwrap().execution
}

pub async fn progress(fixture: &Fixture, execution: &str) -> RunProgress {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let runs = Ledger::new(&fixture.ledger).runs;
    runs.progress(execution, now).await.unwrap().unwrap_or_default()
}

pub async fn record(fixture: &Fixture, execution: &str) -> ExecutionRecord {
    let records = fixture.executions().await;
    records.into_iter().find(|record| record.id == execution).unwrap()
}

fn put(registry: &EmbeddedRegistry, repository: &str, reference: &str, sample: &Sample) {
    sample.seed_into(registry, &name(repository), &tag(reference));
}

/// Repositories of tags that are equal on both sides, except one of each `missing`.
fn fill(fixture: &Fixture, repositories: usize, tags: usize, missing: usize) -> Vec<(String, String)> {
    let sample = images::image(1, &[100]);
    let mut lacks = Vec::new();
    for number in 0..repositories * tags {
        let (repository, reference) = (format!("app-{:03}", number / tags), format!("v{:02}", number % tags));
        put(&fixture.a, &format!("core/{repository}"), &reference, &sample);
        if number % missing == missing - 1 {
            lacks.push((format!("copy/{repository}"), reference));
        } else {
            put(&fixture.b, &format!("copy/{repository}"), &reference, &sample);
        }
    }
    lacks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_tag_that_is_not_answered_holds_up_no_comparison() {
    let fixture = Fixture::new().await;
    fill(&fixture, 12, 8, 1000);
    let hung = Fault::new(
        "HEAD",
        "core/app-000/manifests/v00",
        Action::Delay { delay_ms: 3_600_000 },
    )
    .unwrap();
    fixture.a.set_faults(Some(Arc::new(Script::new([hung.always()]))));
    let execution = start(&fixture).await;
    tokio::select! {
        _ = fixture.attempt() => panic!("a tag is not answered"),
        () = until_looked(&fixture.a, 12 * 8) => {}
    }
    assert_eq!(
        progress(&fixture, &execution).await.tags,
        0,
        "the cursor stays before it"
    );
}

/// Waits until so many tags were asked for.
async fn until_looked(registry: &EmbeddedRegistry, tags: usize) {
    let is_head = |request: &&RequestRecord| request.method == Method::HEAD && request.path.contains("/manifests/v");
    while registry.requests().iter().filter(is_head).count() < tags {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Tags that were written.
pub fn tags_written(registry: &EmbeddedRegistry) -> usize {
    let requests = registry.requests();
    let is_put = |request: &&RequestRecord| {
        request.method == Method::PUT && request.path.contains("/manifests/") && !request.path.contains("sha256:")
    };
    requests.iter().filter(is_put).count()
}

/// Requests for tags or their lists.
fn looks(registry: &EmbeddedRegistry) -> usize {
    let requests = registry.requests();
    let is_look = |request: &&RequestRecord| request.method == Method::HEAD;
    requests.iter().filter(is_look).count()
}

/// Works on one message of a run until the source has answered `requests` more requests, then ends as a process that is killed.
/// The message is in the queue again.
async fn kill_after(fixture: &Fixture, requests: usize) {
    let (delivery, working) = loop {
        let received = fixture.queue.inner.receive(1, Duration::from_mins(1)).await;
        let Some(delivery) = received.unwrap().pop() else {
            fixture.clock.advance(Duration::from_mins(1));
            continue;
        };
        let envelope = Envelope::parse(&delivery.body).unwrap();
        let worker = Arc::clone(&fixture.jobs);
        let before = looks(&fixture.a);
        let working = tokio::spawn(async move { worker.run(&envelope, Arc::new(NoProgress), None).await });
        while looks(&fixture.a) < before + requests && !working.is_finished() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if !working.is_finished() {
            break (delivery, working);
        }
        // A copy, or the message of a walk that is replaced because its worker died after it got further.
        let next = working.await.unwrap().unwrap();
        if let Next::Send(messages) = &next {
            fixture.queue.send(messages).await.unwrap();
        }
        settle(&fixture.queue, &delivery, &next).await;
    };
    working.abort();
    assert!(
        working.await.is_err_and(|error| error.is_cancelled()),
        "it was killed in the middle"
    );
    fixture
        .queue
        .inner
        .retry(&delivery.receipt, Duration::ZERO)
        .await
        .unwrap();
    // Its right to walk expires.
    fixture.clock.advance(Duration::from_mins(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_copies_exactly_what_is_missing_though_it_is_killed_three_times_and_started_twice() {
    let fixture = Fixture::new().await;
    let lacks = fill(&fixture, 200, 5, 100);
    let (first, second) = tokio::join!(
        try_start(&fixture, Narrow::default()),
        try_start(&fixture, Narrow::default())
    );
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.execution, second.execution);
    assert_eq!(
        [first.is_joined, second.is_joined]
            .iter()
            .filter(|joined| **joined)
            .count(),
        1
    );
    for _ in 0..3 {
        kill_after(&fixture, 100).await;
    }
    fixture.drain().await;
    for (repository, reference) in &lacks {
        assert!(
            fixture.b.digest(&name(repository), &tag(reference)).is_some(),
            "{repository}:{reference}"
        );
    }
    assert_eq!(tags_written(&fixture.b), lacks.len(), "nothing else was written");
    let copies = fixture.tasks().await.into_iter().filter(|task| task.digest.is_some());
    let states: Vec<TaskState> = copies.map(|task| task.state).collect();
    assert_eq!(states, vec![TaskState::Succeeded; lacks.len()]);
    let record = record(&fixture, &first.execution).await;
    assert_eq!(
        (record.state, record.trigger),
        (ExecutionState::Succeeded, Trigger::Manual)
    );
    let progress = progress(&fixture, &first.execution).await;
    assert_eq!((progress.repositories, progress.tags), (200, 1000));
    // A tag that was copied before the walk is resumed may be compared again, and is equal then.
    assert_eq!(progress.equal + progress.enqueued, 1000);
    assert!(progress.enqueued <= 10 && progress.is_whole(), "{progress:?}");
}

#[tokio::test]
async fn equal_tags_cost_one_look_at_each_side_and_a_message_for_a_thousand() {
    let fixture = Fixture::new().await;
    assert_eq!(fill(&fixture, 22, 50, 1101), []);
    let execution = start(&fixture).await;
    let mut steps = 0;
    while progress(&fixture, &execution).await.tags < 1100 {
        fixture.attempt().await;
        steps += 1;
    }
    assert!(steps <= 2, "{steps} messages for 1100 tags");
    assert_eq!(looks(&fixture.a), 1100);
    assert_eq!(looks(&fixture.b), 1100);
    fixture.drain().await;
    assert_eq!(record(&fixture, &execution).await.state, ExecutionState::Succeeded);
    let next = start(&fixture).await;
    assert_ne!(next, execution, "the run is over, so another one begins");
    fixture.drain().await;
    assert_eq!(progress(&fixture, &next).await.equal, 1100);
}

#[tokio::test]
async fn small_repositories_are_listed_once_and_large_ones_twice_wherever_they_are() {
    let fixture = Fixture::new().await;
    let lacks = fill(&fixture, 40, 3, 10);
    let sample = images::image(2, &[100]);
    for number in 0..150 {
        for (registry, repository) in [(&fixture.a, "core/app-020"), (&fixture.b, "copy/app-020")] {
            put(registry, repository, &format!("w{number}"), &sample);
        }
    }
    let run = start(&fixture).await;
    fixture.drain().await;
    let progress = progress(&fixture, &run).await;
    assert_eq!((progress.repositories, progress.tags), (40, 40 * 3 + 150));
    assert_eq!(progress.enqueued, lacks.len() as u64);
    assert_eq!(tags_written(&fixture.b), lacks.len());
    let requests = fixture.a.requests();
    let lists = |repository: &str| {
        let path = format!("/v2/core/{repository}/tags/list");
        requests.iter().filter(|request| request.path == path).count()
    };
    for number in 0..40 {
        let expected = if number == 20 { 2 } else { 1 };
        assert_eq!(lists(&format!("app-{number:03}")), expected, "app-{number:03}");
    }
}

#[tokio::test]
async fn a_repository_that_always_fails_ends_the_run_partial_and_is_named_and_redriven() {
    let script = Script::new([Fault::new("GET", "core/app-001/tags/list", Action::status(500))
        .unwrap()
        .times(1000)]);
    let a = EmbeddedRegistry::builder().faults(Arc::new(script));
    let fixture = Fixture::of(a, EmbeddedRegistry::builder(), RULE).await;
    let lacks = fill(&fixture, 4, 3, 2);
    let execution = start(&fixture).await;
    fixture.drain().await;
    let partial = record(&fixture, &execution).await;
    assert_eq!(partial.state, ExecutionState::Partial);
    let failed: Vec<_> = fixture
        .tasks()
        .await
        .into_iter()
        .filter(|task| task.state == TaskState::Failed)
        .collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0].source, "a/core/app-001");
    assert_eq!(failed[0].code.as_deref(), Some("REGISTRY_UNAVAILABLE"));
    let found = progress(&fixture, &execution).await;
    assert_eq!((found.unreadable, found.is_over, found.is_whole()), (1, true, false));
    let walk = fixture
        .tasks()
        .await
        .into_iter()
        .find(|task| task.source == "a")
        .unwrap();
    assert_eq!(walk.code.as_deref(), Some("RUN_INCOMPLETE"));
    let reached =
        |(repository, reference): &&(String, String)| fixture.b.digest(&name(repository), &tag(reference)).is_some();
    let arrived = lacks.iter().filter(reached).count();
    let elsewhere = lacks
        .iter()
        .filter(|(repository, _)| repository != "copy/app-001")
        .count();
    assert_eq!(arrived, elsewhere, "the other repositories are complete");

    fixture.a.set_faults(None);
    let ledger = Ledger::new(&fixture.ledger);
    let redrive = Redrive {
        history: ledger.history,
        cancels: ledger.cancels,
        grants: DeleteGrants::new(Arc::clone(&fixture.ledger) as _),
        queue: Arc::clone(&fixture.queue) as _,
        clock: Arc::new(fixture.clock.clone()),
    };
    assert_eq!(redrive.run(Some(&execution), 0).await.unwrap().redriven, 1);
    fixture.drain().await;
    assert!(lacks.iter().all(|lack| reached(&lack)));
    assert_eq!(fixture.executions().await[0].state, ExecutionState::Succeeded);
}

#[tokio::test]
async fn a_list_of_repositories_that_is_refused_ends_the_run_partial() {
    for (status, code) in [
        (401, "SWEEP_NO_CATALOG"),
        (404, "SWEEP_NO_CATALOG"),
        (500, "REGISTRY_UNAVAILABLE"),
    ] {
        let script = Script::new([Fault::new("GET", "/v2/_catalog", Action::status(status))
            .unwrap()
            .always()]);
        let a = EmbeddedRegistry::builder().faults(Arc::new(script));
        let fixture = Fixture::of(a, EmbeddedRegistry::builder(), RULE).await;
        fill(&fixture, 1, 3, 2);
        let execution = start(&fixture).await;
        fixture.drain().await;
        assert_eq!(
            record(&fixture, &execution).await.state,
            ExecutionState::Partial,
            "{status}"
        );
        let tasks = fixture.tasks().await;
        let failed: Vec<_> = tasks.iter().filter(|task| task.state == TaskState::Failed).collect();
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert_eq!(failed[0].code.as_deref(), Some(code), "{status}");
        assert_eq!(failed[0].source, "a");
    }
}

#[tokio::test]
async fn a_run_is_limited_to_a_repository_or_a_tag_and_another_part_does_not_join_it() {
    let fixture = Fixture::new().await;
    let lacks = fill(&fixture, 3, 2, 1);
    let narrow = Narrow {
        repository: Some(name("core/app-001")),
        tag: Some(tag("v01")),
    };
    let run = try_start(&fixture, narrow.clone()).await.unwrap();
    assert!(try_start(&fixture, narrow).await.unwrap().is_joined);
    let refused = try_start(&fixture, Narrow::default()).await.unwrap_err();
    assert_eq!(refused.code(), "RUN_ACTIVE");
    fixture.drain().await;
    let arrived = lacks
        .iter()
        .filter(|(repository, reference)| fixture.b.digest(&name(repository), &tag(reference)).is_some());
    let arrived: Vec<_> = arrived.cloned().collect();
    assert_eq!(arrived, [("copy/app-001".to_owned(), "v01".to_owned())]);
    let listed = fixture
        .a
        .requests()
        .iter()
        .any(|request| request.path.contains("_catalog"));
    assert!(!listed, "a repository that is named needs no catalog");
    assert_eq!(record(&fixture, &run.execution).await.state, ExecutionState::Succeeded);
    // A run of the whole rule is joined by every part of it.
    let whole = start(&fixture).await;
    let part = Narrow {
        repository: Some(name("core/app-002")),
        tag: None,
    };
    assert_eq!(try_start(&fixture, part).await.unwrap().execution, whole);
}

#[tokio::test]
async fn a_disabled_rule_runs_by_hand_and_not_by_schedule() {
    let rule = "  - { name: core-images, enabled: false, source: { registry: a, namespace: core }, destination: { registry: b, namespace: copy } }\n";
    let fixture = Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), rule).await;
    let lacks = fill(&fixture, 1, 2, 1);
    let ledger = Ledger::new(&fixture.ledger);
    let scheduled = StartRun {
        runs: ledger.runs,
        history: ledger.history,
        queue: Arc::clone(&fixture.queue) as _,
        clock: Arc::new(fixture.clock.clone()),
    };
    let snapshot = fixture.configuration.current();
    let rule = snapshot.document.rule("core-images").unwrap();
    scheduled
        .start(rule, Trigger::Schedule, Narrow::default())
        .await
        .unwrap();
    fixture.drain().await;
    assert_eq!(fixture.states().await, ["cancelled"]);
    fixture.clock.advance(Duration::from_secs(1));
    let execution = start(&fixture).await;
    fixture.drain().await;
    assert_eq!(record(&fixture, &execution).await.state, ExecutionState::Succeeded);
    for (repository, reference) in &lacks {
        assert!(fixture.b.digest(&name(repository), &tag(reference)).is_some());
    }
}

#[tokio::test]
async fn a_run_whose_first_message_was_lost_is_sent_again_by_the_next_start() {
    let fixture = Fixture::new().await;
    let lacks = fill(&fixture, 1, 2, 1);
    fixture.queue.is_down.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(try_start(&fixture, Narrow::default()).await.is_err());
    fixture.queue.is_down.store(false, std::sync::atomic::Ordering::Relaxed);
    let joined = try_start(&fixture, Narrow::default()).await.unwrap();
    assert!(joined.is_joined);
    fixture.drain().await;
    assert_eq!(
        record(&fixture, &joined.execution).await.state,
        ExecutionState::Succeeded
    );
    assert_eq!(tags_written(&fixture.b), lacks.len());
}

#[tokio::test]
async fn a_slot_that_is_over_is_continued_by_the_next_message() {
    let fixture = Fixture::new().await;
    let lacks = fill(&fixture, 2, 40, 7);
    let execution = start(&fixture).await;
    let mut slots = 0;
    while record(&fixture, &execution).await.duration_ms.is_none() {
        let deliveries = fixture.queue.inner.receive(1, Duration::from_mins(1)).await.unwrap();
        let Some(delivery) = deliveries.into_iter().next() else {
            fixture.clock.advance(Duration::from_mins(1));
            continue;
        };
        let is_run = matches!(Envelope::parse(&delivery.body).unwrap().job, Job::Run(_));
        // A slot that ends at once moves nothing; the second one has no limit.
        let budget = (is_run && slots == 0).then(|| TimeBudget::until(std::time::Instant::now(), Duration::ZERO));
        slots += usize::from(is_run);
        let next = fixture.work(&delivery.body, budget).await;
        assert!(matches!(next, Next::Done | Next::Again(_)), "{next:?}");
        if let Next::Again(delay) = next {
            let again = Envelope::parse(&delivery.body).unwrap().again(delay);
            fixture.queue.inner.send(&[again]).await.unwrap();
        }
        fixture.queue.inner.complete(&delivery.receipt).await.unwrap();
    }
    assert!(slots > 1);
    assert_eq!(tags_written(&fixture.b), lacks.len());
}
