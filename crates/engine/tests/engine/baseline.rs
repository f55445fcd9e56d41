//! A new rule copies nothing that existed before it: what its sweeps leave, and what they copy because it changed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use transship_copy::TimeBudget;
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::Action;
use transship_engine::ledger::{FirstSweep, Progress};
use transship_engine::{Depth, Due, Finding, Outgoing, Sweep, TaskQueue as _};
use transship_oci::Digest;
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images::{self, Sample};
use transship_testkit::metrics::Metrics;

use crate::fixture::{Fixture, document, name, tag};
use crate::inspect::unequal;
use crate::replicate::{always, now};
use crate::sweep::sweep;

/// A rule that says nothing about what existed before it. `source` and `more` are added to it.
fn rule(source: &str, more: &str) -> String {
    format!(
        "  - {{ name: core-images, source: {{ registry: a, namespace: core{source} }}, destination: {{ registry: b, namespace: copy }}{more} }}\n"
    )
}

async fn fixture_of(rules: &str) -> Fixture {
    Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), rules).await
}

fn put(registry: &EmbeddedRegistry, repository: &str, reference: &str, sample: &Sample) {
    sample.seed_into(registry, &name(repository), &tag(reference));
}

fn image(seed: u64) -> Sample {
    images::image(seed, &[10])
}

/// Sweeps an hour later; the number of tasks there are then.
async fn sweep_later(fixture: &Fixture) -> usize {
    fixture.clock.advance(Duration::from_hours(1));
    sweep(fixture).await;
    fixture.tasks().await.len()
}

fn change_to(fixture: &Fixture, rules: &str) {
    fixture.configuration.replace(document(&fixture.a, &fixture.b, rules));
}

fn copied(fixture: &Fixture, repository: &str, reference: &str) -> Option<Digest> {
    fixture.b.digest(&name(&format!("copy/{repository}")), &tag(reference))
}

async fn progress(fixture: &Fixture) -> Progress {
    let state = fixture.jobs.ledger.baselines.state("core-images").await.unwrap();
    state.unwrap().value.progress
}

#[tokio::test]
async fn a_rule_over_a_thousand_tags_copies_none_of_them_then_each_that_moves() {
    let (a, b) = (
        EmbeddedRegistry::builder().page_size(70),
        EmbeddedRegistry::builder().page_size(70),
    );
    let fixture = Fixture::of(a, b, &rule("", "")).await;
    let [old, new] = [1, 2].map(image);
    for repository in 0..20 {
        let app = name(&format!("core/app-{repository}"));
        old.seed_into(&fixture.a, &app, &tag("v0"));
        new.seed_into(&fixture.a, &app, &tag("new"));
        for number in 1..50 {
            fixture.a.tag(&app, &tag(&format!("v{number}")), &old.root);
        }
    }
    for _ in 0..3 {
        assert_eq!(sweep_later(&fixture).await, 0);
    }
    assert_eq!(progress(&fixture).await, Progress::Complete);
    // A verification ignores the baseline and says why they are missing.
    let missing = unequal(&fixture, Depth::Manifests).await;
    assert_eq!(missing.len(), 20 * 51);
    let is_old =
        |(_, state, code): &(String, Finding, String)| *state == Finding::Missing && code == "NEVER_REPLICATED";
    assert!(missing.iter().all(is_old), "{:?}", missing.first());
    // By event each is copied, also one that is as it was.
    fixture.a.tag(&name("core/app-3"), &tag("v7"), &new.root);
    fixture.a.tag(&name("core/app-9"), &tag("v48"), &new.root);
    put(&fixture.a, "core/app-20", "v1", &new);
    fixture.a.tag(&name("core/app-5"), &tag("v50"), &old.root);
    assert_eq!(
        sweep_later(&fixture).await,
        4,
        "two that moved, one of a new repository, one that is new"
    );
    assert_eq!(copied(&fixture, "app-3", "v7").as_ref(), Some(&new.root));
    assert_eq!(copied(&fixture, "app-9", "v48").as_ref(), Some(&new.root));
    assert_eq!(copied(&fixture, "app-20", "v1").as_ref(), Some(&new.root));
    assert_eq!(copied(&fixture, "app-5", "v50").as_ref(), Some(&old.root));
    assert_eq!(sweep_later(&fixture).await, 4, "and nothing else");
}

