//! What is incomplete waits, and for nothing but what it lacks.

use transship_tests::layouts::{Layout, Named, Objects};
use transship_tests::{DockerRegistry, Image, until};

use crate::stage::{PATIENCE, Stage, alone, failed};

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
    let waiting = until(PATIENCE, || {
        let tasks = stage.stack.tasks();
        match tasks.as_slice() {
            [task] if task["state"] == "waiting" && stage.stack.waiting() == 0 => Ok(task.clone()),
            _ => Err(format!("{tasks:?}")),
        }
    });
    assert_eq!(waiting.unwrap()["code"], "SOURCE_INCOMPLETE");
    assert_eq!(stage.stack.awaiting().len(), 1, "{}", stage.stack.logs_tail());
    assert_the_role_names_its_keys(&stage);
    assert!(stage.writes().is_empty());
    stage.stack.send(r#"{"version":1,"sweep":{}}"#);
    let told = until(PATIENCE, || {
        match stage.stack.metric("worker", "SourcesIncomplete").pop() {
            Some(line) => Ok(line["SourcesIncomplete"].clone()),
            None => Err("the sweep does not tell of incomplete sources".to_owned()),
        }
    });
    assert_eq!(told.unwrap().as_f64(), Some(0.0), "nothing waits for an hour yet");
    let line = stage.stack.metric("worker", "SourcesIncomplete").remove(0);
    let directive = &line["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(
        (&directive["Dimensions"], &line["Stack"]),
        (&serde_json::json!([["Stack"]]), &"transship".into()),
        "as its alarm reads it"
    );

    stage.upload(&held);
    // The source, and its two images.
    let tasks = stage.at_rest(3);
    assert_eq!(failed(&tasks), Vec::<&serde_json::Value>::new());
    assert_eq!(tasks.len(), 3, "{tasks:?}");
    stage.assert_holds(&[("core/app".to_owned(), layout.expected())].into());
    stage.assert_clean();
}

/// The role of the function may touch the items of what waits alone, by the beginnings of their keys (`infra/access.yaml`),
/// and the emulator does not look at these.
fn assert_the_role_names_its_keys(stage: &Stage) {
    let mut items = stage.stack.aws().table_scan(stage.stack.output("TableName"));
    items.retain(|item| item["pk"].as_str().is_some_and(|key| key.starts_with("lead#")));
    assert_eq!(items.len(), 1, "one blob is waited for: {items:?}");
    let roles = include_str!("../../../infra/access.yaml");
    assert!(roles.contains(r#""dynamodb:LeadingKeys": ["lead#*", "missing#*", "scan#*"]"#));
}
