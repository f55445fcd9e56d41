//! `transship run`: existing images of a rule, with and without a process that works on the queue.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::Action;
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images::{self, Sample};

use crate::run::{Run, run};

/// Two registries and a document.
pub struct Sides {
    pub a: EmbeddedRegistry,
    pub b: EmbeddedRegistry,
    pub dir: TempDir,
}

impl Sides {
    pub async fn new() -> Self {
        Self::of("").await
    }

    /// `more`: further keys of the rule.
    pub async fn of(more: &str) -> Self {
        let start = async || EmbeddedRegistry::builder().start().await.unwrap();
        let (a, b, dir) = (start().await, start().await, TempDir::new().unwrap());
        let text = format!(
            "version: 1\nregistries:\n  a: {{ provider: distribution, endpoint: \"{}\", webhook: none }}\n  b: {{ provider: distribution, endpoint: \"{}\" }}\nrules:\n  - {{ name: core-images, source: {{ registry: a, namespace: core }}, destination: {{ registry: b, namespace: copy }}{more} }}\n",
            a.url(),
            b.url()
        );
        std::fs::write(dir.path().join("transship.yaml"), text).unwrap();
        Self { a, b, dir }
    }

    pub fn put(registry: &EmbeddedRegistry, repository: &str, tag: &str, sample: &Sample) {
        sample.seed_into(registry, &repository.parse().unwrap(), &tag.parse().unwrap());
    }

    pub fn path(&self, name: &str) -> String {
        Path::new(self.dir.path()).join(name).to_str().unwrap().to_owned()
    }

    pub fn arrived(&self, repository: &str, tag: &str) -> bool {
        self.b
            .digest(&repository.parse().unwrap(), &tag.parse().unwrap())
            .is_some()
    }

    /// Runs a command with the document and the data folder.
    pub async fn transship(&self, arguments: &[&str]) -> Run {
        let (config, data) = (self.path("transship.yaml"), self.path("data"));
        let mut all: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        all.extend(["--config".to_owned(), config, "--data".to_owned(), data]);
        tokio::task::spawn_blocking(move || run(&all.iter().map(String::as_str).collect::<Vec<_>>()))
            .await
            .unwrap()
    }

