//! Deliveries of Harbor, GitHub and Amazon ECR to the deployed webhook: each sender's own proof, and the image at the destination.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use transship_testkit::signing::hmac_sha256;
use transship_tests::stack::ecr_push;
use transship_tests::{DockerRegistry, Image, Stack, assert_equal, check, http, until};

/// A task's way through a queue and a worker's start, on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(2);
/// What the sources of this document show or sign with.
const SECRET: &str = "a-long-random-text";
const ECR_HOST: &str = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";

/// The senders, the namespaces of their samples, and the host that these name.
const SENDERS: [(&str, &str, &str); 3] = [
    ("harbor", "core", "registry.example.com"),
    ("ghcr", "example", "ghcr.io"),
    ("ecr", "apps", ECR_HOST),
];

/// A source of each provider, which is the registry `source`, and a rule from each to `destination`.
fn document(source: &DockerRegistry, destination: &DockerRegistry) -> String {
    let mut text = "version: 1\nregistries:\n".to_owned();
    for (provider, _, host) in SENDERS {
        let fields = match provider {
            // Its events come by the bus. A registry on this machine asks for no token of ECR.
            "ecr" => "credentials: \"secretsmanager:transship/none\"".to_owned(),
            _ => format!("webhook: {{ secret: \"secretsmanager:transship/{provider}-hook\" }}"),
        };
        let host_of_source = source.host();
        writeln!(
            text,
            "  {provider}: {{ provider: {provider}, endpoint: \"http://{host_of_source}\", hosts: [{host}], {fields} }}"
        )
        .unwrap();
    }
    let mirror = destination.host();
    writeln!(
        text,
        "  mirror: {{ provider: distribution, endpoint: \"http://{mirror}\" }}\nrules:"
    )
    .unwrap();
    for (provider, namespace, _) in SENDERS {
        writeln!(
            text,
            "  - {{ name: {provider}, source: {{ registry: {provider}, namespace: {namespace} }}, destination: {{ registry: mirror, namespace: from-{provider} }} }}"
        )
        .unwrap();
    }
    text
}

/// Posts to the webhook; its status.
fn post(stack: &Stack, source: &str, headers: &[(&str, &str)], body: &str) -> u16 {
    let url = stack.hook(source);
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    http::request("POST", host, &format!("/{path}"), headers, body.as_bytes())
        .unwrap()
        .status
}

/// The sample with the digest of an image that exists.
fn with_digest(sample: &str, digest: &str) -> String {
    let parsed: Value = serde_json::from_str(sample).unwrap();
    let pointers = [
        "/event_data/resources/0/digest",
        "/data/resources/0/digest",
        "/package/package_version/version",
    ];
    let known = pointers.iter().find_map(|pointer| parsed.pointer(pointer)?.as_str());
    sample.replace(known.unwrap(), digest)
}

fn form_encoded(json: &str) -> String {
    format!("payload={}", http::encoded_part(json))
}

#[test]
fn deliveries_of_harbor_github_and_ecr_become_images_at_the_destination() {
    if DockerRegistry::skipped() {
        return;
    }
    let stack = Stack::deploy(&[]);
    let (source, destination) = (DockerRegistry::start(), DockerRegistry::start());
    for provider in ["harbor", "ghcr"] {
        stack.aws().secret_put(&format!("transship/{provider}-hook"), SECRET);
    }
    stack.aws().secret_put("transship/none", "nobody:nothing");
    stack.configure_text(&document(&source, &destination));
    let push = |repository: &str, tag: &str, seed: u64| {
        let image = Image::single(seed, &[5000]);
        image.push(&source.host(), repository, tag);
        image.root().digest.clone()
    };

    // Harbor, in both of its formats: a header.
    let bearer = format!("Bearer {SECRET}");
    let own = with_digest(
        include_str!("../../events/harbor-push.json"),
        &push("core/app", "v1.0.0", 1),
    );
    let cloud_events = with_digest(
        include_str!("../../events/harbor-cloudevents-push.json"),
        &push("core/team/app", "v1.0.0", 2),
    );
    for (content_type, body) in [
        ("application/json", &own),
        ("application/cloudevents+json", &cloud_events),
    ] {
        let headers = |secret| [("Content-Type", content_type), ("Authorization", secret)];
        assert_eq!(post(&stack, "harbor", &headers("Bearer wrong"), body), 401);
        assert_eq!(post(&stack, "harbor", &headers(bearer.as_str()), body), 202);
    }

    // GitHub, in both of its content types: a signature over the bytes of the body.
    let json = with_digest(
        include_str!("../../events/ghcr-push.json"),
        &push("example/app", "v1.0.0", 3),
    );
    let other = with_digest(
        include_str!("../../events/ghcr-push.json"),
        &push("example/app", "v2.0.0", 4),
    );
    let form = form_encoded(&other.replace("v1.0.0", "v2.0.0"));
    for (content_type, body) in [
        ("application/json", &json),
        ("application/x-www-form-urlencoded", &form),
    ] {
        let signed = |secret| format!("sha256={}", hmac_sha256(secret, body.as_bytes()));
        for (secret, status) in [("another-text", 401), (SECRET, 202)] {
            let signature = signed(secret);
            let headers = [
                ("Content-Type", content_type),
                ("X-GitHub-Event", "package"),
                ("X-Hub-Signature-256", signature.as_str()),
            ];
            assert_eq!(post(&stack, "ghcr", &headers, body), status, "{content_type}");
        }
    }

    // ECR: EventBridge invokes the function with what passes the rule. The account and region of the event name the source.
    let sample: Value = serde_json::from_str(include_str!("../../events/eventbridge-ecr-push.json")).unwrap();
    let event = ecr_push(&sample, "apps/web", "v3", &push("apps/web", "v3", 5));
    assert!(stack.rule_takes(&event));
    stack.invoke_webhook(&event);
    let mut foreign = event;
    foreign["account"] = "999988887777".into();
    stack.invoke_webhook(&foreign);

    let (from, to) = (source.host(), destination.host());
    for (provider, repository, tag) in [
        ("harbor", "core/app", "v1.0.0"),
        ("harbor", "core/team/app", "v1.0.0"),
        ("ghcr", "example/app", "v1.0.0"),
        ("ghcr", "example/app", "v2.0.0"),
        ("ecr", "apps/web", "v3"),
    ] {
        let (_, below) = repository.split_once('/').unwrap();
        let copied = format!("from-{provider}/{below}");
        let arrived = until(PATIENCE, || check::equal(&from, repository, tag, &to, &copied, tag));
        assert!(
            arrived.is_ok(),
            "{copied}:{tag} does not arrive: {arrived:?}\n{}",
            stack.logs_tail()
        );
        assert_equal(&from, repository, tag, &to, &copied, tag);
    }
    let tasks = stack.until_at_rest(5, PATIENCE);
    assert_eq!(
        tasks.len(),
        5,
        "neither a wrong proof nor a foreign account makes a task"
    );
    assert!(tasks.iter().all(|task| task["state"] == "succeeded"), "{tasks:?}");
    assert_eq!(stack.failed(), 0, "{}", stack.logs_tail());
}
