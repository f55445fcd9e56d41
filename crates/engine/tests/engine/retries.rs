//! Temporary errors are retried with growing waits for a limited time; permanent errors end the task at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use transship_copy::{NoProgress, TimeBudget};
use transship_embedded_registry::faults::Action;
use transship_embedded_registry::{Auth, EmbeddedRegistry};
use transship_engine::{Configuration, Next, Outgoing, RetryPolicy, TaskState};
use transship_oci::{Code, Error, RegistryHost, Repository, Result, Verb};
use transship_registry::{Anonymous, Credentials, Login, Retries};
use transship_testkit::images;

use crate::fixture::{Fixture, Keys, RULE, name};
use crate::replicate::{always, now};

#[tokio::test]
async fn what_may_pass_by_itself_is_tried_again_ever_later_and_says_when() {
    let fixture = Fixture::new().await;
    let sample = images::image(5, &[100]);
    fixture.push_and_tell(&sample).await;
    fixture
        .b
        .set_faults(Some(always("PUT", "/manifests/", Action::status(503))));
    let mut waits = Vec::new();
    for attempt in 1..=5 {
        let Next::Again(wait) = fixture.attempt().await else {
            panic!("attempt {attempt} ended the task")
        };
        let task = fixture.task().await;
        assert_eq!((task.state, task.attempts), (TaskState::Waiting, attempt));
        assert_eq!(task.code.as_deref(), Some("REGISTRY_UNAVAILABLE"));
        assert_eq!(task.next, now(&fixture).checked_add(wait).ok());
        assert_eq!(task.finished, None);
        waits.push(wait);
        fixture.clock.advance(wait);
    }
    assert!(waits.is_sorted() && waits[0] < waits[4] / 8, "{waits:?}");
    fixture.b.set_faults(None);
    assert_eq!(fixture.attempt().await, Next::Done);
    fixture.assert_equal(&sample);
    let task = fixture.task().await;
    assert_eq!(
        (task.state, task.attempts, task.next, task.code),
        (TaskState::Succeeded, 6, None, None)
    );
}

/// A budget of a worker with time slots of a minute.
pub fn slot() -> TimeBudget {
    let length = Duration::from_mins(1);
    TimeBudget::until(Instant::now() + length, length)
}

#[tokio::test]
async fn a_task_is_tried_for_a_day_however_often_it_is_sent_on() {
    let fixture = Fixture::new().await;
    fixture.push_and_tell(&images::image(5, &[100])).await;
    let busy = always("HEAD", "/manifests/", Action::too_many_requests(60));
    fixture.b.set_faults(Some(busy));
    let mut envelope = Outgoing::now(fixture.queued().await.remove(0)).envelope;
    let (begin, day) = (now(&fixture), Duration::from_hours(24));
    let mut messages = 0;
    loop {
        let worked = fixture.jobs.run(&envelope, Arc::new(NoProgress), Some(slot())).await;
        let next = match worked.unwrap() {
            Next::Again(delay) | Next::AgainWhenResumed(_, delay) => envelope.again(delay),
            Next::Send(mut messages) => messages.remove(0),
            Next::Done => break,
        };
        assert!(next.delay >= Duration::from_secs(1), "{next:?}");
        fixture.clock.advance(next.delay);
        envelope = next.envelope;
        messages += 1;
    }
    let task = fixture.task().await;
    assert_eq!(
        (task.state, task.code.as_deref()),
        (TaskState::Failed, Some("RATE_LIMITED"))
    );
    let lasted = now(&fixture).duration_since(begin).unsigned_abs();
    assert!(lasted >= day && lasted < day + Duration::from_mins(6), "{lasted:?}");
    assert!(messages > 1000, "{messages} messages do not show it");
}

#[tokio::test]
async fn a_registry_that_asks_for_no_wait_is_left_alone_longer_and_longer() {
    for retry_after in ["0", "Wed, 21 Oct 2015 07:28:00 GMT"] {
        let fixture = Fixture::new().await;
        fixture.push_and_tell(&images::image(5, &[100])).await;
        let busy = Action::Status {
            code: 503,
            headers: vec![("retry-after".into(), retry_after.into())],
            body: Bytes::new(),
        };
        fixture.b.set_faults(Some(always("HEAD", "/manifests/", busy)));
        let mut waits = Vec::new();
        for _ in 0..6 {
            let Next::Again(wait) = fixture.attempt().await else {
                panic!("the task ended")
            };
            waits.push(wait);
            fixture.clock.advance(wait);
        }
        assert!(waits[0] >= Duration::from_secs(1), "{retry_after}: {waits:?}");
        assert!(
            waits.is_sorted() && waits[5] >= 16 * waits[0],
            "{retry_after}: {waits:?}"
        );
    }
}

