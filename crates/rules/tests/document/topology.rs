//! Which rules may stand together.

use super::{parse, refused, with};

/// A rule from `registry/namespace` to `registry/namespace`, where a namespace may carry further fields.
fn rule(name: &str, from: (&str, &str), to: (&str, &str)) -> String {
    format!(
        "  - {{ name: {name}, source: {{ registry: {}, {} }}, destination: {{ registry: {}, {} }} }}\n",
        from.0, from.1, to.0, to.1
    )
}

const CORE: &str = "namespace: core";

fn back_and_forth() -> String {
    format!(
        "rules:\n{}{}",
        rule("there", ("a", CORE), ("b", CORE)),
        rule("back", ("b", CORE), ("a", CORE))
    )
}

#[test]
fn rules_that_would_start_each_other_are_refused() {
    let refusal = refused(&back_and_forth());
    assert!(
        refusal.starts_with("RULE_CYCLE: rules[0].destination (line 6, column 62): ")
            && refusal.contains("there -> back -> there"),
        "{refusal}"
    );
    assert_eq!(refusal.lines().count(), 1, "told once: {refusal}");
}

#[test]
fn a_cycle_is_seen_through_renaming() {
    let renamed = format!(
        "rules:\n{}{}",
        rule("there", ("a", CORE), ("b", "namespace: mirror")),
        rule("back", ("b", "namespace: \"\""), ("a", "namespace: core")),
    );
    assert!(refused(&renamed).starts_with("RULE_CYCLE"));
    let apart = format!(
        "rules:\n{}{}",
        rule("there", ("a", CORE), ("b", "namespace: mirror")),
        rule("back", ("b", CORE), ("a", CORE)),
    );
    assert_eq!(parse(&apart).document.rules.len(), 2);
}

#[test]
fn a_rule_within_one_registry_may_not_feed_itself() {
    for (source, destination, is_refused) in [
        (CORE, CORE, true),
        (CORE, "namespace: core/copy", true),
        ("namespace: \"\"", "namespace: backup", true),
        (CORE, "namespace: copy", false),
        (CORE, "namespace: copy, flatten: 0", false),
        (CORE, "repository: \"copy/{repository}\"", false),
        (
            "namespace: \"\", repository: { glob: \"**\", exclude: { glob: \"backup/**\" } }",
            "namespace: backup",
            false,
        ),
        ("namespace: \"\", repository: app", "namespace: backup", false),
        (
            "namespace: \"\", repository: { glob: \"team/**\" }",
            "namespace: backup",
            false,
        ),
        (
            "namespace: core, repository: app",
            "repository: \"{repository}-copy\"",
            false,
        ),
        (
            "namespace: core, repository: { glob: \"app-*\" }",
            "repository: \"core/copy-{repository}\", flatten: namespace",
            false,
        ),
        (
            "namespace: core, repository: { glob: \"app-*\" }",
            "repository: \"core/{repository}-copy\", flatten: namespace",
            true,
        ),
        (
            "namespace: core, repository: { exclude: [\"x/**\", { regex: \"^copy/\" }] }",
            "namespace: core/copy",
            false,
        ),
        ("namespace: core, repository: [app, web]", "namespace: core/copy", false),
        (
            "namespace: core, repository: [app, copy/app]",
            "namespace: core/copy",
            true,
        ),
        ("namespace: core", "tag: \"{tag}-copy\"", true),
        (
            "namespace: core, repository: { glob: \"*\" }",
            "repository: \"{repository}-copy\"",
            true,
        ),
    ] {
        let rules = format!("rules:\n{}", rule("self", ("a", source), ("a", destination)));
        if is_refused {
            assert!(
                refused(&rules).starts_with("RULE_CYCLE: rules[0].destination "),
                "{rules}"
            );
        } else {
            parse(&rules);
        }
    }
}

#[test]
fn one_registry_under_two_names_is_one_registry() {
    let text = with(&back_and_forth()).replace(
        "rules:",
        "  c: { provider: generic, endpoint: \"http://C.example\", hosts: [\"127.0.0.1:5000\"] }\nrules:",
    );
    let text = text.replace("destination: { registry: a,", "destination: { registry: c,");
    let refusal = transship_rules::Document::parse(&text).unwrap_err().to_string();
    assert!(refusal.starts_with("RULE_CYCLE"), "{refusal}");
}

