//! The four policies for an image of another writer that already has the destination's tag.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

use std::time::Duration;

use serde_json::Value;
use transship_tests::docker_registry::Options;
use transship_tests::{DockerRegistry, Document, Image, Scenario, assert_equal, check};

/// A stranger's image lies at `copy/app:v1`; then `core/app:v1` is pushed under a rule of that policy. The stage, the
/// stranger's image, and the task as it ended.
fn push_onto_a_strangers_tag(policy: &str) -> (Scenario, Image, Value) {
    let mut scenario = Scenario::prepare(&Options::default());
    let stranger = Image::single(1, &[2000]);
    stranger.push(&scenario.destination.host(), "copy/app", "v1");
    let document =
        Document::between(&scenario.source.host(), &scenario.destination.host()).rule("core", "core", "copy", policy);
    scenario.serve.start(&document);
    Image::single(2, &[3000]).push(&scenario.source.host(), "core/app", "v1");
    let mut tasks = scenario.serve.until_at_rest(Duration::from_secs(30));
    assert_eq!(tasks.len(), 1, "{tasks:?}");
    (scenario, stranger, tasks.remove(0))
}

fn assert_kept(policy: &str) {
    let (scenario, stranger, task) = push_onto_a_strangers_tag(policy);
    assert_eq!(task["state"], "kept", "{task}");
    assert!(task["code"].is_string(), "what was kept says why: {task}");
    let there = check::digest(&scenario.destination.host(), "copy/app", "v1").unwrap();
    assert_eq!(there.as_ref(), Some(&stranger.root().digest));
    assert_eq!(check::tags(&scenario.destination.host(), "copy/app").unwrap(), ["v1"]);
}

fn assert_replaced(scenario: &Scenario, task: &Value) {
    assert_eq!(task["state"], "succeeded", "{task}");
    assert_equal(
        &scenario.source.host(),
        "core/app",
        "v1",
        &scenario.destination.host(),
        "copy/app",
        "v1",
    );
}

#[test]
fn follow_keeps_what_somebody_else_wrote() {
    if !DockerRegistry::skipped() {
        assert_kept("existing: follow");
    }
}

#[test]
fn keep_keeps_what_is_there() {
    if !DockerRegistry::skipped() {
        assert_kept("existing: keep");
    }
}

#[test]
fn follow_replaces_what_it_wrote_itself() {
    if DockerRegistry::skipped() {
        return;
    }
    let scenario = Scenario::start();
    for seed in [11, 12] {
        Image::single(seed, &[1000]).push(&scenario.source.host(), "core/app", "v1");
        scenario.assert_arrives("app", "v1");
        scenario.serve.until_at_rest(Duration::from_secs(30));
    }
}

#[test]
fn overwrite_replaces_what_somebody_else_wrote() {
    if DockerRegistry::skipped() {
        return;
    }
    let (scenario, _, task) = push_onto_a_strangers_tag("existing: overwrite");
    assert_replaced(&scenario, &task);
    assert_eq!(check::tags(&scenario.destination.host(), "copy/app").unwrap(), ["v1"]);
}

#[test]
fn backup_replaces_it_after_the_old_image_got_a_tag() {
    if DockerRegistry::skipped() {
        return;
    }
    let (scenario, stranger, task) = push_onto_a_strangers_tag("existing: backup");
    assert_replaced(&scenario, &task);
    let destination = scenario.destination.host();
    let tags = check::tags(&destination, "copy/app").unwrap();
    let named: Vec<_> = tags.iter().filter(|tag| *tag != "v1").collect();
    assert_eq!(named.len(), 1, "{tags:?}");
    let saved = check::digest(&destination, "copy/app", named[0]).unwrap();
    assert_eq!(saved.as_ref(), Some(&stranger.root().digest));
    check::whole(&destination, "copy/app", named[0]).unwrap();
}
