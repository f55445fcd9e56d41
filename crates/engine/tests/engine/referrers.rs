//! What belongs to an image and comes later: it follows the image, wherever that went, and nowhere else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use transship_copy::{Destination as _, NoProgress};
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::Action;
use transship_engine::{Envelope, Next, Outgoing, Source, TaskReceiver, TaskState};
use transship_oci::media_type::{OCI_INDEX, OCI_MANIFEST};
use transship_oci::{Algorithm, Digest, Manifest, Target};
use transship_testkit::images::{self, Sample};

use crate::fixture::{Fixture, RULE, children, copy, name, tag};
use crate::replicate::always;
use crate::retries::slot;

/// The sample without what refers to its root.
pub fn bare(sample: &Sample) -> Sample {
    Sample {
        manifests: sample.manifests[..1].to_vec(),
        ..sample.clone()
    }
}

pub async fn fixture(a_lists: bool, b_lists: bool) -> Fixture {
    Fixture::of(
        EmbeddedRegistry::builder().referrers_api(a_lists),
        EmbeddedRegistry::builder().referrers_api(b_lists),
        RULE,
    )
    .await
}

/// A small manifest at the source that refers to `subject`.
pub fn refer(fixture: &Fixture, subject: &Digest, note: &str) -> Digest {
    refer_at(&fixture.a, subject, note)
}

fn refer_at(registry: &EmbeddedRegistry, subject: &Digest, note: &str) -> Digest {
    let empty = registry.seed_blob(&name("core/app"), Algorithm::Sha256, Bytes::from_static(b"{}"));
    let empty = json!({ "mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2 });
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/vnd.example.note",
        "config": empty, "layers": [empty], "annotations": { "note": note },
        "subject": { "mediaType": OCI_MANIFEST, "digest": subject, "size": 1 },
    });
    registry.seed_manifest(&name("core/app"), &OCI_MANIFEST.into(), manifest.to_string().into())
}

#[tokio::test]
async fn a_referrer_pushed_later_follows_its_subject() {
    for (a_lists, b_lists) in [(true, true), (true, false), (false, true), (false, false)] {
        let fixture = fixture(a_lists, b_lists).await;
        let whole = images::with_referrer(1);
        fixture.push_and_tell(&bare(&whole)).await;
        fixture.drain().await;
        assert_eq!(fixture.b.manifests(&name("copy/app")).len(), 1);

        // With the API there is an event for the untagged manifest, without it also one for the fallback tag.
        fixture.push(&whole);
        let referrer = &whole.manifests[1].digest;
        fixture.tell(&fixture.event(&referrer.to_string(), referrer)).await;
        if !a_lists {
            let fallback = whole.root.fallback_tag();
            let index = fixture.a.digest(&name("core/app"), &tag(&fallback)).unwrap();
            fixture.tell(&fixture.event(&fallback, &index)).await;
        }
        fixture.drain().await;
        fixture.assert_equal(&whole);
        assert!(
            fixture.tasks().await.iter().all(|task| task.state.is_success()),
            "{:?}",
            fixture.states().await
        );
        assert!(
            !fixture.states().await.contains(&"skipped".to_owned()),
            "{a_lists} {b_lists}"
        );
    }
}

#[tokio::test]
async fn a_fallback_tag_alone_is_word_enough() {
    let fixture = fixture(false, false).await;
    let whole = images::with_referrer(2);
    fixture.push_and_tell(&bare(&whole)).await;
    fixture.drain().await;
    fixture.push(&whole);
    let fallback = whole.root.fallback_tag();
    fixture
        .tell(&fixture.event(&fallback, &Digest::sha256(b"a hint")))
        .await;
    fixture.drain().await;
    fixture.assert_equal(&whole);
}