#[tokio::test]
async fn an_accepted_event_overrides_the_baseline_and_what_it_brought_is_healed() {
    let fixture = fixture_of(&rule("", "")).await;
    let sample = image(1);
    fixture.push(&sample);
    assert_eq!(sweep_later(&fixture).await, 0);
    fixture.tell(&fixture.event("v1", &sample.root)).await;
    fixture.drain().await;
    fixture.assert_equal(&sample);
    fixture.b.forget(&fixture.to(), &sample.root);
    assert_eq!(sweep_later(&fixture).await, 2, "what Transship wrote is written again");
    fixture.assert_equal(&sample);
}

#[tokio::test]
async fn an_event_whose_task_fails_is_not_forgotten() {
    // Permanently: the sweep tries it again when the rule changes. Temporarily, until the task gives up: at once.
    for (status, tries_at_once) in [(403, false), (503, true)] {
        let fixture = fixture_of(&rule("", "")).await;
        let sample = image(1);
        fixture.push(&sample);
        assert_eq!(sweep_later(&fixture).await, 0);
        fixture
            .b
            .set_faults(Some(always("POST", "/blobs/uploads/", Action::status(status))));
        fixture.tell(&fixture.event("v1", &sample.root)).await;
        fixture.drain().await;
        assert_eq!(fixture.states().await, ["failed"]);
        fixture.b.set_faults(None);
        if !tries_at_once {
            assert_eq!(sweep_later(&fixture).await, 1);
            change_to(&fixture, &rule("", ", existing: overwrite"));
        }
        assert_eq!(sweep_later(&fixture).await, 2, "{status}");
        fixture.assert_equal(&sample);
    }
}

#[tokio::test]
async fn a_push_between_the_rule_and_its_baseline_is_copied_if_its_event_was_accepted() {
    let fixture = fixture_of(&rule("", "")).await;
    let [pushed, moved] = [1, 2].map(image);
    fixture.push_and_tell(&pushed).await;
    // The task waits while the rule is swept for the first time.
    fixture.queue.send(&[Outgoing::now(Sweep::default())]).await.unwrap();
    fixture.drain().await;
    fixture.assert_equal(&pushed);
    // What was copied before the baseline was complete has changed since, if it differs.
    fixture.push(&moved);
    sweep_later(&fixture).await;
    fixture.assert_equal(&moved);
}

#[tokio::test]
async fn backfill_copies_what_existed_and_the_rule_is_not_new_afterwards() {
    let fixture = fixture_of(&rule("", "")).await;
    let [old, new] = [1, 2].map(image);
    fixture.push(&old);
    assert_eq!(sweep_later(&fixture).await, 0);
    change_to(&fixture, &rule("", ", backfill: true"));
    assert_eq!(sweep_later(&fixture).await, 1);
    fixture.assert_equal(&old);
    change_to(&fixture, &rule("", ""));
    fixture.b.forget(&fixture.to(), &old.root);
    put(&fixture.a, "core/app", "v2", &new);
    assert_eq!(sweep_later(&fixture).await, 3);
    assert_eq!(progress(&fixture).await, Progress::Complete);
}

