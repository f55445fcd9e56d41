//! What belongs to an image and comes later: it follows the image, wherever that went, and nowhere else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use transship_embedded_registry::EmbeddedRegistry;
use transship_engine::{Next, Source, TaskReceiver, TaskState};
use transship_oci::media_type::OCI_MANIFEST;
use transship_oci::{Algorithm, Digest, Target};
use transship_testkit::images::{self, Sample};

use crate::house::{House, RULE, children, copy, name, tag};

/// The sample without what refers to its root.
pub fn bare(sample: &Sample) -> Sample {
    Sample {
        manifests: sample.manifests[..1].to_vec(),
        ..sample.clone()
    }
}

pub async fn house(a_lists: bool, b_lists: bool) -> House {
    House::of(
        EmbeddedRegistry::builder().referrers_api(a_lists),
        EmbeddedRegistry::builder().referrers_api(b_lists),
        RULE,
    )
    .await
}

/// A small manifest at the source that refers to `subject`.
pub fn refer(house: &House, subject: &Digest, note: &str) -> Digest {
    refer_at(&house.a, subject, note)
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
        let house = house(a_lists, b_lists).await;
        let whole = images::with_referrer(1);
        house.push_and_tell(&bare(&whole)).await;
        house.drain().await;
        assert_eq!(house.b.manifests(&name("copy/app")).len(), 1);

        // With the API there is an event for the untagged manifest, without it also one for the fallback tag.
        house.push(&whole);
        let referrer = &whole.manifests[1].digest;
        house.tell(&house.event(&referrer.to_string(), referrer)).await;
        if !a_lists {
            let fallback = whole.root.fallback_tag();
            let index = house.a.digest(&name("core/app"), &tag(&fallback)).unwrap();
            house.tell(&house.event(&fallback, &index)).await;
        }
        house.drain().await;
        house.assert_equal(&whole);
        assert!(
            house.tasks().await.iter().all(|task| task.state.is_success()),
            "{:?}",
            house.states().await
        );
        assert!(
            !house.states().await.contains(&"skipped".to_owned()),
            "{a_lists} {b_lists}"
        );
    }
}

#[tokio::test]
async fn a_fallback_tag_alone_is_word_enough() {
    let house = house(false, false).await;
    let whole = images::with_referrer(2);
    house.push_and_tell(&bare(&whole)).await;
    house.drain().await;
    house.push(&whole);
    let fallback = whole.root.fallback_tag();
    house.tell(&house.event(&fallback, &Digest::sha256(b"a hint"))).await;
    house.drain().await;
    house.assert_equal(&whole);
}

#[tokio::test]
async fn a_cosign_signature_pushed_later_follows_its_subject_and_is_replaced_when_it_is_made_anew() {
    let house = House::new().await;
    let whole = images::with_cosign_signature(3);
    house.push_and_tell(&bare(&whole)).await;
    house.drain().await;
    house.push(&whole);
    let signature = whole.manifests[1].tag.clone().unwrap();
    house
        .tell(&house.event(signature.as_str(), &whole.manifests[1].digest))
        .await;
    house.drain().await;
    house.assert_equal(&whole);

    let again = images::image(4, &[77]);
    again.seed_into(&house.a, &name("core/app"), &signature);
    house.tell(&house.event(signature.as_str(), &again.root)).await;
    house.drain().await;
    assert_eq!(
        house.b.digest(&name("copy/app"), &signature),
        Some(again.root),
        "it was ours to replace"
    );
}

#[tokio::test]
async fn a_signature_that_is_told_before_its_tag_is_written_is_not_missed() {
    let house = House::new().await;
    let whole = images::with_cosign_signature(40);
    house.push_and_tell(&bare(&whole)).await;
    house.drain().await;
    let signature = whole.manifests[1].tag.clone().unwrap();
    house
        .tell(&house.event(signature.as_str(), &whole.manifests[1].digest))
        .await;
    assert!(matches!(house.attempt().await, Next::Again(_)));
    house.push(&whole);
    house.drain().await;
    house.assert_equal(&whole);
}