#[tokio::test]
async fn a_list_of_referrers_that_was_merged_makes_no_new_task() {
    let fixture = fixture(false, false).await;
    let whole = images::with_referrer(2);
    fixture.push_and_tell(&bare(&whole)).await;
    fixture.drain().await;
    fixture.push(&whole);
    let fallback = whole.root.fallback_tag();
    let index = fixture.a.digest(&name("core/app"), &tag(&fallback)).unwrap();
    // The destination has an entry of its own, so the lists never have the same bytes.
    let foreign = json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [{ "mediaType": OCI_MANIFEST, "digest": whole.root, "size": whole.manifests[0].bytes.len() }],
    });
    let foreign = fixture
        .b
        .seed_manifest(&name("copy/app"), &OCI_INDEX.into(), foreign.to_string().into());
    fixture.b.tag(&name("copy/app"), &tag(&fallback), &foreign);
    let event = fixture.event(&fallback, &index);
    for _ in 0..3 {
        fixture.tell(&event).await;
        fixture.drain().await;
    }
    let merged = fixture.b.digest(&name("copy/app"), &tag(&fallback)).unwrap();
    assert!(merged != index && merged != foreign, "it was merged");
    assert_eq!(fixture.states().await.len(), 2, "the image and the list");
}

#[tokio::test]
async fn a_cosign_signature_pushed_later_follows_its_subject_and_is_replaced_when_it_is_made_anew() {
    let fixture = Fixture::new().await;
    let whole = images::with_cosign_signature(3);
    fixture.push_and_tell(&bare(&whole)).await;
    fixture.drain().await;
    fixture.push(&whole);
    let signature = whole.manifests[1].tag.clone().unwrap();
    fixture
        .tell(&fixture.event(signature.as_str(), &whole.manifests[1].digest))
        .await;
    fixture.drain().await;
    fixture.assert_equal(&whole);

    let again = images::image(4, &[77]);
    again.seed_into(&fixture.a, &name("core/app"), &signature);
    fixture.tell(&fixture.event(signature.as_str(), &again.root)).await;
    fixture.drain().await;
    assert_eq!(
        fixture.b.digest(&name("copy/app"), &signature),
        Some(again.root),
        "it was ours to replace"
    );
}

#[tokio::test]
async fn a_signature_that_is_told_before_its_tag_is_written_is_not_missed() {
    let fixture = Fixture::new().await;
    let whole = images::with_cosign_signature(40);
    fixture.push_and_tell(&bare(&whole)).await;
    fixture.drain().await;
    let signature = whole.manifests[1].tag.clone().unwrap();
    fixture
        .tell(&fixture.event(signature.as_str(), &whole.manifests[1].digest))
        .await;
    assert!(matches!(fixture.attempt().await, Next::Again(_)));
    fixture.push(&whole);
    fixture.drain().await;
    fixture.assert_equal(&whole);
}

#[tokio::test]
async fn what_belongs_to_an_image_that_is_not_replicated_stays() {
    let fixture = Fixture::new().await;
    let whole = images::with_referrer(5);
    fixture.push(&whole);
    let referrer = &whole.manifests[1].digest;
    fixture.tell(&fixture.event(&referrer.to_string(), referrer)).await;
    let signature = format!("{}.sig", whole.root.fallback_tag());
    let signed = fixture.event(&signature, &whole.root);
    // The second time comes after the end of the task.
    for _ in 0..2 {
        fixture.tell(&signed).await;
        fixture.drain().await;
    }
    assert_eq!(fixture.tasks().await.len(), 2);
    for task in fixture.tasks().await {
        assert_eq!(
            (task.state, task.code.as_deref()),
            (TaskState::Skipped, Some("SUBJECT_NOT_REPLICATED"))
        );
    }
    assert_eq!(fixture.b.repositories(), []);
}

/// The message that follows `envelope`, and the wait before it; [`None`] if its task has ended. A worker with time slots
/// works on it, and the wait passes.
async fn hop(fixture: &Fixture, envelope: &Envelope) -> Option<(Envelope, Duration)> {
    let worked = fixture.jobs.run(envelope, Arc::new(NoProgress), Some(slot())).await;
    match worked.unwrap() {
        Next::Again(delay) => {
            let next = envelope.clone().again(delay);
            fixture.clock.advance(next.delay);
            Some((next.envelope, next.delay))
        }
        Next::Done => None,
        next => panic!("{next:?}"),
    }
}

#[tokio::test]
async fn a_referrer_of_an_image_that_is_not_replicated_ends_also_where_the_ledger_lags() {
    let fixture = Fixture::new().await;
    fixture.ledger.set_lag(Duration::from_secs(5));
    let whole = images::with_referrer(5);
    fixture.push(&whole);
    let referrer = &whole.manifests[1].digest;
    fixture.tell(&fixture.event(&referrer.to_string(), referrer)).await;
    let mut envelope = Outgoing::now(fixture.queued().await.remove(0)).envelope;
    let mut messages = 1;
    while let Some((next, _)) = hop(&fixture, &envelope).await {
        envelope = next;
        messages += 1;
        assert!(messages < 10, "{:?}", fixture.tasks().await);
    }
    assert!(messages > 3, "the ledger may not have known the image yet");
    let task = fixture.task().await;
    assert_eq!(
        (task.state, task.code.as_deref()),
        (TaskState::Skipped, Some("SUBJECT_NOT_REPLICATED"))
    );
}

