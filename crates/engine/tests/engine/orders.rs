//! Orders to import the existing objects of a bucket to any destination.

use std::time::{Duration, Instant};

use bytes::Bytes;
use transship_copy::{NoProgress, TimeBudget};
use transship_engine::ledger::{DeleteGrants, History as _};
use transship_engine::operations::{Cancel, Redrive};
use transship_engine::{Envelope, ExecutionRecord, ExecutionState, Next, Order, TaskReceiver as _};
use transship_testkit::images;

use crate::bucket::{Bucket, Objects, layout};
use crate::fixture::{assert_parts, name, tag};
use crate::sweep::sweep;

fn order(text: &str) -> Order {
    serde_json::from_str(text).unwrap()
}

/// Ten layouts, two of them within others.
fn bucket_of_ten() -> Objects {
    let mut objects = Objects::new();
    for (seed, path) in (0..).zip(["a", "b", "c", "c/d", "e/f", "e/g", "h", "i", "j", "j/k/l"]) {
        objects.extend(layout(&format!("to-b/{path}"), &[("v1", &images::image(seed, &[64]))]));
    }
    objects
}

async fn ordered(bucket: &Bucket, text: &str) -> Result<String, String> {
    let execution = bucket.intake.ordered(&order(text), "request-1").await;
    execution
        .map(|execution| execution.id)
        .map_err(|error| error.code().to_owned())
}

