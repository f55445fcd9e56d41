//! What is refused, under which code, and where the message points.

use std::fmt::Write as _;

use transship_oci::Network;
use transship_rules::{CredentialsRef, Document, Webhook};

use super::{parse, refused, with};

const RULE: &str = "source: { registry: a, namespace: core }, destination: { registry: b }";

fn rule(more: &str) -> String {
    format!("rules:\n  - {{ name: core, {RULE}, {more} }}\n")
}

#[test]
fn an_unknown_key_is_refused_with_its_path_its_line_and_the_nearest_key() {
    let refusal = refused("rules:\n  - name: core\n    sauce: { registry: a }\n");
    assert_eq!(
        refusal,
        "CONFIG_INVALID: rules[0].sauce (line 7, column 5): unknown key \"sauce\": did you mean source?"
    );
    let refusal = refused(&rule("tigger: [event]"));
    assert!(
        refusal.contains("rules[0].tigger") && refusal.contains("did you mean trigger?"),
        "{refusal}"
    );
}

#[test]
fn every_fault_of_a_readable_document_is_told_at_once_in_the_order_of_the_text() {
    let refusal = refused(
        "rules:
  - name: One
    source: { registry: nowhere, namespace: /core, tag: { regex: \"(\" } }
    destination: { registry: b, repository: \"{repo}\" }
  - name: two
    source: { registry: a, namespace: core }
    destination: { registry: bb }
",
    );
    let starts: Vec<String> = refusal
        .lines()
        .map(|line| {
            line.split_inclusive("): ")
                .next()
                .unwrap()
                .trim_end_matches(": ")
                .to_owned()
        })
        .collect();
    assert_eq!(
        starts,
        [
            "RULE_INVALID: rules[0].name (line 6, column 11)",
            "UNKNOWN_REGISTRY: rules[0].source.registry (line 7, column 25)",
            "RULE_INVALID: rules[0].source.namespace (line 7, column 45)",
            "RULE_INVALID: rules[0].source.tag.regex (line 7, column 66)",
            "RULE_INVALID: rules[0].destination.repository (line 8, column 45)",
            "UNKNOWN_REGISTRY: rules[1].destination.registry (line 11, column 30)",
        ]
    );
}

#[test]
fn each_mistake_has_its_code_and_path() {
    for (rest, code, path) in [
        (rule("name: core"), "CONFIG_INVALID", "name"),
        (rule("existing: sometimes"), "CONFIG_INVALID", "rules[0].existing"),
        (rule("enabled: 7"), "CONFIG_INVALID", "rules[0].enabled"),
        (rule("kinds: [picture]"), "CONFIG_INVALID", "rules[0].kinds[0]"),
        (
            rule("trigger: [event, { schedule: \"0 3 31 2 *\" }]"),
            "SCHEDULE_INVALID",
            "rules[0].trigger[1].schedule",
        ),
        (
            rule("trigger: [{ schedule: \"0 3 * *\" }]"),
            "SCHEDULE_INVALID",
            "rules[0].trigger[0].schedule",
        ),
        (
            rule("trigger: [{ schedule: \"0 3 * * *\", timezone: Asia/Shangai }]"),
            "SCHEDULE_INVALID",
            "rules[0].trigger[0].timezone",
        ),
        (rule("deletes: sometimes"), "CONFIG_INVALID", "rules[0].deletes"),
        (
            rule("deletes: { propagate: true, at_most: many }"),
            "RULE_INVALID",
            "rules[0].deletes.at_most",
        ),
        (
            rule("deletes: { at_most: 10 per hour }"),
            "CONFIG_INVALID",
            "rules[0].deletes",
        ),
        (rule("platforms: [arm64]"), "RULE_INVALID", "rules[0].platforms[0]"),
        (
            rule("platforms: { only: [linux/arm64, x] }"),
            "RULE_INVALID",
            "rules[0].platforms.only[1]",
        ),
        (
            rule("platforms: { only: [], sparse: true }"),
            "RULE_INVALID",
            "rules[0].platforms.sparse",
        ),
        ("failover: [{ name: main }]\n".into(), "CONFIG_INVALID", "failover[0]"),
        ("operators: []\n".into(), "NOT_YET_SUPPORTED", "operators"),
        (rule("bandwidth: 1B/s"), "CONFIG_INVALID", "rules[0].bandwidth"),
        (rule("bandwidth: fast"), "CONFIG_INVALID", "rules[0].bandwidth"),
        (
            format!("rules:\n  - {{ name: x, {RULE} }}\n  - {{ name: x, {RULE} }}\n"),
            "DUPLICATE_RULE",
            "rules[1].name",
        ),
        (
            "links: [{ from: a, to: c, because: x }]\n".into(),
            "UNKNOWN_REGISTRY",
            "links[0].to",
        ),
        (
            "links: [{ from: a, to: b, because: \" \" }]\n".into(),
            "CONFIG_INVALID",
            "links[0].because",
        ),
        ("topology: round\n".into(), "CONFIG_INVALID", "topology"),
        ("rules:\n".into(), "CONFIG_INVALID", "rules"),
        ("rules: [{ name: x }]\n".into(), "CONFIG_INVALID", "rules[0]"),
    ] {
        let refusal = refused(&rest);
        assert!(
            refusal.starts_with(&format!("{code}: ")) && refusal.contains(path),
            "{code} {path}: {refusal}"
        );
        assert!(!refusal.trim_end().contains('\n'), "one line: {refusal}");
        assert!(refusal.contains("line "), "{refusal}");
    }
}

#[test]
fn several_platforms_have_no_signatures_to_require() {
    let refusal = refused(&rule("platforms: [linux/arm64, linux/amd64], referrers: require"));
    assert!(refusal.contains("RULE_INVALID: rules[0].referrers "), "{refusal}");
    for allowed in [
        "platforms: [linux/arm64], referrers: require",
        "platforms: { only: [linux/arm64, linux/amd64], sparse: true }, referrers: require",
    ] {
        parse(&rule(allowed));
    }
}

fn source(fields: &str) -> String {
    format!(
        "rules: [{{ name: x, source: {{ registry: a, namespace: core, {fields} }}, destination: {{ registry: b }} }}]"
    )
}

#[test]
fn a_filter_that_nothing_can_pass_is_refused() {
    for (fields, path) in [
        ("tag: { glob: \"v*\", exclude: \"*\" }", "tag"),
        ("tag: { glob: \"v1*\", exclude: \"v*\" }", "tag"),
        ("tag: { regex: \"^v1\", exclude: [latest, \"v*\"] }", "tag"),
        ("tag: { glob: v1, exclude: v1 }", "tag"),
        ("tag: { glob: \"v*\", regex: \"^w\" }", "tag"),
        ("tag: { glob: latest, semver: \">=1\" }", "tag"),
        ("tag: { semver: \">2 <1\" }", "tag.semver"),
        ("tag: { latest: 0 }", "tag.latest"),
        ("tag: []", "tag"),
        ("tag: { glob: [] }", "tag.glob"),
        ("tag: { regex: \"/\" }", "tag.regex"),
        ("tag: { glob: \"core/*\" }", "tag.glob"),
        ("repository: { glob: \"team/**\", exclude: \"team/**\" }", "repository"),
        ("repository: { exclude: \"**\" }", "repository"),
        ("repository: { regex: \"^[A-Z]\" }", "repository.regex"),
        ("repository: { glob: \"Team/*\" }", "repository.glob"),
        ("repository: { glob: \"a/*\", regex: \"^b/\" }", "repository"),
    ] {
        let refusal = refused(&source(fields));
        let start = format!("RULE_NEVER_MATCHES: rules[0].source.{path} (line ");
        assert!(refusal.starts_with(&start), "{fields}: {refusal}");
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
    }
    for fields in [
        "tag: { glob: \"v*\", exclude: \"v1*\" }",
        "tag: { glob: v1, semver: \">=1\" }",
        "tag: { glob: [\"v*\", \"w*\"], regex: \"^w\" }",
        "repository: { glob: \"team/**\", exclude: \"team/*\" }",
        "repository: { exclude: \"*\" }",
    ] {
        parse(&source(fields));
    }
}

#[test]
fn conditions_that_could_be_misread_are_refused() {
    for (fields, path) in [
        ("tag: { exclude: { glob: a, regex: b } }", "tag.exclude"),
        ("tag: { exclude: {} }", "tag.exclude"),
        ("repository: { exclude: { semver: \">1\" } }", "repository.exclude"),
        ("tag: [v1, { regex: b }]", "tag[1]"),
        ("tag: [v1, \"^b\"]", "tag[1]"),
        ("tag: { semver: \"1 - 2\" }", "tag.semver"),
        ("tag: { semver: [\">1\", y] }", "tag.semver[1]"),
        ("labels: { \"\": gold }", "labels"),
    ] {
        let refusal = refused(&source(fields));
        let start = format!("RULE_INVALID: rules[0].source.{path} (line ");
        assert!(refusal.starts_with(&start), "{fields}: {refusal}");
    }
}

#[test]
fn a_path_that_the_registry_cannot_hold_is_refused() {
    let document = |provider: &str, source: &str, destination: &str| {
        let rules = format!(
            "rules: [{{ name: x, source: {{ registry: a, {source} }}, destination: {{ registry: b, {destination} }} }}]"
        );
        let other = with(&rules).replacen("b: { provider: distribution", &format!("b: {{ provider: {provider}"), 1);
        Document::parse(&other)
    };
    for provider in ["dockerhub", "aliyun-acr"] {
        for (source, destination) in [
            ("namespace: core", "namespace: a/b"),
            ("namespace: core", "namespace: me, flatten: 0"),
            ("namespace: core/team", ""),
            ("namespace: core, repository: team/app", "namespace: me"),
            ("namespace: core", "namespace: me, repository: \"m/{repository}\""),
            ("namespace: core", "namespace: \"\", flatten: all"),
        ] {
            let refusal = document(provider, source, destination).unwrap_err().to_string();
            let start = "DESTINATION_PATH_INVALID: rules[0].destination (line 5, column ";
            assert!(
                refusal.starts_with(start),
                "{provider} {source} {destination}: {refusal}"
            );
        }
        for (source, destination, warns) in [
            ("namespace: core", "namespace: me", true),
            ("namespace: core", "namespace: me, flatten: all", false),
            ("namespace: core, repository: \"*\"", "namespace: me", false),
            ("namespace: core, repository: [app, web]", "", false),
            ("namespace: \"\", repository: \"*/*\"", "", false),
            ("namespace: \"\"", "", true),
        ] {
            let warnings = document(provider, source, destination).unwrap().warnings;
            let is_warned = warnings
                .iter()
                .any(|warning| warning.code.as_str() == "DESTINATION_PATH_INVALID");
            assert_eq!(is_warned, warns, "{provider} {source} {destination}: {warnings:?}");
        }
    }
    assert!(document("ecr", "namespace: core", "namespace: a/b/c").is_ok());
}

#[test]
fn names_that_are_probably_not_meant_are_warned_of() {
    let warned = |rest: &str| {
        let warnings = parse(rest).warnings;
        let told = warnings
            .iter()
            .map(|warning| format!("{} {}", warning.code.as_str(), warning.path));
        assert!(
            warnings.iter().all(|warning| warning.position.is_some()),
            "{warnings:?}"
        );
        told.collect::<Vec<_>>()
    };
    let destination = |fields: &str| {
        format!(
            "rules: [{{ name: x, source: {{ registry: a, namespace: core }}, destination: {{ registry: b, {fields} }} }}]"
        )
    };
    assert_eq!(
        warned(&source("repository: core/app")),
        ["RULE_NEVER_MATCHES rules[0].source.repository"]
    );
    assert_eq!(
        warned(&source("repository: \"core/**\"")),
        ["RULE_NEVER_MATCHES rules[0].source.repository"]
    );
    for fields in [
        "namespace: m, flatten: all",
        "namespace: m, flatten: 2",
        "namespace: m, tag: stable",
        "repository: m/x",
    ] {
        assert_eq!(
            warned(&destination(fields)),
            ["DESTINATION_CONFLICT rules[0].destination"],
            "{fields}"
        );
    }
    for fields in [
        "",
        "namespace: m",
        "namespace: m, flatten: 0",
        "repository: \"x-{repository}\", tag: \"{tag}-y\"",
    ] {
        assert_eq!(warned(&destination(fields)), [""; 0], "{fields}");
    }
}

#[test]
fn each_pattern_that_cannot_be_used_is_refused() {
    let long = "x".repeat(50_000);
    for pattern in [
        "tag: { regex: \"(\" }".to_owned(),
        "tag: { regex: \"x{1000}{1000}\" }".to_owned(),
        format!("tag: {{ regex: \"{long}\" }}"),
        "tag: { glob: \"[\" }".to_owned(),
        "tag: \"a b\"".to_owned(),
        "tag: { glob: \"*\", exclude: { regex: \")\" } }".to_owned(),
        "repository: \"Core\"".to_owned(),
        "repository: { glob: \"core**\" }".to_owned(),
        "tag: \"^v\"".to_owned(),
        "tag: { exclude: \"^dev-\" }".to_owned(),
        "tag: { exclude: \"a b\" }".to_owned(),
        "repository: { exclude: \"(tmp|x)\" }".to_owned(),
    ] {
        let refusal = refused(&format!(
            "rules: [{{ name: x, source: {{ registry: a, namespace: core, {pattern} }}, destination: {{ registry: b }} }}]"
        ));
        assert!(refusal.starts_with("RULE_INVALID: rules[0].source."), "{refusal}");
        assert!(refusal.len() < 500, "{refusal}");
    }
    let linear = parse(
        "rules: [{ name: x, source: { registry: a, namespace: core, tag: { regex: \"(a+)+$\" } }, destination: { registry: b } }]",
    );
    assert_eq!(linear.document.rules.len(), 1);
}

#[test]
fn a_text_that_looks_like_a_regex_is_refused_with_advice() {
    for pattern in [
        "tag: '^v[0-9]+$'",
        "tag: { exclude: '^dev-' }",
        "repository: '(a|b)'",
        "tag: 'v\\d'",
    ] {
        let refusal = refused(&format!(
            "rules: [{{ name: x, source: {{ registry: a, namespace: core, {pattern} }}, destination: {{ registry: b }} }}]"
        ));
        assert!(refusal.contains("write { regex: .. }"), "{pattern}: {refusal}");
    }
}

#[test]
fn a_pattern_without_the_quotes_of_yaml_is_refused_with_advice() {
    for (pattern, advice) in [
        ("tag: { glob: * }", "put the value in quotes"),
        ("tag: { glob: *-rc }", "put the value in quotes"),
        ("tag: *", "put the value in quotes"),
        ("repository: { glob: ** }", "put the value in quotes"),
        ("tag: { regex: \"^v\\d+\" }", "single quotes"),
        ("tag: 1.20", "write \"1.20\" in quotes"),
        ("tag: [v1, 2]", "write \"2\" in quotes"),
        ("tag: { semver: 1.2 }", "write \"1.2\" in quotes"),
        ("tag: true", "write \"true\" in quotes"),
        ("tag: { glob: v1, glob: v2 }", "duplicate key"),
        ("tag: { glob: v1", "do not match"),
    ] {
        let refusal = refused(&format!(
            "rules:\n  - name: x\n    source: {{ registry: a, namespace: core, {pattern} }}\n    destination: {{ registry: b }}\n"
        ));
        assert!(refusal.contains(advice), "{pattern}: {refusal}");
        assert!(refusal.contains("line 7") || refusal.contains("line 8"), "{refusal}");
    }
}

#[test]
fn the_pitfalls_of_yaml_are_refused_with_what_to_write() {
    for (text, advice) in [
        ("version: 1\nregistries:\n\ta: {}\n", "no tabs"),
        ("version: 1\n\tregistries: {}\n", "no tabs"),
        (
            "version: 1\nregistries: {}\nrules:\n  - name: x\n    enabled: yes\n",
            "write true",
        ),
        (
            "version: 1\nregistries: {}\nrules:\n  - name: x\n    enabled: off\n",
            "write false",
        ),
        (
            "version: 1\nregistries: {}\nrules:\n  - name: x\n    description: a: b\n",
            "must be in quotes",
        ),
        ("version: 1\nregistries: {}\nrules:\n  - name: #x\n", "comment"),
        ("version:1\nregistries: {}\n", "colon"),
        ("version: 1\nregistries: {}\nversion: 1\n", "duplicate key \"version\""),
        ("version: 1\nregistries: {}\nrules:\n", "write []"),
        ("version: 1\nregistries: {}\nrules: {}\n", "expected a list"),
        ("version: \"1\"\nregistries: []\n", "expected a mapping"),
    ] {
        let refusal = Document::parse(text).unwrap_err().to_string();
        assert!(
            refusal.starts_with("CONFIG_INVALID: ") && refusal.contains(advice),
            "{text:?}: {refusal}"
        );
        assert!(refusal.contains("line ") && refusal.lines().count() == 1, "{refusal}");
    }
}

#[test]
fn what_aliases_repeat_is_limited() {
    let mut bomb = String::from("version: 1\nregistries: {}\nnotify:\n  - &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = level - 1;
        let _ = writeln!(bomb, "  - &a{level} [{}]", vec![format!("*a{before}"); 10].join(", "));
    }
    let refusal = Document::parse(&bomb).unwrap_err().to_string();
    assert!(
        refusal.starts_with("CONFIG_INVALID: ") && refusal.contains("repeat"),
        "{refusal}"
    );

    let wide = format!("version: 1\nregistries: {{}}\nrules: [{}]\n", "1,".repeat(1_500_000));
    assert!(Document::parse(&wide).is_err());
    let deep = format!(
        "version: 1\nregistries: {{}}\nnotify: {}{}\n",
        "[".repeat(2000),
        "]".repeat(2000)
    );
    let refusal = Document::parse(&deep).unwrap_err().to_string();
    assert!(refusal.starts_with("CONFIG_INVALID: "), "{refusal}");
}

#[test]
fn rules_may_share_fragments_by_anchors() {
    let mut text = with(
        "rules:\n  - &base { name: r0, source: { registry: a, namespace: n0 }, destination: { registry: b }, existing: keep }\n",
    );
    for number in 1..500 {
        let _ = writeln!(
            text,
            "  - {{ <<: *base, name: r{number}, source: {{ registry: a, namespace: n{number} }} }}"
        );
    }
    let document = Document::parse(&text).unwrap().document;
    assert_eq!(document.rules.len(), 500);
    assert!(
        document
            .rules
            .iter()
            .all(|rule| rule.existing == transship_oci::Existing::Keep)
    );
}

#[test]
fn all_patterns_of_a_document_share_one_limit() {
    let rule = |number: usize, regex: &str| {
        format!(
            "  - {{ name: r{number}, source: {{ registry: a, namespace: core, tag: {{ regex: '{regex}' }} }}, destination: {{ registry: b, namespace: r{number} }} }}\n"
        )
    };
    let document = |count: usize, regex: &str| {
        let rules: String = (0..count)
            .map(|number| rule(number, &regex.replace("NUMBER", &number.to_string())))
            .collect();
        Document::parse(&with(&format!("rules:\n{rules}")))
    };
    assert!(document(1, r"^\w{1,500}$").is_ok());
    assert!(document(100, r"^\w{1,500}$").is_ok(), "equal patterns exist once");
    let refusal = document(100, r"^NUMBER\w{1,120}\w{1,120}\w{1,400}$")
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("too large together"), "{refusal}");
    assert!(
        document(1000, r"^vNUMBER[0-9]+(\.[0-9]+){2}$").is_ok(),
        "ordinary patterns do not count"
    );
}

#[test]
fn numbers_have_bounds() {
    for limits in [
        "requests_per_second: 0",
        "requests_per_second: -1",
        "requests_per_second: .nan",
        "requests_per_second: .inf",
        "uploads: 0",
        "uploads: 4000000000",
        "bandwidth: 1B/s",
        "bandwidth: 18446744073GB/s",
    ] {
        let refusal = refused_registry(&format!(
            "provider: generic, endpoint: \"https://r.example\", limits: {{ {limits} }}"
        ));
        assert!(
            refusal.starts_with("CONFIG_INVALID: registries.hub.limits."),
            "{limits}: {refusal}"
        );
    }
    for (rate, kept) in [("1e-20", 0.001), ("1e-300", 0.001), ("1e300", 100_000.0)] {
        let limits = format!("limits: {{ requests_per_second: {rate} }}");
        let text = registry(&format!("provider: generic, endpoint: \"https://r.example\", {limits}"));
        let parsed = Document::parse(&text).unwrap();
        assert_eq!(parsed.document.registries["hub"].limits.requests_per_second, Some(kept));
        assert!(parsed.warnings[0].message.contains(&kept.to_string()), "{rate}");
    }
}

fn registry(fields: &str) -> String {
    format!("version: 1\nregistries:\n  hub: {{ {fields} }}\n")
}

fn refused_registry(fields: &str) -> String {
    Document::parse(&registry(fields)).unwrap_err().to_string()
}

#[test]
fn an_endpoint_is_scheme_host_and_port() {
    for endpoint in [
        "registry.example.com",
        "registry.example.com:5000",
        "ftp://registry.example.com",
        "https://registry.example.com/v2/",
        "https://registry.example.com?x",
        "https://user:hunter2@registry.example.com",
        "https://",
        "https://a b",
        "",
    ] {
        let refusal = refused_registry(&format!("provider: generic, endpoint: \"{endpoint}\""));
        assert!(
            refusal.starts_with("INVALID_ENDPOINT: registries.hub.endpoint (line 3, column "),
            "{refusal}"
        );
        assert!(!refusal.contains("hunter2"), "{refusal}");
    }
}

#[test]
fn secrets_are_referred_to_and_never_repeated() {
    for (fields, code, path) in [
        ("credentials: \"alice:hunter2\"", "CREDENTIALS_INVALID", "credentials"),
        ("credentials: [alice, hunter2]", "CONFIG_INVALID", "credentials"),
        ("credentials: 2222222", "CONFIG_INVALID", "credentials"),
        ("webhook: { secret: hunter2 }", "CREDENTIALS_INVALID", "webhook.secret"),
        ("webhook: hunter2", "CONFIG_INVALID", "webhook"),
        ("webhook: { secret: docker }", "CREDENTIALS_INVALID", "webhook.secret"),
        ("webhook: { secret: [hunter2] }", "CONFIG_INVALID", "webhook.secret"),
        ("credentials: \"secretsmanager:\"", "CREDENTIALS_INVALID", "credentials"),
        (
            "credentials: { ecr: { role: hunter2 } }",
            "CREDENTIALS_INVALID",
            "credentials.ecr.role",
        ),
        ("credentials: { ecr: {} }", "CONFIG_INVALID", "credentials.ecr"),
        ("webhook: { secret: \"ssm:\" }", "CREDENTIALS_INVALID", "webhook.secret"),
        (
            "webhook: { secret: \"env:X\", format: svn }",
            "CONFIG_INVALID",
            "webhook.format",
        ),
    ] {
        let refusal = refused_registry(&format!("provider: generic, endpoint: \"https://r.example\", {fields}"));
        assert!(
            refusal.starts_with(&format!("{code}: registries.hub.{path} ")),
            "{fields}: {refusal}"
        );
        assert!(
            !refusal.contains("hunter2") && !refusal.contains("2222222"),
            "{refusal}"
        );
    }
}

#[test]
fn a_registry_keeps_what_is_written_of_it() {
    let parsed = Document::parse(&registry(
        "provider: harbor, endpoint: \"https://R.example:443/\", hosts: [\"images.example:8443\"], description: d, region: r, \
         partition: finance, edition: premium, network: private, credentials: \"file:/run/x\", webhook: none, \
         limits: { requests_per_second: 20, uploads: 8, bandwidth: 200MiB/s }",
    ))
    .unwrap();
    let hub = &parsed.document.registries["hub"];
    assert_eq!(hub.host().as_str(), "r.example");
    for (host, is_called) in [
        ("r.example", true),
        ("R.EXAMPLE:443", true),
        ("r.example:80", false),
        ("images.example:8443", true),
        ("images.example", false),
    ] {
        assert_eq!(hub.is_called(&host.parse().unwrap()), is_called, "{host}");
    }
    assert_eq!(hub.network, Network::Private);
    assert_eq!(
        hub.credentials,
        Some(CredentialsRef::Secret("file:/run/x".parse().unwrap()))
    );
    assert_eq!(hub.webhook, Some(Webhook::Anyone));
    assert_eq!(hub.limits.bandwidth, Some(200 << 20));
    assert_eq!(
        (hub.limits.requests_per_second, hub.limits.uploads),
        (Some(20.0), Some(8))
    );
    assert_eq!(
        (hub.partition.as_str(), hub.edition.as_deref()),
        ("finance", Some("premium"))
    );
}

#[test]
fn certificates_are_references_and_come_in_pairs() {
    let with = |tls: &str| {
        registry(&format!(
            "provider: harbor, endpoint: \"https://r.example\", tls: {{ {tls} }}"
        ))
    };
    let parsed = Document::parse(&with(
        "authorities: \"file:/ca.pem\", certificate: \"env:CLIENT\", key: \"secretsmanager:key\"",
    ))
    .unwrap();
    let tls = parsed.document.registries["hub"].tls.as_ref().unwrap();
    let references: Vec<String> = tls
        .references()
        .map(|(key, reference)| format!("{key} {reference}"))
        .collect();
    assert_eq!(
        references,
        [
            "authorities file:/ca.pem",
            "certificate env:CLIENT",
            "key secretsmanager:key"
        ]
    );
    for (tls, code, path) in [
        ("certificate: \"env:CLIENT\"", "CONFIG_INVALID", "registries.hub.tls"),
        ("key: \"env:KEY\"", "CONFIG_INVALID", "registries.hub.tls"),
        (
            "authorities: docker",
            "CREDENTIALS_INVALID",
            "registries.hub.tls.authorities",
        ),
        (
            "authorities: \"-----BEGIN\"",
            "CREDENTIALS_INVALID",
            "registries.hub.tls.authorities",
        ),
        (
            "authority: \"env:CA\"",
            "CONFIG_INVALID",
            "registries.hub.tls.authority",
        ),
    ] {
        let refusal = Document::parse(&with(tls)).unwrap_err();
        assert_eq!((refusal.code(), refusal.first().path()), (code, path), "{refusal}");
        assert!(!refusal.to_string().contains("-----BEGIN"), "{refusal}");
    }
    let plain = registry("provider: harbor, endpoint: \"http://r.example\", tls: { authorities: \"env:CA\" }");
    assert_eq!(
        Document::parse(&plain).unwrap_err().first().path(),
        "registries.hub.tls"
    );
}

#[test]
fn limits_that_let_nothing_pass_are_refused() {
    for limit in [
        "requests_per_second: 0",
        "requests_per_second: -1",
        "uploads: 0",
        "bandwidth: 0MiB/s",
        "bandwidth: 7",
    ] {
        let refusal = refused_registry(&format!(
            "provider: generic, endpoint: \"https://r.example\", limits: {{ {limit} }}"
        ));
        assert!(
            refusal.starts_with("CONFIG_INVALID: registries.hub.limits."),
            "{refusal}"
        );
    }
    let unlimited = registry("provider: generic, endpoint: \"https://r.example\", limits: { bandwidth: -1 }");
    assert_eq!(
        Document::parse(&unlimited).unwrap().document.registries["hub"]
            .limits
            .bandwidth,
        None
    );
}

#[test]
fn text_that_is_no_document_is_refused_with_a_code() {
    for text in [
        "",
        "---",
        "[]",
        "just text",
        "{",
        "a: b: c",
        "version: 1\n\tx: 1",
        "version: 1\n---\nversion: 1",
        "\0",
        "&a [*a]",
    ] {
        let refusal = Document::parse(text).unwrap_err().to_string();
        assert!(
            refusal.starts_with("CONFIG_INVALID: ") && refusal.lines().count() == 1,
            "{text:?}: {refusal}"
        );
    }
    let refusal = Document::parse("version: 2\nregistries: {}\n").unwrap_err().to_string();
    assert!(
        refusal.starts_with("CONFIG_INVALID: version (line 1, column 10): "),
        "{refusal}"
    );
    let deep = format!("version: {}1", "[".repeat(100_000));
    assert!(Document::parse(&deep).is_err());
}

#[test]
fn json_is_a_document_too() {
    let text = r#"{"version":1,"registries":{"a":{"provider":"gitlab","endpoint":"https://a.example","webhook":{"secret":"env:H"}}},
        "rules":[{"name":"x","source":{"registry":"a","namespace":""},"destination":{"registry":"a","namespace":"m"},"enabled":false}]}"#;
    assert!(!Document::parse(text).unwrap().document.rules[0].enabled);
}

#[test]
fn a_rule_whose_events_are_not_accepted_loads_with_a_warning() {
    let swapped = "rules: [{ name: x, source: { registry: b, namespace: core }, destination: { registry: a } }]";
    let warnings = parse(swapped).warnings;
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].path, "registries.b.webhook");
    assert!(parse(&rule("")).warnings.is_empty());
    let by_hand =
        "rules: [{ name: x, source: { registry: b, namespace: core }, destination: { registry: a }, trigger: [] }]";
    assert!(parse(by_hand).warnings.is_empty());
}