#[tokio::test]
async fn an_untagged_manifest_that_refers_to_nothing_comes_with_its_image_or_not_at_all() {
    let fixture = Fixture::new().await;
    let whole = images::multi_platform(6);
    fixture.push(&whole);
    let child = &whole.manifests[0].digest;
    fixture.tell(&fixture.event(&child.to_string(), child)).await;
    let gone = Digest::sha256(b"gone");
    fixture.tell(&fixture.event(&gone.to_string(), &gone)).await;
    fixture.drain().await;
    let codes: Vec<_> = fixture
        .tasks()
        .await
        .into_iter()
        .map(|task| (task.state, task.code.unwrap()))
        .collect();
    assert_eq!(
        codes,
        [(TaskState::Skipped, "SOURCE_GONE".into())],
        "a child leaves no task"
    );
    assert_eq!(fixture.executions().await.len(), 1);
    assert_eq!(fixture.b.repositories(), []);
}

#[tokio::test]
async fn a_referrer_waits_for_an_image_that_is_on_its_way() {
    let fixture = Fixture::new().await;
    let whole = images::with_referrer(7);
    fixture.push(&bare(&whole));
    fixture.tell(&fixture.event("v1", &whole.root)).await;
    let image = fixture
        .queue
        .inner
        .receive(1, Duration::from_hours(1))
        .await
        .unwrap()
        .remove(0);
    fixture.push(&whole);
    let referrer = &whole.manifests[1].digest;
    fixture.tell(&fixture.event(&referrer.to_string(), referrer)).await;
    assert!(matches!(fixture.attempt().await, Next::Again(_)));
    let waiting = fixture
        .tasks()
        .await
        .into_iter()
        .find(|task| task.state == TaskState::Waiting)
        .unwrap();
    assert_eq!(waiting.code.as_deref(), Some("SUBJECT_PENDING"));
    fixture.queue.inner.retry(&image.receipt, Duration::ZERO).await.unwrap();
    fixture.drain().await;
    fixture.assert_equal(&whole);
    assert!(fixture.tasks().await.iter().all(|task| task.state.is_success()));
}

#[tokio::test]
async fn a_referrer_looks_for_its_image_at_least_every_half_minute() {
    let fixture = Fixture::new().await;
    let whole = images::with_referrer(7);
    fixture.push_and_tell(&bare(&whole)).await;
    // Another worker has the image's message for hours.
    let held = fixture.queue.inner.receive(1, Duration::from_hours(2)).await.unwrap();
    assert_eq!(held.len(), 1);
    fixture.push(&whole);
    let referrer = &whole.manifests[1].digest;
    fixture.tell(&fixture.event(&referrer.to_string(), referrer)).await;
    let mut envelope = Outgoing::now(fixture.queued().await.remove(0)).envelope;
    let mut waits = Vec::new();
    for _ in 0..15 {
        let (next, wait) = hop(&fixture, &envelope).await.unwrap();
        envelope = next;
        waits.push(wait);
    }
    assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(30)), "{waits:?}");
    assert!(waits.is_sorted() && waits[0] < waits[14] / 8, "{waits:?}");
}

