//! Runs of rules through the stack of `template.yaml`: the command starts and stops them, and the worker function does the work.
//!
//! The binaries of the functions must have been built, as `tests/run` does.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use transship_aws::{Aws, DynamoLedger};
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::Action;
use transship_engine::ledger::Schedules;
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images::{self, Sample};
use transship_tests::{Document, until};

/// Time limit for the work of the functions, on a machine under load.
const PATIENCE: Duration = Duration::from_mins(3);
/// A rule that no event starts, so that only what a test starts is at work.
const RULE: &str = "core";

/// The deployed stack, and a registry on either side of its rule.
struct Stage {
    stack: transship_tests::Stack,
    a: EmbeddedRegistry,
    b: EmbeddedRegistry,
    runtime: Runtime,
}

impl Stage {
    fn new(trigger: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let start = || runtime.block_on(EmbeddedRegistry::builder().start()).unwrap();
        let (a, b) = (start(), start());
        let stack = transship_tests::Stack::deploy(&[("SweepSchedule", "rate(365 days)"), ("RuleSchedule", "off")]);
        let document = Document::between(a.host().as_ref(), b.host().as_ref()).registry(
            "a",
            a.host().as_ref(),
            "webhook: { secret: \"secretsmanager:transship/a-hook\" }",
        );
        let text = document.rule(RULE, "core", "copy", "").yaml();
        stack.configure_text(&text.replace("trigger: [event]", &format!("trigger: [{trigger}]")));
        Self { stack, a, b, runtime }
    }

    /// The command with the table and the queue of the stack.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_transship"));
        command
            .args(arguments)
            .args(["--table", self.stack.output("TableName")])
            .env("AWS_ENDPOINT_URL", self.stack.aws().endpoint())
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("TRANSSHIP_QUEUE_URL", self.stack.output("QueueUrl"))
            .env_remove("TRANSSHIP_CONFIG")
            .env_remove("TRANSSHIP_DATA")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}\n{}", self.stack.logs_tail());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Tags `v0` to `v{count}` of different images at the source.
    fn fill(&self, repository: &str, count: u64) -> Vec<Sample> {
        let samples: Vec<Sample> = (0..count).map(|number| images::image(number, &[100])).collect();
        for (number, sample) in samples.iter().enumerate() {
            Self::put(&self.a, &format!("core/{repository}"), &format!("v{number}"), sample);
        }
        samples
    }

    /// The last due times in the table. The emulator checks the keys of this process, which are those of its root user.
    fn schedules(&self) -> Schedules {
        let endpoint = self.stack.aws().endpoint();
        let table = self.stack.output("TableName").to_owned();
        self.runtime.block_on(async {
            let aws = Aws::emulated_as_root(&endpoint).await;
            Schedules::new(Arc::new(DynamoLedger::new(&aws, table)))
        })
    }

    fn put(registry: &EmbeddedRegistry, repository: &str, tag: &str, sample: &Sample) {
        sample.seed_into(registry, &repository.parse().unwrap(), &tag.parse().unwrap());
    }

    /// The tags that the destination has of these images, with their digests.
    fn arrived(&self, repository: &str, samples: &[Sample]) -> usize {
        let repository = format!("copy/{repository}").parse().unwrap();
        let found = |number: usize| self.b.digest(&repository, &format!("v{number}").parse().unwrap());
        let is_there = |(number, sample): &(usize, &Sample)| found(*number).as_ref() == Some(&sample.root);
        samples.iter().enumerate().filter(is_there).count()
    }

    /// Tags that were written at the destination.
    fn tags_written(&self) -> usize {
        let requests = self.b.requests();
        let is_tag = |path: &str| path.contains("/manifests/") && !path.contains("sha256:");
        let written = requests
            .iter()
            .filter(|request| request.method == "PUT" && is_tag(&request.path));
        written.count()
    }

    fn execution(&self, id: &str) -> Value {
        let all = self.json(&["executions", "--json"]);
        let found = all.as_array().unwrap().iter().find(|found| found["id"] == id);
        found.cloned().unwrap_or_default()
    }

    /// Waits until the execution is in `state`.
    fn until_state(&self, id: &str, state: &str) -> Value {
        let found = until(PATIENCE, || {
            let found = self.execution(id);
            if found["state"] == state {
                Ok(found)
            } else {
                Err(found.to_string())
            }
        });
        assert!(found.is_ok(), "{found:?}\n{}", self.stack.logs_tail());
        found.unwrap()
    }

    /// Nothing is left anywhere, and no message failed.
    fn assert_at_rest(&self) {
        self.stack.until_at_rest(0, PATIENCE);
        assert_eq!(self.stack.failed(), 0, "{}", self.stack.logs_tail());
        assert_eq!(self.stack.leftovers(), Vec::<Value>::new());
        let log = self.stack.log_lines("worker");
        let refused = log.iter().find(|line| line.contains("AccessDenied"));
        assert_eq!(refused, None, "the worker lacks a permission");
    }
}

