//! Every kind of image that is pushed to one registry is copied to another, byte for byte, because of a notification.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests, and what they share")]

use std::time::Duration;

use serde_json::Value;
use transship_tests::docker_registry::Options;
use transship_tests::images::fallback_index;
use transship_tests::serve::is_terminal;
use transship_tests::{DockerRegistry, Image, Scenario, Watch, assert_consistent, check, push, skopeo, until};

/// Pushes an image's layout with skopeo; `options` as `skopeo copy` takes them.
fn push_by_skopeo(scenario: &Scenario, image: &Image, name: &str, tag: &str, options: &[&str]) {
    let layout = tempfile::tempdir().unwrap();
    image.write_layout(layout.path(), tag);
    skopeo::copy(
        options,
        &format!("oci:{}:{tag}", layout.path().display()),
        &format!("docker://{}/core/{name}:{tag}", scenario.source.host()),
    );
}

/// A task has all fields of the contract. The push of a manifest that is a part of an image leaves none.
fn assert_well_recorded(task: &Value) {
    assert_eq!(task["rule"], "core", "{task}");
    assert_eq!(task["action"], "copy", "{task}");
    assert!(task["attempts"].as_u64() >= Some(1), "{task}");
    let text = |key: &str| task[key].as_str().unwrap_or_default();
    for key in ["id", "execution", "source", "destination", "created", "finished"] {
        assert!(!text(key).is_empty(), "{key} of {task}");
    }
    // RFC 3339 in one zone sorts as text, once the Z is gone that would stand where another has more digits.
    let time = |key: &str| text(key).trim_end_matches('Z').to_owned();
    assert!(time("created") <= time("finished"), "{task}");
    match text("state") {
        "succeeded" | "unchanged" => assert!(text("digest").starts_with("sha256:"), "{task}"),
        _ => panic!("{task}"),
    }
}

/// Every task and every execution succeeded and has all fields of the contract.
fn assert_ledger_tells_of_success(scenario: &Scenario) {
    let tasks = scenario.serve.until_at_rest(Duration::from_secs(30));
    tasks.iter().for_each(assert_well_recorded);
    let executions = scenario.serve.executions();
    assert!(!executions.is_empty());
    for execution in &executions {
        assert_eq!(execution["state"], "succeeded", "{execution}");
        assert_eq!(execution["trigger"], "event", "{execution}");
        assert_eq!(execution["success_ratio"].as_f64(), Some(1.0), "{execution}");
        assert!(execution["duration_ms"].is_u64(), "{execution}");
        for task in tasks.iter().filter(|task| task["execution"] == execution["id"]) {
            assert_eq!(task["rule"], execution["rule"]);
        }
    }
}

#[test]
fn what_skopeo_pushes_arrives() {
    if DockerRegistry::skipped() {
        return;
    }
    let scenario = Scenario::start();
    let watch = Watch::start(&scenario.destination.host());
    push_by_skopeo(
        &scenario,
        &Image::single(1, &[200_000, 50_000, 10]),
        "single",
        "v1",
        &[],
    );
    push_by_skopeo(
        &scenario,
        &Image::single(2, &[30_000]),
        "docker/schema2",
        "v1",
        &["--format", "v2s2"],
    );
    push_by_skopeo(
        &scenario,
        &Image::multi_platform(6, 9000),
        "docker/list",
        "v1",
        &["--all", "--format", "v2s2"],
    );
    push_by_skopeo(
        &scenario,
        &Image::multi_platform(3, 60_000),
        "deep/er/multi",
        "v1.2.3",
        &["--all"],
    );
    push_by_skopeo(
        &scenario,
        &Image::chart(4),
        "charts/app",
        "0.1.4",
        &["--preserve-digests"],
    );
    push_by_skopeo(
        &scenario,
        &Image::artifact(5),
        "things/artifact",
        "latest",
        &["--preserve-digests"],
    );
    for (name, tag) in [
        ("single", "v1"),
        ("docker/schema2", "v1"),
        ("docker/list", "v1"),
        ("deep/er/multi", "v1.2.3"),
        ("charts/app", "0.1.4"),
        ("things/artifact", "latest"),
    ] {
        scenario.assert_arrives(name, tag);
    }
    assert_ledger_tells_of_success(&scenario);
    assert_eq!(assert_consistent(&scenario.destination.host()), 6);
    watch.assert_nothing_was_half_there();
}

