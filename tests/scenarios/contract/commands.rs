//! Help, completions, usage errors, and the commands that only read: schema, check, explain, events, demo.

use std::collections::BTreeSet;

use transship_tests::{Document, transship};

use crate::{assert_refused, file, push_event};

/// The commands that exist so far.
const COMMANDS: [&str; 9] = [
    "demo",
    "serve",
    "copy",
    "check",
    "explain",
    "executions",
    "tasks",
    "events",
    "schema",
];

#[test]
fn help_and_version_tell_of_every_command_with_an_example() {
    let version = transship::run(&["--version"]);
    assert_eq!(version.code, 0);
    assert!(version.stdout.contains("transship"), "{version:?}");
    let help = transship::run(&["--help"]);
    assert_eq!(help.code, 0);
    for command in COMMANDS {
        assert!(help.stdout.contains(command), "--help is silent about {command}");
        let help = transship::run(&[command, "--help"]);
        assert_eq!(help.code, 0, "{help:?}");
    }
    for command in [
        "demo",
        "serve",
        "copy",
        "check",
        "explain",
        "executions",
        "tasks",
        "events parse",
        "schema",
    ] {
        let words: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let help = transship::run(&words).stdout;
        let examples = help
            .split_once("Example")
            .map(|(_, examples)| examples)
            .unwrap_or_default();
        assert!(
            examples.contains(&format!("transship {command}")),
            "no example in the help of {command}: {help}"
        );
    }
}

#[test]
fn completions_are_printed_for_the_usual_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let run = transship::run(&["completions", shell]);
        assert_eq!(run.code, 0, "{run:?}");
        assert!(
            run.stdout.contains("transship") && run.stdout.lines().count() > 20,
            "{shell}: {run:?}"
        );
    }
}

#[test]
fn usage_errors_exit_2() {
    for line in [
        &[][..],
        &["no-such-command"],
        &["copy", "only-one"],
        &["copy", "a.example/b:v1", "a.example/c:v1", "--existing", "sometimes"],
        &["copy", "127.0.0.1:1/UPPER:v1", "127.0.0.1:1/lower:v1"],
        &["serve"],
        &["check", "--config", "/no/such/file.yaml"],
        &["tasks", "--data", "/no/such/folder"],
    ] {
        assert_refused(&transship::run(line), 2);
    }
}

