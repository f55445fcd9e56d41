//! Every shape of image arrives equal, whichever side lists referrers, and stays as it is when it is copied again.

use transship_copy::{Options, Referrers, State};
use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::Target;
use transship_testkit::images;

use crate::world::{Job, World, assert_arrived, name, tag};

fn job(kind: &str) -> Job {
    Job {
        from: (name(&format!("core/{kind}")), Target::Tag(tag("v1"))),
        to: (name(&format!("copy/{kind}")), Target::Tag(tag("v1"))),
        ..Job::default()
    }
}

async fn every_sample_arrives(source_lists: bool, destination_lists: bool) {
    let world = World::of(
        EmbeddedRegistry::builder().referrers_api(source_lists),
        EmbeddedRegistry::builder().referrers_api(destination_lists),
    )
    .await;
    for (kind, sample) in images::all(11) {
        sample.seed_into(&world.source, &name(&format!("core/{kind}")), &tag("v1"));
        let report = world.run(job(kind)).await.unwrap();
        assert_eq!((report.state, &report.digest), (State::Copied, &sample.root), "{kind}");
        assert_arrived(&sample, &world.destination, &name(&format!("copy/{kind}")), &tag("v1"));
        assert_eq!(report.foreign_layers, u64::from(kind == "non-distributable"), "{kind}");

        world.reset_requests();
        let again = world.run(job(kind)).await.unwrap();
        assert_eq!(
            (again.state, again.manifests, again.bytes.copied),
            (State::Unchanged, 0, 0),
            "{kind}"
        );
        let traffic = world.destination.traffic();
        assert_eq!(traffic.total.bytes_in, 0, "{kind}: a second run moves nothing");
        assert!(
            traffic
                .by_class
                .keys()
                .all(|(method, _)| method == "GET" || method == "HEAD"),
            "{kind}: a second run writes nothing"
        );
    }
    assert_eq!(world.destination.open_uploads(), 0);
}

#[tokio::test]
async fn every_sample_arrives_where_both_sides_list_referrers() {
    every_sample_arrives(true, true).await;
}

#[tokio::test]
async fn every_sample_arrives_where_only_the_source_lists_referrers() {
    every_sample_arrives(true, false).await;
}

#[tokio::test]
async fn every_sample_arrives_where_only_the_destination_lists_referrers() {
    every_sample_arrives(false, true).await;
}

#[tokio::test]
async fn every_sample_arrives_where_no_side_lists_referrers() {
    every_sample_arrives(false, false).await;
}

#[tokio::test]
async fn a_fallback_tag_is_the_same_to_the_byte_where_both_sides_need_one() {
    let world = World::of(
        EmbeddedRegistry::builder().referrers_api(false),
        EmbeddedRegistry::builder().referrers_api(false),
    )
    .await;
    let sample = images::with_referrer(5);
    world.seed(&sample);
    world.copy().await.unwrap();
    let fallback = Target::Tag(tag(&sample.root.fallback_tag()));
    assert_eq!(
        world.source.manifest(&name("core/app"), &fallback),
        world.destination.manifest(&name("copy/app"), &fallback)
    );
}

#[tokio::test]
async fn a_digest_is_copied_without_a_tag() {
    let sample = images::multi_platform(6);
    let world = World::with(&sample).await;
    let target = Target::Digest(sample.root.clone());
    let job = Job {
        from: (name("core/app"), target.clone()),
        to: (name("copy/app"), target),
        ..Job::default()
    };
    assert_eq!(world.run(job).await.unwrap().digest, sample.root);
    assert_eq!(world.destination.tags(&name("copy/app")), []);
    assert!(world.destination.manifests(&name("copy/app")).contains(&sample.root));
}

#[tokio::test]
async fn excluded_referrers_stay() {
    for sample in [images::with_referrer(7), images::with_cosign_signature(7)] {
        let world = World::with(&sample).await;
        let options = Options {
            referrers: Referrers::Exclude,
            ..Options::default()
        };
        world.copy_with(options).await.unwrap();
        assert_eq!(
            world.destination.manifests(&name("copy/app")),
            std::slice::from_ref(&sample.root)
        );
        assert_eq!(world.destination.tags(&name("copy/app")), [tag("v1")]);
    }
}

#[tokio::test]
async fn an_image_without_the_referrer_it_must_have_does_not_arrive() {
    let require = Options {
        referrers: Referrers::Require,
        ..Options::default()
    };
    let world = World::with(&images::image(8, &[100])).await;
    let error = world.copy_with(require.clone()).await.unwrap_err();
    assert_eq!(error.code(), "REFERRERS_MISSING");
    assert!(!error.persistence().is_permanent(), "it may be signed later");
    world.assert_nothing_visible();

    let signed = World::with(&images::with_cosign_signature(8)).await;
    assert_eq!(signed.copy_with(require).await.unwrap().state, State::Copied);
}
