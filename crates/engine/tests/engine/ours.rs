//! Ownership of tags: a tag that Transship wrote is replaced, even if the worker that wrote it crashed; another one is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::Action;
use transship_engine::{ImageRef, Next, Replica, TaskState};
use transship_oci::Target;
use transship_testkit::images;

use crate::fixture::{Fixture, RULE, copy, name, tag};
use crate::replicate::{always, now};

#[tokio::test]
async fn a_tag_that_is_not_ours_is_kept_and_said_so() {
    let fixture = Fixture::new().await;
    let foreign = images::image(8, &[10]);
    foreign.seed_into(&fixture.b, &name("copy/app"), &tag("v1"));
    fixture.push_and_tell(&images::image(9, &[100])).await;
    fixture.drain().await;
    let task = fixture.task().await;
    assert_eq!(
        (task.state, task.code.as_deref()),
        (TaskState::Kept, Some("DESTINATION_KEPT"))
    );
    assert_eq!(task.digest, Some(foreign.root.clone()));
    assert_eq!(fixture.arrived(), Some(foreign.root));
}

#[tokio::test]
async fn a_tag_we_wrote_is_replaced_until_somebody_else_writes_it() {
    let fixture = Fixture::new().await;
    for seed in 10..13 {
        let sample = images::image(seed, &[100]);
        fixture.push_and_tell(&sample).await;
        fixture.drain().await;
        fixture.assert_equal(&sample);
    }
    let foreign = images::image(13, &[10]);
    foreign.seed_into(&fixture.b, &name("copy/app"), &tag("v1"));
    fixture.push_and_tell(&images::image(14, &[100])).await;
    fixture.drain().await;
    assert_eq!(fixture.arrived(), Some(foreign.root));
    assert_eq!(fixture.states().await, ["succeeded", "succeeded", "succeeded", "kept"]);
}

#[tokio::test]
async fn a_worker_that_dies_after_the_tag_and_before_the_record_keeps_what_it_wrote() {
    let fixture = Fixture::new().await;
    let (first, second, third) = (
        images::image(15, &[100]),
        images::image(16, &[200]),
        images::image(17, &[300]),
    );
    fixture.push_and_tell(&first).await;
    fixture.drain().await;

    // What is written is recorded in two steps, and the ledger dies before the second.
    fixture.ledger.fail(|call, _| call == "finish");
    fixture.push_and_tell(&second).await;
    let task = fixture.queued().await.remove(0);
    assert!(copy(&fixture.jobs, &task).await.is_err());
    assert_eq!(fixture.arrived(), Some(second.root.clone()), "the tag was written");
    fixture.ledger.heal();

    fixture.push(&third);
    fixture.drain().await;
    fixture.assert_equal(&third);
    assert_eq!(fixture.states().await, ["succeeded", "succeeded"]);
}

