//! What a stack is deployed with and looked at by: `CloudFormation`, functions, logs, the event bus.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Aws, texts};
use crate::http::Response;

impl Aws {
    fn cloudformation(&self, fields: &[(&str, &str)]) -> String {
        let answer = self.try_cloudformation(fields);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    fn try_cloudformation(&self, fields: &[(&str, &str)]) -> Response {
        self.form("cloudformation", fields)
    }

    /// Begins to create a stack.
    pub fn stack_create(&self, name: &str, template: &str, parameters: &[(&str, &str)]) {
        let named: Vec<(String, &str)> = parameters
            .iter()
            .zip(1..)
            .flat_map(|((key, value), number)| {
                let field = format!("Parameters.member.{number}");
                [
                    (format!("{field}.ParameterKey"), *key),
                    (format!("{field}.ParameterValue"), *value),
                ]
            })
            .collect();
        let mut fields = vec![
            ("Action", "CreateStack"),
            ("StackName", name),
            ("TemplateBody", template),
            ("Capabilities.member.1", "CAPABILITY_IAM"),
            ("Capabilities.member.2", "CAPABILITY_AUTO_EXPAND"),
        ];
        fields.extend(named.iter().map(|(field, value)| (field.as_str(), *value)));
        self.cloudformation(&fields);
    }

    /// Begins to delete a stack.
    pub fn stack_delete(&self, name: &str) {
        self.cloudformation(&[("Action", "DeleteStack"), ("StackName", name)]);
    }

    /// Makes a KMS key. Its ARN.
    pub fn key_create(&self) -> String {
        let made = self.ask("TrentService.CreateKey", &json!({}));
        made["KeyMetadata"]["Arn"].as_str().unwrap_or_default().to_owned()
    }

    /// `CREATE_COMPLETE` and the like; empty if there is no such stack.
    pub fn stack_status(&self, name: &str) -> String {
        let text = self
            .try_cloudformation(&[("Action", "DescribeStacks"), ("StackName", name)])
            .text();
        texts(&text, "StackStatus").into_iter().next().unwrap_or_default()
    }

    /// The reasons of its events.
    pub fn stack_failures(&self, name: &str) -> String {
        let text = self.cloudformation(&[("Action", "DescribeStackEvents"), ("StackName", name)]);
        texts(&text, "ResourceStatusReason").join("; ")
    }

    /// What its template gives out.
    pub fn stack_outputs(&self, name: &str) -> BTreeMap<String, String> {
        let text = self.cloudformation(&[("Action", "DescribeStacks"), ("StackName", name)]);
        texts(&text, "OutputKey")
            .into_iter()
            .zip(texts(&text, "OutputValue"))
            .collect()
    }

    /// Lets a bucket tell the event bus of what is written into it.
    pub fn bucket_tells_events(&self, bucket: &str) {
        let body = "<NotificationConfiguration><EventBridgeConfiguration/></NotificationConfiguration>";
        let answer = self.request("s3", "PUT", &format!("/{bucket}?notification"), &[], body.as_bytes());
        assert_eq!(answer.status, 200, "bucket {bucket}: {}", answer.text());
    }

    /// Invokes a function and waits for its answer; of one that failed its `errorType` and `errorMessage`.
    pub fn function_invoke(&self, name: &str, event: &Value) -> Value {
        let path = format!("/2015-03-31/functions/{name}/invocations");
        let body = event.to_string();
        self.request("lambda", "POST", &path, &[], body.as_bytes()).json()
    }

    /// Changes the time-out of a function, in seconds. As on AWS, its next event starts a new environment.
    pub fn function_timeout(&self, name: &str, seconds: u32) {
        let path = format!("/2015-03-31/functions/{name}/configuration");
        let body = json!({ "Timeout": seconds }).to_string();
        let answer = self.request("lambda", "PUT", &path, &[], body.as_bytes());
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    }

    /// The lines of a log group, oldest first.
    pub fn log_lines(&self, group: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let mut body = json!({ "logGroupName": group });
        loop {
            let page = self.ask("Logs_20140328.FilterLogEvents", &body);
            let messages = page["events"].as_array().into_iter().flatten();
            lines.extend(messages.filter_map(|event| Some(event["message"].as_str()?.trim_end().to_owned())));
            if page["nextToken"].is_null() {
                return lines;
            }
            body["nextToken"] = page["nextToken"].clone();
        }
    }

    /// The pattern of the one rule whose name begins so.
    pub fn event_pattern(&self, prefix: &str) -> Value {
        let rules = self.ask("AWSEvents.ListRules", &json!({ "NamePrefix": prefix }));
        let pattern = rules["Rules"][0]["EventPattern"]
            .as_str()
            .expect("the stack has a rule");
        serde_json::from_str(pattern).expect("a pattern is JSON")
    }

    /// True if an event would pass the pattern.
    pub fn event_matches(&self, pattern: &Value, event: &Value) -> bool {
        let body = json!({ "EventPattern": pattern.to_string(), "Event": event.to_string() });
        self.ask("AWSEvents.TestEventPattern", &body)["Result"] == true
    }
}
