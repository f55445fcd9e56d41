//! Referrers that are listed wrongly, lost from a list, or written by several clients at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde_json::{Value, json};
use transship_copy::{Options, Referrers, State};
use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::media_type::{OCI_INDEX, OCI_MANIFEST};
use transship_oci::{Digest, Target};
use transship_testkit::images::{self, Sample};

use crate::graphs::{digest, put, refer};
use crate::world::{World, always, answer, asked, children, name, tag, watch};

fn require() -> Options {
    Options {
        referrers: Referrers::Require,
        ..Options::default()
    }
}

/// A world whose destination, and source unless `lists`, have no referrers API, with `image` at the source.
async fn without_api(lists: bool, image: &Sample) -> World {
    let world = World::of(
        EmbeddedRegistry::builder().referrers_api(lists),
        EmbeddedRegistry::builder().referrers_api(false),
    )
    .await;
    world.seed(image);
    world
}

/// A referrer of the root of `image`.
fn refer_to(world: &World, image: &Sample, number: usize) -> Value {
    refer(world, &image.root, image.root_manifest().unwrap().bytes.len(), number)
}

/// Lets the source list `entries` as the referrers of everything.
fn list(world: &World, entries: &[Value]) {
    let body = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
    let listing = answer(200, &[("content-type", OCI_INDEX)], body.to_string());
    world.source.set_faults(Some(always("GET", "/referrers/", listing)));
}

/// What `registry` lists under the fallback tag of `subject`.
fn listed(registry: &EmbeddedRegistry, subject: &Digest) -> Vec<Digest> {
    let target = Target::Tag(tag(&subject.fallback_tag()));
    let index = registry.manifest(&name("copy/app"), &target);
    index.map_or_else(Vec::new, |(_, bytes)| children(bytes))
}

/// Lets `registry` resolve the fallback tag of `image` to the image itself, as GitLab does: until the tag is written, or `always`.
fn resolve_like_gitlab(registry: &Arc<EmbeddedRegistry>, repository: &'static str, image: &Sample, always: bool) {
    let root = image.root_manifest().unwrap();
    let (media_type, bytes) = (root.media_type.clone(), root.bytes.clone());
    let (fallback, digest) = (tag(&image.root.fallback_tag()), image.root.to_string());
    let held = Arc::downgrade(registry);
    watch(registry, move |request| {
        let is_read = request.method != "PUT" && request.path.ends_with(fallback.as_str());
        let is_written = || held.upgrade()?.digest(&name(repository), &fallback);
        if !is_read || !always && is_written().is_some() {
            return None;
        }
        let headers = [
            ("content-type", media_type.as_str()),
            ("docker-content-digest", &digest),
        ];
        Some(answer(200, &headers, bytes.clone()))
    });
}

#[tokio::test]
async fn a_list_proves_no_referrer() {
    for exists in [false, true] {
        let image = images::image(1, &[100]);
        let world = World::with(&image).await;
        if exists {
            world.copy().await.unwrap();
        }
        let other = images::image(2, &[100]);
        other.seed_into(&world.source, &name("core/app"), &tag("other"));
        let of_other = refer_to(&world, &other, 1);
        let gone = refer_to(&world, &image, 2);
        world.source.forget(&name("core/app"), &digest(&gone));
        let subject = json!({ "mediaType": OCI_MANIFEST, "digest": image.root, "size": 1 });
        for bogus in [&of_other, &gone, &subject] {
            list(&world, std::slice::from_ref(bogus));
            let error = world.copy_with(require()).await.unwrap_err();
            assert_eq!(error.code(), "REFERRERS_MISSING", "{bogus}");
            assert!(!error.is_permanent(), "it may be signed later");
            if !exists {
                world.assert_nothing_visible();
            }
        }
        let real = refer_to(&world, &image, 3);
        list(&world, &[of_other, gone, real.clone()]);
        assert_eq!(world.copy_with(require()).await.unwrap().state, State::Copied);
        assert!(world.destination.manifests(&name("copy/app")).contains(&digest(&real)));
        assert_eq!(world.copy_with(require()).await.unwrap().state, State::Unchanged);
    }
}

#[tokio::test]
async fn a_fallback_tag_that_is_the_subject_lists_nothing() {
    let image = images::multi_platform(3);
    let world = without_api(false, &image).await;
    resolve_like_gitlab(&world.source, "core/app", &image, false);
    assert_eq!(
        world.copy_with(require()).await.unwrap_err().code(),
        "REFERRERS_MISSING"
    );
    assert_eq!(world.copy().await.unwrap().state, State::Copied);
    world.assert_equal(&image);
    assert_eq!(
        world.destination.tags(&name("copy/app")),
        [tag("v1")],
        "no list was made of the children"
    );
    assert_eq!(
        world.copy_with(require()).await.unwrap_err().code(),
        "REFERRERS_MISSING"
    );
}

