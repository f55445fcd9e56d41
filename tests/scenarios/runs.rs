//! A run of a rule is killed with -9 three times, by `serve` and by the command itself, and copies exactly what is missing.
//!
//! `TRANSSHIP_TESTS_RUN_TAGS` is the number of tags in each of the 200 repositories.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Runtime;
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::{Action, Faults, RequestHead};
use transship_testkit::images;
use transship_tests::process::Process;
use transship_tests::{Document, Serve, transship, until, wait};

const REPOSITORIES: usize = 200;
/// Of so many tags one is missing.
const MISSING: usize = 100;
/// Time limit for a state, on a machine under load.
const PATIENCE: Duration = Duration::from_mins(5);

fn tags_each() -> usize {
    let set = std::env::var("TRANSSHIP_TESTS_RUN_TAGS").ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(5)
}

/// Lets a number of tags be compared, then holds every request for a tag.
#[derive(Default)]
struct Gate {
    seen: AtomicUsize,
    limit: AtomicUsize,
    is_holding: AtomicBool,
}

impl Gate {
    fn let_pass(&self, more: usize) {
        let limit = self.seen.load(Ordering::SeqCst).saturating_add(more);
        self.limit.store(limit, Ordering::SeqCst);
        self.is_holding.store(false, Ordering::SeqCst);
    }

    fn until_holding(&self) {
        wait::until_true(PATIENCE, "the run does not get so far", || {
            self.is_holding.load(Ordering::SeqCst)
        })
        .unwrap();
    }
}

impl Faults for Gate {
    fn action(&self, request: &RequestHead<'_>) -> Option<Action> {
        if *request.method != "HEAD" {
            return None;
        }
        if self.seen.fetch_add(1, Ordering::SeqCst) < self.limit.load(Ordering::SeqCst) {
            return None;
        }
        self.is_holding.store(true, Ordering::SeqCst);
        Some(Action::Delay { delay_ms: 3_600_000 })
    }
}

/// Two registries whose tags are equal, except one of each [`MISSING`].
struct Sides {
    a: EmbeddedRegistry,
    b: EmbeddedRegistry,
    gate: Arc<Gate>,
    tags: usize,
    lacks: Vec<(String, String)>,
    _runtime: Runtime,
}

impl Sides {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let start = || {
            runtime
                .block_on(EmbeddedRegistry::builder().referrers_api(false).start())
                .unwrap()
        };
        let (a, b) = (start(), start());
        let tags = REPOSITORIES * tags_each();
        let sample = images::image(1, &[100]);
        let mut lacks = Vec::new();
        for number in 0..tags {
            let (repository, tag) = (
                format!("app-{:03}", number / tags_each()),
                format!("v{:02}", number % tags_each()),
            );
            let put = |registry: &EmbeddedRegistry, namespace: &str| {
                let repository = format!("{namespace}/{repository}").parse().unwrap();
                sample.seed_into(registry, &repository, &tag.parse().unwrap());
            };
            put(&a, "core");
            if number % MISSING == MISSING - 1 {
                lacks.push((format!("copy/{repository}"), tag));
            } else {
                put(&b, "copy");
            }
        }
        let gate = Arc::new(Gate::default());
        a.set_faults(Some(Arc::clone(&gate) as _));
        Self {
            a,
            b,
            gate,
            tags,
            lacks,
            _runtime: runtime,
        }
    }

    fn document(&self) -> Document {
        Document::between(self.a.host().as_ref(), self.b.host().as_ref()).rule("core", "core", "copy", "")
    }

    /// The run succeeded, found every tag, and wrote each that was missing once.
    fn assert_copied(&self, execution: &Value) {
        assert_eq!(execution["state"], "succeeded", "{execution}");
        let run = &execution["run"];
        let count = |key: &str| usize::try_from(run[key].as_u64().unwrap()).unwrap();
        assert_eq!(count("tags"), self.tags, "{execution}");
        assert_eq!(count("equal") + count("enqueued"), self.tags, "{execution}");
        let mut written: BTreeMap<String, usize> = BTreeMap::new();
        for request in self.b.requests() {
            let is_tag = request.path.contains("/manifests/") && !request.path.contains("sha256:");
            if request.method == "PUT" && is_tag && request.status == 201 {
                *written.entry(request.path).or_default() += 1;
            }
        }
        let expected = self.lacks.iter();
        let expected = expected.map(|(repository, tag)| (format!("/v2/{repository}/manifests/{tag}"), 1));
        assert_eq!(written, expected.collect::<BTreeMap<_, _>>());
    }

    /// What lets a third of the tags pass each time, so that all kills are during the walk.
    fn step(&self) -> usize {
        self.tags / 4
    }
}

/// `transship run core` over the data of `serve`.
fn command(serve: &Serve, wait: bool) -> std::process::Command {
    let mut command = transship::command();
    command.args(["run", "core", "--json"]);
    command
        .arg("--config")
        .arg(serve.config())
        .arg("--data")
        .arg(serve.data());
    if wait {
        command.arg("--wait");
    }
    command
}

fn only_execution(serve: &Serve) -> Value {
    let found = serve.executions();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn a_run_whose_serve_is_killed_three_times_copies_exactly_what_is_missing() {
    let sides = Sides::new();
    let mut serve = Serve::prepare();
    sides.gate.let_pass(sides.step());
    serve.start(&sides.document());
    let started = transship::run_command(&mut command(&serve, false));
    assert_eq!(started.code, 0, "{started:?}");
    for _ in 0..3 {
        sides.gate.until_holding();
        serve.kill();
        let found = only_execution(&serve);
        assert_eq!(found["state"], "running", "it was killed in the middle: {found}");
        sides.gate.let_pass(sides.step());
        serve.start_again();
        let joined = transship::run_command(&mut command(&serve, false)).json();
        assert_eq!(
            (&joined["execution"], &joined["joined"]),
            (&started.json()["execution"], &Value::from(true))
        );
    }
    sides.gate.until_holding();
    serve.kill();
    sides.a.set_faults(None);
    serve.start_again();
    let ended = until(PATIENCE, || {
        let found = only_execution(&serve);
        if found["duration_ms"].is_null() {
            Err(found.to_string())
        } else {
            Ok(found)
        }
    });
    sides.assert_copied(&ended.unwrap_or_else(|reason| panic!("{reason}\n{}", serve.log_tail())));
    let tasks = serve.until_at_rest(PATIENCE);
    let is_copy = |task: &&Value| task["destination"].as_str().is_some_and(|to| to.starts_with("b/copy/"));
    let copies = tasks.iter().filter(is_copy);
    assert_eq!(copies.count(), sides.lacks.len());
}

#[test]
fn a_run_without_a_serve_that_is_killed_three_times_copies_exactly_what_is_missing() {
    let sides = Sides::new();
    let serve = Serve::prepare();
    std::fs::write(serve.config(), sides.document().yaml()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        sides.gate.let_pass(sides.step());
        let mut running = Process::start(&mut command(&serve, true), &folder.path().join("log"));
        sides.gate.until_holding();
        running.kill();
        let found = only_execution(&serve);
        assert_eq!(found["state"], "running", "it was killed in the middle: {found}");
    }
    sides.a.set_faults(None);
    let ended = transship::run_command(&mut command(&serve, true));
    assert_eq!(ended.code, 0, "{ended:?}");
    let json = ended.json();
    assert_eq!(json["joined"], true);
    sides.assert_copied(&json["ended"]);
    only_execution(&serve);
}