#[tokio::test]
async fn a_referrer_is_not_lost_between_two_looks_at_the_ledger() {
    let fixture = Fixture::new().await;
    let whole = images::with_referrer(8);
    fixture.push(&bare(&whole));
    fixture.tell(&fixture.event("v1", &whole.root)).await;
    let image = fixture.queued().await.remove(0);
    fixture.push(&whole);
    let referrer = &whole.manifests[1].digest;
    fixture.tell(&fixture.event(&referrer.to_string(), referrer)).await;
    let task = fixture
        .queued()
        .await
        .into_iter()
        .find(|task| task.is_attachment)
        .unwrap();
    // The image's task lists referrers before this one is there, and ends just when its replica was asked for.
    fixture.a.forget(&name("core/app"), referrer);
    let worker = Arc::new(fixture.other_worker());
    let missing = whole.manifests[1].clone();
    let (a, once) = (Arc::clone(&fixture.a), Arc::new(Mutex::new(Some(image))));
    fixture.push(&whole);
    fixture.ledger.before(move |call, _| {
        let image = if call == "is_busy" {
            once.lock().unwrap().take()
        } else {
            None
        };
        let (worker, a, missing) = (Arc::clone(&worker), Arc::clone(&a), missing.clone());
        Box::pin(async move {
            if let Some(image) = image {
                a.forget(&name("core/app"), &missing.digest);
                copy(&worker, &image).await.unwrap();
                a.seed_manifest(&name("core/app"), &missing.media_type, missing.bytes.clone());
            }
            Ok(())
        })
    });
    let disposition = copy(&fixture.jobs, &task).await.unwrap();
    if let Next::Again(_) = disposition {
        copy(&fixture.jobs, &task).await.unwrap();
    }
    fixture.assert_equal(&whole);
}

/// Two workers copy one image, because its message was delivered twice. The second one claims the tag after the first has
/// ended, and `fault` begins just then. Its next message finds the task ended.
async fn overtake(fixture: &Fixture, image: &Sample, fault: impl Fn() + Send + Sync + 'static) {
    fixture.push_and_tell(image).await;
    let task = fixture.queued().await.remove(0);
    let (worker, once) = (Arc::new(fixture.other_worker()), Arc::new(AtomicBool::new(true)));
    let (first, fault) = (task.clone(), Arc::new(fault));
    fixture.ledger.before(move |call, _| {
        let strikes = call == "claim" && once.swap(false, Ordering::Relaxed);
        let (worker, first, fault) = (Arc::clone(&worker), first.clone(), Arc::clone(&fault));
        Box::pin(async move {
            if strikes {
                assert_eq!(copy(&worker, &first).await.unwrap(), Next::Done);
                fault();
            }
            Ok(())
        })
    });
    let second = copy(&fixture.jobs, &task).await.unwrap();
    assert!(matches!(second, Next::Again(_)), "{second:?}");
    fixture.ledger.heal();
    fixture.a.set_faults(None);
    fixture.b.set_faults(None);
    assert_eq!(copy(&fixture.jobs, &task).await.unwrap(), Next::Done);
}

/// The ledger knows that `image` is at `b`: a referrer follows it, and its tag may be replaced.
async fn assert_known(fixture: &Fixture, image: &Sample) {
    let (from, to) = (name("core/app"), name("copy/app"));
    let replicas = &fixture.jobs.ledger.replicas;
    assert!(replicas.holds(("b", &to), ("a", &from), &image.root).await.unwrap());
    let note = refer(fixture, &image.root, "later");
    fixture.tell(&fixture.event(&note.to_string(), &note)).await;
    fixture.drain().await;
    assert!(fixture.b.manifests(&to).contains(&note), "{:?}", fixture.tasks().await);
    let moved = images::image(99, &[300]);
    fixture.push_and_tell(&moved).await;
    fixture.drain().await;
    fixture.assert_equal(&moved);
}

#[tokio::test]
async fn an_image_that_two_workers_copied_is_still_known_if_the_slower_one_finds_it_and_fails() {
    let fixture = Fixture::new().await;
    let image = images::image(9, &[100]);
    let a = Arc::clone(&fixture.a);
    let unavailable = move || {
        a.set_faults(Some(always("HEAD", "/manifests/", Action::status(503))));
    };
    overtake(&fixture, &image, unavailable).await;
    assert_known(&fixture, &image).await;
}

#[tokio::test]
async fn an_image_that_two_workers_copied_is_still_known_if_the_slower_one_cannot_look_for_it() {
    let fixture = Fixture::new().await;
    let image = images::image(9, &[100]);
    let b = Arc::clone(&fixture.b);
    let unavailable = move || b.set_faults(Some(always("GET", "/manifests/", Action::status(503))));
    overtake(&fixture, &image, unavailable).await;
    assert_known(&fixture, &image).await;
}