    /// The executions as JSON.
    pub async fn executions(&self) -> Value {
        let data = self.path("data");
        tokio::task::spawn_blocking(move || run(&["executions", "--json", "--data", &data]))
            .await
            .unwrap()
            .json()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_waits_does_the_work_itself_where_nobody_else_does() {
    let sides = Sides::new().await;
    let sample = images::image(1, &[100]);
    for tag in ["v1", "v2", "v3"] {
        Sides::put(&sides.a, "core/app", tag, &sample);
    }
    Sides::put(&sides.b, "copy/app", "v1", &sample);
    let ran = sides.transship(&["run", "core-images", "--wait", "--json"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(sides.arrived("copy/app", "v2") && sides.arrived("copy/app", "v3"));
    let json = ran.json();
    let found = &json["ended"]["run"];
    assert_eq!([&found["tags"], &found["equal"], &found["enqueued"]], [3, 1, 2]);
    assert_eq!(
        (&json["joined"], &json["ended"]["state"]),
        (&Value::from(false), &Value::from("succeeded"))
    );
    let executions = sides.executions().await;
    assert_eq!(executions[0]["id"], json["execution"]);
    assert_eq!(
        (&executions[0]["trigger"], &executions[0]["run"]["repositories"]),
        (&"manual".into(), &1.into())
    );

    // Without --wait the run is in the queue, and a second command joins it.
    let none = sides.transship(&["run", "core-images", "--tag", "v9", "--wait"]).await;
    assert!(none.code == 0 && none.err.contains("no image was compared"), "{none:?}");
    let first = sides.transship(&["run", "core-images"]).await;
    let second = sides.transship(&["run", "core-images"]).await;
    assert_eq!((first.code, &first.out), (0, &second.out), "{first:?}");
    assert!(first.err.contains("no process works on the queue"), "{first:?}");
    assert!(second.err.contains("joins it"), "{second:?}");
    let third = sides.transship(&["run", "core-images", "--wait"]).await;
    assert_eq!(third.code, 0, "{third:?}");
    assert!(third.out.starts_with(&first.out), "{third:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_could_not_read_everything_fails_and_an_unknown_rule_is_input() {
    let sides = Sides::of(", enabled: false").await;
    let unknown = sides.transship(&["run", "core-image"]).await;
    assert_eq!((unknown.code, unknown.error_code()), (2, "UNKNOWN_RULE"));
    assert!(unknown.err.contains("core-images"), "{unknown:?}");
    let other = sides
        .transship(&["run", "core-images", "--repository", "other/app"])
        .await;
    assert_eq!((other.code, other.error_code()), (2, "USAGE"));
    let refuse = Fault::new("GET", "/v2/_catalog", Action::status(401)).unwrap();
    sides.a.set_faults(Some(Arc::new(Script::new([refuse.always()]))));
    let ran = sides.transship(&["run", "core-images", "--wait", "--json"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.err.contains("RULE_DISABLED: ") && ran.err.contains("RUN_INCOMPLETE: "),
        "{ran:?}"
    );
    assert_eq!(ran.json()["ended"]["state"], "partial");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_says_what_a_run_copies_and_a_verification_whether_it_did() {
    let sides = Sides::new().await;
    let sample = images::image(1, &[1000]);
    for repository in ["core/one", "core/two"] {
        Sides::put(&sides.a, repository, "v1", &sample);
    }
    let planned = sides
        .transship(&["plan", "core-images", "--bandwidth", "1kB/s", "--json"])
        .await;
    assert_eq!(planned.code, 0, "{planned:?}");
    let json = planned.json();
    assert_eq!(
        (&json["totals"]["copy"], &json["totals"]["bytes"]),
        (&2.into(), &sample.blobs_size().into())
    );
    assert_eq!(json["images"][0]["action"], "copy");
    assert!(json["totals"]["seconds"].as_u64() >= Some(1), "{json}");

    let before = sides.transship(&["verify", "core-images", "--json"]).await;
    assert_eq!((before.code, before.error_code()), (1, "VERIFY_DIFFERS"));
    assert_eq!(before.json()["totals"]["missing"], 2);
    assert_eq!(before.json()["images"][0]["code"], "NEVER_REPLICATED");
    assert_eq!(sides.transship(&["run", "core-images", "--wait"]).await.code, 0);
    Sides::put(&sides.b, "copy/extra", "v1", &sample);
    let extra = sides.transship(&["verify", "core-images"]).await;
    assert!(
        extra.code == 1 && extra.out.contains("extra b/copy/extra:v1 EXTRA_TAG"),
        "{extra:?}"
    );
    sides.b.untag(&"copy/extra".parse().unwrap(), &"v1".parse().unwrap());
    let after = sides.transship(&["verify", "core-images", "--bytes", "--json"]).await;
    assert_eq!(
        (after.code, &after.json()["totals"]["equal"]),
        (0, &2.into()),
        "{after:?}"
    );
    let executions = sides.executions().await;
    assert_eq!(executions[0]["verified"]["equal"], 2, "{executions}");
    let (from, to) = (
        format!("{}/core/one:v1", sides.a.host()),
        format!("{}/copy/one:v1", sides.b.host()),
    );
    let pair = run_blocking(vec![
        "verify".into(),
        from.clone(),
        to.clone(),
        "--deep".into(),
        "--json".into(),
    ])
    .await;
    assert_eq!(
        (pair.code, &pair.json()["images"][0]["state"]),
        (0, &"equal".into()),
        "{pair:?}"
    );
    let pair = run_blocking(vec!["plan".into(), from, to, "--json".into()]).await;
    assert_eq!(
        (pair.code, &pair.json()["images"][0]["action"]),
        (0, &"unchanged".into()),
        "{pair:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_image_is_replicated_by_the_names_of_the_document() {
    let sides = Sides::new().await;
    let sample = images::image(1, &[100]);
    Sides::put(&sides.a, "core/app", "v1", &sample);
    let done = sides
        .transship(&["replicate", "a/core/app:v1", "b/other/app:stable", "--wait", "--json"])
        .await;
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(
        (&done.json()["ended"]["state"], &done.json()["ended"]["trigger"]),
        (&"succeeded".into(), &"manual".into())
    );
    assert!(sides.arrived("other/app", "stable"));
    let pair = sides
        .transship(&["verify", "a/core/app:v1", "b/other/app:stable", "--json"])
        .await;
    assert_eq!(
        (pair.code, &pair.json()["images"][0]["source"]),
        (0, &"a/core/app:v1".into()),
        "{pair:?}"
    );
    // Plan and verify take the same names, and hosts of the document.
    let by_host = format!("{}/core/app:v1", sides.a.host());
    for source in ["a/core/app:v1", &by_host] {
        let pair = sides.transship(&["plan", source, "b/new/app", "--json"]).await;
        let row = &pair.json()["images"][0];
        assert_eq!(
            (pair.code, &row["source"], &row["destination"], &row["action"]),
            (0, &"a/core/app:v1".into(), &"b/new/app:v1".into(), &"copy".into()),
            "{pair:?}"
        );
    }
    let pair = sides
        .transship(&["plan", &by_host, "b/other/app:stable", "--json"])
        .await;
    assert_eq!(pair.json()["images"][0]["action"], "unchanged", "{pair:?}");
    let unknown = sides.transship(&["replicate", "c/core/app:v1", "b/other/app"]).await;
    assert_eq!((unknown.code, unknown.error_code()), (2, "UNKNOWN_REGISTRY"));
}

async fn run_blocking(arguments: Vec<String>) -> Run {
    tokio::task::spawn_blocking(move || run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()))
        .await
        .unwrap()
}

/// Starts a command with the document and the data folder.
fn spawned(sides: &Sides, arguments: &[&str]) -> tokio::task::JoinHandle<Run> {
    let mut all: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    all.extend(["--data".to_owned(), sides.path("data")]);
    if arguments[0] == "run" {
        all.extend(["--config".to_owned(), sides.path("transship.yaml")]);
    }
    tokio::task::spawn_blocking(move || run(&all.iter().map(String::as_str).collect::<Vec<_>>()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runs_a_cancel_and_a_redrive_at_once_end_once_each() {
    let sides = Sides::new().await;
    for number in 0..8 {
        let sample = images::image(number, &[1000]);
        Sides::put(&sides.a, "core/app", &format!("v{number}"), &sample);
    }
    for _ in 0..3 {
        let started = sides.transship(&["run", "core-images"]).await;
        assert_eq!(started.code, 0, "{started:?}");
        let execution = started.out.trim();
        // Each is a process of its own on the same file.
        let racing = [
            spawned(&sides, &["run", "core-images", "--wait", "--json"]),
            spawned(&sides, &["run", "core-images", "--wait", "--json"]),
            spawned(&sides, &["cancel", execution, "--json"]),
            spawned(&sides, &["redrive", execution, "--json"]),
        ];
        let mut ended = Vec::new();
        for one in racing {
            ended.push(one.await.unwrap());
        }
        // A run that was cancelled did not succeed; nothing else may go wrong.
        for (which, allowed) in [(0, &[0, 1][..]), (1, &[0, 1]), (2, &[0]), (3, &[0])] {
            assert!(allowed.contains(&ended[which].code), "{which}: {:?}", ended[which]);
        }
        // What a redrive sent after both runs had ended is worked on by the next command that waits.
        assert_eq!(sides.transship(&["run", "core-images", "--wait"]).await.code, 0);
    }
    let open = |executions: &Value| {
        let all = executions.as_array().unwrap().clone();
        all.into_iter().filter(|found| found["duration_ms"].is_null()).count()
    };
    // The last run may have ended before a task of a redrive did.
    let begin = std::time::Instant::now();
    while open(&sides.executions().await) > 0 {
        assert!(begin.elapsed() < Duration::from_mins(5), "{}", sides.executions().await);
        assert_eq!(sides.transship(&["run", "core-images", "--wait"]).await.code, 0);
    }
    let data = sides.path("data");
    let tasks = run_blocking(vec!["tasks".into(), "--json".into(), "--data".into(), data])
        .await
        .json();
    let terminal = ["succeeded", "unchanged", "cancelled", "skipped"];
    for task in tasks.as_array().unwrap() {
        assert!(terminal.contains(&task["state"].as_str().unwrap()), "{task}");
    }
    for number in 0..8 {
        assert!(sides.arrived("copy/app", &format!("v{number}")));
    }
    let written = sides.b.requests();
    let written = written
        .iter()
        .filter(|request| request.method == "PUT" && request.path.contains("/manifests/v"));
    assert_eq!(written.count(), 8, "each tag is written once");
}
