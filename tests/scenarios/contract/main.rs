//! The contract with scripts and dashboards: exit codes, error lines, JSON keys, HTTP statuses.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

mod commands;
mod copy;
mod ledger;
mod webhook;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;
use transship_tests::delivery;
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

/// One delivery about a tag that names some digest.
fn push_event(repository: &str, tag: &str, host: &str, number: u32) -> String {
    delivery::push_event(host, repository, tag, &format!("sha256:{}", "ab".repeat(32)), number)
}
