//! The deployed stack: the template, the functions as they were built, their roles, and real registries on both sides.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use serde_json::{Value, json};
use transship_tests::docker_registry::{Options, PASSWORD};
use transship_tests::layouts::Layout;
use transship_tests::stack::ecr_push;
use transship_tests::{
    DockerRegistry, Document, HOOK_SECRET, Image, Stack, assert_consistent, assert_equal, check, skopeo, until,
};

/// A task's way through a queue and a worker's start, on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);

fn push_by_skopeo(source: &DockerRegistry, image: &Image, name: &str, tag: &str, options: &[&str]) {
    let layout = tempfile::tempdir().unwrap();
    image.write_layout(layout.path(), tag);
    skopeo::copy(
        options,
        &format!("oci:{}:{tag}", layout.path().display()),
        &format!("docker://{}/core/{name}:{tag}", source.host()),
    );
}

fn locked_registry() -> DockerRegistry {
    DockerRegistry::start_with(&Options {
        locked: true,
        ..Options::default()
    })
}

/// From `source` to a `destination` that asks for a login; both secrets lie in Secrets Manager.
fn document(stack: &Stack, source: &DockerRegistry, destination: &DockerRegistry) -> Document {
    let login = format!("{}:{PASSWORD}", transship_tests::docker_registry::USER);
    stack.aws().secret_put("transship/b-login", &login);
    Document::between(&source.host(), &destination.host())
        .registry(
            "a",
            &source.host(),
            "webhook: { secret: \"secretsmanager:transship/a-hook\" }",
        )
        .registry(
            "b",
            &destination.host(),
            "credentials: \"secretsmanager:transship/b-login\"",
        )
        // Images that the scenarios push without a notification are there before the first sweep.
        .rule("core", "core", "copy", "backfill: true")
}

fn assert_arrives(stack: &Stack, source: &DockerRegistry, destination: &DockerRegistry, name: &str, tag: &str) {
    let (from, to) = (format!("core/{name}"), format!("copy/{name}"));
    let (source, destination) = (source.host(), destination.unlocked_host());
    let arrived = until(PATIENCE, || check::equal(&source, &from, tag, &destination, &to, tag));
    assert!(
        arrived.is_ok(),
        "{to}:{tag} does not arrive: {arrived:?}\n{}",
        stack.logs_tail()
    );
    assert_equal(&source, &from, tag, &destination, &to, tag);
}

/// Nothing is left anywhere, and nothing failed on the way.
fn assert_all_is_well(stack: &Stack, tasks: &[Value]) {
    for task in tasks {
        let state = task["state"].as_str().unwrap();
        assert!(["succeeded", "unchanged"].contains(&state), "{task}");
    }
    assert_eq!(stack.failed(), 0, "{}", stack.logs_tail());
    assert_eq!(stack.leftovers(), Vec::<Value>::new());
    for function in ["webhook", "worker"] {
        for line in stack.log_lines(function) {
            for secret in [HOOK_SECRET, PASSWORD, "_state="] {
                assert!(!line.contains(secret), "{function} logs {secret}: {line}");
            }
            // What a role lacks may be borne in silence: a ledger that cannot be written is only memory.
            assert!(!line.contains("AccessDenied"), "{function} may not: {line}");
        }
    }
}

#[test]
fn what_skopeo_pushes_arrives_through_the_deployed_stack() {
    if DockerRegistry::skipped() {
        return;
    }
    let stack = Stack::deploy(&[]);
    let source = DockerRegistry::notifying(&stack.hook("a"));
    let destination = locked_registry();
    stack.configure(&document(&stack, &source, &destination));

    push_by_skopeo(&source, &Image::single(1, &[200_000, 50_000, 10]), "single", "v1", &[]);
    push_by_skopeo(
        &source,
        &Image::multi_platform(2, 60_000),
        "multi",
        "v1.2.3",
        &["--all"],
    );
    push_by_skopeo(
        &source,
        &Image::chart(3),
        "charts/app",
        "0.1.4",
        &["--preserve-digests"],
    );
    for (name, tag) in [("single", "v1"), ("multi", "v1.2.3"), ("charts/app", "0.1.4")] {
        assert_arrives(&stack, &source, &destination, name, tag);
    }

    let tasks = stack.until_at_rest(3, PATIENCE);
    assert_all_is_well(&stack, &tasks);
    assert_eq!(assert_consistent(&destination.unlocked_host()), 3);

    let said_of_rule = |name: &str| {
        stack
            .metric("worker", name)
            .into_iter()
            .filter(|line| line["Rule"] == "core")
            .count()
    };
    assert!(said_of_rule("ReplicationLag") > 0, "{}", stack.logs_tail());
    let succeeded: f64 = stack
        .metric("worker", "Tasks")
        .iter()
        .filter(|line| line["State"] == "succeeded")
        .filter_map(|line| line["Tasks"].as_f64())
        .sum();
    assert!(succeeded >= 3.0, "{succeeded} tasks are counted as succeeded");
    for name in ["BytesCopied", "Requests", "OldestTaskAge"] {
        assert!(
            !stack.metric("worker", name).is_empty(),
            "no {name}\n{}",
            stack.logs_tail()
        );
    }
    let of_a_task = |line: &&Value| line["task"].is_string() && line["execution"].is_string() && line["rule"] == "core";
    assert!(
        stack.log("worker").iter().any(|line| of_a_task(&line)),
        "{}",
        stack.logs_tail()
    );
}

