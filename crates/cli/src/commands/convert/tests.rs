use transship_oci::Existing;
use transship_rules::{Document, Pushed, Verdict};

use super::*;

/// The document, which passes the check, and what has no equivalent.
fn converted(tool: Tool, text: &str) -> (Document, Vec<String>) {
    let converted = convert(tool, text.as_bytes()).unwrap();
    let parsed =
        Document::parse(&converted.document).unwrap_or_else(|errors| panic!("{errors}\n{}", converted.document));
    for sentence in &converted.without_equivalent {
        assert!(converted.document.contains(&format!("# - {sentence}\n")), "{sentence}");
    }
    (parsed.document, converted.without_equivalent)
}

/// Where the rules put an image, as `registry/repository:tag`. Rules that are started by hand count as well.
fn places(document: &Document, registry: &str, repository: &str, tag: &str) -> Vec<String> {
    let (repository, tag) = (repository.parse().unwrap(), tag.parse().unwrap());
    let pushed = Pushed {
        repository: &repository,
        tag: Some(&tag),
        kind: None,
    };
    let rules = document.rules.iter().filter(|rule| rule.source.registry == registry);
    rules
        .filter_map(|rule| match rule.matches(&pushed) {
            Verdict::Matches(to) => Some(format!("{}/{}:{}", to.registry, to.repository, to.tag.unwrap())),
            _ => None,
        })
        .collect()
}

const HARBOR: &str = r#"[
  { "id": 1, "name": "Push to HUB", "description": "nightly", "enabled": true, "override": true, "speed": 8192,
    "src_registry": { "id": 0, "name": "Local", "type": "harbor", "url": "http://core:8080", "credential": {} },
    "dest_registry": { "id": 7, "name": "hub", "type": "docker-hub", "url": "https://hub.docker.com", "credential": { "access_key": "me", "access_secret": "*****" } },
    "dest_namespace": "mirror", "dest_namespace_replace_count": -1,
    "filters": [ { "type": "name", "value": "library/**" }, { "type": "tag", "value": "v*", "decoration": "matches" },
                 { "type": "label", "value": ["prod"], "decoration": "matches" }, { "type": "resource", "value": "image" } ],
    "trigger": { "type": "event_based", "trigger_settings": { "cron": "" } }, "replicate_deletion": true, "copy_by_chunk": false },
  { "id": 2, "name": "pull", "enabled": false, "override": false, "speed": -1,
    "src_registry": { "id": 9, "name": "other harbor", "type": "harbor", "url": "https://harbor.example.com/", "insecure": true, "credential": null },
    "dest_registry": { "id": 0, "name": "Local", "type": "harbor", "url": "http://core:8080" },
    "dest_namespace": "", "filters": [ { "type": "name", "value": "{a,b}/app-**" }, { "type": "tag", "value": "*-rc*", "decoration": "excludes" } ],
    "trigger": { "type": "scheduled", "trigger_settings": { "cron": "0 0 3 * * *" } } },
  { "id": 3, "name": "Push to hub", "src_registry": { "id": 0 }, "dest_registry": { "id": 9, "name": "other harbor", "type": "harbor", "url": "https://harbor.example.com" },
    "dest_namespace": "copy", "dest_namespace_replace_count": 1, "filters": [], "trigger": { "type": "manual" } }
]"#;

#[test]
fn policies_of_harbor_become_rules() {
    let (document, lost) = converted(Tool::Harbor, HARBOR);
    let names: Vec<&str> = document.rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["push-to-hub", "pull", "push-to-hub-2"]);
    let [hub, pull, copy] = document.rules.as_slice() else {
        panic!()
    };
    assert!(hub.enabled && hub.is_on_event() && !pull.enabled && !copy.is_on_event());
    assert_eq!((hub.existing, pull.existing), (Existing::Overwrite, Existing::Keep));
    assert_eq!(hub.bandwidth, Some(1 << 20));
    assert_eq!(hub.kinds, [transship_oci::Kind::Image]);
    assert_eq!(
        places(&document, "harbor", "library/team/app", "v1"),
        ["hub/mirror/app:v1", "other-harbor/copy/team/app:v1"]
    );
    assert_eq!(
        places(&document, "harbor", "library/app", "latest"),
        ["other-harbor/copy/app:latest"]
    );
    assert_eq!(
        places(&document, "other-harbor", "a/app-x", "v1"),
        ["harbor/a/app-x:v1"]
    );
    assert_eq!(places(&document, "other-harbor", "a/app-x", "v1-rc1"), [""; 0]);
    for word in ["label", "deletes", "harbor.endpoint", "HUB_CREDENTIALS", "certificates"] {
        assert!(lost.iter().any(|sentence| sentence.contains(word)), "{word}: {lost:?}");
    }
}

