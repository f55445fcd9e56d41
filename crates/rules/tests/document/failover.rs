//! Failover groups: which are valid, and how each mistake is reported.

use transship_rules::Document;

const SITES: &str = "[{ registry: a, record: { type: CNAME, value: a.example.net } }, { registry: b, record: { type: A, value: [10.0.8.4, 10.0.8.5] } }]";
const BELOW: &str =
    "[{ name: z, home: a, dns: { rfc2136: { servers: [\"127.0.0.1:5353\"], zone: example.com, key: \"env:TSIG\" } } }]";
const RULE: &str = "rules: [{ name: r, source: { registry: a, namespace: core }, destination: { registry: b } }]\n";

/// The fields of a group, with some of them replaced; an empty text removes one.
fn group(replaced: &[(&str, &str)]) -> String {
    let fields = [
        ("name", "main"),
        ("endpoint", "https://images.example.com:5443"),
        ("sites", SITES),
        ("writer", "a"),
        ("zones", BELOW),
        ("ttl", ""),
        ("rpo", ""),
        ("credentials", ""),
    ];
    let fields = fields.map(|(key, value)| {
        let value = replaced
            .iter()
            .find(|(name, _)| *name == key)
            .map_or(value, |(_, value)| value);
        if value.is_empty() {
            String::new()
        } else {
            format!("    {key}: {value}\n")
        }
    });
    format!("  -\n{}", fields.concat())
}

fn with(rules: &str, groups: &[String]) -> String {
    super::with(&format!("{rules}failover:\n{}", groups.concat()))
}

fn errors(text: &str) -> Vec<String> {
    let errors = Document::parse(text).unwrap_err();
    errors
        .iter()
        .map(|error| format!("{}: {error}", error.code()))
        .collect()
}

/// The faults of a document; empty if it is valid.
fn faults(text: &str) -> Vec<String> {
    if Document::parse(text).is_ok() {
        return Vec::new();
    }
    errors(text)
}

#[test]
fn a_group_that_is_right_is_accepted() {
    for replaced in [
        vec![],
        vec![("ttl", "1"), ("rpo", "1h30m"), ("credentials", "env:CLIENTS")],
        vec![("endpoint", "https://images.example.com")],
        vec![(
            "zones",
            "[{ name: z, home: a, dns: { route53: { zone: /hostedzone/Z1 } } }, { name: y, home: b, dns: { exec: lb } }]",
        )],
        vec![(
            "zones",
            "[{ name: z, home: a, dns: { rfc2136: { zone: example.com, key: \"env:TSIG\" } } }]",
        )],
        vec![(
            "zones",
            "[{ name: z, home: a, dns: { rfc2136: { servers: [ns1.example.com, \"[fd00::2]:53\", \"fd00::3\"], zone: Example.COM., key: \"file:/k\" } } }]",
        )],
        vec![(
            "zones",
            "[{ name: z, home: a, dns: { privatezone: { zone: a1, credentials: \"env:A\", endpoint: \"http://127.0.0.1:1\" } } }]",
        )],
        vec![
            ("endpoint", "https://example.com"),
            (
                "sites",
                "[{ registry: a, record: { type: A, value: 127.0.0.2 } }, { registry: b, record: { type: AAAA, value: [\"::1\"] } }]",
            ),
        ],
    ] {
        let text = with(RULE, &[group(&replaced)]);
        assert_eq!(faults(&text), Vec::<String>::new(), "{text}");
    }
    assert!(Document::parse(&super::with("failover: []\n")).is_ok());
}

