//! What happens to what the destination tag names already, and which kinds pass.

use std::sync::Arc;

use transship_copy::{Existing, Options, State};
use transship_oci::{Kind, Target};
use transship_testkit::images;

use crate::world::{World, asked, name, tag, watch};

fn policy(existing: Existing) -> Options {
    Options {
        existing,
        ..Options::default()
    }
}

/// A world whose destination tag names an image that is not ours.
async fn occupied() -> (World, images::Sample, images::Sample) {
    let (foreign, new) = (images::image(1, &[500]), images::image(2, &[600]));
    let world = World::with(&new).await;
    foreign.seed_into(&world.destination, &name("copy/app"), &tag("v1"));
    (world, foreign, new)
}

#[tokio::test]
async fn overwrite_replaces_what_is_there() {
    let (world, _, new) = occupied().await;
    let report = world.copy_with(policy(Existing::Overwrite)).await.unwrap();
    assert_eq!(report.state, State::Copied);
    world.assert_equal(&new);
}

#[tokio::test]
async fn keep_and_follow_touch_nothing_of_somebody_elses() {
    for existing in [Existing::Keep, Existing::Follow] {
        let (world, foreign, _) = occupied().await;
        let before = world.destination.manifests(&name("copy/app"));
        let report = world.copy_with(policy(existing)).await.unwrap();
        assert_eq!((report.state, &report.digest), (State::Kept, &foreign.root));
        assert_eq!(world.arrived(), Some(foreign.root));
        assert_eq!(world.destination.manifests(&name("copy/app")), before);
        let is_read = |method: &str| matches!(method, "GET" | "HEAD");
        assert!(
            world
                .destination
                .requests()
                .iter()
                .all(|record| is_read(record.method.as_str()))
        );
    }
}

#[tokio::test]
async fn a_tag_that_was_said_to_be_absent_and_is_there_is_treated_like_any_other() {
    for existing in [Existing::Keep, Existing::Follow, Existing::Backup, Existing::Overwrite] {
        let (world, foreign, new) = occupied().await;
        let options = || Options {
            is_absent: true,
            ..policy(existing)
        };
        let report = world.copy_with(options()).await.unwrap();
        let is_kept = matches!(existing, Existing::Keep | Existing::Follow);
        let expected = if is_kept {
            (State::Kept, foreign.root)
        } else {
            (State::Copied, new.root.clone())
        };
        assert_eq!((report.state, report.digest), expected, "{existing:?}");
        let backups = world.destination.tags(&name("copy/app")).len() - 1;
        assert_eq!(backups, usize::from(existing == Existing::Backup));
        new.seed_into(&world.destination, &name("copy/app"), &tag("v1"));
        world.reset_requests();
        assert_eq!(world.copy_with(options()).await.unwrap().state, State::Unchanged);
        let written = asked(&world.destination, "PUT", "/manifests/").len();
        assert_eq!(written, 0, "{existing:?}");
    }
}

/// Pushes `foreign` to the destination tag, like another client, while the first blob is sent.
fn push_during_the_copy(world: &World, foreign: &images::Sample) {
    foreign.seed_into(&world.destination, &name("copy/app"), &tag("foreign"));
    let (destination, root) = (Arc::downgrade(&world.destination), foreign.root.clone());
    watch(&world.destination, move |request| {
        if request.method == "PUT"
            && request.path.contains("/blobs/")
            && let Some(destination) = destination.upgrade()
        {
            destination.tag(&name("copy/app"), &tag("v1"), &root);
        }
        None
    });
}

#[tokio::test]
async fn what_somebody_pushes_during_a_copy_is_somebody_elses_too() {
    for existing in [Existing::Keep, Existing::Follow] {
        let world = World::with(&images::image(20, &[500])).await;
        let foreign = images::image(21, &[600]);
        push_during_the_copy(&world, &foreign);
        let report = world.copy_with(policy(existing)).await.unwrap();
        assert_eq!(
            (report.state, &report.digest),
            (State::Kept, &foreign.root),
            "{existing:?}"
        );
        assert_eq!(world.arrived(), Some(foreign.root), "{existing:?}");
    }
}

