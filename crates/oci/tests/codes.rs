//! The table of codes, compared with the documentation and with the sources.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use transship_oci::{Code, Persistence};

/// Writes docs/codes.md instead of comparing it.
const UPDATE: &str = "TRANSSHIP_UPDATE_DOCS";

const HEADER: &str = "# Codes

Every error, note and log event has one of these codes. A code never changes. `transship explain CODE` prints the same.

*Permanent*: the same request fails in the same way; a task ends. *Temporary*: it is tried again, a task for up to a day. *Persistent*: tasks wait for up to a day, until an operator repairs the cause.

| code | retries | meaning | what to do |
|---|---|---|---|
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn document() -> String {
    let mut codes = Code::ALL.to_vec();
    codes.sort_by_key(|code| code.as_str());
    let mut text = HEADER.to_owned();
    for code in codes {
        let retries = match code.persistence() {
            Persistence::Permanent => "permanent",
            Persistence::Temporary(_) => "temporary",
            Persistence::Persistent => "persistent",
        };
        let (meaning, advice) = (code.meaning(), code.advice());
        writeln!(text, "| `{code}` | {retries} | {meaning} | {advice} |").unwrap();
    }
    text
}

#[test]
fn the_documentation_lists_every_code() {
    let path = root().join("docs/codes.md");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, document()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == document(),
        "docs/codes.md is not up to date: run {UPDATE}=1 cargo test -p transship-oci --test codes"
    );
}

/// Literals of the form `code = "…"` and `Failure::new(…, "…", …)` in the sources.
fn codes_in(text: &str) -> Vec<String> {
    let is_code = |word: &str| {
        word.contains('_')
            && word.starts_with(|c: char| c.is_ascii_uppercase())
            && word
                .bytes()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_')
    };
    let mut found = Vec::new();
    for before in [
        "code = \"",
        "Exit::Failed, \"",
        "Exit::Input, \"",
        "Exit::Failed,\n            \"",
        "Exit::Input,\n            \"",
    ] {
        for part in text.split(before).skip(1) {
            let word = part.split('"').next().unwrap_or_default();
            if is_code(word) {
                found.push(word.to_owned());
            }
        }
    }
    found
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_code_in_the_sources_is_in_the_table() {
    let mut files = Vec::new();
    for folder in ["crates", "functions"] {
        for member in std::fs::read_dir(root().join(folder)).unwrap() {
            let source = member.unwrap().path().join("src");
            if source.is_dir() {
                sources(&source, &mut files);
            }
        }
    }
    let mut count = 0;
    for file in files {
        for code in codes_in(&std::fs::read_to_string(&file).unwrap()) {
            assert!(
                code.parse::<Code>().is_ok(),
                "{code} of {} is not in the table",
                file.display()
            );
            count += 1;
        }
    }
    assert!(count > 10, "the scan found {count} codes only");
}