#[tokio::test]
async fn a_wider_filter_leaves_what_it_selects_newly_and_copies_what_changed() {
    let fixture = fixture_of(&rule(", tag: \"a*\"", "")).await;
    let [old, new] = [1, 2].map(image);
    for reference in ["a1", "a2", "b1", "b2"] {
        put(&fixture.a, "core/app", reference, &old);
    }
    assert_eq!(sweep_later(&fixture).await, 0);
    // Three pushes without notifications, of which the rule selects two; then it is widened.
    for reference in ["a2", "a3", "b2"] {
        put(&fixture.a, "core/app", reference, &new);
    }
    change_to(&fixture, &rule(", tag: \"*\"", ""));
    assert_eq!(sweep_later(&fixture).await, 2);
    for (reference, expected) in [
        ("a1", None),
        ("a2", Some(&new)),
        ("a3", Some(&new)),
        ("b1", None),
        ("b2", None),
    ] {
        let expected = expected.map(|sample| &sample.root);
        assert_eq!(copied(&fixture, "app", reference).as_ref(), expected, "{reference}");
    }
    put(&fixture.a, "core/app", "b1", &new);
    assert_eq!(sweep_later(&fixture).await, 3, "from now on it follows");
}

#[tokio::test]
async fn a_filter_that_is_narrowed_and_widened_leaves_what_moved_in_between() {
    let fixture = fixture_of(&rule("", "")).await;
    let [old, between, after] = [1, 2, 3].map(image);
    for reference in ["a", "b"] {
        put(&fixture.a, "core/app", reference, &old);
    }
    assert_eq!(sweep_later(&fixture).await, 0);
    change_to(&fixture, &rule(", tag: a", ""));
    put(&fixture.a, "core/app", "b", &between);
    assert_eq!(sweep_later(&fixture).await, 0);
    change_to(&fixture, &rule("", ""));
    assert_eq!(
        sweep_later(&fixture).await,
        0,
        "the rule did not select it when it moved"
    );
    assert_eq!(sweep_later(&fixture).await, 0);
    put(&fixture.a, "core/app", "b", &after);
    assert_eq!(sweep_later(&fixture).await, 1);
}

#[tokio::test]
async fn more_latest_tags_and_more_kinds_are_a_wider_filter() {
    let fixture = fixture_of(&rule(", tag: { semver: \"*\", latest: 1 }", ", kinds: [image]")).await;
    let (old, new, chart) = (image(1), image(2), images::helm_chart(3));
    for reference in ["1.0.0", "1.1.0", "1.2.0"] {
        put(&fixture.a, "core/app", reference, &old);
    }
    put(&fixture.a, "core/chart", "1.0.0", &chart);
    assert_eq!(sweep_later(&fixture).await, 0);
    put(&fixture.a, "core/app", "1.3.0", &new);
    put(&fixture.a, "core/chart", "1.1.0", &chart);
    change_to(
        &fixture,
        &rule(", tag: { semver: \"*\", latest: 2 }", ", kinds: [image, chart]"),
    );
    assert_eq!(sweep_later(&fixture).await, 1, "the image that was pushed since");
    assert_eq!(copied(&fixture, "app", "1.3.0").as_ref(), Some(&new.root));
    put(&fixture.a, "core/chart", "1.2.0", &chart);
    assert_eq!(sweep_later(&fixture).await, 2);
}

#[tokio::test]
async fn another_destination_is_a_new_rule() {
    let fixture = fixture_of(&rule("", "")).await;
    let [old, new] = [1, 2].map(image);
    fixture.push_and_tell(&old).await;
    assert_eq!(sweep_later(&fixture).await, 1);
    change_to(
        &fixture,
        &rule("", "").replace("namespace: copy", "namespace: elsewhere"),
    );
    assert_eq!(sweep_later(&fixture).await, 1);
    fixture.push(&new);
    assert_eq!(sweep_later(&fixture).await, 2);
    let elsewhere = fixture.b.digest(&name("elsewhere/app"), &tag("v1"));
    assert_eq!(elsewhere.as_ref(), Some(&new.root));
}

