//! Valid messages, invalid ones, and those that have to wait.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use transship_engine::{Envelope, Job, TaskState};
use transship_testkit::faults::{Action, Fault, Script};

use crate::fixture::{Fixture, TIMEOUT, body};

#[tokio::test]
async fn an_image_arrives_is_recorded_logged_and_measured() {
    let fixture = Fixture::start(TIMEOUT).await;
    let (sample, task) = fixture.image(1);
    assert!(fixture.work(&[("m-1", &body(&task))]).await.is_empty());
    assert!(fixture.has(&sample, &task));
    let recorded = fixture.tasks().await;
    assert_eq!(
        (recorded[0].state, recorded[0].digest.as_ref()),
        (TaskState::Succeeded, Some(&sample.root))
    );

    let ended = fixture.logged("message", "the task ended");
    let [line] = ended.as_slice() else {
        panic!("{}", fixture.lambda.log());
    };
    for (field, value) in [
        ("task", &task.id),
        ("execution", &task.execution.id),
        ("rule", &task.execution.rule),
    ] {
        assert_eq!(&line[field], value, "{line}");
    }
    assert!(line["requestId"].is_string(), "{line}");

    let measured = |field: &str, value: &str| fixture.logged(field, value);
    assert_eq!(measured("State", "succeeded")[0]["Tasks"], 1.0);
    assert!(measured("Rule", "core")[0]["ReplicationLag"].as_f64().unwrap() >= 0.0);
    let to_b: f64 = measured("Registry", fixture.b.host().as_str())
        .iter()
        .map(|line| line["Requests"].as_f64().unwrap())
        .sum();
    assert!(to_b >= 4.0, "{to_b}");
    assert!(
        fixture.lambda.log().contains(r#""BytesCopied":3"#),
        "{}",
        fixture.lambda.log()
    );
    let log = fixture.lambda.log();
    assert!(!log.contains("_state=") && !log.contains("/blobs/uploads/"), "{log}");
}

#[tokio::test]
async fn messages_of_strangers_fail_alone_and_duplicates_are_harmless() {
    let fixture = Fixture::start(TIMEOUT).await;
    let (first, one) = fixture.image(1);
    let (second, two) = fixture.image(2);
    let other_version = body(&one).replacen(r#""version":2"#, r#""version":7"#, 1);
    let large = format!(r#"{{"version":1,"canary":"{}"}}"#, "x".repeat(1_000_000));
    let messages = [
        ("1", body(&one)),
        ("2", "no JSON".into()),
        ("3", r#"{"Service":"Amazon S3","Event":"s3:TestEvent"}"#.into()),
        ("4", body(&two)),
        ("5", body(&two)),
        (
            "6",
            r#"{"version":"0","source":"aws.ecr","account":"999999999999"}"#.into(),
        ),
        ("7", other_version),
        ("8", large),
    ];
    let messages: Vec<(&str, &str)> = messages.iter().map(|(id, body)| (*id, body.as_str())).collect();
    assert_eq!(fixture.work(&messages).await, ["2", "3", "6", "7", "8"]);
    assert!(fixture.has(&first, &one) && fixture.has(&second, &two));
    let tasks = fixture.tasks().await;
    assert_eq!(tasks.len(), 2);
    assert!(tasks.iter().all(|task| task.state.is_success()), "{tasks:?}");
    let refused = fixture.logged("code", "MESSAGE_INVALID");
    let of: Vec<&str> = refused
        .iter()
        .map(|line| line["message_id"].as_str().unwrap())
        .collect();
    assert_eq!(of.len(), 5, "{of:?}");
    assert!(fixture.lambda.log().lines().all(|line| line.len() < 4000));
    assert!(fixture.lambda.log().contains(r#""MessagesInvalid":5"#));
}

#[tokio::test]
async fn a_registry_that_says_wait_makes_a_delayed_message() {
    let fixture = Fixture::start(TIMEOUT).await;
    let (sample, task) = fixture.image(1);
    let wait = Action::Status {
        code: 429,
        headers: vec![("retry-after".into(), "40".into())],
        body: "".into(),
    };
    let fault = Fault::new("*", "/v2/copy", wait).unwrap().always();
    fixture.b.set_faults(Some(Arc::new(Script::new([fault]))));
    assert!(fixture.work(&[("m-1", &body(&task))]).await.is_empty());
    let queue = fixture.deployment.queue_url();
    assert_eq!(fixture.deployment.queue_depth(queue).await.unwrap(), 1);
    assert!(fixture.deployment.queue_receive(queue).await.unwrap().is_empty());
    let recorded = fixture.tasks().await;
    assert_eq!(
        (recorded[0].state, recorded[0].code.as_deref()),
        (TaskState::Waiting, Some("RATE_LIMITED"))
    );
    assert!(!fixture.has(&sample, &task));
}

#[tokio::test]
async fn a_task_that_outlasts_its_slot_is_handed_over_before_the_deadline() {
    let fixture = Fixture::start(Duration::from_secs(8)).await;
    let (sample, task) = fixture.image(1);
    let (other, neighbour) = fixture.image(2);
    let stall = Action::Delay { delay_ms: 60_000 };
    let fault = Fault::new("GET", "/v2/core/app/manifests/v1$", stall).unwrap().always();
    fixture.a.set_faults(Some(Arc::new(Script::new([fault]))));
    let failed = fixture.work(&[("m-1", &body(&task)), ("m-2", &body(&neighbour))]).await;
    assert!(failed.is_empty(), "{failed:?}");
    assert!(fixture.has(&other, &neighbour) && !fixture.has(&sample, &task));
    let sent = fixture
        .deployment
        .queue_receive(fixture.deployment.queue_url())
        .await
        .unwrap();
    let next = Envelope::parse(&sent[0]).unwrap();
    assert_eq!((next.tries, next.job), (1, Job::Copy(task)));
    fixture.a.set_faults(None);
    assert!(fixture.work(&[("m-3", &sent[0])]).await.is_empty());
    let log = fixture.lambda.log();
    assert_eq!(fixture.tasks().await.len(), 2, "{log}");
    assert!(fixture.has(&sample, &fixture.image(1).1), "{log}");
}

#[tokio::test]
async fn messages_of_the_previous_release_are_worked_on() {
    let fixture = Fixture::start(TIMEOUT).await;
    let (sample, task) = fixture.image(1);
    let image = |registry: &str, repository: &str| json!({ "registry": registry, "repository": repository, "target": { "tag": "v1" } });
    let old = json!({
        "version": 1, "id": "t-old", "execution": "e-old", "rule": "core", "trigger": "event", "action": "copy",
        "source": image("a", "core/app"), "destination": image("b", "copy/app"),
        "existing": "follow", "referrers": "include", "follows": false,
        "created": task.execution.created, "hops": 2,
    });
    assert!(fixture.work(&[("1", &old.to_string())]).await.is_empty());
    assert!(fixture.has(&sample, &task));
    let recorded = fixture.tasks().await;
    assert_eq!(
        (recorded[0].id.as_str(), recorded[0].execution.as_str()),
        ("t-old", "e-old")
    );
    assert_eq!(recorded[0].state, TaskState::Succeeded);
}