#[test]
fn what_polite_clients_do_not_push_arrives() {
    if DockerRegistry::skipped() {
        return;
    }
    // With references in the events, which change their shape but not their meaning.
    let mut scenario = Scenario::prepare(&Options {
        include_references: true,
        ..Options::default()
    });
    scenario.start_serve();
    let watch = Watch::start(&scenario.destination.host());
    let images = [
        ("plain", Image::uncompressed_and_empty(11)),
        ("large", Image::large_manifest(12, 3_900_000)),
        ("sha512", Image::sha512_layer(13)),
        ("nested", Image::nested(14)),
        ("foreign", Image::foreign_layer_and_unknown_fields(15)),
    ];
    assert!(images[1].1.root().bytes.len() > 3_700_000 && images[1].1.root().bytes.len() < 4 * 1024 * 1024);
    for (name, image) in &images {
        image.push(&scenario.source.host(), &format!("core/{name}"), "v1");
    }
    for (name, _) in &images {
        scenario.assert_arrives(name, "v1");
    }
    assert_ledger_tells_of_success(&scenario);
    assert_consistent(&scenario.destination.host());
    watch.assert_nothing_was_half_there();
}

#[test]
fn referrers_and_signatures_arrive_whether_pushed_before_or_after_their_subject() {
    if DockerRegistry::skipped() {
        return;
    }
    let scenario = Scenario::start();
    let source = scenario.source.host();
    let hang = |name: &str, image: &Image, seed: u64| {
        let repository = format!("core/{name}");
        let fallback_tag = image.root().digest.replace(':', "-");
        let referrer = Image::referrer(seed, image.root());
        referrer.push(&source, &repository, &referrer.root().digest);
        let fallback = fallback_index(&[&referrer]);
        push::manifest(
            &source,
            &repository,
            &fallback_tag,
            &fallback.media_type,
            &fallback.bytes,
        );
        Image::artifact(seed + 1).push(&source, &repository, &format!("{fallback_tag}.sig"));
    };

    let before = Image::single(21, &[4000]);
    hang("before", &before, 22);
    before.push(&source, "core/before", "v1");
    scenario.assert_arrives("before", "v1");

    let after = Image::single(24, &[4000]);
    after.push(&source, "core/after", "v1");
    scenario.assert_arrives("after", "v1");
    hang("after", &after, 25);
    scenario.assert_arrives("after", "v1");
    scenario.serve.until_at_rest(Duration::from_secs(30));
    assert_consistent(&scenario.destination.host());
}

#[test]
fn what_no_rule_matches_stays_where_it_is() {
    if DockerRegistry::skipped() {
        return;
    }
    let mut scenario = Scenario::prepare(&Options::default());
    let document = transship_tests::Document::between(&scenario.source.host(), &scenario.destination.host())
        .rule("core", "core", "copy", "enabled: true")
        .rule("off", "other", "copy", "enabled: false");
    scenario.serve.start(&document);
    let source = scenario.source.host();
    Image::single(31, &[1000]).push(&source, "corex/app", "v1");
    Image::single(32, &[1000]).push(&source, "other/app", "v1");
    Image::single(33, &[1000]).push(&source, "core/app", "v1");
    // The registry delivers in order: when the last push arrived, the first two were heard.
    scenario.assert_arrives("app", "v1");
    scenario.serve.until_at_rest(Duration::from_secs(30));
    assert_eq!(check::repositories(&scenario.destination.host()).unwrap(), ["copy/app"]);
}

#[test]
fn a_second_push_of_the_same_image_moves_nothing() {
    if DockerRegistry::skipped() {
        return;
    }
    let scenario = Scenario::start();
    let image = Image::multi_platform(41, 3000);
    image.push(&scenario.source.host(), "core/app", "v1");
    scenario.assert_arrives("app", "v1");
    scenario.serve.until_at_rest(Duration::from_secs(30));
    let before = scenario.destination.requests_at_rest().len();
    image.push_root(&scenario.source.host(), "core/app", "v1");
    let second = until(Duration::from_secs(30), || {
        let tasks = scenario.serve.tasks_to("copy/app:v1");
        if tasks.len() == 2 && tasks.iter().all(is_terminal) {
            Ok(tasks)
        } else {
            Err(format!("{tasks:?}"))
        }
    });
    let states: Vec<_> = second.unwrap().iter().map(|task| task["state"].to_string()).collect();
    assert!(states.iter().any(|state| state == "\"unchanged\""), "{states:?}");
    let asked = scenario.destination.requests_at_rest().split_off(before);
    let writes: Vec<_> = asked
        .iter()
        .filter(|request| !request.starts_with("GET") && !request.starts_with("HEAD"))
        .collect();
    assert!(writes.is_empty(), "{writes:?}");
}
