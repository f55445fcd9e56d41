//! An event that arrives before its tag: Distribution sends the notification of a manifest before it writes the tag, so that
//! the first read at the source may find no tag, or the previous one. No image may be lost because of this.
//!
//! (Seen with 2.8.2 on a busy machine. Version 3 has the same order: `PutManifest` in `registry/handlers/manifests.go`
//! calls `manifests.Put`, from which the event comes, and then `tags.Tag`.)

use std::time::Duration;

use transship_tests::docker_registry::Options;
use transship_tests::{DockerRegistry, Image, Scenario, delivery, until};

/// A scenario whose source sends no notifications: every event is posted by the test.
fn silent_scenario() -> Scenario {
    let nowhere = Options {
        notify: Some("http://127.0.0.1:9/".to_owned()),
        ..Options::default()
    };
    let mut scenario = Scenario::prepare(&nowhere);
    scenario.start_serve();
    scenario
}

/// Says that `core/app:v1` names `image` now, and waits until that was looked at `looks` times, all events together.
fn tell_and_await_a_look(scenario: &Scenario, image: &Image, number: u32, looks: u64) {
    let event = delivery::push_event(&scenario.source.host(), "core/app", "v1", &image.root().digest, number);
    assert_eq!(delivery::post(&scenario.serve.host(), &event).status, 202);
    let looked = until(Duration::from_secs(20), || {
        let tasks = scenario.serve.tasks_to("copy/app:v1");
        let under_way = tasks
            .iter()
            .any(|task| task["state"] == "queued" || task["state"] == "running");
        let attempts: u64 = tasks.iter().filter_map(|task| task["attempts"].as_u64()).sum();
        if attempts >= looks && !under_way {
            Ok(())
        } else {
            Err(format!("{tasks:?}"))
        }
    });
    assert_eq!(looked, Ok(()));
}

#[test]
fn an_event_that_comes_before_its_tag_is_not_lost() {
    if DockerRegistry::skipped() {
        return;
    }
    let scenario = silent_scenario();
    let image = Image::single(1, &[1000]);
    image.push_parts(&scenario.source.host(), "core/app");
    tell_and_await_a_look(&scenario, &image, 1, 1);
    image.push_root(&scenario.source.host(), "core/app", "v1");
    scenario.assert_arrives("app", "v1");
}

#[test]
fn an_event_that_comes_before_its_tag_moves_is_not_lost() {
    if DockerRegistry::skipped() {
        return;
    }
    let scenario = silent_scenario();
    let (old, new) = (Image::single(2, &[1000]), Image::single(3, &[1000]));
    old.push(&scenario.source.host(), "core/app", "v1");
    tell_and_await_a_look(&scenario, &old, 1, 1);
    scenario.assert_arrives("app", "v1");
    new.push_parts(&scenario.source.host(), "core/app");
    tell_and_await_a_look(&scenario, &new, 2, 2);
    new.push_root(&scenario.source.host(), "core/app", "v1");
    scenario.assert_arrives("app", "v1");
}
