//! What a copy costs: requests are counted, because over a distance they are what it waits for.

use std::sync::Arc;

use transship_copy::{Options, Referrers, State};
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::Action;
use transship_embedded_registry::records::Class;
use transship_oci::Target;
use transship_testkit::images;

use crate::world::{Job, LARGE, World, always, asked, assert_arrived, client, name, tag};

fn exclude() -> Options {
    Options {
        referrers: Referrers::Exclude,
        ..Options::default()
    }
}

fn into(repository: &str) -> Job {
    Job {
        to: (name(repository), Target::Tag(tag("v1"))),
        options: exclude(),
        ..Job::default()
    }
}

#[tokio::test]
async fn eleven_blobs_cost_thirty_seven_requests() {
    let world = World::with(&images::image(1, &[1000; 10])).await;
    let report = world.copy_with(exclude()).await.unwrap();
    assert_eq!((report.blobs.copied, report.manifests), (11, 1));
    assert_eq!(world.requests(), 37);
    assert_eq!(world.source.traffic().pings + world.destination.traffic().pings, 0);
}

#[tokio::test]
async fn an_equal_image_costs_two_requests_and_seven_with_referrers() {
    let world = World::of(
        EmbeddedRegistry::builder().referrers_api(false),
        EmbeddedRegistry::builder(),
    )
    .await;
    world.seed(&images::image(2, &[1000; 3]));
    world.copy().await.unwrap();
    // The clients are new: nothing was learned before.
    let world = World {
        from: client(&world.source),
        to: client(&world.destination),
        ..world
    };
    world.reset_requests();
    assert_eq!(world.copy_with(exclude()).await.unwrap().state, State::Unchanged);
    assert_eq!(world.requests(), 2);
    world.reset_requests();
    assert_eq!(world.copy().await.unwrap().state, State::Unchanged);
    assert_eq!(world.requests(), 7);
}

#[tokio::test]
async fn an_image_known_elsewhere_in_the_registry_moves_no_byte() {
    let sample = images::image(3, &[LARGE, 1000, 10]);
    let world = World::with(&sample).await;
    world.run(into("copy/one")).await.unwrap();
    world.reset_requests();
    let report = world.run(into("copy/two")).await.unwrap();
    assert_eq!((report.blobs.mounted, report.bytes.copied), (4, 0));
    assert_arrived(&sample, &world.destination, &name("copy/two"), &tag("v1"));
    assert_eq!(world.destination.traffic().count("PUT", Class::Upload).requests, 0);
    assert_eq!(world.source.traffic().count("GET", Class::Blob).requests, 0);
    // HEAD and GET of the manifest, one mount per blob, PUT and a last look at the source.
    assert_eq!(world.requests(), 1 + 1 + 4 + 1 + 1);
}

#[tokio::test]
async fn a_wrong_location_costs_one_request_and_is_dropped() {
    let sample = images::image(4, &[1000]);
    let world = World::with(&sample).await;
    world.locations.claim(&sample, &name("never/was"));
    // A registry that refuses a mount outright, rather than opening an upload instead.
    let refusals = always("POST", "mount=", Action::status(404));
    world.destination.set_faults(Some(Arc::clone(&refusals) as _));
    let report = world.copy_with(exclude()).await.unwrap();
    assert_eq!((report.blobs.mounted, report.blobs.copied), (0, 2));
    assert_eq!(refusals.struck(), 2);
    assert_eq!(world.requests(), 4 + 2 * 3 + 2, "one request more for each blob");
    for digest in sample.blobs.keys() {
        assert_eq!(world.locations.of(digest), [name("copy/app")]);
    }
    world.assert_equal(&sample);
}

