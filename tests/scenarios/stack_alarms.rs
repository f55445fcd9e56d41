//! Each alarm on a metric of Transship, raised by what it is for: computed from the lines that the deployed functions wrote.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use transship_tests::delivery::{self, push_event};
use transship_tests::docker_registry::Options;
use transship_tests::http::{self, Response};
use transship_tests::{DockerRegistry, Document, HOOK_SECRET, Image, Stack, check, until};

/// A task's way through a queue and a worker's start, on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(2);
/// Longer than `WaitingAlarmMilliseconds` and `ReplicationLagAlarmMilliseconds`.
const LONG_AGO: Duration = Duration::from_mins(20);

/// A source, and three destinations: one that works, one whose login is wrong, and one that is down.
struct Stage {
    stack: Stack,
    source: DockerRegistry,
    good: DockerRegistry,
    locked: DockerRegistry,
    raised: BTreeSet<String>,
}

impl Stage {
    fn document(&self) -> Document {
        let down = "127.0.0.1:1";
        Document::between(&self.source.host(), &self.good.host())
            .registry(
                "a",
                &self.source.host(),
                "webhook: { secret: \"secretsmanager:transship/a-hook\" }",
            )
            .registry(
                "locked",
                &self.locked.host(),
                "credentials: \"secretsmanager:transship/wrong\"",
            )
            .registry("down", down, "description: nothing listens there")
            .rule("core", "core", "copy", "")
            .rule_between("locked", ("a", "to-locked"), ("locked", "copy"), "")
            .rule_between("down", ("a", "to-down"), ("down", "copy"), "")
    }

    /// A document with a failover group, whose rule keeps the names of images.
    fn failover(&self) -> String {
        format!(
            r#"
version: 1
registries:
  a: {{ provider: distribution, endpoint: "http://{}", webhook: {{ secret: "secretsmanager:transship/a-hook" }} }}
  b: {{ provider: distribution, endpoint: "http://{}" }}
rules:
  - {{ name: standby, source: {{ registry: a, namespace: standby, repository: [app] }}, destination: {{ registry: b, namespace: standby }} }}
failover:
  - name: main
    endpoint: https://images.example.com
    sites:
      - {{ registry: a, record: {{ type: A, value: 127.0.0.1 }} }}
      - {{ registry: b, record: {{ type: A, value: 127.0.0.2 }} }}
    writer: a
    zones: [{{ name: public, home: a, dns: {{ route53: {{ zone: Z0123456789ABCDEFGHIJ }} }} }}]
"#,
            self.source.host(),
            self.good.host()
        )
    }

    /// Posts a delivery to the webhook of `source`, with this secret.
    fn deliver(&self, source: &str, secret: &str, event: &str) -> Response {
        let url = self.stack.hook(source);
        let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let headers = [
            ("Content-Type", delivery::DISTRIBUTION_EVENTS),
            ("Authorization", secret),
        ];
        http::request("POST", host, &format!("/{path}"), &headers, event.as_bytes()).unwrap()
    }

    fn push(&self, repository: &str, number: u32) -> String {
        let image = Image::single(u64::from(number), &[500]);
        image.push(&self.source.host(), repository, "v1");
        push_event(&self.source.host(), repository, "v1", &image.root().digest, number)
    }

    /// Waits until exactly these alarms are raised in addition to those that were.
    fn assert_raises(&mut self, alarms: &[&str]) {
        let mut expected = self.raised.clone();
        expected.extend(alarms.iter().map(|name| (*name).to_owned()));
        let seen = until(PATIENCE, || {
            let raised = self.stack.alarms_raised();
            if raised.is_superset(&expected) {
                Ok(raised)
            } else {
                Err(format!("raised: {raised:?}"))
            }
        });
        let seen = seen.unwrap_or_else(|seen| panic!("{alarms:?}: {seen}\n{}", self.stack.logs_tail()));
        assert_eq!(seen, expected);
        self.raised = seen;
    }

    /// The lines of a function's log with this text in their message.
    fn logged(&self, function: &str, text: &str) -> Vec<Value> {
        let mut lines = self.stack.log(function);
        lines.retain(|line| line["message"].as_str().is_some_and(|message| message.contains(text)));
        lines
    }
}