#[tokio::test]
async fn a_worker_that_vanishes_at_the_tag_keeps_what_it_wrote() {
    let fixture = Fixture::new().await;
    let (first, second) = (images::image(18, &[100]), images::image(19, &[200]));
    fixture.push_and_tell(&first).await;
    let task = fixture.queued().await.remove(0);
    // It is dropped after the tag and before the record.
    let (worker, b) = (Arc::clone(&fixture.jobs), Arc::clone(&fixture.b));
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let tell = std::sync::Mutex::new(Some(tell));
    fixture.ledger.before(move |call, _| {
        let is_last = call == "finish";
        if is_last && let Some(tell) = tell.lock().unwrap().take() {
            tell.send(()).ok();
        }
        Box::pin(async move {
            if is_last {
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    });
    let attempt = tokio::spawn(async move { copy(&worker, &task).await });
    told.await.unwrap();
    attempt.abort();
    attempt.await.unwrap_err();
    fixture.ledger.heal();
    assert_eq!(b.digest(&name("copy/app"), &tag("v1")), Some(first.root.clone()));
    assert_eq!(fixture.task().await.state, TaskState::Running);

    fixture.push(&second);
    // Its lease is still held and expires by itself.
    fixture.clock.advance(Duration::from_mins(1));
    fixture.drain().await;
    fixture.assert_equal(&second);
    assert_eq!(fixture.task().await.state, TaskState::Succeeded);
    // The tag is ahead of the event, which takes some looks.
    assert!(fixture.task().await.attempts >= 2);
}

#[tokio::test]
async fn a_memory_of_tags_that_fails_stops_the_write() {
    let fixture = Fixture::new().await;
    fixture.push_and_tell(&images::image(24, &[100])).await;
    fixture.ledger.fail(|call, _| call == "claim");
    assert!(matches!(fixture.attempt().await, Next::Again(_)));
    assert_eq!(
        fixture.arrived(),
        None,
        "nothing is written that could not be found again"
    );
    assert_eq!(fixture.task().await.code.as_deref(), Some("LEDGER_UNAVAILABLE"));
}

/// Two sources of one destination tag: `core/app:v1` and `core/app:v2` become `copy/app:latest`.
const TO_ONE_TAG: &str = "  - { name: core-images, existing: EXISTING, source: { registry: a, namespace: core }, destination: { registry: b, namespace: copy, tag: latest } }\n";

#[tokio::test]
async fn of_two_sources_of_one_tag_the_push_that_was_accepted_last_has_it() {
    for existing in ["follow", "overwrite", "backup"] {
        let rule = TO_ONE_TAG.replace("EXISTING", existing);
        let fixture = Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), &rule).await;
        let (first, last) = (images::image(30, &[100]), images::image(31, &[200]));
        for (sample, name) in [(&first, "v1"), (&last, "v2")] {
            sample.seed_into(&fixture.a, &fixture.from(), &tag(name));
        }
        fixture.tell(&fixture.event("v1", &first.root)).await;
        let delayed = fixture.queued().await.remove(0);
        let busy = always("HEAD", "/manifests/latest", Action::status(503));
        fixture.b.set_faults(Some(busy));
        assert!(matches!(fixture.attempt().await, Next::Again(_)));
        fixture.b.set_faults(None);
        fixture.clock.advance(Duration::from_millis(500));
        fixture.tell(&fixture.event("v2", &last.root)).await;
        assert_eq!(fixture.attempt().await, Next::Done);
        assert_eq!(fixture.b.digest(&fixture.to(), &tag("latest")), Some(last.root.clone()));

        fixture.clock.advance(Duration::from_mins(1));
        assert_eq!(copy(&fixture.jobs, &delayed).await.unwrap(), Next::Done);
        assert_eq!(
            fixture.b.digest(&fixture.to(), &tag("latest")),
            Some(last.root.clone()),
            "{existing}"
        );
        let states = fixture.states().await;
        assert!(states.contains(&"kept".to_owned()), "{existing}: {states:?}");
        assert!(states.contains(&"succeeded".to_owned()), "{existing}: {states:?}");
        assert_eq!(
            fixture.b.tags(&fixture.to()),
            [tag("latest")],
            "nothing was saved: {existing}"
        );

        // A push of the first source that is accepted later has the tag again.
        fixture.clock.advance(Duration::from_secs(1));
        fixture.tell(&fixture.event("v1", &first.root)).await;
        fixture.drain().await;
        assert_eq!(
            fixture.b.digest(&fixture.to(), &tag("latest")),
            Some(first.root.clone()),
            "{existing}"
        );
    }
}

#[tokio::test]
async fn what_another_worker_wrote_since_is_ours_too() {
    let fixture = Fixture::new().await;
    let [first, second, third] = [32, 33, 34].map(|seed| images::image(seed, &[100]));
    second.seed_into(&fixture.b, &fixture.to(), &tag("second"));
    third.seed_into(&fixture.a, &fixture.from(), &tag("third"));
    fixture.push_and_tell(&first).await;
    let claims = Arc::new(AtomicUsize::new(0));
    let (a, b, clock) = (Arc::clone(&fixture.a), Arc::clone(&fixture.b), fixture.clock.clone());
    let (from, to, replicas) = (fixture.from(), fixture.to(), Arc::clone(&fixture.jobs.ledger.replicas));
    let (second_root, third_root, later) = (second.root.clone(), third.root.clone(), now(&fixture));
    fixture.ledger.before(move |call, replica| {
        let claim = if call == "claim" {
            claims.fetch_add(1, Ordering::Relaxed)
        } else {
            usize::MAX
        };
        match claim {
            // The source moves before the first round writes.
            0 => a.tag(&from, &tag("v1"), &third_root),
            // The lease of this worker expires, and another one writes what the source named in between.
            1 => {
                clock.advance(Duration::from_mins(1));
                b.tag(&to, &tag("v1"), &second_root);
                let (replicas, written) = (Arc::clone(&replicas), replica.unwrap().clone());
                let written = Replica {
                    digest: second_root.clone(),
                    ..written
                };
                let now = later.checked_add(Duration::from_mins(1)).unwrap();
                return Box::pin(async move {
                    replicas.claim(&written, "another", now, Duration::from_secs(1)).await?;
                    replicas.release(&written.destination, "another").await
                });
            }
            _ => {}
        }
        Box::pin(async { Ok(()) })
    });
    assert_eq!(fixture.attempt().await, Next::Done);
    fixture.ledger.heal();
    assert_eq!(fixture.task().await.state, TaskState::Succeeded);
    assert_eq!(fixture.arrived(), Some(third.root));
    let destination = ImageRef {
        registry: "b".into(),
        repository: fixture.to(),
        target: Target::Tag(tag("v1")),
    };
    assert!(fixture.jobs.ledger.replicas.get(&destination).await.unwrap().is_some());
}

#[tokio::test]
async fn what_was_claimed_and_not_written_is_not_ours() {
    for is_known in [false, true] {
        let fixture = Fixture::new().await;
        let (first, second, third) = (
            images::image(60, &[100]),
            images::image(61, &[200]),
            images::image(62, &[300]),
        );
        if is_known {
            fixture.push_and_tell(&first).await;
            fixture.drain().await;
        }
        // Another client pushes its image while the copy claims the tag.
        let foreign = images::image(63, &[400]);
        foreign.seed_into(&fixture.b, &name("copy/app"), &tag("foreign"));
        let (b, root) = (Arc::clone(&fixture.b), foreign.root.clone());
        fixture.ledger.before(move |call, _| {
            if call == "claim" {
                b.tag(&name("copy/app"), &tag("v1"), &root);
            }
            Box::pin(async { Ok(()) })
        });
        fixture.push_and_tell(&second).await;
        fixture.drain().await;
        fixture.ledger.heal();
        assert_eq!(fixture.arrived(), Some(foreign.root.clone()));
        assert_eq!(fixture.states().await.last().map(String::as_str), Some("kept"));

        // It pushes the image that the copy was about to write, and the source moves on.
        second.seed_into(&fixture.b, &name("copy/app"), &tag("v1"));
        fixture.push_and_tell(&third).await;
        fixture.drain().await;
        assert_eq!(
            fixture.arrived(),
            Some(second.root.clone()),
            "{is_known}: it is not ours to replace"
        );
        assert_eq!(fixture.states().await.last().map(String::as_str), Some("kept"));
    }
}

#[tokio::test]
async fn what_was_claimed_is_not_ours_if_the_copy_fails_before_its_write() {
    let rule = RULE.replace("} }\n", "}, existing: backup }\n");
    let fixture = Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), &rule).await;
    let foreign = images::image(64, &[400]);
    foreign.seed_into(&fixture.b, &name("copy/app"), &tag("v1"));
    // The image of another client cannot be read for its backup.
    let broken = always("GET", "/manifests/sha256:", Action::status(503));
    fixture.b.set_faults(Some(broken));
    fixture.push_and_tell(&images::image(65, &[100])).await;
    assert!(matches!(fixture.attempt().await, Next::Again(_)));
    let destination = ImageRef {
        registry: "b".into(),
        repository: name("copy/app"),
        target: Target::Tag(tag("v1")),
    };
    let found = fixture.jobs.ledger.replicas.get(&destination).await.unwrap();
    assert_eq!(found, None);
    assert_eq!(fixture.arrived(), Some(foreign.root));
}

