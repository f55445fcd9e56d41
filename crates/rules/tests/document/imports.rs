//! Imports of the document: what is read, what is refused and where, and which objects an import is for.

use transship_oci::{Existing, Referrers};
use transship_rules::Import;

use super::{parse, refused};

const TO: &str = "destination: { registry: b, namespace: core }";

fn import(fields: &str) -> String {
    format!("imports:\n  - {{ {fields} }}\n")
}

fn parsed(fields: &str) -> Import {
    parse(&import(fields)).document.imports.remove(0)
}

#[test]
fn an_import_is_read_with_its_defaults() {
    let seed = parsed(&format!("name: seed, bucket: my-layouts, {TO}"));
    assert_eq!(
        (seed.name.as_str(), seed.bucket.as_str(), seed.prefix.as_str()),
        ("seed", "my-layouts", "")
    );
    assert_eq!(seed.destination.registry, "b");
    assert_eq!(seed.destination.namespace.as_str(), "core");
    assert!(seed.enabled);
    assert_eq!((seed.existing, seed.referrers), (Existing::Follow, Referrers::Include));
    assert_eq!(seed.description, None);

    let document = parse(&import(&format!(
        "name: seed, description: d, enabled: false, bucket: my-layouts, {TO}, existing: keep, referrers: exclude"
    )))
    .document;
    let seed = document.import("seed").unwrap();
    assert!(!seed.enabled);
    assert_eq!((seed.existing, seed.referrers), (Existing::Keep, Referrers::Exclude));
    assert_eq!(seed.description.as_deref(), Some("d"));
    assert_eq!(document.import("other"), None);
}

#[test]
fn a_prefix_is_a_path_and_gets_its_final_slash() {
    for (written, prefix) in [
        ("", ""),
        ("seed", "seed/"),
        ("seed/", "seed/"),
        ("a/b.c/..d", "a/b.c/..d/"),
        ("ü +%2B", "ü +%2B/"),
    ] {
        let seed = parsed(&format!("name: seed, bucket: my-layouts, prefix: \"{written}\", {TO}"));
        assert_eq!(seed.prefix, prefix, "{written}");
    }
}

#[test]
fn an_import_is_for_the_objects_below_its_prefix_while_it_is_enabled() {
    let seed = parsed(&format!("name: seed, bucket: my-layouts, prefix: seed, {TO}"));
    assert!(seed.holds("my-layouts", "seed/app/index.json"));
    assert!(!seed.holds("other-layouts", "seed/app/index.json"));
    assert!(!seed.holds("my-layouts", "seeds/app/index.json"), "whole components");
    assert!(!seed.holds("my-layouts", "seed/"), "the folder itself");
    assert!(!seed.holds("my-layouts", "other/seed/app"));
    let everything = parsed(&format!("name: seed, bucket: my-layouts, {TO}"));
    assert!(everything.holds("my-layouts", "index.json"));
    let idle = parsed(&format!("name: seed, enabled: false, bucket: my-layouts, {TO}"));
    assert!(!idle.holds("my-layouts", "index.json"));
}