#[tokio::test]
async fn a_referrer_of_a_part_of_an_image_follows_it_too() {
    let fixture = Fixture::new().await;
    let nested = images::nested_index(9);
    fixture.push_and_tell(&nested).await;
    fixture.drain().await;
    let note = refer(&fixture, &nested.manifests[0].digest, "of a leaf");
    fixture.tell(&fixture.event(&note.to_string(), &note)).await;
    fixture.drain().await;
    assert!(
        fixture.b.manifests(&name("copy/app")).contains(&note),
        "{:?}",
        fixture.tasks().await
    );
}

#[tokio::test]
async fn a_referrer_follows_an_image_that_was_found_equal() {
    let fixture = Fixture::new().await;
    let nested = images::nested_index(10);
    fixture.push(&nested);
    nested.seed_into(&fixture.b, &name("copy/app"), &tag("v1"));
    fixture.tell(&fixture.event("v1", &nested.root)).await;
    fixture.drain().await;
    assert_eq!(fixture.states().await, ["unchanged"]);
    let note = refer(&fixture, &nested.manifests[0].digest, "of a leaf");
    fixture.tell(&fixture.event(&note.to_string(), &note)).await;
    fixture.drain().await;
    assert!(
        fixture.b.manifests(&name("copy/app")).contains(&note),
        "{:?}",
        fixture.tasks().await
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn referrers_that_come_together_are_all_listed() {
    for round in 0..5 {
        let fixture = fixture(true, false).await;
        let image = images::image(11 + round, &[100]);
        fixture.push_and_tell(&image).await;
        fixture.drain().await;
        let mut notes = Vec::new();
        for number in 0..4 {
            let note = refer(&fixture, &image.root, &format!("{number}"));
            fixture.tell(&fixture.event(&note.to_string(), &note)).await;
            notes.push(note);
        }
        fixture.drain().await;
        let fallback = Target::Tag(tag(&image.root.fallback_tag()));
        let (_, listed) = fixture.b.manifest(&name("copy/app"), &fallback).unwrap();
        let mut listed = children(listed);
        listed.sort();
        notes.sort();
        assert_eq!(listed, notes, "each once");
    }
}

#[tokio::test]
async fn a_worker_that_read_an_old_list_does_not_unlist_what_came_since() {
    let fixture = fixture(true, false).await;
    let image = images::image(20, &[100]);
    fixture.push_and_tell(&image).await;
    fixture.drain().await;
    let first = refer(&fixture, &image.root, "first");
    fixture.tell(&fixture.event(&first.to_string(), &first)).await;
    let slow = fixture.queued().await.remove(0);

    // While the slow worker is about to write its list, another worker copies a second referrer.
    let fallback = tag(&image.root.fallback_tag());
    let (other, second) = (Arc::new(fixture.other_worker()), Arc::new(Mutex::new(None)));
    let (a, found) = (Arc::clone(&fixture.a), Arc::clone(&second));
    let (root, written) = (image.root.clone(), fallback.clone());
    let task = slow.clone();
    let has_struck = AtomicBool::new(false);
    let behind = Arc::new(Mutex::new(None));
    let delayed = Arc::clone(&behind);
    fixture.ledger.before(move |call, replica| {
        let is_list = call == "claim"
            && replica.is_some_and(|replica| replica.destination.target == Target::Tag(written.clone()));
        let strikes = is_list && !has_struck.swap(true, Ordering::Relaxed);
        let (other, a, found, delayed) = (
            Arc::clone(&other),
            Arc::clone(&a),
            Arc::clone(&found),
            Arc::clone(&delayed),
        );
        let (root, mut task) = (root.clone(), task.clone());
        Box::pin(async move {
            if strikes {
                let note = refer_at(&a, &root, "second");
                *found.lock().unwrap() = Some(note.clone());
                task.id = "t-second".into();
                if let Source::Registry(image) = &mut task.source {
                    image.target = Target::Digest(note.clone());
                }
                task.destination.target = Target::Digest(note);
                copy(&other, &task).await.unwrap();
                *delayed.lock().unwrap() = Some(task);
            }
            Ok(())
        })
    });
    let first_try = copy(&fixture.jobs, &slow).await.unwrap();
    fixture.ledger.heal();
    if let Next::Again(_) = first_try {
        copy(&fixture.jobs, &slow).await.unwrap();
    }
    // A task that found the list leased is retried, like its message; one that had ended does nothing.
    let behind = behind.lock().unwrap().take().unwrap();
    copy(&fixture.jobs, &behind).await.unwrap();
    let second = second.lock().unwrap().clone().unwrap();
    let (_, listed) = fixture.b.manifest(&name("copy/app"), &Target::Tag(fallback)).unwrap();
    let listed = children(listed);
    assert!(
        listed.contains(&first) && listed.contains(&second),
        "{listed:?} lacks {first} or {second}"
    );
}

#[tokio::test]
async fn a_rule_that_excludes_referrers_makes_no_task_of_them() {
    let rule = RULE.replace("} }\n", "}, referrers: exclude }\n");
    let fixture = Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), &rule).await;
    let whole = images::with_referrer(30);
    fixture.push_and_tell(&whole).await;
    fixture.drain().await;
    assert_eq!(
        fixture.b.manifests(&name("copy/app")),
        std::slice::from_ref(&whole.root)
    );
    let referrer = &whole.manifests[1].digest;
    let event = fixture.event(&referrer.to_string(), referrer);
    let accepted = fixture.deliver(&[event]).await.unwrap();
    assert_eq!(accepted, transship_engine::Accepted::Nothing { code: None });
}

