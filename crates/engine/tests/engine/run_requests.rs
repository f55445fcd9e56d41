//! What a run costs for equal tags of a source with the referrers API, and that it finds what is attached all the same.

use std::time::Duration;

use transship_embedded_registry::EmbeddedRegistry;
use transship_engine::{Depth, Finding, Narrow};
use transship_testkit::images::{self, Sample};

use crate::fixture::{Fixture, RULE, name, tag};
use crate::inspect::unequal;
use crate::referrers::bare;
use crate::runs::{progress, try_start};
use crate::sweep::sweep;

const TAGS: usize = 10;

/// Tags of an image that may have a referrer, and of one that is an index, equal on both sides.
async fn filled() -> (Fixture, Sample) {
    let api = || EmbeddedRegistry::builder().referrers_api(true);
    let fixture = Fixture::of(api(), api(), RULE).await;
    let whole = images::with_referrer(1);
    for number in 0..TAGS {
        let sample = if number == 0 {
            images::multi_platform(2)
        } else {
            bare(&whole)
        };
        for (registry, repository) in [(&fixture.a, "core/app"), (&fixture.b, "copy/app")] {
            sample.seed_into(registry, &name(repository), &tag(&format!("v{number}")));
        }
    }
    (fixture, whole)
}

/// Runs the rule; what it enqueued, and the requests for tags, manifests and referrers at both sides.
async fn run(fixture: &Fixture) -> (u64, usize) {
    fixture.clock.advance(Duration::from_secs(1));
    for registry in [&fixture.a, &fixture.b] {
        registry.reset_requests();
    }
    let execution = try_start(fixture, Narrow::default()).await.unwrap().execution;
    fixture.attempt().await;
    let sides = [&fixture.a, &fixture.b];
    let requests = sides.iter().flat_map(|registry| registry.requests());
    let is_of_tag = |path: &str| path.contains("/manifests/") || path.contains("/referrers/");
    let requests = requests.filter(|request| is_of_tag(&request.path)).count();
    fixture.drain().await;
    (progress(fixture, &execution).await.enqueued, requests)
}

#[tokio::test]
async fn an_equal_tag_costs_two_requests_once_sweeps_look_after_what_is_attached() {
    let (fixture, _) = filled().await;
    // The first requests find out that the source has the API.
    run(&fixture).await;
    let (enqueued, asked) = run(&fixture).await;
    assert_eq!(enqueued, 0);
    assert!(
        asked >= 3 * TAGS,
        "{asked}: nothing sweeps here, so referrers are asked for"
    );
    sweep(&fixture).await;
    assert_eq!(run(&fixture).await, (0, 2 * TAGS), "also for an index");
    fixture.clock.advance(Duration::from_hours(26));
    assert_eq!(run(&fixture).await, (0, asked), "the sweeps have stopped");
}

#[tokio::test]
async fn a_referrer_whose_event_was_lost_is_found_by_a_run_where_nothing_sweeps() {
    let (fixture, whole) = filled().await;
    run(&fixture).await;
    whole.seed_into(&fixture.a, &name("core/app"), &tag("v1"));
    // Nine tags name the image.
    let (enqueued, _) = run(&fixture).await;
    assert_eq!(enqueued, TAGS as u64 - 1);
    assert_eq!(unequal(&fixture, Depth::Manifests).await, []);
}

#[tokio::test]
async fn what_a_verification_misses_is_copied_by_the_next_run() {
    let (fixture, whole) = filled().await;
    run(&fixture).await;
    sweep(&fixture).await;
    whole.seed_into(&fixture.a, &name("core/app"), &tag("v1"));
    assert_eq!(run(&fixture).await, (0, 2 * TAGS), "the sweep would find it");
    let found = unequal(&fixture, Depth::Manifests).await;
    assert_eq!(found.len(), TAGS - 1);
    assert!(
        found
            .iter()
            .all(|(_, state, code)| *state == Finding::Different && code == "ATTACHMENT_MISSING")
    );
    let (enqueued, _) = run(&fixture).await;
    assert_eq!(enqueued, TAGS as u64 - 1);
    assert_eq!(unequal(&fixture, Depth::Manifests).await, []);
    assert_eq!(run(&fixture).await, (0, 2 * TAGS));
}
