//! A source tag that moves while it is copied: the newest image wins, or the copy says that it could not keep up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use transship_copy::{Existing, Options, State};
use transship_testkit::images::{self, Sample};

use crate::world::{World, asked, name, tag, watch};

/// Lets the source tag name the next of `newer` each time the destination is about to commit.
fn move_at_commit(world: &World, newer: &[Sample]) {
    for sample in newer {
        sample.seed_into(&world.source, &name("core/app"), &tag("newer"));
    }
    let roots: Vec<_> = newer.iter().map(|sample| sample.root.clone()).collect();
    let (source, commits) = (Arc::downgrade(&world.source), AtomicUsize::new(0));
    watch(&world.destination, move |request| {
        if request.method == "PUT" && request.path.ends_with("/manifests/v1") {
            let at = commits.fetch_add(1, Ordering::Relaxed);
            if let (Some(root), Some(source)) = (roots.get(at), source.upgrade()) {
                source.tag(&name("core/app"), &tag("v1"), root);
            }
        }
        None
    });
}

#[tokio::test]
async fn a_tag_that_moves_between_read_and_commit_ends_at_the_newest() {
    for existing in [Existing::Overwrite, Existing::Follow, Existing::Keep, Existing::Backup] {
        let world = World::with(&images::image(1, &[100])).await;
        let newest = images::image(2, &[200]);
        move_at_commit(&world, std::slice::from_ref(&newest));
        let options = Options {
            existing,
            ..Options::default()
        };
        let report = world.copy_with(options).await.unwrap();
        assert_eq!(
            (report.state, &report.digest),
            (State::Copied, &newest.root),
            "{existing:?}"
        );
        world.assert_equal(&newest);
        assert_eq!(
            world.destination.tags(&name("copy/app")),
            [tag("v1")],
            "{existing:?}: nothing to back up"
        );
    }
}

#[tokio::test]
async fn a_tag_that_goes_back_to_what_it_was_ends_there() {
    let first = images::image(3, &[100]);
    let world = World::with(&first).await;
    move_at_commit(&world, &[images::image(4, &[200]), first.clone()]);
    assert_eq!(world.copy().await.unwrap().digest, first.root);
    world.assert_equal(&first);
}

#[tokio::test]
async fn a_tag_that_never_rests_is_left_for_later() {
    let world = World::with(&images::image(5, &[100])).await;
    let newer: Vec<_> = (6..16).map(|seed| images::image(seed, &[100])).collect();
    move_at_commit(&world, &newer);
    let error = world.fails().await;
    assert_eq!(error.code(), "SOURCE_MOVING");
    assert!(!error.persistence().is_permanent());
    assert_eq!(asked(&world.destination, "PUT", "/manifests/v1").len(), 3);
    world.destination.set_faults(None);
    world.copy().await.unwrap();
    world.assert_equal(&newer[2]);
}

#[tokio::test]
async fn a_tag_that_is_deleted_during_its_copy_still_arrives() {
    let sample = images::image(7, &[100]);
    let world = World::with(&sample).await;
    let source = Arc::downgrade(&world.source);
    watch(&world.destination, move |request| {
        if request.method == "PUT" && request.path.ends_with("/manifests/v1") {
            let source = source.upgrade()?;
            let root = source.digest(&name("core/app"), &tag("v1"))?;
            source.forget(&name("core/app"), &root);
        }
        None
    });
    assert_eq!(world.copy().await.unwrap().state, State::Copied);
    world.assert_equal(&sample);
}

#[tokio::test]
async fn a_signature_that_is_made_anew_during_its_copy_ends_at_the_newest() {
    let signed = images::with_cosign_signature(8);
    let world = World::with(&signed).await;
    let signature = signed.manifests.last().unwrap().tag.clone().unwrap();
    let newer = images::image(9, &[77]);
    newer.seed_into(&world.source, &name("core/app"), &tag("newer"));
    let (source, moved, to) = (Arc::downgrade(&world.source), signature.clone(), newer.root.clone());
    watch(&world.destination, move |request| {
        if request.method == "PUT" && request.path.ends_with(moved.as_str()) {
            source.upgrade()?.tag(&name("core/app"), &moved, &to);
        }
        None
    });
    world.copy().await.unwrap();
    assert_eq!(
        world.destination.digest(&name("copy/app"), &signature),
        Some(newer.root)
    );
    assert_eq!(world.arrived(), Some(signed.root));
}
