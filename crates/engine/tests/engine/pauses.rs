//! A registry that asks for a wait pauses its host for all workers, until an operator ends the pause.

use std::sync::Arc;
use std::time::Duration;

use transship_embedded_registry::faults::Action;
use transship_engine::ledger::Pauses;
use transship_engine::operations::Resume;
use transship_engine::{Next, RetryPolicy, TaskState};
use transship_testkit::images;

use crate::fixture::Fixture;
use crate::replicate::always;

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
