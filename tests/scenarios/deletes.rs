//! Deletes between two docker-registries (2.8.2): deletes by digest at the source, and a destination without deletes by tag.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

use std::time::Duration;

use transship_tests::docker_registry::Options;
use transship_tests::{DockerRegistry, Document, Image, Scenario, check, http, wait};

/// Deletes a manifest of the source by its digest, and thereby its tags.
fn delete(scenario: &Scenario, digest: &str) {
    let path = format!("/v2/core/app/manifests/{digest}");
    let answer = http::request("DELETE", &scenario.source.host(), &path, &[], &[]).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
}

#[test]
fn a_registry_without_deletes_by_tag_keeps_its_tags_and_says_so() {
    if DockerRegistry::skipped() {
        return;
    }
    let mut scenario = Scenario::prepare(&Options::default());
    let document = Document::between(&scenario.source.host(), &scenario.destination.host()).rule(
        "core",
        "core",
        "copy",
        "deletes: propagate",
    );
    scenario.serve.start(&document);
    let (image, other) = (Image::single(1, &[1000]), Image::single(2, &[1000]));
    for (image, tag) in [(&image, "v1"), (&image, "v2"), (&other, "v3")] {
        image.push(&scenario.source.host(), "core/app", tag);
        scenario.assert_arrives("app", tag);
    }
    scenario.serve.until_at_rest(Duration::from_secs(30));
    delete(&scenario, &image.root().digest);
    let ended = wait::until(Duration::from_mins(2), || {
        let tasks = scenario.serve.tasks();
        let deletes = tasks.into_iter().filter(|task| task["action"] == "delete");
        let ended: Vec<_> = deletes.filter(|task| task["state"] == "failed").collect();
        if ended.len() == 2 {
            Ok(ended)
        } else {
            Err(format!("{ended:?}"))
        }
    });
    let mut deletes = ended.unwrap();
    deletes.sort_by_key(|task| task["source"].to_string());
    for (task, tag) in deletes.iter().zip(["v1", "v2"]) {
        assert!(
            task["source"].as_str().unwrap().ends_with(&format!("core/app:{tag}")),
            "{task}"
        );
        assert_eq!(task["state"], "failed", "{task}");
        assert_eq!(task["code"], "TAG_DELETE_UNSUPPORTED", "{task}");
    }
    let tags = check::tags(&scenario.destination.host(), "copy/app").unwrap();
    assert_eq!(tags, ["v1", "v2", "v3"]);
    let requests = scenario.destination.requests_at_rest();
    assert!(
        !requests
            .iter()
            .any(|request| request.starts_with("DELETE") && request.contains("sha256"))
    );
}