#[test]
fn each_mistake_has_its_code_its_place_and_what_to_write() {
    let site = |record: &str| {
        format!("[{{ registry: a, record: {record} }}, {{ registry: b, record: {{ type: A, value: 10.0.8.4 }} }}]")
    };
    let zone = |dns: &str| format!("[{{ name: z, home: a, dns: {dns} }}]");
    let rfc2136 = |fields: &str| zone(&format!("{{ rfc2136: {{ {fields} }} }}"));
    for (key, value, code, path, advice) in [
        ("name", "Main".to_owned(), "FAILOVER_INVALID", "name", "lower-case"),
        ("endpoint", "images.example.com".into(), "INVALID_ENDPOINT", "endpoint", "https://images.example.com"),
        ("endpoint", "http://images.example.com".into(), "INVALID_ENDPOINT", "endpoint", "https"),
        ("endpoint", "https://10.0.0.1".into(), "INVALID_ENDPOINT", "endpoint", "full name"),
        ("endpoint", "https://images".into(), "INVALID_ENDPOINT", "endpoint", "full name"),
        ("endpoint", "https://images.example.com/v2".into(), "INVALID_ENDPOINT", "endpoint", "host and port"),
        ("endpoint", "https://u:hunter2@images.example.com".into(), "INVALID_ENDPOINT", "endpoint", "credentials"),
        ("credentials", "u:hunter2".into(), "CREDENTIALS_INVALID", "credentials", "env:NAME"),
        ("ttl", "0".into(), "FAILOVER_INVALID", "ttl", "write 1 to 86400"),
        ("ttl", "86401".into(), "FAILOVER_INVALID", "ttl", "write 1 to 86400"),
        ("ttl", "-1".into(), "CONFIG_INVALID", "ttl", ""),
        ("rpo", "\"15\"".into(), "FAILOVER_INVALID", "rpo", "15m"),
        ("rpo", "0s".into(), "FAILOVER_INVALID", "rpo", "1s"),
        ("rpo", "soon".into(), "FAILOVER_INVALID", "rpo", "15m"),
        ("writer", "c".into(), "FAILOVER_INVALID", "writer", "a, b"),
        ("sites", "[{ registry: a, record: { type: A, value: 10.0.8.4 } }]".into(), "FAILOVER_INVALID", "sites", "standby"),
        ("sites", "[{ registry: a, record: { type: A, value: 10.0.8.4 } }, { registry: a, record: { type: A, value: 10.0.8.5 } }]".into(), "FAILOVER_INVALID", "sites[1].registry", "once"),
        ("sites", "[{ registry: a, record: { type: A, value: 10.0.8.4 } }, { registry: c, record: { type: A, value: 10.0.8.5 } }]".into(), "UNKNOWN_REGISTRY", "sites[1].registry", ""),
        ("sites", "[{ registry: a, record: { type: AAAA, value: \"fd00::8\" } }, { registry: b, record: { type: AAAA, value: [\"FD00:0::8\"] } }]".into(), "FAILOVER_INVALID", "sites[1].record.value", "change nothing"),
        ("sites", site("{ type: CNAME, value: 10.0.0.1 }"), "FAILOVER_INVALID", "sites[0].record.value", "type: A"),
        ("sites", site("{ type: CNAME, value: [x.example.com, y.example.com] }"), "FAILOVER_INVALID", "sites[0].record.value", "one"),
        ("sites", site("{ type: CNAME, value: Images.example.com. }"), "FAILOVER_INVALID", "sites[0].record.value", "own name"),
        ("sites", site("{ type: A, value: x.example.com }"), "FAILOVER_INVALID", "sites[0].record.value", "type: CNAME"),
        ("sites", site("{ type: A, value: [10.0.8.1, \"fd00::8\"] }"), "FAILOVER_INVALID", "sites[0].record.value[1]", "type: AAAA"),
        ("sites", site("{ type: AAAA, value: 10.0.8.4 }"), "FAILOVER_INVALID", "sites[0].record.value", "type: A"),
        ("sites", site("{ type: A, value: [10.0.8.1, 10.0.8.1] }"), "FAILOVER_INVALID", "sites[0].record.value[1]", "twice"),
        ("sites", site("{ type: A, value: [] }"), "FAILOVER_INVALID", "sites[0].record.value", "write 1"),
        ("sites", site("{ type: A, value: 0.0.0.0 }"), "FAILOVER_INVALID", "sites[0].record.value", "address of the site"),
        ("sites", site("{ type: A, value: 169.254.169.254 }"), "FAILOVER_INVALID", "sites[0].record.value", "address of the site"),
        ("sites", site("{ type: MX, value: x.example.com }"), "CONFIG_INVALID", "sites[0].record.type", "CNAME"),
        ("sites", site("{ kind: A, value: 10.0.0.1 }"), "CONFIG_INVALID", "sites[0].record.kind", ""),
        ("zones", "[]".into(), "FAILOVER_INVALID", "zones", "add"),
        ("zones", "[{ name: z, home: c, dns: { exec: x } }]".into(), "FAILOVER_INVALID", "zones[0].home", "a, b"),
        ("zones", "[{ name: z, home: a, dns: { exec: x } }, { name: z, home: a, dns: { exec: y } }]".into(), "FAILOVER_INVALID", "zones[1].name", "own name"),
        ("zones", "[{ name: z, home: a, dns: { exec: x } }, { name: y, home: a, dns: { exec: x } }]".into(), "FAILOVER_INVALID", "zones[1].dns", "same DNS zone"),
        ("zones", zone("{}"), "FAILOVER_INVALID", "zones[0].dns", "route53"),
        ("zones", zone("{ exec: x, route53: { zone: Z1 } }"), "FAILOVER_INVALID", "zones[0].dns", "one of"),
        ("zones", zone("{ route54: { zone: Z1 } }"), "CONFIG_INVALID", "zones[0].dns.route54", "route53"),
        ("zones", zone("{ route53: { zone: example.com } }"), "FAILOVER_INVALID", "zones[0].dns.route53.zone", "Z0123"),
        ("zones", zone("{ exec: /bin/sh }"), "FAILOVER_INVALID", "zones[0].dns.exec", "lower-case"),
        ("zones", zone("{ privatezone: { zone: \"a b\", credentials: \"env:A\" } }"), "FAILOVER_INVALID", "zones[0].dns.privatezone.zone", "id"),
        ("zones", zone("{ privatedns: { zone: a, credentials: \"id:hunter2\" } }"), "CREDENTIALS_INVALID", "zones[0].dns.privatedns.credentials", "env:NAME"),
        ("zones", zone("{ privatedns: { zone: a, credentials: \"env:A\", endpoint: \"http://10.0.0.1\" } }"), "INVALID_ENDPOINT", "zones[0].dns.privatedns.endpoint", "https"),
        ("zones", zone("{ privatezone: { zone: a, credentials: \"env:A\", region: cn-hangzhou } }"), "FAILOVER_INVALID", "zones[0].dns.privatezone.region", "remove region"),
        ("zones", zone("{ privatedns: { zone: a, credentials: \"env:A\", region: \"x.evil.example/\" } }"), "FAILOVER_INVALID", "zones[0].dns.privatedns.region", "cn-hangzhou"),
        ("zones", rfc2136("servers: [], zone: example.com, key: \"env:K\""), "FAILOVER_INVALID", "zones[0].dns.rfc2136.servers", "host:port"),
        ("zones", rfc2136("servers: [\"10.0.0.2:0\"], zone: example.com, key: \"env:K\""), "FAILOVER_INVALID", "zones[0].dns.rfc2136.servers[0]", "host:port"),
        ("zones", rfc2136("servers: [\"udp://10.0.0.2\"], zone: example.com, key: \"env:K\""), "FAILOVER_INVALID", "zones[0].dns.rfc2136.servers[0]", "host:port"),
        ("zones", rfc2136("servers: [10.0.0.2, \"10.0.0.2:53\"], zone: example.com, key: \"env:K\""), "FAILOVER_INVALID", "zones[0].dns.rfc2136.servers[1]", "twice"),
        ("zones", rfc2136("servers: [10.0.0.2], zone: example.org, key: \"env:K\""), "FAILOVER_INVALID", "zones[0].dns.rfc2136.zone", "not in the zone"),
        ("zones", rfc2136("servers: [10.0.0.2], zone: images.example.com, key: \"env:K\""), "DNS_APEX_CNAME", "zones[0].dns.rfc2136.zone", "A or AAAA"),
        ("zones", rfc2136("servers: [10.0.0.2], zone: example.com, key: \"k:hmac-sha256:aHVudGVyMg==\""), "CREDENTIALS_INVALID", "zones[0].dns.rfc2136.key", "env:NAME"),
    ] {
        let text = with(RULE, &[group(&[(key, &value)])]);
        let found = faults(&text);
        assert_eq!(found.len(), 1, "{key}: {value}: {found:?}");
        let start = format!("{code}: failover[0].{path} (line ");
        assert!(found[0].starts_with(&start) && found[0].contains(advice), "{key}: {value}: {found:?}");
        assert!(!found[0].contains("hunter2") && !found[0].contains("aHVudGVyMg"), "{found:?}");
    }
}