#[test]
fn a_link_or_a_rule_that_is_off_breaks_a_cycle() {
    let linked = format!(
        "{}links: [{{ from: b, to: a, because: tags differ }}]\n",
        back_and_forth()
    );
    assert_eq!(parse(&linked).document.links[0].because, "tags differ");
    parse(&back_and_forth().replace("name: back", "name: back, enabled: false"));
}

#[test]
fn long_chains_are_fine_and_long_cycles_are_not() {
    let chain = |close: bool| {
        let mut rules = String::from("rules:\n");
        for step in 0..200 {
            let next = if close && step == 199 { 0 } else { step + 1 };
            rules += &rule(
                &format!("r{step}"),
                ("a", &format!("namespace: n{step}")),
                ("a", &format!("namespace: n{next}")),
            );
        }
        rules
    };
    assert_eq!(parse(&chain(false)).document.rules.len(), 200);
    assert!(refused(&chain(true)).contains("r0 -> r1 -> "));
}

#[test]
fn strict_keeps_sources_and_destinations_apart() {
    let chain = format!(
        "topology: strict\nrules:\n{}{}",
        rule("first", ("a", CORE), ("b", "namespace: copy")),
        rule("second", ("b", "namespace: copy"), ("a", "namespace: again")),
    );
    let refusal = refused(&chain);
    assert!(
        refusal.starts_with("TOPOLOGY_STRICT: rules[0].destination "),
        "{refusal}"
    );
    parse(&chain.replace("strict", "acyclic"));
    let twice = format!(
        "topology: strict\nrules:\n{}{}",
        rule("first", ("a", CORE), ("b", "namespace: copy")),
        rule("second", ("a", "namespace: other"), ("b", "namespace: copy")),
    );
    assert!(refused(&twice).starts_with("TOPOLOGY_STRICT: rules[1].destination "));
    parse(&twice.replace(
        "registry: b, namespace: copy } }\n  -",
        "registry: b, namespace: one } }\n  -",
    ));
}

#[test]
fn nothing_leaves_the_public_partition_without_a_link() {
    let rules = format!("rules:\n{}", rule("x", ("a", CORE), ("b", CORE)));
    let finance = with(&rules).replace("5001\" }", "5001\", partition: finance }");
    let refusal = transship_rules::Document::parse(&finance).unwrap_err().to_string();
    assert!(
        refusal.starts_with("PARTITION_REFUSED: rules[0].destination.registry "),
        "{refusal}"
    );
    let linked = format!("{finance}links: [{{ from: a, to: b, because: agreed }}]\n");
    assert!(transship_rules::Document::parse(&linked).is_ok());
    let regions = finance
        .replace("5000\",", "5000\", region: hangzhou,")
        .replace("partition: finance", "partition: finance, region: hangzhou-finance");
    for (from, to, is_allowed) in [
        ("hangzhou", "hangzhou-finance", true),
        ("a", "hangzhou-finance", true),
        ("hangzhou", "b", true),
        ("hangzhou-finance", "hangzhou", false),
        ("hangzhou", "shanghai", false),
    ] {
        let linked = format!("{regions}links: [{{ from: {from}, to: {to}, because: agreed }}]\n");
        assert_eq!(
            transship_rules::Document::parse(&linked).is_ok(),
            is_allowed,
            "{from} {to}"
        );
    }
    let back = finance
        .replace("source: { registry: a", "source: { registry: b")
        .replace("destination: { registry: b", "destination: { registry: a");
    assert!(transship_rules::Document::parse(&back).is_ok());
}

#[test]
fn a_basic_edition_cannot_be_a_source() {
    let rules = format!("rules:\n{}", rule("x", ("b", CORE), ("a", CORE)));
    let basic = with(&rules).replace("5001\" }", "5001\", edition: Basic }");
    let refusal = transship_rules::Document::parse(&basic).unwrap_err().to_string();
    assert!(
        refusal.starts_with("EDITION_CANNOT_BE_SOURCE: rules[0].source.registry "),
        "{refusal}"
    );
}