#[test]
fn each_mistake_in_an_import_has_its_code_and_path() {
    let bucket = |bucket: &str| import(&format!("name: seed, bucket: \"{bucket}\", {TO}"));
    let prefix = |prefix: &str| import(&format!("name: seed, bucket: my-layouts, prefix: \"{prefix}\", {TO}"));
    let rule = "rules: [{ name: seed, source: { registry: a, namespace: core }, destination: { registry: b } }]\n";
    let seed = format!("name: seed, bucket: my-layouts, {TO}");
    let mut mistakes = vec![
        (
            import(&format!("name: Seed, bucket: my-layouts, {TO}")),
            "RULE_INVALID",
            "imports[0].name",
        ),
        (
            format!("imports: [{{ {seed} }}, {{ {seed} }}]\n"),
            "DUPLICATE_RULE",
            "imports[1].name",
        ),
        (format!("{rule}{}", import(&seed)), "DUPLICATE_RULE", "imports[0].name"),
        (
            import("name: seed, bucket: my-layouts, destination: { registry: c, namespace: core }"),
            "UNKNOWN_REGISTRY",
            "imports[0].destination.registry",
        ),
        (
            import("name: seed, bucket: my-layouts, destination: { registry: b, namespace: /core }"),
            "RULE_INVALID",
            "imports[0].destination.namespace",
        ),
        (
            import("name: seed, bucket: my-layouts, destination: { registry: b }"),
            "CONFIG_INVALID",
            "imports[0].destination",
        ),
        (
            import(&format!("name: seed, bucket: my-layouts, {TO}, tag: x")),
            "CONFIG_INVALID",
            "imports[0].tag",
        ),
    ];
    let long = "x".repeat(64);
    for name in [
        "",
        "ab",
        "My-layouts",
        "-layouts",
        "layouts-",
        "a..b",
        "a_b",
        "s3://layouts",
        "layouts/seed",
        &long,
    ] {
        mistakes.push((bucket(name), "CONFIG_INVALID", "imports[0].bucket"));
    }
    for path in [
        "/",
        "/seed",
        "seed//",
        "a//b",
        "..",
        "../seed",
        "seed/../other/",
        "./seed",
    ] {
        mistakes.push((prefix(path), "CONFIG_INVALID", "imports[0].prefix"));
    }
    for (rest, code, path) in mistakes {
        let refusal = refused(&rest);
        assert!(
            refusal.starts_with(&format!("{code}: {path} (line ")),
            "{rest}{refusal}"
        );
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
    }
}

#[test]
fn an_import_that_is_not_enabled_is_checked_all_the_same() {
    let refusal = refused(&import(&format!("name: seed, enabled: false, bucket: x, {TO}")));
    assert!(refusal.starts_with("CONFIG_INVALID: imports[0].bucket "), "{refusal}");
}

#[test]
fn imports_of_the_same_objects_to_the_same_place_are_warned_of() {
    let warnings = |fields: &str| {
        let first = format!("name: first, bucket: my-layouts, prefix: seed/, {TO}");
        let parsed = parse(&format!("imports: [{{ {first} }}, {{ name: second, {fields} }}]\n"));
        let warnings = parsed.warnings.into_iter();
        warnings
            .map(|warning| (warning.path, warning.message))
            .collect::<Vec<_>>()
    };
    for fields in [
        "bucket: my-layouts, prefix: seed/, destination: { registry: b, namespace: core }",
        "bucket: my-layouts, destination: { registry: b, namespace: core }",
        "bucket: my-layouts, prefix: seed/team, destination: { registry: b, namespace: core/team }",
        "bucket: my-layouts, prefix: seed/, destination: { registry: b, namespace: \"\" }",
    ] {
        let warnings = warnings(fields);
        assert_eq!(warnings.len(), 1, "{fields}: {warnings:?}");
        assert_eq!(warnings[0].0, "imports[1]");
        assert!(warnings[0].1.contains("\"first\""), "{warnings:?}");
    }
    for fields in [
        "bucket: other-layouts, prefix: seed/, destination: { registry: b, namespace: core }",
        "bucket: my-layouts, prefix: seeds/, destination: { registry: b, namespace: core }",
        "bucket: my-layouts, prefix: seed/, destination: { registry: a, namespace: core }",
        "bucket: my-layouts, prefix: seed/, destination: { registry: b, namespace: corex }",
        "enabled: false, bucket: my-layouts, prefix: seed/, destination: { registry: b, namespace: core }",
    ] {
        assert_eq!(warnings(fields), [], "{fields}");
    }
}

#[test]
fn an_import_may_write_where_a_rule_reads() {
    for topology in ["acyclic", "strict"] {
        let text = format!(
            "topology: {topology}\nrules: [{{ name: on, source: {{ registry: a, namespace: core }}, destination: {{ registry: b }} }}]\n\
             imports: [{{ name: seed, bucket: my-layouts, destination: {{ registry: a, namespace: core }} }}]\n"
        );
        assert_eq!(parse(&text).warnings, []);
    }
}
