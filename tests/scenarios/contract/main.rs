//! What scripts and dashboards of users rely on: exit codes, error lines, JSON keys, HTTP statuses.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

mod commands;
mod copy;
mod ledger;
mod webhook;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;
use transship_tests::transship::Run;

fn assert_refused(run: &Run, code: i32) {
    assert_eq!(run.code, code, "{run:?}");
    assert!(run.error_code().is_some(), "no `CODE: sentence` line: {run:?}");
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key.as_str())
        .collect()
}

fn assert_keys(value: &Value, wanted: &[&str]) {
    let there = keys(value);
    let missing: Vec<_> = wanted.iter().filter(|key| !there.contains(**key)).collect();
    assert!(missing.is_empty(), "{missing:?} missing in {value}");
}

/// A folder with one file of that text.
fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

/// One delivery of Distribution that says `repository:tag` was pushed.
fn push_event(repository: &str, tag: &str, host: &str, number: u32) -> String {
    serde_json::json!({ "events": [{
        "id": format!("00000000-0000-4000-8000-{number:012}"),
        "timestamp": "2026-01-02T03:04:05.678Z",
        "action": "push",
        "target": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": format!("sha256:{}", "ab".repeat(32)),
            "size": 500, "length": 500, "repository": repository, "tag": tag,
            "url": format!("http://{host}/v2/{repository}/manifests/sha256:{}", "ab".repeat(32)),
        },
        "request": { "id": "r", "addr": "127.0.0.1:2", "host": host, "method": "PUT", "useragent": "t" },
        "actor": {}, "source": { "addr": "x:5000", "instanceID": "i" },
    }]})
    .to_string()
}