#[test]
fn the_schema_is_a_json_schema() {
    let run = transship::run(&["schema"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.json()["$schema"].is_string());
    assert!(run.json()["properties"]["registries"].is_object(), "{}", run.stdout);
}

#[test]
fn check_accepts_a_good_document_and_names_what_is_wrong_in_a_bad_one() {
    let good = Document::between("127.0.0.1:1", "127.0.0.1:2")
        .rule("core", "core", "copy", "")
        .yaml();
    let (_folder, path) = file("good.yaml", &good);
    let run = transship::run(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!(run.code, 0, "{run:?}");
    let run = transship::run(&["check", "--config", path.to_str().unwrap(), "--json"]);
    assert!(run.json().is_object(), "{run:?}");

    for (wrong, right, named) in [
        ("source:", "sauce:", "source"),
        ("registry: b,", "registry: nowhere,", "nowhere"),
        ("trigger: [event]", "trigger: [{ schedule: \"0 3 31 2 *\" }]", "trigger"),
        ("enabled: true", "deletes: sometimes", "deletes"),
        ("enabled: true", "existing: sometimes", "existing"),
    ] {
        let (_folder, path) = file("bad.yaml", &good.replace(wrong, right));
        let run = transship::run(&["check", "--config", path.to_str().unwrap()]);
        assert_refused(&run, 2);
        assert!(run.stderr.contains(named), "{right:?} is not named: {}", run.stderr);
    }
}

#[test]
fn the_document_of_the_first_deployment_is_right() {
    let guide = include_str!("../../../docs/operating.md");
    let block = guide
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let lines = block.unwrap().lines();
    let lines: Vec<&str> = lines.map(|line| line.strip_prefix("   ").unwrap_or(line)).collect();
    let document = lines.join("\n") + "\n";
    let (_folder, path) = file("transship.yaml", &document);
    let run = transship::run(&["check", "--config", path.to_str().unwrap(), "--json"]);
    assert_eq!(run.code, 0, "{run:?}\n{document}");
    let findings = run.json();
    assert_eq!(
        (&findings["stack"], &findings["warnings"]),
        (&true.into(), &serde_json::json!([])),
        "{findings}"
    );
    let run = transship::run(&["check", "--config", path.to_str().unwrap()]);
    assert!(run.stdout.contains("is valid for a stack on AWS"), "{run:?}");
    assert!(!run.stdout.contains("warning"), "{run:?}");
}

#[test]
fn what_is_not_built_yet_is_refused_with_its_path() {
    let good = Document::between("127.0.0.1:1", "127.0.0.1:2")
        .rule("core", "core", "copy", "")
        .yaml();
    for (section, later) in [
        (
            "operators",
            "operators: [{ name: ci, role: viewer, token: \"env:CI_TOKEN\" }]",
        ),
        (
            "notify",
            "notify: [{ on: [failed], webhook: \"https://hooks.example.com/x\" }]",
        ),
    ] {
        let (_folder, path) = file("later.yaml", &format!("{good}{later}\n"));
        let run = transship::run(&["check", "--config", path.to_str().unwrap()]);
        assert_refused(&run, 2);
        assert_eq!(run.error_code(), Some("NOT_YET_SUPPORTED"), "{run:?}");
        assert!(run.stderr.contains(section), "{run:?}");
    }
}

#[test]
fn events_parse_normalises_and_tells_refusals_apart() {
    let (_folder, path) = file("push.json", &push_event("core/app", "v1", "registry.example", 1));
    let path = path.to_str().unwrap();
    let run = transship::run(&["events", "parse", "--provider", "distribution", path]);
    assert_eq!(run.code, 0, "{run:?}");
    let events = run.json();
    let event = &events[0];
    let wanted = [
        "action",
        "registry_host",
        "repository",
        "tag",
        "digest",
        "kind",
        "media_type",
        "time",
        "actor",
        "event_id",
    ];
    assert_eq!(crate::keys(event), BTreeSet::from(wanted));
    assert_eq!(
        (event["action"].as_str(), event["tag"].as_str()),
        (Some("push"), Some("v1"))
    );
    assert_eq!(event["registry_host"], "registry.example");

    let signed = |header: &str| {
        transship::run(&[
            "events",
            "parse",
            "--provider",
            "distribution",
            "--secret",
            "s3cret",
            "--header",
            header,
            path,
        ])
    };
    assert_eq!(signed("Authorization: s3cret").code, 0);
    assert_refused(&signed("Authorization: other"), 3);

    let (_folder, none) = file("none.json", "{");
    assert_refused(
        &transship::run(&["events", "parse", "--provider", "distribution", none.to_str().unwrap()]),
        2,
    );
    let (_folder, empty) = file("empty.json", r#"{"events":[]}"#);
    let run = transship::run(&["events", "parse", "--provider", "distribution", empty.to_str().unwrap()]);
    assert_eq!((run.code, run.json()), (0, serde_json::json!([])));
}

#[test]
fn explain_says_of_every_rule_whether_and_why() {
    let document = Document::between("127.0.0.1:1", "127.0.0.1:2")
        .rule("core", "core", "copy", "")
        .rule("other", "other", "copy2", "")
        .yaml();
    let (_folder, config) = file("t.yaml", &document);
    let event = r#"{"action":"push","registry_host":"127.0.0.1:1","repository":"core/app","tag":"v1","digest":null,
        "kind":"image","media_type":null,"time":null,"actor":null,"event_id":null}"#;
    let (_folder, event) = file("event.json", event);
    let arguments = [
        "explain",
        "--config",
        config.to_str().unwrap(),
        "--event",
        event.to_str().unwrap(),
    ];
    let run = transship::run(&arguments);
    assert_eq!(run.code, 0, "{run:?}");
    for word in ["core", "other", "copy/app"] {
        assert!(run.stdout.contains(word), "{word}: {run:?}");
    }
    let run = transship::run(&[&arguments[..], &["--json"]].concat());
    assert!(run.stdout.contains("copy/app") && !run.json().is_null(), "{run:?}");
}

#[test]
fn the_demo_proves_a_digest() {
    let run = transship::run(&["demo"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("sha256:"), "{run:?}");
}
