//! What is incomplete waits, and for nothing but what it lacks.

use transship_tests::layouts::{Layout, Named, Objects};
use transship_tests::{DockerRegistry, Image};

use crate::stage::{Stage, alone, failed};

#[test]
fn a_layout_whose_last_blob_is_held_back_becomes_tasks_when_it_comes() {
    if DockerRegistry::skipped() {
        return;
    }
    let _alone = alone();
    let stage = Stage::set(|document, bucket| document.import("seed", bucket, "in/", "core"));
    let (one, two) = (Image::single(1, &[3000, 100]), Image::multi_platform(2, 2000));
    let last = one.blobs.last().unwrap().digest.replace(':', "/");
    let layout = Layout::of("v1", one).with(Named::tag("v2"), two);
    let objects = layout
        .files()
        .into_iter()
        .map(|(path, bytes)| (format!("in/app/{path}"), bytes));
    let mut objects = Objects::shuffled(objects.collect(), 7);
    let held = objects.held_back(|key| key.ends_with(&last));

    stage.upload(&objects);
    assert_eq!(stage.at_rest(0).len(), 0, "a task of an incomplete layout");
    assert!(!stage.stack.awaiting().is_empty(), "{}", stage.stack.logs_tail());
    assert!(stage.writes().is_empty());

    stage.upload(&held);
    let tasks = stage.at_rest(2);
    assert_eq!(failed(&tasks), Vec::<&serde_json::Value>::new());
    assert_eq!(tasks.len(), 2, "{tasks:?}");
    stage.assert_holds(&[("core/app".to_owned(), layout.expected())].into());
    stage.assert_clean();
}