#[tokio::test]
async fn what_somebody_pushes_during_a_copy_is_saved_before_it_is_replaced() {
    let new = images::image(22, &[500]);
    let world = World::with(&new).await;
    let foreign = images::image(23, &[600]);
    push_during_the_copy(&world, &foreign);
    assert_eq!(
        world.copy_with(policy(Existing::Backup)).await.unwrap().state,
        State::Copied
    );
    assert_eq!(world.arrived(), Some(new.root.clone()));
    let saved = tag(&format!("v1-{}", &foreign.root.hex()[..12]));
    assert_eq!(world.destination.digest(&name("copy/app"), &saved), Some(foreign.root));
}

#[tokio::test]
async fn follow_replaces_what_we_wrote_and_only_that() {
    let (old, new) = (images::image(3, &[500]), images::image(4, &[600]));
    let world = World::with(&old).await;
    world.copy_with(policy(Existing::Follow)).await.unwrap();
    world.seed(&new);
    assert_eq!(
        world.copy_with(policy(Existing::Follow)).await.unwrap().state,
        State::Copied
    );
    world.assert_equal(&new);

    let foreign = images::image(5, &[700]);
    foreign.seed_into(&world.destination, &name("copy/app"), &tag("v1"));
    let report = world.copy_with(policy(Existing::Follow)).await.unwrap();
    assert_eq!((report.state, world.arrived()), (State::Kept, Some(foreign.root)));
}

#[tokio::test]
async fn backup_gives_the_old_image_a_tag_and_replaces_it() {
    let (world, foreign, new) = occupied().await;
    assert_eq!(
        world.copy_with(policy(Existing::Backup)).await.unwrap().state,
        State::Copied
    );
    world.assert_equal(&new);
    let backup = tag(&format!("v1-{}", &foreign.root.hex()[..12]));
    assert_eq!(
        world.destination.digest(&name("copy/app"), &backup),
        Some(foreign.root.clone())
    );
    let held = world.destination.manifest(&name("copy/app"), &Target::Tag(backup));
    assert_eq!(held.unwrap().1, foreign.root_manifest().unwrap().bytes);

    // Equal by now: neither written nor backed up again.
    assert_eq!(
        world.copy_with(policy(Existing::Backup)).await.unwrap().state,
        State::Unchanged
    );
    assert_eq!(world.destination.tags(&name("copy/app")).len(), 2);
}

#[tokio::test]
async fn a_signature_of_somebody_elses_is_kept_and_said() {
    let signed = images::with_cosign_signature(6);
    let world = World::with(&signed).await;
    let signature = signed.manifests.last().unwrap().tag.clone().unwrap();
    let other = images::image(7, &[10]);
    other.seed_into(&world.destination, &name("copy/app"), &signature);
    let report = world.copy_with(policy(Existing::Follow)).await.unwrap();
    assert_eq!(report.kept_tags, [signature.to_string()]);
    assert_eq!(
        world.destination.digest(&name("copy/app"), &signature),
        Some(other.root)
    );
    assert_eq!(world.arrived(), Some(signed.root));
}

#[tokio::test]
async fn only_the_kinds_asked_for_pass() {
    let only = |kind| Options {
        kinds: vec![kind],
        ..Options::default()
    };
    for (sample, kind, others) in [
        (images::image(8, &[10]), Kind::Image, [Kind::Chart, Kind::Artifact]),
        (images::multi_platform(8), Kind::Image, [Kind::Chart, Kind::Artifact]),
        (images::helm_chart(8), Kind::Chart, [Kind::Image, Kind::Artifact]),
        (images::artifact(8), Kind::Artifact, [Kind::Image, Kind::Chart]),
    ] {
        let world = World::with(&sample).await;
        for other in others {
            assert_eq!(world.copy_with(only(other)).await.unwrap().state, State::Skipped);
            world.assert_nothing_visible();
        }
        assert_eq!(world.copy_with(only(kind)).await.unwrap().state, State::Copied);
    }
}