#[test]
fn every_mistake_of_a_group_is_reported_at_once() {
    let found = faults(&with(
        RULE,
        &[group(&[
            ("ttl", "0"),
            ("rpo", "never"),
            ("writer", "c"),
            (
                "sites",
                "[{ registry: a, record: { type: A, value: x } }, { registry: c, record: { type: A, value: 10.0.8.5 } }]",
            ),
        ])],
    ));
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn two_groups_have_different_names_and_switch_different_records() {
    let other = group(&[("endpoint", "https://images.example.com")]);
    let found = faults(&with(RULE, &[group(&[]), other]));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("FAILOVER_INVALID: failover[1].name ") && found[0].contains("own name"));
    assert!(found[1].starts_with("FAILOVER_INVALID: failover[1].endpoint ") && found[1].contains("images.example.com"));
}

#[test]
fn every_standby_is_the_end_of_a_rule_that_begins_at_the_writer() {
    let rule = |name: &str, from: &str, to: &str| {
        format!(
            "  - {{ name: {name}, source: {{ registry: {from}, namespace: core }}, destination: {{ registry: {to} }} }}\n"
        )
    };
    let document = |rules: &str| {
        let sites = "[{ registry: a, record: { type: A, value: 10.0.8.4 } }, { registry: b, record: { type: A, value: 10.0.8.5 } }, { registry: c, record: { type: A, value: 10.0.8.6 } }]";
        let text = with(&format!("rules:\n{rules}"), &[group(&[("sites", sites)])]);
        text.replace(
            "rules:\n",
            "  c: { provider: distribution, endpoint: \"http://127.0.0.1:5002\" }\nrules:\n",
        )
    };
    for rules in [
        rule("ab", "a", "b") + &rule("ac", "a", "c"),
        rule("bc", "b", "c") + &rule("ab", "a", "b"),
    ] {
        assert_eq!(faults(&document(&rules)), [""; 0]);
    }
    for (rules, path) in [
        (rule("ab", "a", "b"), "failover[0].sites[2].registry"),
        (
            rule("ac", "a", "c") + &rule("bc", "b", "c").replace("core", "other"),
            "failover[0].sites[1].registry",
        ),
        (
            rule("ab", "a", "b") + &rule("ac", "a", "c").replace("{ name", "{ enabled: false, name"),
            "failover[0].sites[2].registry",
        ),
    ] {
        let found = faults(&document(&rules));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with(&format!("FAILOVER_WITHOUT_RULE: {path} (line ")),
            "{found:?}"
        );
        assert!(found[0].contains("source.registry: a"), "{found:?}");
    }
}