#[tokio::test]
async fn all_that_lies_below_a_prefix_goes_where_the_order_says() {
    let bucket = Bucket::new().await;
    bucket.put_all(&bucket_of_ten()).await;
    for to in ["b/mirror", &format!("{}/mirror/", bucket.fixture.b.host())] {
        let text = format!(r#"{{"bucket":"layouts","prefix":"to-b/","to":"{to}"}}"#);
        let execution = ordered(&bucket, &text).await.unwrap();
        bucket.fixture.drain().await;
        let tasks = bucket.fixture.tasks().await;
        assert!(tasks.iter().all(|task| task.execution == execution), "{tasks:?}");
        let told = bucket.told().await;
        assert_eq!(told.len(), 10, "{told:?}");
        assert!(told.contains(&"s3://layouts/to-b/j/k/l:v1 -> b/mirror/j/k/l:v1 succeeded".to_owned()));
    }
    assert_parts(&bucket.fixture.b, &name("mirror/c/d"), &images::image(3, &[64]));
}

#[tokio::test]
async fn an_import_of_the_document_names_the_same_whatever_part_of_it_is_ordered() {
    for (prefix, expected) in [
        (r#""prefix":"to-b/e/","#, 2),
        (r#""prefix":"to-b/c/d","#, 1),
        (r#""prefix":"to-b/e/f/","#, 1),
        ("", 10),
    ] {
        let bucket = Bucket::new().await;
        bucket.put_all(&bucket_of_ten()).await;
        ordered(&bucket, &format!(r#"{{{prefix}"import":"seed"}}"#))
            .await
            .unwrap();
        bucket.fixture.drain().await;
        let told = bucket.told().await;
        assert_eq!(told.len(), expected, "{prefix}: {told:?}");
        for line in &told {
            let destination = line.split(' ').nth(2).unwrap();
            let path = destination
                .strip_prefix("b/core/")
                .and_then(|rest| rest.strip_suffix(":v1"));
            assert!(
                bucket_of_ten().contains_key(&format!("to-b/{}/index.json", path.unwrap())),
                "{line}"
            );
            assert!(line.ends_with("succeeded"), "{line}");
        }
    }
}

#[tokio::test]
async fn an_order_that_says_too_little_or_what_nobody_knows_is_refused() {
    let bucket = Bucket::new().await;
    for (text, code) in [
        (r#"{"bucket":"layouts","prefix":"x/"}"#, "ORDER_INVALID"),
        (r#"{"bucket":"layouts","to":"b/x","import":"seed"}"#, "ORDER_INVALID"),
        (r#"{"to":"b/x"}"#, "ORDER_INVALID"),
        (r#"{"bucket":"layouts","to":"b/UPPER"}"#, "ORDER_INVALID"),
        (r#"{"import":"seed","prefix":"elsewhere/"}"#, "ORDER_INVALID"),
        (r#"{"import":"seed","bucket":"another"}"#, "ORDER_INVALID"),
        (r#"{"import":"nobody"}"#, "UNKNOWN_IMPORT"),
        (r#"{"bucket":"layouts","to":"nowhere/x"}"#, "UNKNOWN_REGISTRY"),
        (
            r#"{"bucket":"layouts","to":"registry.example.com/x"}"#,
            "UNKNOWN_REGISTRY",
        ),
    ] {
        assert_eq!(ordered(&bucket, text).await, Err(code.to_owned()), "{text}");
    }
    assert!(serde_json::from_str::<Order>(r#"{"bukket":"layouts"}"#).is_err());
    assert_eq!(bucket.fixture.drain().await, 0);
}

#[tokio::test]
async fn a_prefix_with_nothing_below_it_is_recorded_with_where_it_looked() {
    let bucket = Bucket::new().await;
    bucket.store.put("to-b/readme.txt", Bytes::from_static(b"x")).await;
    ordered(&bucket, r#"{"bucket":"layouts","prefix":"to-b/none","to":"b/x"}"#)
        .await
        .unwrap();
    bucket.fixture.drain().await;
    let task = bucket.fixture.task().await;
    assert_eq!(
        (task.state.as_str(), task.code.as_deref()),
        ("failed", Some("SOURCE_EMPTY"))
    );
    assert!(
        task.message.unwrap().contains("s3://layouts/to-b/none"),
        "it says where"
    );
}

#[tokio::test]
async fn an_order_told_twice_is_done_once() {
    let bucket = Bucket::new().await;
    bucket.put_all(&bucket_of_ten()).await;
    for _ in 0..2 {
        ordered(&bucket, r#"{"import":"seed"}"#).await.unwrap();
        bucket.fixture.drain().await;
    }
    assert_eq!(bucket.told().await.len(), 10);
}

#[tokio::test]
async fn a_search_that_has_no_time_goes_on_in_the_next_message() {
    let bucket = Bucket::new().await;
    bucket.put_all(&bucket_of_ten()).await;
    ordered(&bucket, r#"{"import":"seed"}"#).await.unwrap();
    let delivery = {
        let received = bucket.fixture.queue.inner.receive(1, Duration::from_mins(1)).await;
        received.unwrap().remove(0)
    };
    // Its slot is over when it begins: it does one page all the same, so that it ends some day.
    let budget = TimeBudget::until(Instant::now(), Duration::from_secs(10));
    let done = bucket.fixture.work(&delivery.body, Some(budget)).await;
    assert_eq!(done, Next::Done);
    {
        bucket.fixture.queue.inner.complete(&delivery.receipt).await.unwrap();
    }
    bucket.fixture.drain().await;
    let told = bucket.told().await;
    assert_eq!(told.len(), 10, "{told:?}");
    assert!(bucket.fixture.b.digest(&name("core/e/g"), &tag("v1")).is_some());
}

/// The only execution.
async fn execution(bucket: &Bucket) -> ExecutionRecord {
    let [execution] = bucket.fixture.executions().await.try_into().unwrap();
    execution
}

const ORDER: &str = r#"{"bucket":"layouts","prefix":"to-b/","to":"b/mirror"}"#;

#[tokio::test]
async fn an_order_is_one_execution_that_ends_with_its_last_image() {
    let bucket = Bucket::new().await;
    bucket.put_all(&bucket_of_ten()).await;
    let id = ordered(&bucket, ORDER).await.unwrap();
    let history = bucket.fixture.ledger.as_ref();
    let mut states = Vec::new();
    while bucket.fixture.queue.inner.depth().await.unwrap() > 0 {
        bucket.fixture.attempt().await;
        states.push(history.execution(&id).await.unwrap().unwrap().state);
    }
    let (last, before) = states.split_last().unwrap();
    assert_eq!(*last, ExecutionState::Succeeded);
    assert!(
        before.iter().all(|state| *state == ExecutionState::Running),
        "{states:?}"
    );
    assert!(execution(&bucket).await.duration_ms.is_some());
    // The listing, ten sources, and ten images.
    assert_eq!((bucket.sources().await.len(), bucket.told().await.len()), (11, 10));
    assert!(
        bucket
            .sources()
            .await
            .contains(&"s3://layouts/to-b/c/d -> b/mirror/c/d succeeded".to_owned())
    );
}

#[tokio::test]
async fn an_order_with_an_incomplete_source_waits_until_it_arrives() {
    let bucket = Bucket::new().await;
    let mut objects = layout("to-b/whole", &[("v1", &images::image(1, &[64]))]);
    bucket.put_all(&objects).await;
    objects = layout("to-b/half", &[("v1", &images::image(2, &[64]))]);
    let late = objects.keys().find(|key| key.contains("/blobs/")).unwrap().clone();
    let bytes = objects.remove(&late).unwrap();
    bucket.put_all(&objects).await;
    ordered(&bucket, ORDER).await.unwrap();
    bucket.fixture.drain().await;
    let waiting = execution(&bucket).await;
    assert_eq!(
        (waiting.state, waiting.code.as_deref(), waiting.duration_ms),
        (ExecutionState::Waiting, Some("SOURCE_INCOMPLETE"), None)
    );
    let digest = late.rsplit('/').next().unwrap();
    assert!(waiting.message.unwrap().contains(digest), "it says what it waits for");
    // Not even a sweep that scans it again ends it.
    bucket.fixture.clock.advance(Duration::from_hours(2));
    sweep(&bucket.fixture).await;
    assert_eq!(execution(&bucket).await.state, ExecutionState::Waiting);
    bucket.upload(&late, bytes).await;
    bucket.fixture.drain().await;
    assert_eq!(execution(&bucket).await.state, ExecutionState::Succeeded);
    let told = bucket.told().await;
    assert!(
        told.contains(&"s3://layouts/to-b/half:v1 -> b/mirror/half:v1 succeeded".to_owned()),
        "{told:?}"
    );
    assert_eq!(bucket.waiting().await, 0);
}

#[tokio::test]
async fn content_that_arrives_without_an_event_is_found_by_a_sweep() {
    let bucket = Bucket::new().await;
    let mut objects = layout("to-b/half", &[("v1", &images::image(2, &[64]))]);
    let late = objects.keys().find(|key| key.contains("/blobs/")).unwrap().clone();
    let bytes = objects.remove(&late).unwrap();
    bucket.put_all(&objects).await;
    ordered(&bucket, ORDER).await.unwrap();
    bucket.fixture.drain().await;
    bucket.store.put(&late, bytes).await;
    bucket.fixture.clock.advance(Duration::from_hours(2));
    sweep(&bucket.fixture).await;
    assert_eq!(execution(&bucket).await.state, ExecutionState::Succeeded);
}

#[tokio::test]
async fn a_wait_for_content_ends_after_thirty_days() {
    let mut objects = layout("to-b/half", &[("v1", &images::image(2, &[64]))]);
    let late = objects.keys().find(|key| key.contains("/blobs/")).unwrap().clone();
    objects.remove(&late).unwrap();
    for upload in [false, true] {
        let bucket = Bucket::new().await;
        if upload {
            bucket.upload_all(&objects).await;
        } else {
            bucket.put_all(&objects).await;
            ordered(&bucket, ORDER).await.unwrap();
        }
        bucket.fixture.drain().await;
        for days in [10, 10, 9] {
            bucket.fixture.clock.advance(Duration::from_hours(24 * days));
            sweep(&bucket.fixture).await;
            assert_eq!(execution(&bucket).await.state, ExecutionState::Waiting, "{upload}");
        }
        bucket.fixture.clock.advance(Duration::from_hours(48));
        sweep(&bucket.fixture).await;
        let ended = execution(&bucket).await;
        assert!(
            matches!(ended.state, ExecutionState::Failed | ExecutionState::Partial),
            "{ended:?}"
        );
        let told = bucket.told().await;
        assert!(
            told.iter().any(|line| line.ends_with("failed SOURCE_INCOMPLETE")),
            "{told:?}"
        );
        assert_eq!(bucket.waiting().await, 0);
    }
}

#[tokio::test]
async fn a_source_of_an_order_that_holds_nothing_fails() {
    let bucket = Bucket::new().await;
    bucket
        .store
        .put(
            "to-b/empty/oci-layout",
            Bytes::from_static(br#"{"imageLayoutVersion":"1.0.0"}"#),
        )
        .await;
    bucket
        .store
        .put(
            "to-b/empty/index.json",
            Bytes::from_static(br#"{"schemaVersion":2,"manifests":[]}"#),
        )
        .await;
    ordered(&bucket, ORDER).await.unwrap();
    bucket.fixture.drain().await;
    assert_eq!(
        bucket.told().await,
        ["s3://layouts/to-b/empty -> b/mirror/empty failed SOURCE_EMPTY"]
    );
}

#[tokio::test]
async fn a_redriven_order_searches_again() {
    let bucket = Bucket::new().await;
    let refuse = |is| {
        bucket
            .store
            .is_forbidden
            .store(is, std::sync::atomic::Ordering::Relaxed);
    };
    let redrive = || Redrive {
        history: std::sync::Arc::clone(&bucket.fixture.ledger) as _,
        cancels: bucket.fixture.jobs.ledger.cancels.clone(),
        grants: DeleteGrants::new(std::sync::Arc::clone(&bucket.fixture.ledger) as _),
        queue: std::sync::Arc::clone(&bucket.fixture.queue) as _,
        clock: std::sync::Arc::new(bucket.fixture.clock.clone()),
    };
    refuse(true);
    ordered(&bucket, ORDER).await.unwrap();
    bucket.fixture.drain().await;
    assert_eq!(bucket.fixture.states().await, ["failed"]);
    refuse(false);
    // Granted, but there is nothing yet.
    redrive().run(None, 0).await.unwrap();
    bucket.fixture.drain().await;
    let told = bucket.told().await;
    assert_eq!(
        told.iter().filter(|line| line.ends_with("failed SOURCE_EMPTY")).count(),
        1,
        "{told:?}"
    );
    bucket.put_all(&bucket_of_ten()).await;
    redrive().run(None, 0).await.unwrap();
    bucket.fixture.drain().await;
    let told = bucket.told().await;
    assert_eq!(
        told.iter().filter(|line| line.ends_with(":v1 succeeded")).count(),
        10,
        "{told:?}"
    );
}

/// The listing, the scans and the copies of an order stop wherever they are, and a redrive brings the rest.
#[tokio::test]
async fn an_order_is_cancelled_at_any_point_and_continued() {
    for attempts in [1, 2, 6, 13] {
        let bucket = Bucket::new().await;
        bucket.put_all(&bucket_of_ten()).await;
        let execution = ordered(&bucket, ORDER).await.unwrap();
        let fixture = &bucket.fixture;
        for _ in 0..attempts {
            fixture.attempt().await;
        }
        let cancel = Cancel {
            history: std::sync::Arc::clone(&fixture.ledger) as _,
            cancels: fixture.jobs.ledger.cancels.clone(),
            clock: std::sync::Arc::new(fixture.clock.clone()),
            is_idle: false,
        };
        let cancelled = cancel.run(&execution).await.unwrap().unwrap();
        assert_eq!(cancelled.state, ExecutionState::Cancelled, "{attempts}");
        let arrived = fixture.b.repositories();
        fixture.drain().await;
        assert_eq!(fixture.b.repositories(), arrived, "{attempts}");
        let redrive = Redrive {
            history: std::sync::Arc::clone(&fixture.ledger) as _,
            cancels: fixture.jobs.ledger.cancels.clone(),
            grants: DeleteGrants::new(std::sync::Arc::clone(&fixture.ledger) as _),
            queue: std::sync::Arc::clone(&fixture.queue) as _,
            clock: std::sync::Arc::new(fixture.clock.clone()),
        };
        assert!(redrive.run(Some(&execution), 0).await.unwrap().redriven > 0);
        fixture.drain().await;
        for (seed, path) in (0..).zip(["a", "b", "c", "c/d", "e/f", "e/g", "h", "i", "j", "j/k/l"]) {
            assert_parts(
                &fixture.b,
                &name(&format!("mirror/{path}")),
                &images::image(seed, &[64]),
            );
        }
    }
}

#[tokio::test]
async fn an_order_does_not_end_while_the_ledger_refuses_its_sources() {
    let bucket = Bucket::new().await;
    bucket.put_all(&bucket_of_ten()).await;
    ordered(&bucket, ORDER).await.unwrap();
    bucket.fixture.ledger.fail(|call, _| call == "record");
    let delivery = bucket
        .fixture
        .queue
        .inner
        .receive(1, Duration::from_mins(1))
        .await
        .unwrap()
        .remove(0);
    let envelope = Envelope::parse(&delivery.body).unwrap();
    let worked = bucket
        .fixture
        .jobs
        .run(&envelope, std::sync::Arc::new(NoProgress), None)
        .await;
    assert!(worked.is_err() || matches!(worked, Ok(Next::Send(_))), "{worked:?}");
    bucket.fixture.ledger.heal();
    assert_ne!(execution(&bucket).await.state, ExecutionState::Succeeded);
}

#[tokio::test]
async fn an_order_whose_listing_has_not_begun_is_listed_and_cancelled() {
    let bucket = Bucket::new().await;
    bucket.put_all(&bucket_of_ten()).await;
    let text = r#"{"bucket":"layouts","prefix":"to-b/","to":"b/mirror"}"#;
    let execution = ordered(&bucket, text).await.unwrap();
    let fixture = &bucket.fixture;
    assert_eq!(fixture.executions().await[0].id, execution);
    let cancel = Cancel {
        history: std::sync::Arc::clone(&fixture.ledger) as _,
        cancels: transship_engine::ledger::Cancels::new(std::sync::Arc::clone(&fixture.ledger) as _),
        clock: std::sync::Arc::new(fixture.clock.clone()),
        is_idle: false,
    };
    let cancelled = cancel.run(&execution).await.unwrap().unwrap();
    assert_eq!((cancelled.state, cancelled.cancelled), (ExecutionState::Cancelled, 1));
    fixture.drain().await;
    assert_eq!(fixture.states().await, ["cancelled"]);
    assert!(fixture.b.repositories().is_empty());
}
