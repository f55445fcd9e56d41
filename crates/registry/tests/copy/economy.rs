//! What a copy costs: requests are counted, because over a distance they are what it waits for.

use std::sync::Arc;

use transship_copy::{Options, Referrers, State};
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::Action;
use transship_embedded_registry::records::Class;
use transship_oci::{Provider, Target};
use transship_registry::{Profile, Registry};
use transship_testkit::images;

use crate::world::{Job, LARGE, World, always, asked, assert_arrived, client, name, options_of, tag};

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

/// HEADs of blobs at the source.
fn proofs(world: &World) -> usize {
    asked(&world.source, "HEAD", "/blobs/").len()
}

#[tokio::test]
async fn a_blob_that_the_source_does_not_have_is_never_mounted() {
    for size in [10, LARGE] {
        let image = images::image(12, &[size, 20]);
        let world = World::with(&image).await;
        // The manifest names a layer of a confidential repository, which is known by its digest and size.
        let layer = image.blobs.iter().find(|(_, bytes)| bytes.len() == size).unwrap().0;
        image.seed_into(&world.destination, &name("private/app"), &tag("v1"));
        world.source.forget(&name("core/app"), layer);
        world.claim_unproven(&image, &name("private/app"));
        for _ in 0..2 {
            assert_eq!(world.fails().await.code(), "BLOB_NOT_FOUND");
            assert_eq!(world.destination.blob(&name("copy/app"), layer), None);
            world.assert_nothing_visible();
        }
        // That another source has it proves nothing of this one.
        let other = images::image(12, &[size, 20]);
        other.seed_into(&world.source, &name("core/other"), &tag("v1"));
        let from_other = Job {
            from: (name("core/other"), Target::Tag(tag("v1"))),
            ..into("copy/other")
        };
        assert!(world.run(from_other).await.unwrap().blobs.mounted > 0);
        assert_eq!(world.fails().await.code(), "BLOB_NOT_FOUND");
        assert_eq!(world.destination.blob(&name("copy/app"), layer), None);
    }
}

#[tokio::test]
async fn a_proof_costs_one_request_and_is_remembered() {
    let sample = images::image(13, &[LARGE, 1000, 10]);
    let world = World::with(&sample).await;
    sample.seed_into(&world.destination, &name("somewhere"), &tag("v1"));
    world.claim_unproven(&sample, &name("somewhere"));
    let report = world.run(into("copy/one")).await.unwrap();
    assert_eq!((report.blobs.mounted, report.bytes.copied), (4, 0));
    assert_eq!(proofs(&world), 4);
    assert_eq!(world.requests(), 1 + 1 + 4 + 4 + 1 + 1, "one more for each blob");
    world.reset_requests();
    world.run(into("copy/two")).await.unwrap();
    assert_eq!((proofs(&world), world.requests()), (0, 1 + 1 + 4 + 1 + 1));

    // The same layers in another repository of the source.
    sample.seed_into(&world.source, &name("core/other"), &tag("v1"));
    for expected in [4, 0] {
        world.reset_requests();
        let job = Job {
            from: (name("core/other"), Target::Tag(tag("v1"))),
            ..into(&format!("copy/other-{expected}"))
        };
        assert_eq!(world.run(job).await.unwrap().blobs.mounted, 4);
        assert_eq!(proofs(&world), expected);
    }
}

#[tokio::test]
async fn a_proof_that_cannot_be_had_only_costs_the_transfer() {
    for code in [401, 403, 404, 405, 500] {
        let sample = images::image(14, &[1000]);
        let world = World::with(&sample).await;
        sample.seed_into(&world.destination, &name("somewhere"), &tag("v1"));
        world.claim_unproven(&sample, &name("somewhere"));
        world
            .source
            .set_faults(Some(always("HEAD", "/blobs/", Action::status(code))));
        let report = world.copy_with(exclude()).await.unwrap();
        assert_eq!((report.blobs.mounted, report.blobs.copied), (0, 2), "{code}");
        world.assert_equal(&sample);
    }
}

#[tokio::test]
async fn no_proof_is_asked_for_where_nothing_is_mounted() {
    let sample = images::image(15, &[1000]);
    let world = World::with(&sample).await;
    let ecr = transship_registry::Options {
        profile: Profile::of(Provider::Ecr),
        ..options_of(&world.destination)
    };
    let world = World {
        to: Registry::new(ecr).unwrap(),
        ..world
    };
    world.claim_unproven(&sample, &name("somewhere"));
    assert_eq!(world.copy_with(exclude()).await.unwrap().blobs.copied, 2);
    assert_eq!(proofs(&world), 0);
}

#[tokio::test]
async fn a_wrong_location_costs_one_request_and_is_dropped() {
    let sample = images::image(4, &[1000]);
    let world = World::with(&sample).await;
    world.claim(&sample, &name("never/was"));
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
        world.claim(&sample, &name("never/was"));
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
        world.claim(&sample, &name("never/was"));
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
    world.claim(&sample, &name("copy/app"));
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