#[tokio::test]
async fn a_later_signature_is_listed_where_the_fallback_tag_was_the_subject() {
    for (image, is_always) in [
        (images::image(4, &[100]), false),
        (images::multi_platform(4), false),
        (images::image(4, &[100]), true),
    ] {
        let world = without_api(true, &image).await;
        world.copy().await.unwrap();
        resolve_like_gitlab(&world.destination, "copy/app", &image, is_always);
        let signature = digest(&refer_to(&world, &image, 1));
        assert_eq!(world.copy().await.unwrap().state, State::Copied);
        assert_eq!(
            listed(&world.destination, &image.root),
            std::slice::from_ref(&signature)
        );
        if !is_always {
            assert_eq!(world.copy().await.unwrap().state, State::Unchanged);
        }
    }
}

#[tokio::test]
async fn a_referrer_that_is_there_and_not_listed_is_listed() {
    let image = images::image(5, &[100]);
    let world = without_api(true, &image).await;
    let signature = digest(&refer_to(&world, &image, 1));
    world.copy().await.unwrap();
    let fallback = tag(&image.root.fallback_tag());
    let list = world.destination.digest(&name("copy/app"), &fallback).unwrap();
    // As after a worker that wrote the referrer and failed before the list.
    world.destination.forget(&name("copy/app"), &list);
    assert_eq!(world.copy().await.unwrap().state, State::Copied);
    assert_eq!(listed(&world.destination, &image.root), [signature]);
    world.reset_requests();
    assert_eq!(world.copy().await.unwrap().state, State::Unchanged);
    assert_eq!(asked(&world.destination, "PUT", "").len(), 0);
}

#[tokio::test]
async fn a_referrer_that_fails_does_not_keep_its_neighbours_from_being_listed() {
    let image = images::image(6, &[100]);
    let world = without_api(true, &image).await;
    world.copy().await.unwrap();
    let mut good: Vec<Digest> = (0..40)
        .map(|number| digest(&refer_to(&world, &image, number)))
        .collect();
    let lost = Digest::sha256(b"lost");
    let bad = put(
        &world,
        OCI_MANIFEST,
        &json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": { "mediaType": "a/b", "digest": lost, "size": 4 },
            "layers": [], "subject": { "mediaType": OCI_MANIFEST, "digest": image.root, "size": 1 },
        }),
    );
    for _ in 0..2 {
        assert_eq!(world.fails().await.code(), "BLOB_NOT_FOUND");
        let mut found = listed(&world.destination, &image.root);
        good.sort();
        found.sort();
        assert_eq!(found, good);
    }
    world.source.seed_blob(
        &name("core/app"),
        transship_oci::Algorithm::Sha256,
        Bytes::from_static(b"lost"),
    );
    assert_eq!(world.copy().await.unwrap().state, State::Copied);
    assert!(listed(&world.destination, &image.root).contains(&digest(&bad)));
}

/// Manifests of another client at the destination.
fn foreign_at(world: &World, count: u64) -> Vec<Digest> {
    let samples = (0..count).map(|number| images::image(100 + number, &[1]));
    let seeded = samples.map(|sample| {
        sample.seed_into(&world.destination, &name("copy/app"), &tag("foreign"));
        sample.root
    });
    seeded.collect()
}

/// Each time the list was written at the destination, another client replaces it by one of its own, with the next of `entries`.
fn interfere(world: &World, image: &Sample, entries: Vec<Digest>) {
    let fallback = tag(&image.root.fallback_tag());
    let (destination, rounds) = (Arc::downgrade(&world.destination), AtomicUsize::new(0));
    watch(&world.destination, move |request| {
        let destination = destination.upgrade()?;
        let is_read = request.method == "GET" && request.path.ends_with(fallback.as_str());
        if is_read && destination.digest(&name("copy/app"), &fallback).is_some() {
            let entry = entries.get(rounds.fetch_add(1, Ordering::Relaxed))?;
            let entry = json!({ "mediaType": OCI_MANIFEST, "digest": entry, "size": 1 });
            let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] });
            let list = destination.seed_manifest(&name("copy/app"), &OCI_INDEX.into(), index.to_string().into());
            destination.tag(&name("copy/app"), &fallback, &list);
        }
        None
    });
}

/// How often the list of referrers of `image` was written at the destination.
fn writes_of_the_list(world: &World, image: &Sample) -> usize {
    asked(&world.destination, "PUT", &image.root.fallback_tag()).len()
}

#[tokio::test]
async fn a_list_that_another_client_replaced_is_merged_and_written_again() {
    let image = images::image(7, &[100]);
    let world = without_api(true, &image).await;
    let own = digest(&refer_to(&world, &image, 1));
    // What the other client lists lies there already, as a registry demands of an index.
    let foreign = foreign_at(&world, 3);
    interfere(&world, &image, foreign.clone());
    world.copy().await.unwrap();
    let found = listed(&world.destination, &image.root);
    assert!(
        found.contains(&own) && foreign.iter().all(|entry| found.contains(entry)),
        "{found:?}"
    );
    assert_eq!(writes_of_the_list(&world, &image), 4);
}

#[tokio::test]
async fn a_list_that_never_rests_ends_the_attempt_and_not_the_task() {
    let image = images::image(8, &[100]);
    let world = without_api(true, &image).await;
    refer_to(&world, &image, 1);
    let foreign = foreign_at(&world, 20);
    interfere(&world, &image, foreign);
    let error = world.fails().await;
    assert_eq!(error.code(), "COMMIT_BUSY");
    assert!(!error.is_permanent());
    assert_eq!(writes_of_the_list(&world, &image), 5);
}
