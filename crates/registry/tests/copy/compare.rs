//! Comparisons: what a copy would do, found out by GET and HEAD alone.

use transship_copy::{
    Action, CompareRequest, Comparison, DigestTags, Existing, Extent, KeepReason, Options, Presence, Referrers, State,
    compare,
};
use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::{Result, Target};
use transship_testkit::images;

use crate::world::{World, name, tag};

impl World {
    async fn compare(&self, extent: Extent, options: Options, digest_tags: Option<&DigestTags>) -> Result<Comparison> {
        self.reset_requests();
        let comparison = compare(&CompareRequest {
            source: &self.from.repository(name("core/app")),
            from: Target::Tag(tag("v1")),
            destination: &self.to.repository(name("copy/app")).for_writing(),
            to: Target::Tag(tag("v1")),
            options,
            locations: &self.locations,
            replicas: &self.ours,
            digest_tags,
            extent,
            presence: Presence::Unknown,
        })
        .await;
        for request in [self.source.requests(), self.destination.requests()].concat() {
            let reads = request.method == "GET" || request.method == "HEAD";
            assert!(reads, "{} {}", request.method, request.path);
        }
        comparison
    }

    async fn everything(&self) -> Result<Comparison> {
        self.compare(Extent::Everything, Options::default(), None).await
    }

    async fn first_difference(&self, options: Options) -> Action {
        let none = DigestTags::default();
        let compared = self.compare(Extent::FirstDifference, options, Some(&none)).await;
        compared.unwrap().action
    }
}

#[tokio::test]
async fn every_image_is_copied_as_its_comparison_said() {
    for (kind, sample) in images::all(1) {
        let world = World::with(&sample).await;
        let planned = world.everything().await;
        world.assert_nothing_visible();
        let (planned, report) = match (planned, world.copy().await) {
            (Ok(planned), Ok(report)) => (planned, report),
            (planned, copied) => {
                let (planned, copied) = (planned.unwrap_err(), copied.map(|report| report.state).unwrap_err());
                assert_eq!(planned.code(), copied.code(), "{kind}");
                continue;
            }
        };
        assert_eq!((planned.action, report.state), (Action::Copy, State::Copied), "{kind}");
        assert_eq!(planned.source.map(|root| root.digest), Some(report.digest), "{kind}");
        assert_eq!(planned.manifests_to_write, report.manifests, "{kind}");
        assert_eq!((planned.blobs, planned.bytes), (report.blobs, report.bytes), "{kind}");
        assert_eq!(planned.foreign_layers, report.foreign_layers, "{kind}");
        let after = world.everything().await.unwrap();
        assert_eq!(
            (after.action, after.manifests_to_write),
            (Action::Unchanged, 0),
            "{kind}"
        );
        assert_eq!(
            world.first_difference(Options::default()).await,
            Action::Unchanged,
            "{kind}"
        );
    }
}

#[tokio::test]
async fn an_equal_image_costs_two_heads_and_one_listing() {
    let world = World::with(&images::image(2, &[1000; 3])).await;
    world.copy().await.unwrap();
    assert_eq!(world.first_difference(Options::default()).await, Action::Unchanged);
    assert_eq!(world.requests(), 3);
    let excluded = Options {
        referrers: Referrers::Exclude,
        ..Options::default()
    };
    assert_eq!(world.first_difference(excluded).await, Action::Unchanged);
    assert_eq!(world.requests(), 2);
}

#[tokio::test]
async fn without_the_api_and_without_digest_tags_nothing_is_listed() {
    let builder = EmbeddedRegistry::builder;
    let world = World::of(builder().referrers_api(false), builder()).await;
    world.seed(&images::multi_platform(3));
    world.copy().await.unwrap();
    assert_eq!(world.first_difference(Options::default()).await, Action::Unchanged);
    assert_eq!(world.requests(), 2);
}

#[tokio::test]
async fn a_difference_is_found_without_reading_the_image() {
    let world = World::with(&images::image(4, &[1000; 3])).await;
    assert_eq!(world.first_difference(Options::default()).await, Action::Copy);
    assert_eq!(world.requests(), 2);
    images::image(5, &[10]).seed_into(&world.destination, &name("copy/app"), &tag("v1"));
    for (existing, action) in [
        (Existing::Overwrite, Action::Copy),
        (Existing::Backup, Action::Copy),
        (Existing::Keep, Action::Keep(KeepReason::Policy)),
        (Existing::Follow, Action::Keep(KeepReason::NotOurs)),
    ] {
        let options = Options {
            existing,
            ..Options::default()
        };
        assert_eq!(world.first_difference(options).await, action);
        assert_eq!(world.requests(), 2);
    }
}

#[tokio::test]
async fn the_first_missing_referrer_ends_the_comparison() {
    let world = World::with(&images::with_referrer(6)).await;
    let excluded = Options {
        referrers: Referrers::Exclude,
        ..Options::default()
    };
    world.copy_with(excluded).await.unwrap();
    assert_eq!(world.first_difference(Options::default()).await, Action::Copy);
    let compared = world.everything().await.unwrap();
    assert_eq!((compared.action, compared.manifests.len()), (Action::Copy, 0));
    assert!(!compared.attachments.is_empty());
}

#[tokio::test]
async fn a_tag_that_is_gone_is_absent_or_an_error() {
    let world = World::new().await;
    assert_eq!(world.first_difference(Options::default()).await, Action::Absent);
    assert_eq!(world.everything().await.unwrap_err().code(), "SOURCE_NOT_FOUND");
}

#[tokio::test]
async fn a_mount_is_planned_only_for_a_source_that_has_the_blob() {
    let sample = images::image(7, &[1000]);
    let world = World::with(&sample).await;
    sample.seed_into(&world.destination, &name("elsewhere"), &tag("v1"));
    world.claim_unproven(&sample, &name("elsewhere"));
    let planned = world.everything().await.unwrap().blobs;
    assert_eq!((planned.mounted, planned.copied), (2, 0));
    for digest in sample.blobs.keys() {
        world.source.forget(&name("core/app"), digest);
    }
    let planned = world.everything().await.unwrap().blobs;
    assert_eq!((planned.mounted, planned.copied), (0, 2));
}
