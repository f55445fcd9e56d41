//! An invalid image ends at once with its code and does not delay others; an unavailable destination is retried.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

use std::time::Duration;

use serde_json::Value;
use transship_tests::docker_registry::Options;
use transship_tests::{DockerRegistry, Image, Scenario, check, skopeo, until};

/// The one task to `copy/{name}:v1`, once it has ended.
fn ended_task(scenario: &Scenario, name: &str) -> Value {
    scenario.serve.until_at_rest(Duration::from_mins(1));
    let mut tasks = scenario.serve.tasks_to(&format!("/copy/{name}:v1"));
    assert_eq!(tasks.len(), 1, "{tasks:?}");
    tasks.remove(0)
}

fn assert_failed_at_once(scenario: &Scenario, name: &str, codes: &[&str]) {
    let task = ended_task(scenario, name);
    assert_eq!(task["state"], "failed", "{task}");
    assert_eq!(task["attempts"], 1, "{task}");
    assert!(
        codes.contains(&task["code"].as_str().unwrap_or_default()),
        "none of {codes:?}: {task}"
    );
    let there = check::digest(&scenario.destination.host(), &format!("copy/{name}"), "v1").unwrap();
    assert_eq!(there, None, "a bad image became visible");
    let execution = scenario
        .serve
        .executions()
        .into_iter()
        .find(|execution| execution["id"] == task["execution"]);
    assert_eq!(execution.unwrap()["state"], "failed");
}

/// A good image before and one after the bad one: both must arrive.
fn with_good_neighbours(options: &Options, spoil: impl FnOnce(&Scenario)) -> Scenario {
    let mut scenario = Scenario::prepare(options);
    let source = scenario.source.host();
    // Transship is not running yet, so the registry keeps its notifications until the image has been damaged.
    Image::single(1, &[2000]).push(&source, "core/before", "v1");
    spoil(&scenario);
    Image::single(2, &[2000]).push(&source, "core/after", "v1");
    scenario.start_serve();
    scenario.assert_arrives("before", "v1");
    scenario.assert_arrives("after", "v1");
    scenario
}

#[test]
fn an_image_whose_blob_is_missing_fails_with_its_code_beside_good_neighbours() {
    if DockerRegistry::skipped() {
        return;
    }
    let scenario = with_good_neighbours(&Options::default(), |scenario| {
        let bad = Image::single(11, &[3000, 4000]);
        bad.push(&scenario.source.host(), "core/bad", "v1");
        std::fs::remove_file(scenario.source.blob_file(&bad.blobs[1].digest)).unwrap();
    });
    assert_failed_at_once(&scenario, "bad", &["BLOB_NOT_FOUND"]);
}

#[test]
fn an_image_whose_blob_has_other_bytes_fails_with_its_code_beside_good_neighbours() {
    if DockerRegistry::skipped() {
        return;
    }
    let scenario = with_good_neighbours(&Options::default(), |scenario| {
        let bad = Image::single(12, &[3000, 400_000]);
        bad.push(&scenario.source.host(), "core/bad", "v1");
        let file = scenario.source.blob_file(&bad.blobs[2].digest);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[200_000] ^= 1;
        std::fs::write(file, bytes).unwrap();
    });
    assert_failed_at_once(&scenario, "bad", &["BLOB_DIGEST_MISMATCH"]);
    assert_eq!(
        check::tags(&scenario.destination.host(), "copy/bad").unwrap(),
        Vec::<String>::new()
    );
}

#[test]
fn a_schema_1_manifest_fails_with_its_code_beside_good_neighbours() {
    if DockerRegistry::skipped() {
        return;
    }
    let scenario = with_good_neighbours(
        &Options {
            schema1: true,
            ..Options::default()
        },
        |scenario| {
            let layout = tempfile::tempdir().unwrap();
            Image::single(13, &[1000]).write_layout(layout.path(), "v1");
            let source = scenario.source.host();
            skopeo::copy(
                &["--format", "v2s1"],
                &format!("oci:{}:v1", layout.path().display()),
                &format!("docker://{source}/core/bad:v1"),
            );
        },
    );
    assert_failed_at_once(&scenario, "bad", &["MANIFEST_SCHEMA1_UNSUPPORTED"]);
}

#[test]
fn a_tag_that_is_gone_before_its_copy_fails_with_its_code() {
    if DockerRegistry::skipped() {
        return;
    }
    let scenario = with_good_neighbours(&Options::default(), |scenario| {
        let gone = Image::single(14, &[1000]);
        let source = scenario.source.host();
        gone.push(&source, "core/bad", "v1");
        let path = format!("/v2/core/bad/manifests/{}", gone.root().digest);
        let deleted = transship_tests::http::request("DELETE", &source, &path, &[], &[]).unwrap();
        assert_eq!(deleted.status, 202, "{}", deleted.text());
    });
    // Not at once: an event may be faster than its tag.
    let task = ended_task(&scenario, "bad");
    assert_eq!(
        (task["state"].as_str(), task["code"].as_str()),
        (Some("failed"), Some("SOURCE_NOT_FOUND")),
        "{task}"
    );
}

#[test]
fn an_unreachable_destination_is_tried_again_and_says_when() {
    if DockerRegistry::skipped() {
        return;
    }
    let mut scenario = Scenario::start();
    scenario.destination.stop();
    Image::single(21, &[2000]).push(&scenario.source.host(), "core/app", "v1");
    let waiting = until(Duration::from_mins(1), || {
        let tasks = scenario.serve.tasks_to("/copy/app:v1");
        let waiting = tasks.iter().find(|task| task["state"] == "waiting").cloned();
        waiting.ok_or_else(|| format!("no task waits: {tasks:?}"))
    });
    let waiting = waiting.unwrap();
    assert!(
        waiting["next"].is_string() && waiting["code"].is_string() && waiting["finished"].is_null(),
        "{waiting}"
    );
    assert!(waiting["next"].as_str() > waiting["created"].as_str(), "{waiting}");
    scenario.destination.start_again();
    scenario.assert_arrives("app", "v1");
    let task = ended_task(&scenario, "app");
    assert_eq!(task["state"], "succeeded", "{task}");
    assert!(task["attempts"].as_u64() >= Some(2), "{task}");
}
