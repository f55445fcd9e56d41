//! The samples in `events/` are valid: each is listed in the README there, and has the described content.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use transship_engine::{Envelope, Job, Order};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../events")
}

fn sample(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder().join(name)).unwrap()).unwrap()
}

fn bodies(name: &str) -> Vec<String> {
    let records = sample(name)["Records"].as_array().unwrap().clone();
    let body = |record: &Value| record["body"].as_str().unwrap().to_owned();
    records.iter().map(body).collect()
}

#[test]
fn each_sample_is_json_and_named_in_the_readme() {
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let named: BTreeSet<String> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect();
    let there: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    assert_eq!(named, there);
    for name in &there {
        assert!(!sample(name).is_null(), "{name}");
    }
}

#[test]
fn the_task_is_a_task_and_the_mixed_batch_has_three_that_are_no_messages() {
    let is_message: Vec<bool> = bodies("sqs-batch-mixed.json")
        .iter()
        .map(|body| Envelope::parse(body).is_ok())
        .collect();
    assert_eq!(is_message, [true, false, false, false, true]);
    let Job::Copy(task) = Envelope::parse(&bodies("sqs-task.json")[0]).unwrap().job else {
        panic!("it is not a copy");
    };
    assert_eq!(task.source.to_string(), "hub/core/app:v1.0.0");
    assert_eq!(task.destination.to_string(), "mirror/copy/app:v1.0.0");
}

#[test]
fn the_orders_are_orders() {
    let order = |name: &str| serde_json::from_value::<Order>(sample(name)).unwrap();
    let directed = order("bulk-import-order.json");
    assert_eq!(directed.to.as_deref(), Some("mirror/copy"));
    assert_eq!(directed.bucket.as_deref(), Some("my-layouts"));
    assert_eq!(order("bulk-import-import.json").import.as_deref(), Some("seed"));
}

#[test]
fn what_the_function_url_hands_over_is_the_delivery() {
    let event = sample("http-function-url-push.json");
    let body: Value = serde_json::from_str(event["body"].as_str().unwrap()).unwrap();
    assert_eq!(body, sample("distribution-push.json"));
    assert_eq!(event["rawPath"], "/hooks/hub");
}