#[tokio::test]
async fn a_rule_that_is_disabled_for_a_while_catches_up_and_one_that_was_removed_is_new() {
    let fixture = fixture_of(&rule("", "")).await;
    let [first, second, third, fourth] = [1, 2, 3, 4].map(image);
    fixture.push(&first);
    assert_eq!(sweep_later(&fixture).await, 0);
    change_to(&fixture, &rule("", ", enabled: false"));
    fixture.push(&second);
    assert_eq!(sweep_later(&fixture).await, 0);
    change_to(&fixture, &rule("", ""));
    assert_eq!(sweep_later(&fixture).await, 1);
    fixture.assert_equal(&second);
    change_to(&fixture, "  []\n");
    fixture.push(&third);
    assert_eq!(sweep_later(&fixture).await, 1);
    change_to(&fixture, &rule("", ""));
    assert_eq!(
        sweep_later(&fixture).await,
        1,
        "it existed before the rule that is there now"
    );
    fixture.push(&fourth);
    assert_eq!(sweep_later(&fixture).await, 2);
    fixture.assert_equal(&fourth);
}

#[tokio::test]
async fn the_rules_of_an_earlier_release_are_not_new() {
    let fixture = fixture_of(&rule("", "")).await;
    FirstSweep::new(Arc::clone(&fixture.ledger) as _)
        .begin(now(&fixture))
        .await
        .unwrap();
    fixture.push(&image(1));
    assert_eq!(sweep_later(&fixture).await, 1, "its sweeps copied what they found");
    let second = rule("", "")
        .replace("core-images", "second")
        .replace("namespace: copy", "namespace: other");
    change_to(&fixture, &format!("{}{second}", rule("", "")));
    assert_eq!(sweep_later(&fixture).await, 1, "a rule that is added later is new");
}

#[tokio::test]
async fn what_could_not_be_read_is_not_recorded_as_complete() {
    let fixture = fixture_of(&rule("", "")).await;
    let [old, new] = [1, 2].map(image);
    for app in ["a", "bad", "c"] {
        for reference in ["v1", "v2"] {
            put(&fixture.a, &format!("core/{app}"), reference, &old);
        }
    }
    fixture.a.set_faults(Some(Arc::new(Script::new([
        Fault::new("GET", "core/bad/tags/list", Action::status(418))
            .unwrap()
            .always(),
        Fault::new("HEAD", "core/a/manifests/v1", Action::status(418))
            .unwrap()
            .always(),
        Fault::new("GET", "core/a/manifests/v1", Action::status(418))
            .unwrap()
            .always(),
    ]))));
    assert_eq!(sweep_later(&fixture).await, 0);
    assert_eq!(progress(&fixture).await, Progress::Complete);
    fixture.a.set_faults(None);
    put(&fixture.a, "core/c", "v2", &new);
    assert_eq!(
        sweep_later(&fixture).await,
        1,
        "what can be read now existed before, as far as is known"
    );
    assert_eq!(sweep_later(&fixture).await, 1);
    for (app, reference) in [("a", "v1"), ("bad", "v1"), ("bad", "v3")] {
        put(&fixture.a, &format!("core/{app}"), reference, &new);
    }
    assert_eq!(sweep_later(&fixture).await, 4);
    for (app, reference) in [("a", "v1"), ("bad", "v1"), ("bad", "v3"), ("c", "v2")] {
        assert_eq!(
            copied(&fixture, app, reference).as_ref(),
            Some(&new.root),
            "{app}:{reference}"
        );
    }
}

#[tokio::test]
async fn a_catalog_that_is_refused_leaves_the_baseline_open() {
    let fixture = fixture_of(&rule("", "")).await;
    fixture.push(&image(1));
    fixture
        .a
        .set_faults(Some(always("GET", "_catalog", Action::status(403))));
    assert_eq!(sweep_later(&fixture).await, 0);
    assert!(matches!(progress(&fixture).await, Progress::Recording { .. }));
    fixture.a.set_faults(None);
    assert_eq!(sweep_later(&fixture).await, 0);
    assert_eq!(progress(&fixture).await, Progress::Complete);
}