#[test]
fn an_event_of_ecr_passes_the_rule_and_becomes_a_task() {
    if DockerRegistry::skipped() {
        return;
    }
    let stack = Stack::deploy(&[(
        "EcrSourceRepositories",
        "arn:aws:ecr:eu-west-1:111122223333:repository/core/*",
    )]);
    let (source, destination) = (DockerRegistry::start(), locked_registry());
    let host = "hosts: [111122223333.dkr.ecr.eu-west-1.amazonaws.com]";
    let image = Image::single(11, &[5000]);
    image.push(&source.host(), "core/app", "v1");
    let text = document(&stack, &source, &destination).yaml();
    let fields = format!(
        "{{ provider: distribution, endpoint: \"http://{}\", webhook:",
        source.host()
    );
    assert!(text.contains(&fields), "{text}");
    let as_ecr = format!(
        "{{ provider: ecr, endpoint: \"http://{}\", {host}, webhook:",
        source.host()
    );
    stack.configure_text(&text.replace(&fields, &as_ecr));

    let sample = include_str!("../../events/eventbridge-ecr-push.json");
    let sample: Value = serde_json::from_str(sample).unwrap();
    let event = ecr_push(&sample, "core/app", "v1", &image.root().digest);
    assert!(stack.rule_takes(&event));
    let mut failed = event.clone();
    failed["detail"]["result"] = json!("FAILURE");
    assert!(!stack.rule_takes(&failed));
    let mut scan = event.clone();
    scan["detail-type"] = json!("ECR Image Scan");
    assert!(!stack.rule_takes(&scan));

    let mut replicated = event.clone();
    replicated["detail-type"] = json!("ECR Replication Action");
    replicated["detail"]["action-type"] = json!("REPLICATE");
    assert!(
        stack.rule_takes(&replicated),
        "images that ECR's own replication copied"
    );

    stack.invoke_webhook(&replicated);
    assert_arrives(&stack, &source, &destination, "app", "v1");
    assert_all_is_well(&stack, &stack.until_at_rest(1, PATIENCE));
}