#[test]
fn the_deliveries_of_every_provider_are_accepted() {
    let text = with("rules: [{ name: x, source: { registry: a, namespace: core }, destination: { registry: b } }]");
    for provider in transship_oci::Provider::ALL {
        let text = text.replace(
            "provider: distribution, endpoint: \"http://127.0.0.1:5000\"",
            &format!("provider: {provider}, endpoint: \"http://127.0.0.1:5000\""),
        );
        assert!(Document::parse(&text).is_ok(), "{provider}");
    }
}

#[test]
fn what_stands_in_aws_loads_and_is_named_for_those_who_run_elsewhere() {
    let registry = |fields: &str| {
        let ecr = "provider: ecr, endpoint: \"https://123456789012.dkr.ecr.eu-west-1.amazonaws.com\"";
        format!(
            "version: 1
registries:
  a: {{ {ecr}{fields} }}
  b: {{ provider: harbor, endpoint: \"https://b.example\", credentials: \"ssm:/b\" }}
rules: [{{ name: x, source: {{ registry: a, namespace: core }}, destination: {{ registry: b }} }}]"
        )
    };
    for (fields, paths) in [
        (
            "",
            &[
                "registries.a.credentials",
                "registries.a.webhook",
                "registries.b.credentials",
            ][..],
        ),
        (
            ", credentials: { ecr: { role: \"arn:aws:iam::123456789012:role/x\" } }, webhook: { secret: \"env:HOOK\" }",
            &["registries.a.credentials", "registries.b.credentials"],
        ),
        (
            ", credentials: docker, webhook: { secret: \"secretsmanager:hook\" }",
            &["registries.a.webhook", "registries.b.credentials"],
        ),
        (
            ", credentials: docker, webhook: { secret: \"env:HOOK\" }, tls: { authorities: \"ssm:/ca\" }",
            &["registries.a.tls.authorities", "registries.b.credentials"],
        ),
    ] {
        let parsed = Document::parse(&registry(fields)).unwrap();
        assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
        let told = parsed.document.needs_aws();
        let told: Vec<&str> = told.iter().map(|warning| warning.path.as_str()).collect();
        assert_eq!(told, paths, "{fields}");
    }
    assert!(parse(&rule("")).document.needs_aws().is_empty());
}

#[test]
fn a_document_for_one_platform_has_no_warnings_and_one_for_none_has_those_of_both() {
    let document = |hub: &str, mirror: &str| {
        let rule = "{ name: x, source: { registry: hub, namespace: core }, destination: { registry: mirror, namespace: core } }";
        let text = format!(
            "version: 1\nregistries:\n  hub: {{ provider: ecr, endpoint: \"https://123456789012.dkr.ecr.eu-west-1.amazonaws.com\"{hub} }}\n  mirror: {{ provider: harbor, endpoint: \"https://m.example\"{mirror} }}\nrules: [{rule}]"
        );
        let parsed = Document::parse(&text).unwrap();
        assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
        parsed.document
    };
    let codes = |document: &Document| -> Vec<String> {
        let warnings = document.platform_warnings();
        let code = |warning: &transship_rules::Warning| format!("{} {}", warning.code.as_str(), warning.path);
        warnings.iter().map(code).collect()
    };
    let login = ", credentials: \"secretsmanager:transship/m\"";
    let role = ", credentials: { ecr: { role: \"arn:aws:iam::123456789012:role/x\" } }";
    let tls = ", tls: { authorities: \"ssm:/ca\" }";
    let hook = ", webhook: { secret: \"env:HOOK\" }";
    let docker = ", credentials: docker";
    for (hub, mirror) in [("", ""), ("", login), (role, login), (role, tls), (role, "")] {
        let document = document(hub, mirror);
        assert!(document.is_for_aws(), "{hub} {mirror}");
        assert!(codes(&document).is_empty(), "{hub} {mirror}: {:?}", codes(&document));
    }
    let on_a_machine = document(&format!("{docker}{hook}"), docker);
    assert!(!on_a_machine.is_for_aws());
    assert!(codes(&on_a_machine).is_empty());
    assert_eq!(on_a_machine.not_on_aws().len(), 3, "a stack warns of each");
    let of_neither = document("", &format!("{docker}, tls: {{ authorities: \"file:/ca.pem\" }}"));
    assert!(!of_neither.is_for_aws());
    assert_eq!(
        codes(&of_neither),
        [
            "NEEDS_AWS registries.hub.credentials",
            "NEEDS_AWS registries.hub.webhook",
            "NOT_ON_AWS registries.mirror.credentials",
            "NOT_ON_AWS registries.mirror.tls.authorities",
        ]
    );
}

#[test]
fn thousands_of_patterns_near_the_limit_are_read_and_matched() {
    let mut text = String::from("rules:\n");
    for number in 0..2000 {
        let _ = writeln!(
            text,
            "  - {{ name: r{number}, source: {{ registry: a, namespace: core, repository: {{ regex: '^({number}|[a-c]x{{1,40}})$' }}, tag: {{ glob: \"{}{number}*\" }} }}, destination: {{ registry: b, namespace: n{number} }} }}",
            "v".repeat(55)
        );
    }
    let document = parse(&text).document;
    let (repository, tag) = (
        "core/axxx".parse().unwrap(),
        format!("{}1999-x", "v".repeat(55)).parse().unwrap(),
    );
    let pushed = transship_rules::Pushed {
        repository: &repository,
        tag: Some(&tag),
        kind: None,
    };
    let matching: Vec<_> = document
        .matching("a", &pushed)
        .map(|found| found.rule.name.clone())
        .collect();
    assert_eq!(matching, ["r1", "r19", "r199", "r1999"]);
}