/// A task that was created [`LONG_AGO`], as its message is after many waits.
fn old_task(id: &str, rule: &str, repository: &str, destination: &str) -> String {
    let created = std::time::SystemTime::now() - LONG_AGO;
    let created = created.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let created = jiff::Timestamp::from_second(i64::try_from(created).unwrap()).unwrap();
    format!(
        r#"{{"version":1,"id":"{id}","execution":"e-{id}","rule":"{rule}","trigger":"event","action":"copy",
            "source":{{"registry":"a","repository":"{repository}","target":{{"tag":"v1"}}}},
            "destination":{{"registry":"{destination}","repository":"copy/{id}","target":{{"tag":"v1"}}}},
            "existing":"follow","referrers":"include","created":"{created}"}}"#
    )
}

#[test]
fn each_alarm_is_raised_by_what_it_is_for() {
    if DockerRegistry::skipped() {
        return;
    }
    let mut stage = Stage {
        stack: Stack::deploy(&[]),
        source: DockerRegistry::start(),
        good: DockerRegistry::start(),
        locked: DockerRegistry::start_with(&Options {
            locked: true,
            ..Options::default()
        }),
        raised: BTreeSet::new(),
    };

    // A document that is not valid, and no other one is known yet.
    let first = stage.push("core/app", 1);
    stage.stack.configure_text("version: 7\n");
    assert_eq!(stage.deliver("a", HOOK_SECRET, &first).status, 503);
    stage.assert_raises(&["DocumentRefused"]);

    // A ledger that is empty beside a filled destination, as if it were lost: one tag is equal, another one is not.
    stage.stack.configure(&stage.document());
    stage.stack.aws().secret_put("transship/wrong", "tests:wrong");
    stage.push("core/equal", 6);
    Image::single(6, &[500]).push(&stage.good.host(), "copy/equal", "v1");
    stage.push("core/other", 7);
    Image::single(8, &[500]).push(&stage.good.host(), "copy/other", "v1");
    stage.stack.send(r#"{"version":1,"sweep":{}}"#);
    stage.assert_raises(&["KeptUnexplained", "LedgerLost"]);

    // What works raises nothing.
    assert_eq!(stage.deliver("a", HOOK_SECRET, &first).status, 202);
    let (source, good) = (stage.source.host(), stage.good.host());
    let arrived = until(PATIENCE, || {
        check::equal(&source, "core/app", "v1", &good, "copy/app", "v1")
    });
    assert!(arrived.is_ok(), "{arrived:?}\n{}", stage.stack.logs_tail());
    stage.stack.until_at_rest(1, PATIENCE);
    stage.assert_raises(&[]);
    let accepted = stage.logged("webhook", "accepted a push");
    assert_eq!(
        (
            &accepted[0]["repository"],
            &accepted[0]["tag"],
            accepted[0]["execution"].is_string()
        ),
        (&"core/app".into(), &"v1".into(), true)
    );

    // A new environment of the webhook beside a document that is not valid works with the version before it.
    stage.stack.configure_text("version: 7\n");
    let webhook = stage.stack.output("WebhookFunction");
    stage.stack.aws().function_timeout(webhook, 11);
    assert_eq!(stage.deliver("a", HOOK_SECRET, &first).status, 202);
    stage.assert_raises(&["ConfigurationFallback"]);
    let fallen_back = stage.logged("webhook", "an earlier one is in force");
    assert_eq!(fallen_back[0]["code"], "CONFIG_FALLBACK", "{fallen_back:?}");
    stage.stack.configure(&stage.document());

    // A push that no rule takes is counted and can be traced, and raises no alarm.
    let other = stage.push("elsewhere/app", 2);
    assert_eq!(stage.deliver("a", HOOK_SECRET, &other).status, 200);
    let unmatched = stage.logged("webhook", "no rule takes");
    assert_eq!(
        (&unmatched[0]["repository"], &unmatched[0]["tag"]),
        (&"elsewhere/app".into(), &"v1".into())
    );
    assert_eq!(
        stage.stack.metric("webhook", "PushesUnmatched")[0]["PushesUnmatched"],
        1.0
    );
    stage.assert_raises(&[]);

    // Deliveries that are refused: another secret, another source, another host.
    assert_eq!(stage.deliver("a", "Bearer wrong", &first).status, 401);
    stage.assert_raises(&["DeliveriesRefused"]);
    assert_eq!(stage.deliver("missing", HOOK_SECRET, &first).status, 404);
    let foreign = push_event(
        "foreign.example:5000",
        "core/app",
        "v1",
        &Image::single(1, &[500]).root().digest,
        3,
    );
    assert_eq!(stage.deliver("a", HOOK_SECRET, &foreign).status, 200);
    let refused = stage.stack.metric("webhook", "DeliveriesRefused");
    let codes: BTreeSet<_> = refused.iter().filter_map(|line| line["Code"].as_str()).collect();
    assert_eq!(codes, ["HOST_MISMATCH", "NOT_AUTHENTIC", "UNKNOWN_SOURCE"].into());

    // A destination whose login is wrong.
    let failing = stage.push("to-locked/app", 4);
    assert_eq!(stage.deliver("a", HOOK_SECRET, &failing).status, 202);
    stage.assert_raises(&["TasksFailed"]);

    // A destination that is down for 20 minutes already. The message is young, the task is not.
    stage.push("to-down/app", 5);
    stage.stack.send(&old_task("t-down", "down", "to-down/app", "down"));
    stage.assert_raises(&["TasksWaiting"]);
    let waiting = stage.stack.metric("worker", "OldestUnfinishedTask");
    assert!(waiting.iter().any(|line| line["Rule"] == "down"), "{waiting:?}");

    // An image that arrives late.
    stage.stack.send(&old_task("t-late", "core", "core/app", "b"));
    stage.assert_raises(&["ReplicationLag"]);

    // A message that Transship did not send, among the dead letters: an operator finds it in the queue of undelivered ones.
    stage
        .stack
        .aws()
        .queue_send(stage.stack.output("DeadLetterQueueUrl"), "poison");
    stage.assert_raises(&["MessagesInvalid"]);
    let undelivered = stage.stack.output("UndeliveredQueueUrl");
    let found = until(PATIENCE, || {
        match stage.stack.aws().queue_receive(undelivered, 10, 0).pop() {
            Some(message) => Ok(message.body),
            None => Err("nothing is in the queue of undelivered messages".to_owned()),
        }
    });
    assert_eq!(found.as_deref(), Ok("poison"), "{}", stage.stack.logs_tail());

    // A failover group that was never compared and never rehearsed. The timer's message reports it, and orders the comparison.
    stage.stack.configure_text(&stage.failover());
    // A new environment, because a running one reads the document again only after 30 seconds, and the message comes once.
    let worker = stage.stack.output("WorkerFunction");
    stage.stack.aws().function_timeout(worker, 61);
    stage.stack.send(r#"{"version":2,"job":{"kind":"due"}}"#);
    stage.assert_raises(&["FailoverDrillOverdue", "FailoverNotReady"]);
    let compared = until(PATIENCE, || {
        match stage.logged("worker", "the sites were compared").pop() {
            Some(line) => Ok(line),
            None => Err("no comparison".to_owned()),
        }
    });
    assert_eq!(compared.unwrap()["rule"], "standby", "{}", stage.stack.logs_tail());

    assert_no_other_alarm_exists(&stage.raised);
}

/// Each sweep publishes `SourcesIncomplete`, which another scenario reads from a sweep: here only its alarm is computed.
fn assert_no_other_alarm_exists(raised: &BTreeSet<String>) {
    let alarms = transship_tests::template::Template::read("infra/observability.yaml").alarms();
    let mut others: Vec<_> = alarms
        .into_iter()
        .filter(|alarm| alarm.namespace == "Transship" && !raised.contains(&alarm.name))
        .collect();
    let last = others.pop().unwrap();
    assert!(others.is_empty(), "no test raises {others:?}");
    let line = serde_json::json!({
        "_aws": { "Timestamp": 0, "CloudWatchMetrics": [{
            "Namespace": "Transship", "Dimensions": [["Stack"]], "Metrics": [{ "Name": "SourcesIncomplete" }] }] },
        "Stack": "transship", "SourcesIncomplete": 1.0,
    });
    assert!(last.is_raised_by(&[line], |_| "transship".to_owned()), "{last:?}");
}
