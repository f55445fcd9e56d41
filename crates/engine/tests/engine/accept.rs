//! Deliveries in, tasks in the queue: authentic, matched, durable, and the same however often they come.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::{Value, json};
use transship_embedded_registry::EmbeddedRegistry;
use transship_engine::{Accepted, CopyTask, Secrets, TaskState};
use transship_oci::media_type::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use transship_oci::{Code, Digest};
use transship_rules::SecretReference;
use transship_testkit::images;

use crate::fixture::{Fixture, RULE, SECRET, document};

fn digest(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

async fn ids(fixture: &Fixture) -> Vec<String> {
    fixture
        .queued()
        .await
        .into_iter()
        .map(|task: CopyTask| task.id)
        .collect()
}

#[tokio::test]
async fn a_delivery_that_comes_three_times_makes_one_task() {
    let fixture = Fixture::new().await;
    let event = fixture.event("v1", &digest("x"));
    let mut executions = HashSet::new();
    for _ in 0..3 {
        let Accepted::Tasks {
            events,
            executions: ids,
        } = fixture.deliver(std::slice::from_ref(&event)).await.unwrap()
        else {
            panic!("nothing was accepted")
        };
        assert_eq!(events, 1);
        executions.extend(ids);
    }
    assert_eq!(executions.len(), 1);
    let ids = ids(&fixture).await;
    assert_eq!((ids.len(), ids.iter().collect::<HashSet<_>>().len()), (3, 1));
    let task = fixture.task().await;
    assert_eq!((task.state, task.attempts), (TaskState::Queued, 0));
    assert_eq!(
        (task.source.as_str(), task.destination.as_str()),
        ("a/core/app:v1", "b/copy/app:v1")
    );
    assert_eq!(fixture.executions().await.len(), 1);
}

#[tokio::test]
async fn an_untagged_push_is_looked_at_only_if_it_can_be_a_referrer() {
    for (media_type, tasks) in [
        (DOCKER_MANIFEST, 0),
        (DOCKER_LIST, 0),
        (OCI_MANIFEST, 1),
        (OCI_INDEX, 1),
    ] {
        let fixture = Fixture::new().await;
        let mut event = fixture.event("v1", &digest("x"));
        event["target"].as_object_mut().unwrap().remove("tag");
        event["target"]["mediaType"] = media_type.into();
        fixture.deliver(&[event]).await.unwrap();
        assert_eq!(fixture.queued().await.len(), tasks, "{media_type}");
    }
}

#[tokio::test]
async fn ids_are_the_same_on_every_machine_and_at_every_time() {
    let mut seen = HashSet::new();
    for day in 0..2 {
        let fixture = Fixture::new().await;
        fixture.clock.advance(Duration::from_hours(24 * day));
        let mut event = fixture.event("v1", &digest("x"));
        event["target"]["url"] = Value::Null;
        event["request"]["host"] = "images.example.com".into();
        fixture.tell(&event).await;
        seen.extend(ids(&fixture).await);
    }
    assert_eq!(seen.len(), 1);
}

#[tokio::test]
async fn a_tag_that_goes_there_and_back_makes_three_tasks() {
    let fixture = Fixture::new().await;
    let events: Vec<Value> = ["one", "two", "one"]
        .map(|text| fixture.event("v1", &digest(text)))
        .into();
    for event in &events {
        fixture.tell(event).await;
    }
    assert_eq!(fixture.tasks().await.len(), 3);

    // A sender without ids: its times tell the events apart.
    let fixture = Fixture::new().await;
    for (minute, text) in ["one", "two", "one"].into_iter().enumerate() {
        let mut event = fixture.event("v1", &digest(text));
        event["id"] = Value::Null;
        event["timestamp"] = format!("2026-01-01T00:0{minute}:00Z").into();
        fixture.tell(&event).await;
        fixture.tell(&event).await;
    }
    assert_eq!(fixture.tasks().await.len(), 3);
}

#[tokio::test]
async fn the_message_alone_is_enough_for_a_worker() {
    let fixture = Fixture::new().await;
    let sample = images::image(1, &[100]);
    fixture.ledger.fail(|call, _| call == "record");
    fixture.push_and_tell(&sample).await;
    assert_eq!(fixture.tasks().await, [], "the ledger did not take it");
    fixture.drain().await;
    fixture.assert_equal(&sample);
    assert_eq!(fixture.task().await.state, TaskState::Succeeded);
    assert_eq!(fixture.executions().await.len(), 1);
}

#[tokio::test]
async fn what_could_not_be_queued_is_refused_and_recorded_nowhere() {
    let fixture = Fixture::new().await;
    fixture.queue.is_down.store(true, Ordering::Relaxed);
    let event = fixture.event("v1", &digest("x"));
    let refusal = fixture.deliver(std::slice::from_ref(&event)).await.unwrap_err();
    assert!(refusal.is(Code::Unavailable), "{refusal}");
    assert_eq!(fixture.tasks().await, []);
    fixture.queue.is_down.store(false, Ordering::Relaxed);
    fixture.tell(&event).await;
    assert_eq!(fixture.tasks().await.len(), 1);
}

#[tokio::test]
async fn only_who_knows_the_secret_is_heard() {
    let fixture = Fixture::new().await;
    let body = json!({ "events": [fixture.event("v1", &digest("x"))] }).to_string();
    for secret in [
        None,
        Some(""),
        Some("Bearer other"),
        Some("hook-secret"),
        Some("Bearer hook-secret "),
    ] {
        let refusal = fixture.hook("a", secret, &body).await.unwrap_err();
        assert_eq!(refusal.code(), "NOT_AUTHENTIC", "{secret:?}");
        assert!(!refusal.to_string().contains("hook-secret"));
    }
    assert_eq!(
        fixture.hook("b", Some(SECRET), &body).await.unwrap_err().code(),
        "NOT_AUTHENTIC",
        "it has no secret"
    );
    assert_eq!(
        fixture.hook("lost", Some(SECRET), &body).await.unwrap_err().code(),
        "UNAVAILABLE",
        "it cannot be read"
    );
    assert_eq!(
        fixture.hook("c", Some(SECRET), &body).await.unwrap_err().kind(),
        Code::UnknownSource
    );
    assert!(
        fixture.hook("open", None, &body).await.is_ok(),
        "the document says that anyone may post"
    );
    assert_eq!(ids(&fixture).await, Vec::<String>::new());
    assert!(fixture.hook("a", Some(SECRET), &body).await.is_ok());
}

/// A secret that was rotated after it was remembered.
struct Rotated {
    anew: &'static str,
    asked: AtomicUsize,
}

#[async_trait]
impl Secrets for Rotated {
    async fn secret(&self, _: &SecretReference) -> transship_oci::Result<SecretString> {
        Ok("Bearer old".to_owned().into())
    }

    async fn secret_anew(&self, _: &SecretReference, age: Duration) -> transship_oci::Result<Option<SecretString>> {
        assert_eq!(
            age,
            Duration::from_mins(1),
            "a stranger makes us ask as often as this says"
        );
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(Some(self.anew.to_owned().into()))
    }
}

#[tokio::test]
async fn a_rotated_secret_is_read_anew_when_the_old_one_refuses() {
    let mut fixture = Fixture::new().await;
    let secrets = Arc::new(Rotated {
        anew: SECRET,
        asked: AtomicUsize::new(0),
    });
    fixture.intake.secrets = Arc::clone(&secrets) as _;
    let body = json!({ "events": [fixture.event("v1", &digest("x"))] }).to_string();
    assert!(fixture.hook("a", Some("Bearer old"), &body).await.is_ok());
    assert_eq!(secrets.asked.load(Ordering::Relaxed), 0, "the old one still serves");
    assert!(fixture.hook("a", Some(SECRET), &body).await.is_ok());
    let refusal = fixture.hook("a", Some("Bearer stranger"), &body).await.unwrap_err();
    assert_eq!(refusal.code(), "NOT_AUTHENTIC");
    assert_eq!(secrets.asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn authenticity_comes_before_the_body_is_looked_at() {
    let fixture = Fixture::new().await;
    for body in ["", "{", "[]", "\u{0}", "{\"events\": 7}"] {
        assert_eq!(
            fixture.hook("a", None, body).await.unwrap_err().code(),
            "NOT_AUTHENTIC",
            "{body}"
        );
        assert_eq!(
            fixture.hook("a", Some(SECRET), body).await.unwrap_err().code(),
            "DELIVERY_INVALID",
            "{body}"
        );
    }
}

#[tokio::test]
async fn an_event_of_another_host_makes_no_task_and_holds_up_nobody() {
    let fixture = Fixture::new().await;
    let mut foreign = fixture.event("v1", &digest("x"));
    foreign["target"]["url"] = "https://evil.example/v2/core/app/manifests/x".into();
    foreign["request"]["host"] = "evil.example".into();
    let accepted = fixture.deliver(std::slice::from_ref(&foreign)).await.unwrap();
    assert_eq!(
        accepted,
        Accepted::Nothing {
            code: Some(Code::HostMismatch)
        }
    );
    let own = fixture.event("v1", &digest("x"));
    assert!(matches!(
        fixture.deliver(&[foreign, own]).await.unwrap(),
        Accepted::Tasks { events: 1, .. }
    ));
    assert_eq!(ids(&fixture).await.len(), 1);
}

#[tokio::test]
async fn a_registry_is_known_by_all_its_names() {
    let fixture = Fixture::new().await;
    let mut event = fixture.event("v1", &digest("x"));
    event["target"]["url"] = "https://images.example.com/v2/core/app/manifests/x".into();
    event["request"]["host"] = "images.example.com".into();
    fixture.tell(&event).await;
}

#[tokio::test]
async fn what_no_rule_asks_for_makes_no_task() {
    let fixture = Fixture::new().await;
    let with = |key: &str, value: &str| {
        let mut event = fixture.event("v1", &digest("x"));
        event[key] = value.into();
        event
    };
    let mut elsewhere = fixture.event("v1", &digest("x"));
    elsewhere["target"]["repository"] = "corex/app".into();
    let mut blob = fixture.event("v1", &digest("x"));
    blob["target"]["mediaType"] = "application/octet-stream".into();
    for event in [
        with("action", "pull"),
        with("action", "delete"),
        with("action", "mount"),
        elsewhere,
        blob,
    ] {
        let accepted = fixture.deliver(std::slice::from_ref(&event)).await.unwrap();
        assert_eq!(accepted, Accepted::Nothing { code: None }, "{event}");
    }
    assert_eq!(fixture.deliver(&[]).await.unwrap(), Accepted::Nothing { code: None });
    assert_eq!(ids(&fixture).await, Vec::<String>::new());
}

#[tokio::test]
async fn each_rule_that_matches_makes_an_execution_and_each_is_told_once() {
    let rules = format!(
        "{RULE}  - {{ name: second, source: {{ registry: a, namespace: core }}, destination: {{ registry: b, namespace: other }} }}\n"
    );
    let fixture = Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), &rules).await;
    let (event, other) = (fixture.event("v1", &digest("x")), fixture.event("v2", &digest("x")));
    let Accepted::Tasks { executions, .. } = fixture.deliver(&[event.clone(), other, event]).await.unwrap() else {
        panic!("nothing was accepted")
    };
    assert_eq!(executions.len(), 4, "two rules, two events");
    assert_eq!(executions.iter().collect::<HashSet<_>>().len(), 4);
    assert_eq!(fixture.tasks().await.len(), 4);
}

#[tokio::test]
async fn the_document_in_force_when_an_event_comes_decides() {
    let fixture = Fixture::new().await;
    let event = fixture.event("v1", &digest("x"));
    fixture
        .configuration
        .replace(document(&fixture.a, &fixture.b, "  []\n"));
    let accepted = fixture.deliver(std::slice::from_ref(&event)).await.unwrap();
    assert_eq!(accepted, Accepted::Nothing { code: None });
    let keep = RULE.replace("} }\n", "}, existing: keep }\n");
    fixture.configuration.replace(document(&fixture.a, &fixture.b, &keep));
    fixture.tell(&event).await;
    fixture.configuration.replace(document(&fixture.a, &fixture.b, RULE));
    assert_eq!(fixture.queued().await[0].policy.existing, transship_oci::Existing::Keep);
}

#[tokio::test]
async fn a_ledger_that_hangs_keeps_no_sender_waiting() {
    let fixture = Fixture::new().await;
    fixture.ledger.before(|call, _| {
        let hangs = call == "record";
        Box::pin(async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    });
    let events: Vec<Value> = (0..30)
        .map(|number| fixture.event(&format!("v{number}"), &digest("x")))
        .collect();
    let accepted = tokio::time::timeout(Duration::from_secs(8), fixture.deliver(&events)).await;
    assert!(
        matches!(accepted, Ok(Ok(Accepted::Tasks { events: 30, .. }))),
        "{accepted:?}"
    );
    assert_eq!(fixture.queued().await.len(), 30);
}