#[tokio::test]
async fn what_belongs_to_an_image_that_is_not_replicated_stays() {
    let house = House::new().await;
    let whole = images::with_referrer(5);
    house.push(&whole);
    let referrer = &whole.manifests[1].digest;
    house.tell(&house.event(&referrer.to_string(), referrer)).await;
    let signature = format!("{}.sig", whole.root.fallback_tag());
    house.tell(&house.event(&signature, &whole.root)).await;
    house.drain().await;
    for task in house.tasks().await {
        assert_eq!(
            (task.state, task.code.as_deref()),
            (TaskState::Skipped, Some("SUBJECT_NOT_REPLICATED"))
        );
    }
    assert_eq!(house.b.repositories(), []);
}

#[tokio::test]
async fn an_untagged_manifest_that_refers_to_nothing_comes_with_its_image_or_not_at_all() {
    let house = House::new().await;
    let whole = images::multi_platform(6);
    house.push(&whole);
    let child = &whole.manifests[0].digest;
    house.tell(&house.event(&child.to_string(), child)).await;
    let gone = Digest::sha256(b"gone");
    house.tell(&house.event(&gone.to_string(), &gone)).await;
    house.drain().await;
    let codes: Vec<_> = house
        .tasks()
        .await
        .into_iter()
        .map(|task| (task.state, task.code.unwrap()))
        .collect();
    assert!(
        codes.contains(&(TaskState::Skipped, "NOT_A_REFERRER".into())),
        "{codes:?}"
    );
    assert!(codes.contains(&(TaskState::Skipped, "SOURCE_GONE".into())), "{codes:?}");
    assert_eq!(house.b.repositories(), []);
}

#[tokio::test]
async fn a_referrer_waits_for_an_image_that_is_on_its_way() {
    let house = House::new().await;
    let whole = images::with_referrer(7);
    house.push(&bare(&whole));
    house.tell(&house.event("v1", &whole.root)).await;
    let image = house
        .queue
        .inner
        .receive(1, Duration::from_hours(1))
        .await
        .unwrap()
        .remove(0);
    house.push(&whole);
    let referrer = &whole.manifests[1].digest;
    house.tell(&house.event(&referrer.to_string(), referrer)).await;
    assert!(matches!(house.attempt().await, Next::Again(_)));
    let waiting = house
        .tasks()
        .await
        .into_iter()
        .find(|task| task.state == TaskState::Waiting)
        .unwrap();
    assert_eq!(waiting.code.as_deref(), Some("SUBJECT_PENDING"));
    house.queue.inner.retry(&image.receipt, Duration::ZERO).await.unwrap();
    house.drain().await;
    house.assert_equal(&whole);
    assert!(house.tasks().await.iter().all(|task| task.state.is_success()));
}