/// Runs two commands at the same time; what each printed.
fn at_once(commands: [Command; 2]) -> [Value; 2] {
    let running = commands.map(|mut command| command.spawn().unwrap());
    running.map(|process| {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    })
}

#[test]
fn two_runs_at_once_are_one_and_copy_exactly_what_differs() {
    let stage = Stage::new("event");
    let (one, two) = (stage.fill("one", 4), stage.fill("two", 4));
    for number in 0..4 {
        // Three of four are equal; one tag names another image, which Transship did not write.
        let sample = if number == 1 { &one[0] } else { &one[number] };
        Stage::put(&stage.b, "copy/one", &format!("v{number}"), sample);
    }
    Stage::put(&stage.b, "copy/two", "v0", &two[0]);
    let run = || stage.command(&["run", RULE, "--wait", "--json"]);
    let [first, second] = at_once([run(), run()]);
    assert_eq!(first["execution"], second["execution"]);
    assert_ne!(first["joined"], second["joined"], "{first} {second}");
    for ran in [&first, &second] {
        assert_eq!(ran["ended"]["state"], "succeeded", "{ran}");
        let found = &ran["ended"]["run"];
        let counts = ["tags", "equal", "enqueued", "kept"].map(|key| found[key].as_u64().unwrap());
        assert_eq!(counts, [8, 4, 3, 1], "{ran}");
    }
    assert_eq!((stage.arrived("one", &one), stage.arrived("two", &two)), (3, 4));
    assert_eq!(stage.tags_written(), 3);
    stage.assert_at_rest();

    // A second run moves nothing.
    let again = stage.json(&["run", RULE, "--wait", "--json"]);
    assert_eq!(
        (&again["joined"], &again["ended"]["run"]["enqueued"]),
        (&json!(false), &json!(0)),
        "{again}"
    );
    assert_eq!(stage.tags_written(), 3);
}

#[test]
fn a_rule_that_the_document_of_the_stack_does_not_have_is_refused() {
    let stage = Stage::new("event");
    for arguments in [&["run", "cores"][..], &["run", "cores", "--wait", "--json"]] {
        let output = stage.command(arguments).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(
            told.starts_with("UNKNOWN_RULE: ") && told.lines().count() == 1,
            "{told}"
        );
    }
    stage.assert_at_rest();
}

