//! What is known of a standby: counted and named by comparisons, and by the history where no registry answers.

use std::sync::Arc;
use std::time::Duration;

use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::Action;
use transship_engine::Finding;
use transship_engine::failover::{
    CompareLeg, Compared, FACTS_AGE_MAX, SiteFacts, Slice, Standby, VERIFIED_AGE_MAX, facts_of, leg_of,
};
use transship_engine::ledger::{Comparison, Ledger};
use transship_oci::{Limits, Network, Provider};
use transship_registry::{Anonymous, Options, Profile, Registry, Retries};
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images;

use crate::fixture::{Fixture, name, tag};

const RPO: Duration = Duration::from_mins(15);
const MINUTE: Duration = Duration::from_mins(1);

/// A registry at which nothing listens.
pub fn closed() -> Registry {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", socket.local_addr().unwrap());
    drop(socket);
    Registry::new(Options {
        endpoint: endpoint.parse().unwrap(),
        names: Vec::new(),
        network: Network::Public,
        limits: Limits::default(),
        profile: Profile::of(Provider::Distribution),
        retries: Retries {
            times: 0,
            ..Retries::default()
        },
        credentials: Arc::new(Anonymous),
        tls: None,
    })
    .unwrap()
}

async fn compare_with(fixture: &Fixture, source: Option<Registry>) -> Comparison {
    let ledger = Ledger::new(&fixture.ledger);
    let snapshot = fixture.configuration.current();
    let rule = snapshot.document.rule("core-images").unwrap();
    let compare = CompareLeg {
        rule,
        is_reversed: false,
        source: source.unwrap_or_else(|| snapshot.registry("a").unwrap()),
        destination: snapshot.registry("b").unwrap(),
        ledger: &ledger,
        clock: Arc::new(fixture.clock.clone()),
        worker: "worker-1",
        basis: String::new(),
        not_before: None,
        slice: Slice::within(None),
    };
    match compare.run().await.unwrap() {
        Compared::Ended(known) => *known,
        other => panic!("{other:?}"),
    }
}

fn standby<'a>(writer: &'a str, site: &'a str) -> Standby<'a> {
    Standby {
        writer,
        since: None,
        site,
        rpo: RPO,
    }
}

async fn compare(fixture: &Fixture) -> Comparison {
    compare_with(fixture, None).await
}

async fn facts(fixture: &Fixture) -> SiteFacts {
    let ledger = Ledger::new(&fixture.ledger);
    let snapshot = fixture.configuration.current();
    let now = transship_copy::Clock::now(&fixture.clock).try_into().unwrap();
    let rules = &snapshot.document.rules;
    facts_of(&ledger, rules, standby("a", "b"), now).await.unwrap()
}

fn codes(facts: &SiteFacts) -> Vec<&str> {
    facts.reasons.iter().map(|reason| reason.code.as_str()).collect()
}

/// One image that was copied by the rule.
async fn filled() -> Fixture {
    let fixture = Fixture::new().await;
    fixture.push_and_tell(&images::image(1, &[100, 50])).await;
    fixture.drain().await;
    fixture
}

#[tokio::test]
async fn a_site_that_was_never_compared_is_unknown() {
    let fixture = filled().await;
    let facts = facts(&fixture).await;
    assert_eq!(codes(&facts), ["FAILOVER_FACTS_UNKNOWN"]);
    assert_eq!((facts.lag, facts.compared), (None, None));
    assert!(!facts.reasons[0].is_loss);
}

#[tokio::test]
async fn rules_that_select_no_image_prove_nothing() {
    let fixture = Fixture::new().await;
    let whole = compare(&fixture).await.whole.unwrap();
    assert_eq!(whole.images, 0);
    let known = facts(&fixture).await;
    assert_eq!(codes(&known), ["FAILOVER_FACTS_UNKNOWN"]);
    assert!(!known.reasons[0].is_loss && known.reasons[0].text.contains("select no image"));
}