#[test]
fn a_cycle_is_found_through_rules_that_hold_each_other() {
    let nested = format!(
        "rules:\n{}{}{}",
        rule("wide", ("a", "namespace: core"), ("b", "namespace: \"\"")),
        rule("deep", ("b", "namespace: team/a/b"), ("a", "namespace: x")),
        rule("back", ("a", "namespace: x/y"), ("a", "namespace: core/z")),
    );
    assert!(refused(&nested).contains("wide -> deep -> back -> wide"));
    parse(&nested.replace("namespace: x/y", "namespace: xx/y"));
    parse(
        &nested
            .replace(
                "namespace: team/a/b",
                "namespace: team/a/b, repository: { glob: \"**\", exclude: \"**\" }",
            )
            .replace("glob: \"**\", exclude: \"**\"", "glob: \"c/**\"")
            .replace("namespace: core }", "namespace: core, repository: { glob: \"d/**\" } }"),
    );
}

#[test]
fn two_rules_may_not_write_one_tag_from_different_sources() {
    let two = |one: (&str, &str), other: (&str, &str), more: &str| {
        format!(
            "rules:\n{}{}{more}",
            rule("one", ("a", one.0), ("b", one.1)),
            rule("other", ("a", other.0), ("b", other.1)),
        )
    };
    for (one, other) in [
        ((CORE, "namespace: copy"), ("namespace: team", "namespace: copy")),
        ((CORE, ""), ("namespace: x/core", "flatten: 1")),
        (
            ("namespace: core, repository: app", "namespace: copy"),
            ("namespace: team, repository: app", "namespace: copy"),
        ),
        (
            ("namespace: core, repository: [app, web]", "namespace: copy"),
            ("namespace: team, repository: [web, db]", "namespace: copy"),
        ),
        (
            ("namespace: core, repository: app", "repository: one"),
            ("namespace: core, repository: web", "repository: one"),
        ),
        (
            (CORE, "namespace: copy, repository: all"),
            ("namespace: team", "namespace: copy, repository: all"),
        ),
        (
            (CORE, "namespace: copy"),
            ("namespace: team, tag: \"v*\"", "namespace: copy"),
        ),
        (
            ("namespace: core, tag: \"v*\"", "namespace: copy"),
            ("namespace: team, tag: \"v1*\"", "namespace: copy"),
        ),
        (
            ("namespace: core, tag: v1", "namespace: copy"),
            ("namespace: team, tag: { regex: \"^v\" }", "namespace: copy"),
        ),
        (
            (CORE, "namespace: copy, flatten: all"),
            ("namespace: core/team", "namespace: copy, flatten: all"),
        ),
        (
            ("namespace: core, repository: \"app-*\"", "namespace: copy"),
            ("namespace: team", "namespace: copy"),
        ),
    ] {
        let refusal = refused(&two(one, other, ""));
        assert!(
            refusal.starts_with("DESTINATION_CONFLICT: rules[1].destination ")
                && refusal.contains("\"one\" and \"other\""),
            "{one:?} {other:?}: {refusal}"
        );
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
        parse(&two(
            one,
            other,
            "links: [{ from: a, to: b, because: names never meet }]\n",
        ));
        parse(&two(one, other, "").replace("name: other", "name: other, enabled: false"));
        parse(
            &two(one, other, "")
                .replace("{ name: one,", "{ name: one, kinds: [chart],")
                .replace("{ name: other,", "{ name: other, kinds: [image],"),
        );
    }
    for (one, other) in [
        ((CORE, "namespace: copy"), ("namespace: team", "namespace: copy/team")),
        (
            (CORE, "namespace: copy"),
            ("namespace: team", "namespace: copy, flatten: 0"),
        ),
        (
            (CORE, "namespace: copy"),
            ("namespace: team", "namespace: copy, tag: \"{tag}-team\""),
        ),
        (
            ("namespace: core, tag: v1", "namespace: copy"),
            ("namespace: team, tag: v2", "namespace: copy"),
        ),
        (
            ("namespace: core, tag: \"v*\"", "namespace: copy"),
            ("namespace: team, tag: { exclude: \"v*\" }", "namespace: copy"),
        ),
        (
            ("namespace: core, tag: \"v*\"", "namespace: copy"),
            ("namespace: core, tag: latest", "namespace: copy"),
        ),
        (
            ("namespace: core, repository: app", "namespace: copy"),
            ("namespace: core, repository: web", "namespace: copy"),
        ),
    ] {
        parse(&two(one, other, ""));
    }
}