#[tokio::test]
async fn an_event_that_our_own_copy_caused_ends_after_one_comparison() {
    let fixture = Fixture::new().await;
    // A link allows two rules that would start each other endlessly if each copy started another one.
    let text = format!(
        "version: 1\nregistries:\n  a: {{ provider: distribution, endpoint: \"{}\", webhook: {{ secret: \"env:HOOK\" }} }}\n  b: {{ provider: distribution, endpoint: \"{}\", webhook: none }}\nlinks: [{{ from: b, to: a, because: copies of copies are equal }}]\nrules:\n  - {{ name: there, source: {{ registry: a, namespace: core }}, destination: {{ registry: b }} }}\n  - {{ name: back, source: {{ registry: b, namespace: core }}, destination: {{ registry: a }} }}\n",
        fixture.a.url(),
        fixture.b.url()
    );
    let parsed = transship_rules::Document::parse(&text)
        .map_err(|errors| errors.to_string())
        .unwrap();
    fixture.configuration.replace(parsed.document);
    let image = images::image(1, &[100]);
    fixture.push_and_tell(&image).await;
    fixture.drain().await;
    let before = (fixture.a.requests().len(), fixture.b.requests().len());

    let mut event = fixture.event("v1", &image.root);
    event["request"]["host"] = fixture.b.host().as_str().into();
    event["target"]["url"] = format!("{}/v2/core/app/manifests/{}", fixture.b.url(), image.root).into();
    let body = serde_json::json!({ "events": [event] }).to_string();
    let accepted = fixture.hook("b", None, &body).await.unwrap();
    assert!(
        matches!(accepted, transship_engine::Accepted::Tasks { events: 1, .. }),
        "{accepted:?}"
    );
    fixture.drain().await;
    let mut states = fixture.states().await;
    states.sort_unstable();
    assert_eq!(states, ["succeeded", "unchanged"]);
    let own = |requests: Vec<transship_embedded_registry::RequestRecord>, before: usize| {
        let requests = requests.into_iter().skip(before);
        requests
            .filter(|request| !request.path.contains("sha256"))
            .map(|request| request.method.to_string())
            .collect::<Vec<_>>()
    };
    let (at_a, at_b) = (own(fixture.a.requests(), before.0), own(fixture.b.requests(), before.1));
    assert_eq!((at_a, at_b), (vec!["HEAD".to_owned()], vec!["HEAD".to_owned()]));
    assert_eq!(fixture.drain().await, 0, "it starts nothing");
}