#[tokio::test]
async fn what_cannot_succeed_ends_after_one_try_with_its_code() {
    for (registry, method, path, action, code) in [
        ("a", "GET", "/blobs/", Action::status(404), "BLOB_NOT_FOUND"),
        (
            "a",
            "GET",
            "/blobs/",
            Action::FlipBit { at_byte: 3 },
            "BLOB_DIGEST_MISMATCH",
        ),
        ("b", "POST", "/uploads/", Action::status(403), "ACCESS_DENIED"),
        ("b", "HEAD", "/manifests/v1", Action::status(401), "AUTH_FAILED"),
    ] {
        let fixture = Fixture::new().await;
        fixture.push_and_tell(&images::image(6, &[100])).await;
        let broken = if registry == "a" { &fixture.a } else { &fixture.b };
        broken.set_faults(Some(always(method, path, action)));
        assert_eq!(fixture.attempt().await, Next::Done, "{code}");
        let task = fixture.task().await;
        assert_eq!(
            (task.state, task.attempts, task.code.as_deref()),
            (TaskState::Failed, 1, Some(code))
        );
        assert!(
            task.message
                .is_some_and(|message| message.len() > 10 && message.len() < 600)
        );
        assert!(task.finished.is_some());
        assert_eq!(fixture.arrived(), None);
    }
}

#[tokio::test]
async fn a_task_is_not_tried_for_ever() {
    let mut fixture = Fixture::new().await;
    fixture.retry_by(RetryPolicy {
        age: Duration::from_hours(1),
        attempts: 3,
        max_delay: Duration::from_mins(5),
    });
    fixture.push_and_tell(&images::image(7, &[100])).await;
    fixture
        .b
        .set_faults(Some(always("HEAD", "/manifests/", Action::status(503))));
    for _ in 0..3 {
        let Next::Again(wait) = fixture.attempt().await else {
            panic!("many attempts alone do not end a young task")
        };
        assert!(wait <= Duration::from_mins(5));
        fixture.clock.advance(wait);
    }
    fixture.clock.advance(Duration::from_hours(1));
    assert_eq!(fixture.attempt().await, Next::Done);
    let task = fixture.task().await;
    assert_eq!(
        (task.state, task.code.as_deref()),
        (TaskState::Failed, Some("REGISTRY_UNAVAILABLE"))
    );
}

#[tokio::test]
async fn an_image_that_must_be_signed_waits_for_its_signature() {
    let rule = RULE.replace("} }\n", "}, referrers: require }\n");
    let fixture = Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), &rule).await;
    let signed = images::with_referrer(29);
    let (image, later) = signed.manifests.split_at(1);
    let bare = images::Sample {
        manifests: image.to_vec(),
        ..signed.clone()
    };
    fixture.push_and_tell(&bare).await;
    assert!(matches!(fixture.attempt().await, Next::Again(_)));
    assert_eq!(fixture.task().await.code.as_deref(), Some("REFERRERS_MISSING"));
    assert_eq!(fixture.arrived(), None);
    fixture
        .a
        .seed_manifest(&name("core/app"), &later[0].media_type, later[0].bytes.clone());
    fixture.drain().await;
    fixture.assert_equal(&signed);
}

/// A login that is not where the document says.
struct NotThere;

#[async_trait]
impl Credentials for NotThere {
    async fn login(&self, _: &RegistryHost, _: Option<&Repository>) -> Result<Login> {
        let message = "secretsmanager:b is not there";
        Err(Error::new(Code::CredentialsUnavailable, Verb::Login, message))
    }
}

#[tokio::test]
async fn a_login_that_is_not_there_is_waited_for() {
    let closed = Auth::Basic {
        user: "robot".into(),
        password: "canary".into(),
    };
    let fixture = Fixture::of(
        EmbeddedRegistry::builder(),
        EmbeddedRegistry::builder().auth(closed),
        RULE,
    )
    .await;
    let mut worker = fixture.other_worker();
    let destination = fixture.configuration.current().document.registries["b"].host().clone();
    worker.configuration = Configuration::new(
        fixture.configuration.current().document.clone(),
        Arc::new(move |registry| {
            if *registry.host() == destination {
                Arc::new(NotThere)
            } else {
                Arc::new(Anonymous)
            }
        }),
        Arc::new(Keys),
        Retries::default(),
    );
    fixture.push_and_tell(&images::image(205, &[100])).await;
    for _ in 0..3 {
        let Next::Again(wait) = fixture.attempt_by(&worker).await else {
            panic!("a person could not have put it there in time")
        };
        fixture.clock.advance(wait);
    }
    let task = fixture.task().await;
    assert_eq!(
        (task.state, task.code.as_deref()),
        (TaskState::Waiting, Some("CREDENTIALS_UNAVAILABLE"))
    );
}