#[test]
fn the_reverse_of_a_rule_is_not_written() {
    let back = "links: [{ from: b, to: a, because: x }]\nrules:\n  - { name: r, source: { registry: a, namespace: core }, destination: { registry: b } }\n  - { name: back, source: { registry: b, namespace: core }, destination: { registry: a } }\n";
    let found = faults(&with(back, &[group(&[])]));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("FAILOVER_INVALID: rules[1].destination.registry ") && found[0].contains("derived"),
        "{found:?}"
    );
}

#[test]
fn rules_between_sites_keep_the_names_of_images() {
    for (destination, is_kept) in [
        ("{ registry: b, namespace: core }", true),
        ("{ registry: b, flatten: 0, namespace: \"\" }", true),
        (
            "{ registry: b, namespace: core, tag: \"{tag}\", repository: \"{repository}\" }",
            true,
        ),
        ("{ registry: b, namespace: copy }", false),
        ("{ registry: b, namespace: core, tag: \"x-{tag}\" }", false),
        (
            "{ registry: b, namespace: core, repository: \"m/{repository}\" }",
            false,
        ),
        ("{ registry: b, namespace: core, flatten: all }", false),
    ] {
        let rules =
            format!("rules: [{{ name: r, source: {{ registry: a, namespace: core }}, destination: {destination} }}]\n");
        let found = faults(&with(&rules, &[group(&[])]));
        assert_eq!(found.is_empty(), is_kept, "{destination}: {found:?}");
        assert!(
            is_kept || found[0].starts_with("FAILOVER_INVALID: rules[0].destination "),
            "{found:?}"
        );
    }
}

#[test]
fn the_name_of_a_group_is_a_name_of_its_sites_and_of_nothing_else() {
    let text = with(RULE, &[group(&[])]);
    let document = Document::parse(&text).unwrap().document;
    let names = |host: &str, registry: &str| document.names_registry(&host.parse().unwrap(), registry);
    for registry in ["a", "b"] {
        assert!(names("images.example.com:5443", registry), "{registry}");
        assert!(names("IMAGES.example.com:5443", registry), "{registry}");
        for other in ["images.example.com", "images.example.com:443", "other.example.com:5443"] {
            assert!(!names(other, registry), "{other} is not {registry}");
        }
    }
    assert!(!names("images.example.com:5443", "nobody"));
    assert_eq!(
        document.registry_at(&"images.example.com:5443".parse().unwrap()),
        Some("a")
    );
    let plain = with(RULE, &[group(&[("endpoint", "https://images.example.com")])]);
    let plain = Document::parse(&plain).unwrap().document;
    for host in ["images.example.com", "images.example.com:443"] {
        assert!(plain.names_registry(&host.parse().unwrap(), "b"), "{host}");
    }
}
