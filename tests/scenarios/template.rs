//! What every deployment relies on in the templates, read from their text. Needs no tools.

use transship_tests::template::{Alarm, Template};

/// Metrics of AWS that an alarm may use, with their dimensions. Sources: the pages about metrics of Amazon SQS, AWS Lambda (also for
/// function URLs), HTTP APIs of API Gateway, and DynamoDB.
const OF_AWS: [(&str, &str, &str); 9] = [
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName"),
    ("AWS/SQS", "ApproximateNumberOfMessagesNotVisible", "QueueName"),
    ("AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName"),
    ("AWS/Lambda", "Errors", "FunctionName"),
    ("AWS/Lambda", "Throttles", "FunctionName"),
    ("AWS/Lambda", "Url5xxCount", "FunctionName"),
    ("AWS/ApiGateway", "5xx", "ApiId"),
    ("AWS/DynamoDB", "WriteThrottleEvents", "TableName"),
    ("AWS/DynamoDB", "ReadThrottleEvents", "TableName"),
];

fn all() -> [(&'static str, Template); 3] {
    ["template.yaml", "infra/access.yaml", "infra/observability.yaml"].map(|path| (path, Template::read(path)))
}

fn alarms() -> Vec<Alarm> {
    Template::read("infra/observability.yaml").alarms()
}

#[test]
fn every_alarm_uses_a_metric_that_exists_for_its_door() {
    let documented = include_str!("../../crates/runtime/src/metric.rs");
    for alarm in alarms() {
        if alarm.namespace == "Transship" {
            assert!(documented.contains(&format!("`{}`", alarm.metric)), "{alarm:?}");
            assert_eq!(
                alarm.dimensions.get("Stack").map(String::as_str),
                Some("!Ref Stack"),
                "{alarm:?}"
            );
            continue;
        }
        let dimensions: Vec<_> = alarm.dimensions.keys().map(String::as_str).collect();
        let is_known =
            |of: &(&str, &str, &str)| (of.0, of.1) == (&alarm.namespace, &alarm.metric) && [of.2] == *dimensions;
        assert!(OF_AWS.iter().any(is_known), "{alarm:?}");
        // A function URL counts for itself, and so does an HTTP API: the metric of one never rises behind the other.
        let door = match alarm.metric.as_str() {
            "Url5xxCount" => Some("IsFunctionUrl"),
            "5xx" => Some("IsHttpApi"),
            _ => None,
        };
        assert_eq!(alarm.condition.as_deref(), door, "{alarm:?}");
    }
    let doors = alarms().into_iter().filter_map(|alarm| alarm.condition).count();
    assert_eq!(doors, 2, "each door has an alarm");
}

#[test]
fn every_alarm_and_every_metric_is_documented() {
    let operating = include_str!("../../docs/operating.md");
    for alarm in alarms() {
        assert!(
            operating.contains(&format!("| `{}` |", alarm.name)),
            "docs/operating.md has no row for {}",
            alarm.name
        );
    }
    let metrics = include_str!("../../crates/runtime/src/metric.rs");
    let rows = metrics.lines().filter_map(|line| line.strip_prefix("//! | `"));
    for name in rows.flat_map(|row| row.split(" | ").next().unwrap().split("`, `")) {
        let name = name.trim_end_matches('`');
        assert!(
            operating.contains(&format!("`{name}`")),
            "docs/operating.md does not describe {name}"
        );
    }
}

#[test]
fn the_level_of_the_logs_is_that_of_the_functions_alone() {
    let template = Template::read("template.yaml");
    let functions = template.section("Resources");
    let functions = functions
        .values()
        .filter(|lines| lines.iter().any(|line| line.contains("AWS::Serverless::Function")));
    let logging: Vec<_> = functions
        .map(|lines| lines.iter().find(|line| line.contains("LoggingConfig")).unwrap())
        .collect();
    assert_eq!(logging.len(), 3);
    for line in logging {
        // Lambda drops lines below its own level, which is INFO if it is not set.
        assert!(line.contains("LogFormat: JSON, ApplicationLogLevel: TRACE"), "{line}");
    }
    assert!(template.text().contains("RUST_LOG: !Ref LogLevel"));
}

#[test]
fn every_resource_states_what_its_deletion_means() {
    for (path, template) in all() {
        for (name, lines) in template.section("Resources") {
            let has = |policy: &str| lines.iter().any(|line| line.trim_start().starts_with(policy));
            assert!(
                has("DeletionPolicy: ") && has("UpdateReplacePolicy: "),
                "{path}: {name}"
            );
        }
    }
}

#[test]
fn every_parameter_has_a_group_a_default_and_a_description() {
    let template = Template::read("template.yaml");
    let groups: Vec<&str> = template
        .text()
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Parameters: [")?.strip_suffix(']'))
        .flat_map(|names| names.split(", "))
        .collect();
    let parameters = template.section("Parameters");
    for (name, lines) in &parameters {
        assert_eq!(groups.iter().filter(|grouped| *grouped == name).count(), 1, "{name}");
        for field in ["Default:", "Description:"] {
            assert!(
                lines.iter().any(|line| line.trim_start().starts_with(field)),
                "{name} has no {field}"
            );
        }
    }
    assert_eq!(groups.len(), parameters.len());
}

#[test]
fn the_first_deployment_is_configured() {
    let configuration = include_str!("../../samconfig.toml");
    for word in ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND", "stack_name"] {
        assert!(configuration.contains(word), "samconfig.toml has no {word}");
    }
}

#[test]
fn every_role_has_the_path_and_the_boundary_of_the_account() {
    let access = Template::read("infra/access.yaml");
    let resources = access.section("Resources");
    let of_kind = |kind: &str| {
        let kind = format!("Type: AWS::IAM::{kind}");
        let resources = resources.iter();
        resources
            .filter(|(_, lines)| lines.iter().any(|line| line.trim() == kind))
            .collect::<Vec<_>>()
    };
    let roles = of_kind("Role");
    assert_eq!(roles.len(), 4, "webhook, worker, bulk import, and the schedules");
    for (name, lines) in roles.iter().chain(&of_kind("ManagedPolicy")) {
        assert!(lines.iter().any(|line| line.trim() == "Path: !Ref RolePath"), "{name}");
    }
    for (name, lines) in roles {
        let boundary = "PermissionsBoundary: !If [HasBoundary, !Ref PermissionsBoundaryArn";
        assert!(lines.iter().any(|line| line.trim().starts_with(boundary)), "{name}");
    }
}
