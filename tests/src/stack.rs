//! The stack of `template.yaml` on MiniStack: what `sam deploy` puts into an account, with the functions as they were built,
//! under the roles the template gives them.
//!
//! Here because the template is the product as much as the binaries are. What must hold: the template is the one that is
//! deployed, but for what `sam package` replaces and the places [`package::template`] names; and AWS is asked over plain
//! HTTP, so that no SDK is compiled for this.
//!
//! MiniStack checks policies (`AUTH=true`): a function that asks for more than its role allows fails here. It does not model
//! conditions on a table's keys, alarms that look at metrics from logs, recursion detection, and events of ECR on the bus;
//! those are deployed, and nothing more. Events of S3 it delivers, once each: what fails is not tried again.

mod package;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use transship_testkit::ministack::MiniStack;

pub use package::root;

use crate::aws::Aws;
use crate::serve::TERMINAL_STATES;
use crate::template::Template;
use crate::{Document, HOOK_SECRET, wait};

/// The stack's name; the log groups bear it.
const NAME: &str = "transship";
/// The functions, as their log groups are named.
const FUNCTIONS: [&str; 3] = ["webhook", "worker", "bulk-import"];
/// Where artifacts lie before they are deployed, as those of `sam package` do.
const ARTIFACTS: &str = "artifacts";
const DEPLOYMENT: Duration = Duration::from_mins(1);

/// A deployed stack without a document.
#[derive(Debug)]
pub struct Stack {
    // Before the emulator, which answers its last questions.
    aws: Aws,
    outputs: BTreeMap<String, String>,
    ministack: MiniStack,
}

impl Stack {
    /// Starts MiniStack and deploys the stack; `parameters` are those of the template.
    ///
    /// # Panics
    /// If MiniStack is not installed, or the stack cannot be created.
    pub fn deploy(parameters: &[(&str, &str)]) -> Self {
        Self::deploy_with(|_| {
            parameters
                .iter()
                .map(|(key, value)| (*key, (*value).to_owned()))
                .collect()
        })
    }