#[test]
fn policies_that_would_run_in_circles_are_switched_off() {
    let policy = |name: &str, from: &str, to: &str| {
        let place = |id: &str| {
            format!(r#"{{ "id": {id}, "name": "r{id}", "type": "harbor", "url": "https://r{id}.example.com" }}"#)
        };
        format!(
            r#"{{ "name": "{name}", "src_registry": {}, "dest_registry": {}, "trigger": {{ "type": "event_based" }} }}"#,
            place(from),
            place(to)
        )
    };
    let both = format!("[{}, {}]", policy("there", "1", "2"), policy("back", "2", "1"));
    let (document, lost) = converted(Tool::Harbor, &both);
    let enabled: Vec<bool> = document.rules.iter().map(|rule| rule.enabled).collect();
    assert_eq!(enabled, [false, true]);
    assert!(lost.iter().any(|sentence| sentence.contains("RULE_CYCLE")), "{lost:?}");
}

#[test]
fn an_export_with_both_lists_and_a_single_policy_are_read() {
    let registries = r#""registries": [{ "id": 4, "name": "far", "type": "aws-ecr", "url": "https://1.dkr.ecr.eu-west-1.amazonaws.com" }]"#;
    let policy = r#"{ "name": "one", "src_registry": { "id": 0 }, "dest_registry": { "id": 4 } }"#;
    let (document, _) = converted(Tool::Harbor, &format!(r#"{{ "policies": [{policy}], {registries} }}"#));
    assert_eq!(document.registries["far"].provider, transship_oci::Provider::Ecr);
    let (document, _) = converted(
        Tool::Harbor,
        &policy.replace(
            r#"{ "id": 4 }"#,
            r#"{ "id": 4, "name": "x", "url": "https://x.example" }"#,
        ),
    );
    assert_eq!(document.rules.len(), 1);
}

const REGSYNC: &str = r#"
version: 1
creds:
  - registry: localhost:5000
    tls: disabled
    reqPerSec: 20
  - registry: docker.io
    user: "{{env \"HUB_USER\"}}"
    pass: "{{file \"/run/secrets/hub\"}}"
defaults:
  ratelimit: { min: 100, retry: 15m }
  parallel: 2
  interval: 60m
  backup: "bkup-{{.Ref.Tag}}"
sync:
  - source: busybox:1.36
    target: localhost:5000/library/busybox:stable
    type: image
  - source: docker.io/library/alpine
    target: localhost:5000/base/alpine
    type: repository
    tags: { allow: ["3", "3\\.\\d+"], deny: ["3\\.0"] }
    platform: linux/amd64
    referrers: true
  - source: ghcr.io/org/tool
    target: localhost:5000/tools/tool
    type: repository
    tags: { semverRange: [">=1.2 <2"] }
  - source: old.example.com:5000
    target: localhost:5000/old
    type: registry
    repos: { allow: ["team/.*"] }
"#;

#[test]
fn entries_of_regsync_become_rules() {
    let (document, lost) = converted(Tool::Regsync, REGSYNC);
    assert_eq!(
        places(&document, "dockerhub", "library/busybox", "1.36"),
        ["localhost-5000/library/busybox:stable"]
    );
    assert_eq!(
        places(&document, "dockerhub", "library/alpine", "3.19"),
        ["localhost-5000/base/alpine:3.19"]
    );
    for tag in ["3.0", "3.19-rc", "13"] {
        assert_eq!(places(&document, "dockerhub", "library/alpine", tag), [""; 0], "{tag}");
    }
    assert_eq!(
        places(&document, "ghcr.io", "org/tool", "v1.3.0"),
        ["localhost-5000/tools/tool:v1.3.0"]
    );
    assert_eq!(places(&document, "ghcr.io", "org/tool", "v2.0.0"), [""; 0]);
    assert_eq!(
        places(&document, "old.example.com-5000", "team/app", "v1"),
        ["localhost-5000/old/team/app:v1"]
    );
    let local = &document.registries["localhost-5000"];
    assert_eq!(
        (local.endpoint.scheme(), local.limits.requests_per_second),
        ("http", Some(20.0))
    );
    assert!(
        document
            .rules
            .iter()
            .all(|rule| rule.existing == Existing::Backup && !rule.is_on_event())
    );
    for word in ["bkup-", "ratelimit", "parallel", "DOCKERHUB_CREDENTIALS"] {
        assert!(lost.iter().any(|sentence| sentence.contains(word)), "{word}: {lost:?}");
    }
}

#[test]
fn images_of_image_syncer_become_rules() {
    let images = r#"
quay.io/coreos/kube-rbac-proxy: quay.io/ruohe/kube-rbac-proxy
quay.io/coreos/kube-rbac-proxy:v1.0,v2.0: [registry.cn-hangzhou.aliyuncs.com/ruohe/proxy, "ghcr.io/me/proxy"]
nginx:/^1\.2\d/: registry.cn-hangzhou.aliyuncs.com/ruohe/nginx
quay.io/a/b:v1: quay.io/c/b:stable
quay.io/a/b@sha256:0000000000000000000000000000000000000000000000000000000000000000: quay.io/c/d
"#;
    let (document, lost) = converted(Tool::ImageSyncer, images);
    assert_eq!(
        places(&document, "quay.io", "coreos/kube-rbac-proxy", "v1.0"),
        [
            "quay.io/ruohe/kube-rbac-proxy:v1.0",
            "registry.cn-hangzhou.aliyuncs.com/ruohe/proxy:v1.0",
            "ghcr.io/me/proxy:v1.0"
        ]
    );
    assert_eq!(
        places(&document, "quay.io", "coreos/kube-rbac-proxy", "v3"),
        ["quay.io/ruohe/kube-rbac-proxy:v3"]
    );
    assert_eq!(
        places(&document, "dockerhub", "library/nginx", "1.21"),
        ["registry.cn-hangzhou.aliyuncs.com/ruohe/nginx:1.21"]
    );
    assert_eq!(places(&document, "quay.io", "a/b", "v1"), ["quay.io/c/b:stable"]);
    assert!(lost.iter().any(|sentence| sentence.contains("digest")), "{lost:?}");

    let both = r#"{ "auth": { "quay.io": { "username": "me", "password": "hunter2" }, "registry:5000/ns": { "username": "${USER}", "password": "${PASS}", "insecure": true } },
                    "images": { "quay.io/a/b": "registry:5000/ns/b" } }"#;
    let converted_both = convert(Tool::ImageSyncer, both.as_bytes()).unwrap();
    assert!(
        !converted_both.document.contains("hunter2"),
        "{}",
        converted_both.document
    );
    let (document, lost) = converted(Tool::ImageSyncer, both);
    assert_eq!(places(&document, "quay.io", "a/b", "v1"), ["registry-5000/ns/b:v1"]);
    assert_eq!(document.registries["registry-5000"].endpoint.scheme(), "http");
    assert!(
        lost.iter().any(|sentence| sentence.contains("QUAY_IO_CREDENTIALS")),
        "{lost:?}"
    );
}

#[test]
fn the_replication_of_ecr_becomes_rules() {
    let registry = r#"{ "registryId": "123456789012", "replicationConfiguration": { "rules": [
        { "destinations": [ { "region": "eu-west-1", "registryId": "123456789012" }, { "region": "us-west-2", "registryId": "210987654321" } ],
          "repositoryFilters": [ { "filter": "prod", "filterType": "PREFIX_MATCH" }, { "filter": "team/a", "filterType": "PREFIX_MATCH" } ] } ] } }"#;
    let (document, lost) = converted(Tool::Ecr, registry);
    let everywhere = |repository: &str| {
        let name = |place: &str| format!("{place}/{repository}:v1");
        vec![name("ecr-123456789012-eu-west-1"), name("ecr-210987654321-us-west-2")]
    };
    for repository in ["prod", "production/app", "prod/a/b", "team/a", "team/app/x"] {
        assert_eq!(
            places(&document, "source", repository, "v1"),
            everywhere(repository),
            "{repository}"
        );
    }
    for repository in ["test/prod", "team/b"] {
        assert_eq!(places(&document, "source", repository, "v1"), [""; 0], "{repository}");
    }
    assert!(document.rules.iter().all(transship_rules::Rule::is_on_event));
    assert!(lost.iter().any(|sentence| sentence.contains("region")), "{lost:?}");
}

#[test]
fn what_is_not_the_configuration_of_the_tool_is_refused() {
    for tool in [Tool::Harbor, Tool::Regsync, Tool::ImageSyncer, Tool::Ecr] {
        for text in ["", "[]", "{}", "7", "a: [", "\u{0}", "[{}]"] {
            let failure = convert(tool, text.as_bytes()).unwrap_err();
            assert_eq!(failure.code(), "CONFIG_INVALID", "{tool:?} {text}");
        }
        assert_eq!(convert(tool, b"\xff").unwrap_err().code(), "CONFIG_INVALID");
    }
}

#[test]
fn the_printed_documents_change_only_on_purpose() {
    insta::assert_snapshot!(convert(Tool::Harbor, HARBOR.as_bytes()).unwrap().document);
    insta::assert_snapshot!(convert(Tool::Regsync, REGSYNC.as_bytes()).unwrap().document);
}