#[tokio::test]
async fn a_site_with_everything_is_ready_and_is_asked_little() {
    let fixture = filled().await;
    let whole = compare(&fixture).await.whole.unwrap();
    assert_eq!((whole.images, whole.replicated, whole.verified), (1, 1, 1));
    assert_eq!(whole.sample.unwrap().repository, fixture.to());
    let known = facts(&fixture).await;
    assert_eq!(codes(&known), [""; 0]);
    assert_eq!(known.lag, Some(Duration::ZERO));

    // What was verified once is known by its digest.
    fixture.a.reset_requests();
    fixture.b.reset_requests();
    let whole = compare(&fixture).await.whole.unwrap();
    assert_eq!((whole.replicated, whole.verified), (1, 1));
    let blobs = |registry: &EmbeddedRegistry| {
        let requests = registry.requests();
        requests
            .iter()
            .filter(|request| request.path.contains("/blobs/"))
            .count()
    };
    assert_eq!(blobs(&fixture.b), 0);
    fixture.clock.advance(VERIFIED_AGE_MAX);
    compare(&fixture).await;
    assert!(blobs(&fixture.b) > 0, "it is verified again after a week");
}

#[tokio::test]
async fn what_differs_is_named_in_both_directions_with_its_age() {
    let fixture = filled().await;
    compare(&fixture).await;
    images::image(2, &[10]).seed_into(&fixture.a, &fixture.from(), &tag("v2"));
    images::image(3, &[10]).seed_into(&fixture.b, &fixture.to(), &tag("v1"));
    images::image(4, &[10]).seed_into(&fixture.b, &fixture.to(), &tag("v3"));
    fixture.clock.advance(MINUTE);
    let whole = compare(&fixture).await.whole.unwrap();
    assert_eq!((whole.images, whole.replicated, whole.verified), (2, 0, 0));
    assert_eq!((whole.missing, whole.different, whole.extra), (1, 1, 1));
    let known = facts(&fixture).await;
    let named: Vec<_> = known
        .differences
        .iter()
        .map(|one| (one.tag.as_str(), one.state))
        .collect();
    assert_eq!(
        named,
        [
            ("v1", Finding::Different),
            ("v2", Finding::Missing),
            ("v3", Finding::Extra)
        ]
    );
    // No event told of them, so they may be as old as the comparison before.
    assert_eq!(known.lag, Some(MINUTE));
    assert_eq!(codes(&known), [""; 0]);
    assert_eq!(known.at_risk.len(), 2);
    assert!(known.at_risk[0].destination_digest.is_some() && known.at_risk[1].destination_digest.is_none());

    fixture.clock.advance(RPO);
    compare(&fixture).await;
    let known = facts(&fixture).await;
    assert_eq!(
        known.lag,
        Some(RPO + MINUTE),
        "it is counted from when it was seen first"
    );
    assert_eq!(codes(&known), ["FAILOVER_LAG"]);
    assert!(known.reasons[0].is_loss);
}

#[tokio::test]
async fn a_blob_that_the_site_lost_stays_known() {
    let sample = images::image(1, &[100, 50]);
    let fixture = Fixture::new().await;
    fixture.push(&sample);
    // The manifest without its blobs.
    for manifest in &sample.manifests {
        fixture
            .b
            .seed_manifest(&fixture.to(), &manifest.media_type, manifest.bytes.clone());
    }
    fixture.b.tag(&fixture.to(), &tag("v1"), &sample.root);
    for _ in 0..2 {
        let whole = compare(&fixture).await.whole.unwrap();
        assert_eq!(
            (whole.images, whole.replicated, whole.verified, whole.different),
            (1, 1, 0, 1)
        );
        fixture.clock.advance(MINUTE);
    }
    sample.seed_into(&fixture.b, &fixture.to(), &tag("v1"));
    let whole = compare(&fixture).await.whole.unwrap();
    assert_eq!((whole.verified, whole.different), (1, 0));
}

/// The event waits or fails, and neither side answers: the ledger knows.
#[tokio::test]
async fn the_lag_is_that_of_the_oldest_event_whether_or_not_a_site_answers() {
    let fixture = filled().await;
    compare(&fixture).await;
    fixture.clock.advance(MINUTE);
    fixture.push_and_tell(&images::image(2, &[10])).await;
    fixture.a.reset_requests();
    fixture.b.reset_requests();
    fixture.clock.advance(RPO);
    let known = facts(&fixture).await;
    assert_eq!((known.lag, known.waiting), (Some(RPO), 1));
    assert_eq!(codes(&known), [""; 0], "as long as the document accepts");
    fixture.clock.advance(MINUTE);
    let known = facts(&fixture).await;
    assert_eq!(codes(&known), ["FAILOVER_LAG"]);
    assert_eq!(known.at_risk[0].tag, tag("v1"));
    assert_eq!(known.at_risk[0].source_digest, Some(images::image(2, &[10]).root));
    assert_eq!((fixture.a.requests().len(), fixture.b.requests().len()), (0, 0));
    fixture.drain().await;
    compare(&fixture).await;
    assert_eq!(facts(&fixture).await.lag, Some(Duration::ZERO));
}