#[tokio::test]
async fn a_baseline_that_is_cut_goes_on_where_it_was() {
    let builder = || EmbeddedRegistry::builder().page_size(3);
    let fixture = Fixture::of(builder(), builder(), &rule("", "")).await;
    let [old, new] = [1, 2].map(image);
    for number in 0..9 {
        put(&fixture.a, &format!("core/app-{number}"), "v1", &old);
    }
    // The registry is gone from the middle on, for longer than a sweep waits.
    let down = |path: &str| Fault::new("*", path, Action::status(503)).unwrap().always();
    fixture.a.set_faults(Some(Arc::new(Script::new([
        down("_catalog?n=3&last=core%2Fapp-5"),
        down("last=core/app-5"),
    ]))));
    assert_eq!(sweep_later(&fixture).await, 0);
    let Progress::Recording { after: Some(_) } = progress(&fixture).await else {
        panic!("it is not at its end: {:?}", progress(&fixture).await);
    };
    fixture.a.set_faults(None);
    put(&fixture.a, "core/app-0", "v1", &new);
    put(&fixture.a, "core/app-1", "v2", &new);
    assert_eq!(sweep_later(&fixture).await, 0, "the rest is recorded first");
    assert_eq!(progress(&fixture).await, Progress::Complete);
    assert_eq!(
        sweep_later(&fixture).await,
        2,
        "what moved behind the walk has changed since"
    );
    assert_eq!(copied(&fixture, "app-0", "v1").as_ref(), Some(&new.root));
    assert_eq!(copied(&fixture, "app-1", "v2").as_ref(), Some(&new.root));
}

#[tokio::test]
async fn a_message_that_is_received_again_or_ends_early_records_each_tag_once() {
    for seed in 0..10 {
        let fixture = fixture_of(&rule("", "")).await.anew(seed);
        for number in 0..40 {
            put(&fixture.a, &format!("core/app-{number}"), "v1", &image(number));
        }
        let over = Some(TimeBudget::until(Instant::now(), Duration::from_secs(1)));
        let order = r#"{"version":1,"sweep":{"started":"2026-01-01T00:00:00Z"}}"#;
        fixture.work(order, over).await;
        fixture.drain().await;
        assert_eq!(fixture.tasks().await.len(), 0, "seed {seed}");
        put(&fixture.a, "core/app-7", "v1", &image(99));
        assert_eq!(sweep_later(&fixture).await, 1, "seed {seed}");
    }
}

#[tokio::test]
async fn signatures_that_existed_are_left_and_those_that_come_are_copied() {
    let fixture = fixture_of(&rule("", "")).await;
    let signed = images::with_cosign_signature(1);
    let bare = crate::referrers::bare(&signed);
    fixture.push(&signed);
    bare.seed_into(&fixture.b, &fixture.to(), &tag("v1"));
    // The first sweep of a ledger beside an image at the destination would report that the ledger was lost.
    put(&fixture.a, "core/other", "v1", &image(9));
    change_to(&fixture, "  []\n");
    sweep_later(&fixture).await;
    change_to(&fixture, &rule("", ""));
    for _ in 0..2 {
        assert_eq!(sweep_later(&fixture).await, 0);
    }
    let referrer = crate::referrers::refer(&fixture, &signed.root, "since");
    fixture.tell(&fixture.event(&referrer.to_string(), &referrer)).await;
    fixture.drain().await;
    assert_eq!(fixture.states().await, ["succeeded"], "the destination has its subject");
}

/// 1,000 tags of which the destination has half, under a ledger that knows nothing.
fn lost(fixture: &Fixture) -> Sample {
    let old = image(1);
    for repository in 0..10 {
        let (from, to) = (format!("core/app-{repository}"), format!("copy/app-{repository}"));
        old.seed_into(&fixture.a, &name(&from), &tag("v000"));
        for number in 1..100 {
            fixture.a.tag(&name(&from), &tag(&format!("v{number:03}")), &old.root);
        }
        if repository % 2 == 0 {
            old.seed_into(&fixture.b, &name(&to), &tag("v000"));
            for number in 1..100 {
                fixture.b.tag(&name(&to), &tag(&format!("v{number:03}")), &old.root);
            }
        }
    }
    old
}