#[test]
fn a_run_is_cancelled_and_continued_through_the_stack() {
    let stage = Stage::new("event");
    let samples = stage.fill("app", 6);
    let stall = Fault::new("PUT", "/blobs/uploads/", Action::Delay { delay_ms: 3_600_000 }).unwrap();
    stage.b.set_faults(Some(Arc::new(Script::new([stall.always()]))));
    let run = stage.json(&["run", RULE, "--json"]);
    let execution = run["execution"].as_str().unwrap();
    let begun = until(PATIENCE, || {
        let tasks = stage.json(&["tasks", execution, "--json"]);
        let is_copy = |task: &&Value| task["destination"].as_str().is_some_and(|to| to.starts_with("b/copy/"));
        let copies = tasks.as_array().unwrap().iter().filter(is_copy);
        if copies.clone().count() == 6 && copies.clone().any(|task| task["state"] == "running") {
            Ok(())
        } else {
            Err(tasks.to_string())
        }
    });
    assert_eq!(begun, Ok(()), "{}", stage.stack.logs_tail());

    let cancelled = stage.json(&["cancel", execution, "--json"]);
    assert_eq!(cancelled["execution"], execution, "{cancelled}");
    stage.until_state(execution, "cancelled");
    assert_eq!((stage.arrived("app", &samples), stage.tags_written()), (0, 0));
    stage.assert_at_rest();

    stage.b.set_faults(None);
    let redriven = stage.json(&["redrive", execution, "--json"]);
    let next = redriven["executions"][0].as_str().unwrap();
    stage.until_state(next, "succeeded");
    assert_eq!((stage.arrived("app", &samples), stage.tags_written()), (6, 6));
    stage.until_state(execution, "cancelled");
    stage.assert_at_rest();
}

/// The message of the template's schedule for the schedules of rules.
fn due_message() -> String {
    let template = std::fs::read_to_string(transship_tests::stack::root().join("template.yaml")).unwrap();
    let (_, due) = template.split_once("\n  Due:\n").unwrap();
    let (_, input) = due.split_once("Input: '").unwrap();
    input.split_once('\'').unwrap().0.to_owned()
}

#[test]
fn the_schedule_of_the_template_starts_a_due_rule_once() {
    let stage = Stage::new("{ schedule: \"0 0 1 1 *\", timezone: Asia/Shanghai }");
    let samples = stage.fill("app", 3);
    let message = due_message();
    let schedules = stage.schedules();
    // A schedule that is seen for the first time is not due.
    stage.stack.send(&message);
    let seen = until(PATIENCE, || {
        let known = stage.runtime.block_on(schedules.all()).unwrap();
        known.get(RULE).cloned().ok_or_else(|| stage.stack.logs_tail())
    });
    let seen = seen.unwrap();
    stage.stack.until_at_rest(0, PATIENCE);
    assert_eq!(stage.json(&["executions", "--json"]), json!([]));

    // As after two years in which nothing worked.
    let before = (Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC) - 2.years()).timestamp();
    let noted = schedules.note(RULE, Some(&seen), &seen.schedules, before);
    assert!(stage.runtime.block_on(noted).unwrap());
    let batch = |id: &str| {
        json!({ "Records": [{
            "messageId": id, "receiptHandle": "r", "body": message, "md5OfBody": "", "messageAttributes": {},
            "attributes": { "ApproximateReceiveCount": "1", "SentTimestamp": "1700000000000" },
            "eventSource": "aws:sqs", "awsRegion": "us-east-1",
            "eventSourceARN": format!("arn:aws:sqs:us-east-1:000000000000:{}", stage.stack.queue_name()),
        }] })
    };
    // Two workers at the same time.
    std::thread::scope(|scope| {
        for id in ["1", "2"] {
            let event = batch(id);
            let stack = &stage.stack;
            scope.spawn(move || {
                let answer = stack.invoke_worker(&event);
                assert_eq!(answer["batchItemFailures"], json!([]), "{answer}");
            });
        }
    });
    // And a second delivery.
    stage.stack.send(&message);
    let started = until(PATIENCE, || {
        let all = stage.json(&["executions", "--json"]);
        if all
            .as_array()
            .unwrap()
            .iter()
            .any(|found| found["state"] == "succeeded")
        {
            Ok(())
        } else {
            Err(all.to_string())
        }
    });
    assert_eq!(started, Ok(()), "{}", stage.stack.logs_tail());
    stage.assert_at_rest();
    let all = stage.json(&["executions", "--json"]);
    let executions: Vec<(&str, &str)> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|found| (found["trigger"].as_str().unwrap(), found["rule"].as_str().unwrap()))
        .collect();
    assert_eq!(executions, [("schedule", RULE)], "{all}");
    assert_eq!((stage.arrived("app", &samples), stage.tags_written()), (3, 3));
}