#[tokio::test]
async fn a_referrer_is_not_lost_between_two_looks_at_the_ledger() {
    let house = House::new().await;
    let whole = images::with_referrer(8);
    house.push(&bare(&whole));
    house.tell(&house.event("v1", &whole.root)).await;
    let image = house.queued().await.remove(0);
    house.push(&whole);
    let referrer = &whole.manifests[1].digest;
    house.tell(&house.event(&referrer.to_string(), referrer)).await;
    let task = house
        .queued()
        .await
        .into_iter()
        .find(|task| task.is_attachment)
        .unwrap();
    // The image's task lists referrers before this one is there, and ends just when its replica was asked for.
    house.a.forget(&name("core/app"), referrer);
    let worker = Arc::new(house.other_worker());
    let missing = whole.manifests[1].clone();
    let (a, once) = (Arc::clone(&house.a), Arc::new(Mutex::new(Some(image))));
    house.push(&whole);
    house.ledger.before(move |call, _| {
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
    let disposition = copy(&house.jobs, &task).await.unwrap();
    if let Next::Again(_) = disposition {
        copy(&house.jobs, &task).await.unwrap();
    }
    house.assert_equal(&whole);
}

#[tokio::test]
async fn a_referrer_of_a_part_of_an_image_follows_it_too() {
    let house = House::new().await;
    let nested = images::nested_index(9);
    house.push_and_tell(&nested).await;
    house.drain().await;
    let note = refer(&house, &nested.manifests[0].digest, "of a leaf");
    house.tell(&house.event(&note.to_string(), &note)).await;
    house.drain().await;
    assert!(
        house.b.manifests(&name("copy/app")).contains(&note),
        "{:?}",
        house.tasks().await
    );
}

#[tokio::test]
async fn a_referrer_follows_an_image_that_was_found_equal() {
    let house = House::new().await;
    let nested = images::nested_index(10);
    house.push(&nested);
    nested.seed_into(&house.b, &name("copy/app"), &tag("v1"));
    house.tell(&house.event("v1", &nested.root)).await;
    house.drain().await;
    assert_eq!(house.states().await, ["unchanged"]);
    let note = refer(&house, &nested.manifests[0].digest, "of a leaf");
    house.tell(&house.event(&note.to_string(), &note)).await;
    house.drain().await;
    assert!(
        house.b.manifests(&name("copy/app")).contains(&note),
        "{:?}",
        house.tasks().await
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn referrers_that_come_together_are_all_listed() {
    for round in 0..5 {
        let house = house(true, false).await;
        let image = images::image(11 + round, &[100]);
        house.push_and_tell(&image).await;
        house.drain().await;
        let mut notes = Vec::new();
        for number in 0..4 {
            let note = refer(&house, &image.root, &format!("{number}"));
            house.tell(&house.event(&note.to_string(), &note)).await;
            notes.push(note);
        }
        house.drain().await;
        let fallback = Target::Tag(tag(&image.root.fallback_tag()));
        let (_, listed) = house.b.manifest(&name("copy/app"), &fallback).unwrap();
        let mut listed = children(listed);
        listed.sort();
        notes.sort();
        assert_eq!(listed, notes, "each once");
    }
}

#[tokio::test]
async fn a_worker_that_read_an_old_list_does_not_unlist_what_came_since() {
    let house = house(true, false).await;
    let image = images::image(20, &[100]);
    house.push_and_tell(&image).await;
    house.drain().await;
    let first = refer(&house, &image.root, "first");
    house.tell(&house.event(&first.to_string(), &first)).await;
    let slow = house.queued().await.remove(0);

    // While the slow worker is about to write its list, another worker copies a second referrer.
    let fallback = tag(&image.root.fallback_tag());
    let (other, second) = (Arc::new(house.other_worker()), Arc::new(Mutex::new(None)));
    let (a, found) = (Arc::clone(&house.a), Arc::clone(&second));
    let (root, written) = (image.root.clone(), fallback.clone());
    let task = slow.clone();
    let has_struck = AtomicBool::new(false);
    let behind = Arc::new(Mutex::new(None));
    let delayed = Arc::clone(&behind);
    house.ledger.before(move |call, replica| {
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
    let first_try = copy(&house.jobs, &slow).await.unwrap();
    house.ledger.heal();
    if let Next::Again(_) = first_try {
        copy(&house.jobs, &slow).await.unwrap();
    }
    // A task that found the list leased is retried, like its message; one that had ended does nothing.
    let behind = behind.lock().unwrap().take().unwrap();
    copy(&house.jobs, &behind).await.unwrap();
    let second = second.lock().unwrap().clone().unwrap();
    let (_, listed) = house.b.manifest(&name("copy/app"), &Target::Tag(fallback)).unwrap();
    let listed = children(listed);
    assert!(
        listed.contains(&first) && listed.contains(&second),
        "{listed:?} lacks {first} or {second}"
    );
}

#[tokio::test]
async fn a_rule_that_excludes_referrers_makes_no_task_of_them() {
    let rule = RULE.replace("} }\n", "}, referrers: exclude }\n");
    let house = House::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), &rule).await;
    let whole = images::with_referrer(30);
    house.push_and_tell(&whole).await;
    house.drain().await;
    assert_eq!(house.b.manifests(&name("copy/app")), std::slice::from_ref(&whole.root));
    let referrer = &whole.manifests[1].digest;
    let event = house.event(&referrer.to_string(), referrer);
    let accepted = house.deliver(&[event]).await.unwrap();
    assert_eq!(accepted, transship_engine::Accepted::Nothing { code: None });
}