#[tokio::test]
async fn with_a_lost_ledger_nothing_is_copied_or_left_silently_until_a_run() {
    let metrics = Metrics::default();
    let _guard = metrics.record();
    let fixture = fixture_of(&rule("", "")).await;
    lost(&fixture);
    for number in 1..=3 {
        assert_eq!(sweep_later(&fixture).await, 0);
        assert_eq!(progress(&fixture).await, Progress::Lost);
        assert!(metrics.take("LedgerLost") >= 1, "sweep {number} reports what differs");
    }
    let new = image(2);
    // A tag that was equal has moved since, so it is copied; one that differed before looks the same as one that moved.
    put(&fixture.a, "core/app-0", "v005", &new);
    put(&fixture.a, "core/app-1", "v005", &new);
    assert_eq!(sweep_later(&fixture).await, 1);
    assert_eq!(copied(&fixture, "app-0", "v005").as_ref(), Some(&new.root));
    // A run offers everything; then the sweep heals what is still missing.
    let rule = fixture
        .configuration
        .current()
        .document
        .rule("core-images")
        .unwrap()
        .selection
        .clone();
    let baselines = &fixture.jobs.ledger.baselines;
    baselines.settle("core-images", &rule, now(&fixture)).await.unwrap();
    metrics.take("LedgerLost");
    assert_eq!(sweep_later(&fixture).await, 501);
    assert_eq!(metrics.take("LedgerLost"), 0);
}

#[tokio::test]
async fn a_rule_whose_destination_is_empty_is_lost_with_the_ledger() {
    let second = rule("", "")
        .replace("core-images", "second")
        .replace("namespace: copy", "namespace: other");
    let fixture = fixture_of(&format!("{second}{}", rule("", ""))).await;
    let sample = image(1);
    put(&fixture.a, "core/app", "v1", &sample);
    put(&fixture.b, "copy/app", "v1", &sample);
    for _ in 0..2 {
        assert_eq!(sweep_later(&fixture).await, 0);
    }
    let state = fixture.jobs.ledger.baselines.state("second").await.unwrap().unwrap();
    assert_eq!(state.value.progress, Progress::Lost, "its images may have been there");
}

#[tokio::test]
async fn what_is_as_before_the_rule_can_be_asked() {
    let fixture = fixture_of(&rule("", "")).await;
    let [old, new] = [1, 2].map(image);
    fixture.push(&old);
    sweep_later(&fixture).await;
    let (from, v1, v2) = (fixture.from(), tag("v1"), tag("v2"));
    let baselines = &fixture.jobs.ledger.baselines;
    let found = baselines
        .unchanged("core-images", &from, &[(&v1, &old.root), (&v2, &old.root)])
        .await
        .unwrap();
    assert_eq!(found.into_iter().collect::<Vec<_>>(), std::slice::from_ref(&v1));
    let found = baselines
        .unchanged("core-images", &from, &[(&v1, &new.root)])
        .await
        .unwrap();
    assert!(found.is_empty(), "it moved");
}

#[tokio::test]
async fn a_rule_is_swept_as_soon_as_the_document_has_it() {
    let fixture = fixture_of("  []\n").await;
    let tick = async || {
        fixture.queue.send(&[Outgoing::now(Due::default())]).await.unwrap();
        fixture.drain().await;
    };
    let [old, new] = [1, 2].map(image);
    fixture.push(&old);
    change_to(&fixture, &rule("", ""));
    tick().await;
    let state = fixture.jobs.ledger.baselines.state("core-images").await.unwrap();
    assert!(state.is_none(), "nothing sweeps here yet");
    change_to(&fixture, "  []\n");
    sweep_later(&fixture).await;
    change_to(&fixture, &rule("", ""));
    tick().await;
    assert_eq!(progress(&fixture).await, Progress::Complete);
    fixture.push(&new);
    tick().await;
    assert_eq!(
        fixture.tasks().await.len(),
        0,
        "a rule that is known waits for the sweep"
    );
    assert_eq!(sweep_later(&fixture).await, 1);
}
