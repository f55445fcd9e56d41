//! The whole language of the document: what this version honours is read, and what it does not is refused by name.

use transship_rules::Document;

/// Every key there is.
const EVERYTHING: &str = r#"
version: 1
registries:
  hangzhou:
    provider: aliyun-acr
    endpoint: https://a-registry.cn-hangzhou.cr.example.com
    hosts: [a-registry-vpc.cn-hangzhou.cr.example.com, images.example.com]
    aliases: { docker-local: docker }
    description: primary
    region: cn-hangzhou
    partition: public
    edition: premium
    network: public
    credentials: secretsmanager:transship/hangzhou
    webhook: { secret: "secretsmanager:transship/hangzhou-hook", format: aliyun-eventbridge, url: "https://hooks.example.com/hooks/hangzhou" }
    limits: { requests_per_second: 20, uploads: 8, bandwidth: 200MiB/s }
  zhangjiakou: { provider: aliyun-acr, endpoint: https://b.example.com, credentials: { ecr: { role: "arn:aws:iam::123456789012:role/x" } }, webhook: { identity: { audience: x, tenant: 00000000-0000-0000-0000-000000000001, application: 00000000-0000-0000-0000-000000000002, keys: "env:KEYS" } } }
  gar: { provider: google-ar, endpoint: https://gar.example.com, webhook: { identity: { audience: x, email: a@b } } }
topology: acyclic
links: [{ from: hangzhou, to: zhangjiakou, because: agreed }]
rules:
  - name: core-images
    description: images the business cannot live without
    enabled: true
    source: { registry: hangzhou, namespace: core, repository: { glob: "**" }, tag: { regex: "^v\\d+", exclude: { glob: "*-rc*" }, semver: ">=1.2", latest: 20 }, labels: { a: b } }
    kinds: [image, chart]
    destination: { registry: zhangjiakou, namespace: core, flatten: namespace, repository: "{repository}", tag: "{tag}" }
    trigger: [event, { schedule: "0 3 * * *", timezone: Asia/Shanghai }]
    existing: follow
    deletes: { propagate: true, at_most: 10 per hour }
    referrers: include
    platforms: { only: [linux/amd64], sparse: true }
    bandwidth: 50MiB/s
    backfill: true
imports:
  - { name: seed, description: what was there before, enabled: true, bucket: my-layouts, prefix: to-zhangjiakou/, destination: { registry: zhangjiakou, namespace: core }, existing: keep, referrers: exclude }
failover:
  - name: main
    endpoint: https://cross-region.example.com
    credentials: secretsmanager:transship/clients
    sites:
      - { registry: hangzhou, record: { type: CNAME, value: a-registry.cn-hangzhou.cr.example.com } }
      - { registry: zhangjiakou, record: { type: A, value: [10.0.8.4] } }
    writer: hangzhou
    zones:
      - { name: public, home: hangzhou, dns: { route53: { zone: Z123 } } }
      - { name: vpc-b, home: zhangjiakou, dns: { rfc2136: { servers: ["10.0.0.2:53"], zone: example.com, key: "secretsmanager:transship/tsig" } } }
      - { name: vpc-c, home: zhangjiakou, dns: { privatezone: { zone: abc, credentials: "secretsmanager:transship/ali" } } }
      - { name: vpc-d, home: zhangjiakou, dns: { privatedns: { zone: zone-abc, credentials: "secretsmanager:transship/tencent", region: ap-guangzhou, endpoint: https://privatedns.example.com } } }
      - { name: vpc-e, home: zhangjiakou, dns: { exec: balancer } }
    ttl: 60
    rpo: 15m
operators: []
notify: []
"#;

#[test]
fn what_is_not_honoured_is_refused_by_name_and_nothing_else_is() {
    let errors = Document::parse(EVERYTHING).unwrap_err();
    assert!(
        errors.iter().all(|error| error.code() == "NOT_YET_SUPPORTED"),
        "{errors}"
    );
    let paths: Vec<&str> = errors.iter().map(transship_rules::Error::path).collect();
    assert_eq!(paths, ["operators", "notify"]);
}

#[test]
fn the_published_schema_knows_every_key_that_is_read() {
    let schema = transship_rules::schema().to_string();
    let keys = EVERYTHING
        .split(|character: char| !(character.is_ascii_lowercase() || character == '_' || character == ':'))
        .filter_map(|word| word.strip_suffix(':'))
        .filter(|word| {
            word.len() > 1 && !matches!(*word, "hangzhou" | "zhangjiakou" | "gar" | "docker-local" | "local")
        });
    for key in keys.filter(|key| !key.contains(':') && !matches!(*key, "https" | "secretsmanager" | "arn" | "env")) {
        assert!(schema.contains(&format!("\"{key}\":")), "{key}");
    }
}

#[test]
fn a_destination_that_cannot_delete_tags_is_warned_of() {
    let parsed = |provider: &str, deletes: &str| {
        let text = format!(
            "version: 1\nregistries:\n  a: {{ provider: generic, endpoint: \"https://a.example\", webhook: none }}\n  b: {{ provider: {provider}, endpoint: \"https://b.example\" }}\nrules:\n  - {{ name: r, source: {{ registry: a, namespace: core }}, destination: {{ registry: b, namespace: copy }}, deletes: {deletes} }}\n"
        );
        let warnings = Document::parse(&text).unwrap().warnings;
        warnings
            .iter()
            .any(|warning| warning.code.as_str() == "TAG_DELETE_UNSUPPORTED")
    };
    assert!(parsed("harbor", "propagate"));
    assert!(!parsed("harbor", "ignore") && !parsed("distribution", "propagate"));
}