    /// The same with parameters that are made with the emulator.
    ///
    /// # Panics
    /// As of [`Stack::deploy`].
    pub fn deploy_with<'a>(parameters: impl FnOnce(&Aws) -> Vec<(&'a str, String)>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let ministack = runtime
            .block_on(MiniStack::start_with(&[("AUTH", "true")]))
            .unwrap_or_else(|error| panic!("{error}"));
        let aws = Aws::at(ministack.host().as_ref());
        upload_artifacts(&aws);
        let parameters = parameters(&aws);
        let mut stack = Self {
            aws,
            outputs: BTreeMap::new(),
            ministack,
        };
        stack.create(&parameters);
        stack
    }

    /// Deletes the stack, and deploys it again with these parameters.
    ///
    /// # Panics
    /// If one of them fails.
    pub fn deploy_again(&mut self, parameters: &[(&str, String)]) {
        self.aws.stack_delete(NAME);
        let deleted = wait::until(DEPLOYMENT, || match self.aws.stack_status(NAME).as_str() {
            "" | "DELETE_COMPLETE" => Ok(()),
            status => Err(status.to_owned()),
        });
        assert_eq!(deleted, Ok(()), "{}", self.aws.stack_failures(NAME));
        self.create(parameters);
    }

    fn create(&mut self, parameters: &[(&str, String)]) {
        let parameters: Vec<_> = parameters.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let template = package::template(&self.aws.endpoint(), ARTIFACTS);
        self.aws.stack_create(NAME, &template, &parameters);
        let created = wait::until(DEPLOYMENT, || match self.aws.stack_status(NAME).as_str() {
            "CREATE_COMPLETE" => Ok(Ok(())),
            status if status.ends_with("IN_PROGRESS") => Err(status.to_owned()),
            status => Ok(Err(status.to_owned())),
        });
        assert!(
            created == Ok(Ok(())),
            "the stack is not created ({created:?}): {}\n{}",
            self.aws.stack_failures(NAME),
            self.ministack.log()
        );
        self.outputs = self.aws.stack_outputs(NAME);
    }

    /// An output of the template.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn output(&self, name: &str) -> &str {
        let all = &self.outputs;
        all.get(name)
            .unwrap_or_else(|| panic!("no output {name} among {:?}", all.keys()))
    }

    /// The services behind it.
    pub const fn aws(&self) -> &Aws {
        &self.aws
    }

    /// Where a registry of that name notifies: the function URL, as the emulator can be reached by it.
    ///
    /// # Panics
    /// If the URL is none of a function.
    pub fn hook(&self, source: &str) -> String {
        let url = self.output("WebhookUrl");
        let id = url
            .strip_prefix("https://")
            .and_then(|rest| rest.split('.').next())
            .unwrap_or_else(|| panic!("{url} is not a function URL"));
        format!("{}/_aws/lambda-url/{id}/hooks/{source}", self.aws.endpoint())
    }

    /// Puts the document where the functions read it, and the secret of source `a` where the document says it is.
    pub fn configure(&self, document: &Document) {
        self.configure_text(&document.yaml());
    }

    /// The same with any text.
    pub fn configure_text(&self, document: &str) {
        self.aws.secret_put("transship/a-hook", HOOK_SECRET);
        let bucket = self.output("ConfigurationBucket");
        self.aws.object_put(bucket, "transship.yaml", document.as_bytes());
    }

    /// The name of the task queue, which ends its ARN.
    pub fn queue_name(&self) -> &str {
        let url = self.output("QueueUrl");
        url.rsplit_once('/').map_or(url, |(_, name)| name)
    }

    /// The webhook as AWS services call it.
    pub fn invoke_webhook(&self, event: &Value) -> Value {
        self.aws.function_invoke(self.output("WebhookFunction"), event)
    }

    /// The worker as a queue calls it.
    pub fn invoke_worker(&self, event: &Value) -> Value {
        self.aws.function_invoke(self.output("WorkerFunction"), event)
    }

    /// The bulk import as AWS services and operators call it.
    pub fn invoke_bulk_import(&self, event: &Value) -> Value {
        self.aws.function_invoke(self.output("BulkImportFunction"), event)
    }

    /// Puts a message into the queue, as the schedule does.
    pub fn send(&self, body: &str) {
        self.aws.queue_send(self.output("QueueUrl"), body);
    }

    /// The tasks of the ledger, each as its attributes.
    pub fn tasks(&self) -> Vec<Value> {
        let mut items = self.aws.table_scan(self.output("TableName"));
        items.retain(|item| {
            let key = |name: &str| item[name].as_str().unwrap_or_default();
            key("pk").starts_with("E#") && key("sk").starts_with("T#")
        });
        items
    }

    /// Items that only exist while something is under way: leases and uploads.
    pub fn leftovers(&self) -> Vec<Value> {
        let mut items = self.aws.table_scan(self.output("TableName"));
        items.retain(|item| {
            let key = item["pk"].as_str().unwrap_or_default();
            let is_hint = ["lease", "upload#"].iter().any(|family| key.starts_with(family));
            is_hint || item.get("holder").is_some()
        });
        items
    }

    /// Items of sources that wait for what is missing.
    pub fn awaiting(&self) -> Vec<Value> {
        let mut items = self.aws.table_scan(self.output("TableName"));
        items.retain(|item| item["pk"].as_str().is_some_and(|key| key.starts_with("scan#")));
        items
    }

    /// Waits until at least `count` tasks are there, all have ended, and every queue is empty; then the tasks.
    ///
    /// # Panics
    /// If that does not happen in time, with the logs of the functions.
    pub fn until_at_rest(&self, count: usize, timeout: Duration) -> Vec<Value> {
        let rested = wait::until(timeout, || {
            // First what costs the emulator little: to read all tasks again and again would keep it from its work.
            let waiting = self.waiting();
            if waiting > 0 {
                return Err(format!("{waiting} messages are in the queue"));
            }
            let tasks = self.tasks();
            let open: Vec<_> = tasks.iter().filter(|task| !is_terminal(task)).collect();
            if tasks.len() < count || !open.is_empty() {
                return Err(format!("{} tasks, open: {open:?}", tasks.len()));
            }
            Ok(tasks)
        });
        rested.unwrap_or_else(|reason| panic!("{reason}\n{}", self.logs_tail()))
    }

    /// Messages in the queue, hidden and delayed ones among them.
    pub fn waiting(&self) -> usize {
        self.aws.queue_depth(self.output("QueueUrl"))
    }

    /// Messages in the two queues where only what failed arrives.
    pub fn failed(&self) -> usize {
        self.aws.queue_depth(self.output("DeadLetterQueueUrl"))
            + self.aws.queue_depth(self.output("UndeliveredQueueUrl"))
    }

    /// The lines of the log of `webhook`, `worker` or `bulk-import` that are JSON.
    pub fn log(&self, function: &str) -> Vec<Value> {
        self.log_lines(function)
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Every line of the log of `webhook`, `worker` or `bulk-import`.
    pub fn log_lines(&self, function: &str) -> Vec<String> {
        self.aws.log_lines(&format!("/transship/{NAME}/{function}"))
    }

    /// The embedded metrics in a function's log: each line that holds a metric of that name.
    pub fn metric(&self, function: &str, name: &str) -> Vec<Value> {
        let is_named = |line: &Value| {
            line["_aws"]["CloudWatchMetrics"]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|told| told["Metrics"].as_array().into_iter().flatten())
                .any(|metric| metric["Name"] == name)
        };
        self.log(function).into_iter().filter(is_named).collect()
    }

    /// The names of the alarms of the namespace `Transship` that the metrics in the logs of all functions raise.
    pub fn alarms_raised(&self) -> BTreeSet<String> {
        let lines: Vec<Value> = FUNCTIONS.iter().flat_map(|function| self.log(function)).collect();
        let parameters = Template::read("template.yaml");
        let value = |name: &str| match name {
            "Stack" => NAME.to_owned(),
            parameter => parameters.default_of(parameter),
        };
        let alarms = Template::read("infra/observability.yaml").alarms();
        alarms
            .into_iter()
            .filter(|alarm| alarm.namespace == "Transship" && alarm.is_raised_by(&lines, value))
            .map(|alarm| alarm.name)
            .collect()
    }

    /// True if the template's rule for ECR takes the event.
    pub fn rule_takes(&self, event: &Value) -> bool {
        self.rule("WebhookFunctionEcrImages", event)
    }

    /// True if the template's rule for uploads takes the event.
    pub fn upload_rule_takes(&self, event: &Value) -> bool {
        self.rule("BulkImportFunctionUploads", event)
    }

    fn rule(&self, logical_id: &str, event: &Value) -> bool {
        let pattern = self.aws.event_pattern(&format!("{NAME}-{logical_id}"));
        self.aws.event_matches(&pattern, event)
    }

    /// The last lines of all functions, for messages.
    pub fn logs_tail(&self) -> String {
        FUNCTIONS
            .map(|function| {
                let lines = self.log_lines(function);
                let tail = &lines[lines.len().saturating_sub(20)..];
                format!("--- {function}\n{}\n", tail.join("\n"))
            })
            .concat()
    }
}

fn is_terminal(task: &Value) -> bool {
    task["state"]
        .as_str()
        .is_some_and(|state| TERMINAL_STATES.contains(&state))
}

fn upload_artifacts(aws: &Aws) {
    aws.bucket_create(ARTIFACTS);
    for (name, bytes) in package::artifacts() {
        aws.object_put(ARTIFACTS, name, bytes);
    }
}

/// An event that `ECR` sends for a push, from the samples, with another repository, tag and account's registry.
pub fn ecr_push(sample: &Value, repository: &str, tag: &str, digest: &str) -> Value {
    let mut event = sample.clone();
    event["detail"]["repository-name"] = json!(repository);
    event["detail"]["image-tag"] = json!(tag);
    event["detail"]["image-digest"] = json!(digest);
    event
}