#[tokio::test]
async fn a_refused_mount_goes_on_in_the_upload_it_opened() {
    for does_mount in [false, true] {
        let sample = images::image(5, &[1000]);
        let world = World::of(
            EmbeddedRegistry::builder(),
            EmbeddedRegistry::builder().mounts(does_mount),
        )
        .await;
        world.seed(&sample);
        world.locations.claim(&sample, &name("never/was"));
        let report = world.copy_with(exclude()).await.unwrap();
        assert_eq!((report.blobs.mounted, report.blobs.copied), (0, 2));
        assert_eq!(asked(&world.destination, "POST", "").len(), 2, "no POST but the mounts");
        assert_eq!(world.requests(), 4 + 2 * 3);
        world.assert_equal(&sample);
        assert_eq!(world.destination.open_uploads(), 0);
    }
}

#[tokio::test]
async fn a_registry_that_stumbles_over_mounts_is_uploaded_to() {
    for code in [400, 403, 405, 500, 503] {
        let sample = images::image(6, &[1000]);
        let world = World::with(&sample).await;
        world.locations.claim(&sample, &name("never/was"));
        let refusals = always("POST", "mount=", Action::status(code));
        world.destination.set_faults(Some(Arc::clone(&refusals) as _));
        world
            .copy_with(exclude())
            .await
            .unwrap_or_else(|error| panic!("{code}: {error}"));
        assert!(refusals.struck() > 0);
        world.assert_equal(&sample);
    }
}

#[tokio::test]
async fn a_location_said_to_be_here_is_proven_before_it_is_believed() {
    let sample = images::image(7, &[1000]);
    let world = World::with(&sample).await;
    world.locations.claim(&sample, &name("copy/app"));
    let report = world.copy_with(exclude()).await.unwrap();
    assert_eq!((report.blobs.copied, report.blobs.skipped), (2, 0));
    world.assert_equal(&sample);
}

#[tokio::test]
async fn a_large_blob_is_asked_for_before_it_is_sent() {
    let sample = images::image(8, &[LARGE]);
    let world = World::with(&sample).await;
    for (digest, bytes) in &sample.blobs {
        world
            .destination
            .seed_blob(&name("copy/app"), digest.algorithm(), bytes.clone());
    }
    let report = world.copy_with(exclude()).await.unwrap();
    assert_eq!((report.blobs.skipped, report.bytes.skipped), (1, LARGE as u64));
    assert!(
        report.bytes.copied < 1000,
        "the configuration alone is small enough to be sent unasked"
    );
}

#[tokio::test]
async fn a_repeated_attempt_sends_only_what_is_not_there() {
    let sample = images::image(9, &[1000, 2000]);
    let world = World::with(&sample).await;
    for (digest, bytes) in sample.blobs.iter().skip(1) {
        world
            .destination
            .seed_blob(&name("copy/app"), digest.algorithm(), bytes.clone());
    }
    let options = Options {
        is_repeated: true,
        ..exclude()
    };
    let report = world.copy_with(options).await.unwrap();
    assert_eq!((report.blobs.copied, report.blobs.skipped), (1, 2));
    world.assert_equal(&sample);
}

#[tokio::test]
async fn a_new_version_of_a_tag_moves_only_its_new_layers() {
    let old = images::image(10, &[5000, 6000]);
    let world = World::with(&old).await;
    world.copy_with(exclude()).await.unwrap();
    // The same seed gives the same layers; one more of them makes another image.
    let new = images::image(10, &[5000, 6000, 7000]);
    world.seed(&new);
    world.reset_requests();
    let report = world.copy_with(exclude()).await.unwrap();
    assert_eq!(
        (report.blobs.copied, report.blobs.skipped),
        (2, 2),
        "layer and configuration"
    );
    assert_eq!(report.bytes.skipped, 11_000);
    world.assert_equal(&new);
}

#[tokio::test]
async fn what_many_manifests_share_moves_once() {
    let image = images::multi_platform(11);
    let world = World::with(&image).await;
    let empty = crate::graphs::refer_often(&world, &image, 12);
    world.copy().await.unwrap();
    for digest in image.blobs.keys().chain([&empty]) {
        let sent = asked(&world.destination, "PUT", &format!("digest={}", encoded(digest)));
        assert_eq!(sent.len(), 1, "{digest}");
    }
}

fn encoded(digest: &transship_oci::Digest) -> String {
    digest.to_string().replace(':', "%3A")
}
