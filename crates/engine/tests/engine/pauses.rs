//! A registry that asks for a wait pauses its host for all workers, until an operator ends the pause.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use transship_embedded_registry::RequestRecord;
use transship_embedded_registry::faults::Action;
use transship_engine::ledger::Pauses;
use transship_engine::operations::Resume;
use transship_engine::{ExecutionState, Narrow, Next, RetryPolicy, TaskRecord, TaskState};
use transship_testkit::images::{self, Sample};

use crate::fixture::{Fixture, tag};
use crate::replicate::always;
use crate::runs::{record, try_start};

const DAY: Duration = Duration::from_hours(24);

impl Fixture {
    /// One attempt, which must wait for the pause of the destination's host. Returns the time until it looks again.
    async fn paused_attempt(&self) -> Duration {
        let next = self.attempt().await;
        assert!(matches!(&next, Next::AgainWhenResumed(host, _) if *host == self.b.host().to_string()));
        match next {
            Next::AgainWhenResumed(_, wait) => wait,
            _ => Duration::ZERO,
        }
    }

    async fn resume(&self) -> Option<jiff::Timestamp> {
        let resume = Resume {
            pauses: Pauses::new(Arc::clone(&self.ledger) as _),
            queue: None,
            clock: Arc::new(self.clock.clone()),
        };
        resume.run(self.b.host().as_ref()).await.unwrap().paused_until
    }

    fn refuse(&self, retry_after: Duration) {
        let action = Action::too_many_requests(retry_after.as_secs());
        self.b.set_faults(Some(always("HEAD", "/manifests/", action)));
    }
}

#[tokio::test]
async fn a_wait_a_registry_asks_for_holds_for_the_fleet() {
    let fixture = Fixture::new().await;
    let sample = images::image(25, &[100]);
    fixture.push_and_tell(&sample).await;
    fixture
        .b
        .set_faults(Some(always("HEAD", "/manifests/", Action::too_many_requests(600))));
    let wait = fixture.paused_attempt().await;
    assert!(wait >= Duration::from_secs(599), "{wait:?}");
    fixture.b.set_faults(None);
    fixture.b.reset_requests();
    fixture.a.reset_requests();

    // Another worker, with another task, and no experience of its own.
    fixture.tell(&fixture.event("v1", &sample.root)).await;
    let other = fixture.other_worker();
    let Next::AgainWhenResumed(_, also) = fixture.attempt_by(&other).await else {
        panic!("the task ended")
    };
    assert!(also > Duration::from_secs(590), "{also:?}");
    assert_eq!((fixture.a.requests().len(), fixture.b.requests().len()), (0, 0));
    assert!(
        fixture
            .tasks()
            .await
            .iter()
            .all(|task| task.code.as_deref() == Some("RATE_LIMITED"))
    );

    fixture.clock.advance(also);
    assert_eq!(fixture.attempt_by(&other).await, Next::Done);
    fixture.assert_equal(&sample);
}

#[tokio::test]
async fn a_long_pause_is_looked_at_now_and_then_and_no_look_is_a_try() {
    let mut fixture = Fixture::new().await;
    fixture.retry_by(RetryPolicy {
        age: Duration::from_hours(1),
        attempts: 3,
        max_delay: Duration::from_mins(5),
    });
    let sample = images::image(26, &[100]);
    fixture.push_and_tell(&sample).await;
    fixture.refuse(DAY);
    let mut waited = Duration::ZERO;
    let mut looks = 0;
    while waited < DAY / 2 {
        let wait = fixture.paused_attempt().await;
        assert!(wait <= Duration::from_mins(15), "{wait:?}");
        fixture.b.set_faults(None);
        fixture.clock.advance(wait);
        waited += wait;
        looks += 1;
    }
    assert!(looks > 10, "{looks}");
    let task = fixture.task().await;
    assert_eq!(
        (task.state, task.code.as_deref()),
        (TaskState::Waiting, Some("RATE_LIMITED"))
    );
}

#[tokio::test]
async fn an_operator_ends_a_pause_for_all_workers() {
    let fixture = Fixture::new().await;
    let sample = images::image(27, &[100]);
    fixture.push_and_tell(&sample).await;
    fixture.refuse(DAY);
    let wait = fixture.paused_attempt().await;
    fixture.b.set_faults(None);
    fixture.clock.advance(wait);
    let wait = fixture.paused_attempt().await;
    let message = fixture.task().await.message.unwrap();
    assert!(message.contains("transship resume"), "{message}");
    assert!(fixture.resume().await.is_some());
    assert_eq!(fixture.resume().await, None, "it is over");
    fixture.clock.advance(wait);
    assert_eq!(fixture.attempt().await, Next::Done);
    fixture.assert_equal(&sample);
}

/// The source says how many of 100 pulls are left whenever it is asked for a tag, which names `sample`.
fn allow(fixture: &Fixture, sample: &Sample, remaining: u64) {
    let root = sample.root_manifest().unwrap();
    let headers = [
        ("docker-content-digest", sample.root.to_string()),
        ("content-type", root.media_type.to_string()),
        ("content-length", root.bytes.len().to_string()),
        ("ratelimit-limit", "100;w=21600".to_owned()),
        ("ratelimit-remaining", format!("{remaining};w=21600")),
    ];
    let action = Action::Status {
        code: 200,
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        body: bytes::Bytes::new(),
    };
    fixture.a.set_faults(Some(always("HEAD", "/manifests/v", action)));
}

#[tokio::test]
async fn the_last_pulls_of_a_source_are_kept_for_pushes() {
    let fixture = Fixture::new().await;
    let sample = images::image(31, &[100]);
    for reference in ["v1", "v2"] {
        sample.seed_into(&fixture.a, &fixture.from(), &tag(reference));
    }
    allow(&fixture, &sample, 10);
    let run = try_start(&fixture, Narrow::default()).await.unwrap().execution;
    // The walk, which learns it, and the two copies.
    for _ in 0..3 {
        fixture.attempt().await;
    }
    let reads = |fixture: &Fixture| {
        let requests = fixture.a.requests();
        let is_read = |request: &&RequestRecord| request.method == Method::GET && !request.path.ends_with("/list");
        requests.iter().filter(is_read).count()
    };
    let waiting = |tasks: Vec<TaskRecord>| {
        let code = Some("PULL_QUOTA_LOW");
        tasks
            .iter()
            .filter(|task| task.code.as_deref() == code && !task.state.is_terminal())
            .count()
    };
    assert_eq!(waiting(fixture.tasks().await), 2);
    assert_eq!(reads(&fixture), 1, "the catalog alone");
    assert_eq!(record(&fixture, &run).await.duration_ms, None);

    fixture.tell(&fixture.event("v1", &sample.root)).await;
    assert_eq!(fixture.attempt().await, Next::Done);
    fixture.assert_equal(&sample);
    assert_eq!(waiting(fixture.tasks().await), 2, "only a push takes one of the last");

    allow(&fixture, &sample, 90);
    fixture.tell(&fixture.event("v2", &sample.root)).await;
    assert_eq!(fixture.attempt().await, Next::Done);
    fixture.clock.advance(Duration::from_mins(15));
    fixture.drain().await;
    assert_eq!(record(&fixture, &run).await.state, ExecutionState::Succeeded);
}
