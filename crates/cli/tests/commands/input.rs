//! Invalid input, and commands that need no registry.

use std::path::Path;

use crate::run::{Run, command, run};

const DOCUMENT: &str = r#"version: 1
registries:
  a: { provider: distribution, endpoint: "http://127.0.0.1:1", webhook: { secret: "env:HOOK_OF_THE_TEST" } }
  b: { provider: distribution, endpoint: "http://127.0.0.1:2", credentials: "env:LOGIN_OF_THE_TEST" }
rules:
  - { name: core, source: { registry: a, namespace: core }, destination: { registry: b, namespace: copy } }
"#;

fn refused(arguments: &[&str], exit: i32, code: &str) {
    let told = run(arguments);
    assert_eq!((told.code, told.error_code()), (exit, code), "{told:?}");
    assert_eq!(told.out, "");
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_command_line_that_is_not_understood_is_one_line_and_exit_2() {
    refused(&[], 2, "USAGE");
    refused(&["copy", "a"], 2, "USAGE");
    refused(&["copy", "a", "b:v1@c"], 2, "INVALID_DIGEST");
    refused(&["copy", "a", "b", "--platform", "amd64"], 2, "USAGE");
    let pinned = format!("b@sha256:{}", "0".repeat(64));
    refused(&["copy", "a", &pinned, "--platform", "linux/amd64"], 2, "USAGE");
    refused(&["copy", "oci:/nowhere", "b"], 2, "LAYOUT_INVALID");
    #[cfg(not(feature = "aws"))]
    refused(&["copy", "s3://bucket/x", "b"], 2, "S3_NOT_BUILT");
    refused(&["copy", "oci-archive:x.tar", "b"], 2, "ARCHIVE_INVALID");
}

#[test]
fn help_and_version_exit_0() {
    assert_eq!(
        run(&["--version"]).out,
        concat!("transship ", env!("CARGO_PKG_VERSION"), "\n")
    );
    for arguments in [&["--help"][..], &["copy", "--help"], &["events", "parse", "--help"]] {
        let told = run(arguments);
        assert!(
            told.code == 0 && told.out.contains("Usage:") && told.err.is_empty(),
            "{told:?}"
        );
    }
}

#[test]
fn a_file_that_is_not_there_is_exit_2() {
    refused(&["check", "--config", "/nowhere"], 2, "CONFIG_UNREADABLE");
    refused(
        &["serve", "--config", "/nowhere", "--data", "/nowhere"],
        2,
        "CONFIG_UNREADABLE",
    );
    refused(&["tasks", "--data", "/nowhere"], 2, "DATA_UNAVAILABLE");
    refused(&["executions", "--data", "/nowhere"], 2, "DATA_UNAVAILABLE");
    refused(
        &["events", "parse", "--provider", "harbor", "/nowhere"],
        2,
        "INPUT_UNREADABLE",
    );
}

#[test]
fn a_document_that_is_refused_tells_every_fault() {
    let folder = tempfile::tempdir().unwrap();
    let bad = DOCUMENT
        .replace("namespace: copy", "namespace: copy, existing: x")
        .replace("namespace: core", "namespace: \"../x\"");
    let told = run(&["check", "--config", &write(folder.path(), "bad.yaml", &bad)]);
    assert_eq!((told.code, told.out.as_str()), (2, ""));
    assert!(told.err.lines().all(|line| line.contains(": ")), "{told:?}");
}

#[test]
fn check_connects_and_reads_secrets_only_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let config = write(folder.path(), "t.yaml", DOCUMENT);
    let told = run(&["check", "--config", &config, "--json"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.json()["connections"].as_array().unwrap().is_empty());
    let told = run(&["check", "--config", &config, "--connect", "--json"]);
    assert_eq!((told.code, told.error_code()), (1, "CHECK_FAILED"));
    let findings = told.json();
    assert_eq!(findings["connections"][0]["code"], "CONNECT_FAILED", "{findings}");
    assert_eq!(findings["secrets"][0]["code"], "SECRET_UNAVAILABLE", "{findings}");
    assert_eq!(findings["secrets"][0]["secret"], "env:HOOK_OF_THE_TEST");
    assert_eq!(findings["secrets"][1]["code"], "CREDENTIALS_UNAVAILABLE", "{findings}");
}

#[test]
fn the_schema_and_completions_are_printed() {
    assert!(run(&["schema"]).json()["$schema"].is_string());
    for shell in ["bash", "zsh", "fish"] {
        let told = run(&["completions", shell]);
        assert!(told.code == 0 && told.out.contains("transship"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = command(&["schema"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn events_parse_tells_an_unknown_sender_from_an_unreadable_body() {
    let folder = tempfile::tempdir().unwrap();
    let (empty, none) = (
        write(folder.path(), "empty", r#"{"events":[]}"#),
        write(folder.path(), "none", "{"),
    );
    let parse = |more: &[&str]| -> Run { run(&[&["events", "parse", "--provider", "distribution"], more].concat()) };
    let read = parse(&[&empty]);
    assert_eq!((read.code, read.json()), (0, serde_json::json!([])));
    let (unknown, unreadable) = (parse(&["--secret", "s", &empty]), parse(&[&none]));
    assert_eq!((unknown.code, unknown.error_code()), (3, "NOT_AUTHENTIC"));
    assert_eq!((unreadable.code, unreadable.error_code()), (2, "DELIVERY_INVALID"));
}