#[test]
fn two_rules_that_meet_at_a_special_name_are_a_warning() {
    let warnings = |one: (&str, &str), other: (&str, &str)| {
        let text = format!(
            "rules:\n{}{}",
            rule("one", ("a", one.0), ("c", one.1)),
            rule("other", ("b", other.0), ("c", other.1)),
        );
        let third = "  c: { provider: distribution, endpoint: \"http://127.0.0.1:5002\" }\n";
        let Ok(parsed) = transship_rules::Document::parse(&with(&format!("{third}{text}"))) else {
            panic!("refused: {text}")
        };
        let warnings = parsed.warnings.iter();
        warnings
            .filter(|warning| warning.code.as_str() == "DESTINATION_CONFLICT")
            .count()
    };
    let deep = "namespace: core/team";
    assert_eq!(warnings((CORE, ""), (deep, "")), 1);
    assert_eq!(warnings((deep, ""), (CORE, "")), 1);
    assert_eq!(
        warnings((CORE, "namespace: copy"), ("namespace: x", "namespace: copy/x")),
        1
    );
    assert_eq!(
        warnings((CORE, "namespace: copy"), ("namespace: x", "namespace: copies")),
        0
    );
    let without = "namespace: core, repository: { exclude: \"team/**\" }";
    assert_eq!(warnings((without, ""), (deep, "")), 0);
    let web = "namespace: core/team, repository: web";
    assert_eq!(warnings(("namespace: core, repository: \"*/web\"", ""), (web, "")), 1);
    assert_eq!(warnings(("namespace: core, repository: \"*/app\"", ""), (web, "")), 0);
    assert_eq!(
        warnings(("namespace: core, tag: v1", ""), ("namespace: core/team, tag: v2", "")),
        0
    );
}

#[test]
fn one_image_that_two_rules_write_alike_is_no_conflict() {
    let text = format!(
        "rules:\n{}{}",
        rule("one", ("a", CORE), ("b", "")),
        rule("other", ("a", "namespace: core/team"), ("b", "")),
    );
    let parsed = parse(&text);
    let mut warnings = parsed.warnings.iter();
    assert!(warnings.all(|warning| warning.code.as_str() != "DESTINATION_CONFLICT"));
}

#[test]
fn strict_sees_places_within_places() {
    let nested = |first: &str, second: &str| {
        format!(
            "topology: strict\nrules:\n{}{}",
            rule("first", ("a", "namespace: one"), ("b", first)),
            rule("second", ("a", "namespace: two"), ("b", second)),
        )
    };
    for (first, second) in [
        ("namespace: copy", "namespace: copy/deep"),
        ("namespace: copy/deep", "namespace: copy"),
    ] {
        let refusal = refused(&nested(first, second));
        assert!(
            refusal.starts_with("TOPOLOGY_STRICT: rules[1].destination "),
            "{refusal}"
        );
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
    }
    parse(&nested("namespace: copy", "namespace: copies"));
}

#[test]
fn ten_thousand_rules_are_checked_without_comparing_each_pair() {
    // Comparing each pair took minutes; no time is asserted.
    let mut text = String::from("rules:\n");
    for number in 0..3000 {
        let (there, back) = (format!("namespace: n{number}"), format!("namespace: m{number}"));
        let rest = "namespace: \"\", repository: { exclude: \"x*/**\" }";
        text += &rule(&format!("r{number}"), ("a", &there), ("b", &back));
        text += &rule(
            &format!("s{number}"),
            ("b", rest),
            ("a", &format!("{there}, flatten: 0")),
        );
    }
    let Err(errors) = transship_rules::Document::parse(&with(&text)) else {
        panic!("accepted")
    };
    assert_eq!(errors.iter().count(), 50, "the first errors");
    assert_eq!(errors.code(), "RULE_CYCLE");
}