/// An image whose index names one platform by its sha512 digest, at the source as `core/app:v1`. Returns the platform.
async fn seed_sha512(fixture: &Fixture) -> (Sample, Digest) {
    let image = images::image(50, &[100]);
    image.seed_into(&fixture.a, &name("core/app"), &tag("platform"));
    let manifest = image.root_manifest().unwrap();
    let digest = Digest::of(Algorithm::Sha512, &manifest.bytes);
    let by_digest = Manifest::parse_with_digest(manifest.bytes.clone(), None, digest.clone()).unwrap();
    let a = fixture.configuration.current().registry("a").unwrap();
    let repository = a.repository(name("core/app")).for_writing();
    repository
        .manifest_put(&Target::Digest(digest.clone()), &by_digest, None)
        .await
        .unwrap();
    let child = json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": manifest.bytes.len() });
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child] });
    let root = fixture
        .a
        .seed_manifest(&name("core/app"), &OCI_INDEX.into(), index.to_string().into());
    fixture.a.tag(&name("core/app"), &tag("v1"), &root);
    (Sample { root, ..image }, digest)
}

/// Lists `referrer` under the fallback tag of `subject` at the source, as its client does where there is no API.
fn list_at_source(fixture: &Fixture, subject: &Digest, referrer: &Digest) -> Digest {
    let entry = json!({ "mediaType": OCI_MANIFEST, "digest": referrer, "size": 1 });
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] });
    let list = fixture
        .a
        .seed_manifest(&name("core/app"), &OCI_INDEX.into(), index.to_string().into());
    fixture.a.tag(&name("core/app"), &tag(&subject.fallback_tag()), &list);
    list
}

#[tokio::test]
async fn a_referrer_of_a_sha512_manifest_follows_it() {
    for (a_lists, b_lists) in [(true, true), (true, false), (false, true), (false, false)] {
        for is_told_by_its_list in [false, true] {
            let fixture = fixture(a_lists, b_lists).await;
            let (image, subject) = seed_sha512(&fixture).await;
            fixture.tell(&fixture.event("v1", &image.root)).await;
            fixture.drain().await;
            assert_eq!(fixture.arrived(), Some(image.root));
            assert!(fixture.b.manifests(&name("copy/app")).contains(&subject));

            let note = refer(&fixture, &subject, "of a sha512 manifest");
            let list = list_at_source(&fixture, &subject, &note);
            let fallback = subject.fallback_tag();
            assert!(fallback.starts_with("sha512-"));
            if is_told_by_its_list {
                fixture.tell(&fixture.event(&fallback, &list)).await;
            } else {
                fixture.tell(&fixture.event(&note.to_string(), &note)).await;
            }
            fixture.drain().await;
            let case = format!("{a_lists} {b_lists} {is_told_by_its_list}");
            assert!(
                fixture.b.manifests(&name("copy/app")).contains(&note),
                "{case}: {:?}",
                fixture.tasks().await
            );
            assert_eq!(fixture.states().await, ["succeeded", "succeeded"], "{case}");
            let listed = fixture.b.manifest(&name("copy/app"), &Target::Tag(tag(&fallback)));
            if b_lists {
                assert_eq!(listed, None, "{case}: a registry with the API needs no list");
            } else {
                assert_eq!(children(listed.unwrap().1), [note], "{case}");
            }
        }
    }
}