#[test]
fn only_what_is_no_message_of_ours_is_reported_as_failed() {
    if DockerRegistry::skipped() {
        return;
    }
    let stack = Stack::deploy(&[]);
    let (source, destination) = (DockerRegistry::start(), locked_registry());
    stack.configure(&document(&stack, &source, &destination));
    Image::single(21, &[5000]).push(&source.host(), "core/app", "v1.0.0");
    let batch = include_str!("../../events/sqs-batch-mixed.json")
        .replace(r#"\"registry\": \"hub\""#, r#"\"registry\": \"a\""#)
        .replace(r#"\"registry\": \"mirror\""#, r#"\"registry\": \"b\""#)
        .replace("transship-TaskQueue", stack.queue_name());
    let answer = stack.invoke_worker(&serde_json::from_str(&batch).unwrap());
    let failed: Vec<_> = answer["batchItemFailures"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}\n{}", stack.logs_tail()))
        .iter()
        .map(|failure| failure["itemIdentifier"].as_str().unwrap().rsplit('-').next().unwrap())
        .collect();
    assert_eq!(failed, ["000000000002", "000000000003", "000000000004"], "{answer}");
    assert_arrives(&stack, &source, &destination, "app", "v1.0.0");
    assert!(
        !stack.metric("worker", "MessagesInvalid").is_empty(),
        "{}",
        stack.logs_tail()
    );
}

#[test]
fn what_no_notification_told_is_found_by_the_sweep() {
    if DockerRegistry::skipped() {
        return;
    }
    let stack = Stack::deploy(&[]);
    let (source, destination) = (DockerRegistry::start(), locked_registry());
    stack.configure(&document(&stack, &source, &destination));
    for (seed, name) in [(31, "one"), (32, "two")] {
        Image::single(seed, &[3000]).push(&source.host(), &format!("core/{name}"), "v1");
    }
    stack.send(r#"{"version":1,"sweep":{}}"#);
    for name in ["one", "two"] {
        assert_arrives(&stack, &source, &destination, name, "v1");
    }
    assert_all_is_well(&stack, &stack.until_at_rest(2, PATIENCE));
}

#[test]
fn a_new_stack_takes_up_the_table_and_the_buckets_of_a_deleted_one() {
    if DockerRegistry::skipped() {
        return;
    }
    let mut stack = Stack::deploy(&[]);
    let (source, destination) = (DockerRegistry::start(), locked_registry());
    let known = document(&stack, &source, &destination);
    stack.configure(&known);
    Image::single(41, &[3000]).push(&source.host(), "core/one", "v1");
    stack.send(r#"{"version":1,"sweep":{}}"#);
    assert_arrives(&stack, &source, &destination, "one", "v1");
    let before = stack.until_at_rest(1, PATIENCE);
    let kept = [
        ("ExistingTable", "TableName"),
        ("ExistingConfigurationBucket", "ConfigurationBucket"),
        ("ExistingLayoutsBucket", "LayoutsBucket"),
    ]
    .map(|(parameter, output)| (parameter, stack.output(output).to_owned()));

    stack.deploy_again(&kept);
    for (_, name) in &kept {
        assert!(!name.is_empty());
    }
    assert_eq!(stack.output("TableName"), kept[0].1);
    assert_eq!(stack.tasks(), before, "the ledger is the one of the deleted stack");
    // The document is still in its bucket, so nothing is configured here.
    Image::single(42, &[3000]).push(&source.host(), "core/two", "v1");
    stack.send(r#"{"version":1,"sweep":{}}"#);
    assert_arrives(&stack, &source, &destination, "two", "v1");
    // An upload to the bucket of layouts is heard by the new stack.
    let layouts = stack.output("LayoutsBucket");
    stack.configure(&known.import("seed", layouts, "seed/", "copy"));
    let image = Image::single(43, &[700]);
    image.push(&source.host(), "core/three", "v1");
    for (path, bytes) in Layout::of("v1", image).files() {
        let key = format!("seed/three/{path}");
        stack.aws().object_put(layouts, &key, &bytes);
    }
    assert_arrives(&stack, &source, &destination, "three", "v1");
    assert_all_is_well(&stack, &stack.until_at_rest(3, PATIENCE));
}

#[test]
fn a_stack_under_the_rules_of_an_account_works() {
    if DockerRegistry::skipped() {
        return;
    }
    let stack = Stack::deploy_with(|aws| {
        let key = aws.key_create();
        let keys = ["TableKeyArn", "QueueKeyArn", "BucketKeyArn", "LogKeyArn"].map(|name| (name, key.clone()));
        let others = [
            ("PermissionsBoundaryArn", "arn:aws:iam::aws:policy/PowerUserAccess"),
            ("RolePath", "/team/transship/"),
            ("NamePrefix", "team-"),
            ("Tracing", "Active"),
        ]
        .map(|(name, value)| (name, value.to_owned()));
        keys.into_iter().chain(others).collect()
    });
    assert_eq!(stack.output("WebhookFunction"), "team-webhook");
    assert_eq!(stack.queue_name(), "team-tasks");
    assert!(
        stack.output("WorkerRole").contains(":role/team/transship/transship-"),
        "{}",
        stack.output("WorkerRole")
    );
    let (source, destination) = (DockerRegistry::start(), locked_registry());
    stack.configure(&document(&stack, &source, &destination));
    Image::single(51, &[3000]).push(&source.host(), "core/one", "v1");
    stack.send(r#"{"version":1,"sweep":{}}"#);
    assert_arrives(&stack, &source, &destination, "one", "v1");
    assert_all_is_well(&stack, &stack.until_at_rest(1, PATIENCE));
}

#[test]
fn behind_an_http_api_the_stack_is_created_in_a_vpc() {
    let stack = Stack::deploy(&[
        ("WebhookDoor", "HttpApi"),
        ("VpcSubnets", "subnet-0a1b2c3d4e5f60718"),
        ("VpcSecurityGroups", "sg-0a1b2c3d4e5f60718"),
        ("VpcFunctions", "All"),
    ]);
    assert!(!stack.output("WebhookUrl").is_empty());
}