#[tokio::test]
async fn facts_that_are_too_old_are_unknown() {
    let fixture = filled().await;
    compare(&fixture).await;
    fixture.clock.advance(FACTS_AGE_MAX);
    assert_eq!(codes(&facts(&fixture).await), [""; 0]);
    fixture.clock.advance(Duration::from_secs(1));
    let known = facts(&fixture).await;
    assert_eq!(codes(&known), ["FAILOVER_FACTS_UNKNOWN"]);
    assert_eq!((known.lag, known.images), (None, 1), "the last numbers are shown");
}

/// Nothing can be pushed to a writer that is down, so the last comparison stays true, but for what was pushed after it.
#[tokio::test]
async fn a_writer_that_is_down_leaves_the_facts_known_with_the_time_that_nothing_covers() {
    let fixture = filled().await;
    compare(&fixture).await;
    fixture.clock.advance(5 * MINUTE);
    let down = compare_with(&fixture, Some(closed())).await;
    assert!(down.whole.is_some() && down.unreachable_since.is_some());
    // It is tried again and again.
    for _ in 0..3 {
        fixture.clock.advance(FACTS_AGE_MAX / 2);
        compare_with(&fixture, Some(closed())).await;
    }
    let known = facts(&fixture).await;
    assert_eq!(codes(&known), [""; 0]);
    assert_eq!(
        known.lag,
        Some(5 * MINUTE),
        "what was pushed in these minutes is not known"
    );
    assert_eq!(known.failure.unwrap().code, "CONNECT_FAILED");

    // The writer was lost long after the last comparison.
    let fixture = filled().await;
    compare(&fixture).await;
    fixture.clock.advance(RPO + MINUTE);
    compare_with(&fixture, Some(closed())).await;
    let known = facts(&fixture).await;
    assert_eq!(codes(&known), ["FAILOVER_LAG"]);
    assert!(
        known.reasons[0].text.contains("has not been reached since"),
        "{:?}",
        known.reasons
    );

    // Nobody tried for a while.
    fixture.clock.advance(FACTS_AGE_MAX + MINUTE);
    assert_eq!(codes(&facts(&fixture).await), ["FAILOVER_FACTS_UNKNOWN"]);
}

#[tokio::test]
async fn a_comparison_that_could_not_read_everything_is_not_whole() {
    let fixture = filled().await;
    compare(&fixture).await;
    fixture.clock.advance(MINUTE);
    images::image(2, &[10]).seed_into(&fixture.a, &name("core/other"), &tag("v1"));
    let refuse = Fault::new("GET", "core/other/tags/list", Action::status(403)).unwrap();
    fixture.a.set_faults(Some(Arc::new(Script::new([refuse.always()]))));
    let known = compare(&fixture).await;
    assert_eq!(known.failure.as_ref().unwrap().code, "SWEEP_NO_TAGS");
    assert_eq!(known.whole.unwrap().images, 1, "the whole one stays");
    assert_eq!(known.unreachable_since, None);
}

#[tokio::test]
async fn one_worker_compares_at_a_time_and_a_site_without_a_rule_is_named() {
    let fixture = filled().await;
    let snapshot = fixture.configuration.current();
    let leg = leg_of(snapshot.document.rule("core-images").unwrap());
    let lease = format!("compare#{}:{}>{}", leg.rule, leg.from, leg.to);
    assert!(fixture.take_lease(&lease, MINUTE).await);
    let ledger = Ledger::new(&fixture.ledger);
    let compare = CompareLeg {
        rule: snapshot.document.rule("core-images").unwrap(),
        is_reversed: false,
        source: snapshot.registry("a").unwrap(),
        destination: snapshot.registry("b").unwrap(),
        ledger: &ledger,
        clock: Arc::new(fixture.clock.clone()),
        worker: "worker-2",
        basis: String::new(),
        not_before: None,
        slice: Slice::within(None),
    };
    assert_eq!(compare.run().await.unwrap(), Compared::Busy);
    let now = transship_copy::Clock::now(&fixture.clock).try_into().unwrap();
    let other = facts_of(&ledger, &snapshot.document.rules, standby("b", "a"), now)
        .await
        .unwrap();
    assert_eq!(codes(&other), ["FAILOVER_WITHOUT_RULE"]);
}
