//! `cancel` stops an execution beside a running `serve`, and after one that was killed; `redrive` continues it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::Action;
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images;

use crate::redrive::{blocking, document};
use crate::run::run;
use crate::serve::Serve;

/// Images of the source, more than `serve` works on at once.
const IMAGES: usize = 12;
/// Time limit for a state of the ledger.
const STATE_TIMEOUT: Duration = Duration::from_mins(2);

/// Two registries, of which one has images and the other accepts no blob.
struct Stage {
    b: EmbeddedRegistry,
    document: String,
    folder: Arc<tempfile::TempDir>,
    data: String,
    _a: EmbeddedRegistry,
}

impl Stage {
    async fn new() -> Self {
        let a = EmbeddedRegistry::builder().start().await.unwrap();
        let b = EmbeddedRegistry::builder().start().await.unwrap();
        for number in 0..IMAGES {
            let tag = format!("v{number}").parse().unwrap();
            images::image(number as u64, &[100]).seed_into(&a, &"core/app".parse().unwrap(), &tag);
        }
        let stall = Fault::new("PUT", "/blobs/uploads/", Action::Delay { delay_ms: 3_600_000 }).unwrap();
        b.set_faults(Some(Arc::new(Script::new([stall.always()]))));
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let data = folder.path().join("data").to_str().unwrap().to_owned();
        Self {
            document: document(&a, &b),
            b,
            folder,
            data,
            _a: a,
        }
    }

    /// The tags at the destination.
    fn arrived(&self) -> usize {
        let tags = (0..IMAGES).map(|number| format!("v{number}").parse().unwrap());
        tags.filter(|tag| self.b.digest(&"copy/app".parse().unwrap(), tag).is_some())
            .count()
    }
}

/// The list of `command`, as soon as `wanted` holds.
fn until(command: &[&str], wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let begin = Instant::now();
    loop {
        let Value::Array(found) = run(command).json() else {
            panic!("not a list")
        };
        if wanted(&found) {
            return found;
        }
        assert!(begin.elapsed() < STATE_TIMEOUT, "{found:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn states(tasks: &[Value]) -> BTreeSet<&str> {
    tasks.iter().map(|task| task["state"].as_str().unwrap()).collect()
}

/// All tasks are recorded and one is at work; the id of the execution.
fn begun(data: &str) -> String {
    let tasks = until(&["tasks", "--data", data, "--json"], |tasks| {
        tasks.len() == IMAGES && states(tasks).contains("running")
    });
    tasks[0]["execution"].as_str().unwrap().to_owned()
}

/// The execution is over in `state`.
fn ended(execution: &str, state: &str, data: &str) {
    until(&["executions", "--data", data, "--json"], |found| {
        found
            .iter()
            .any(|found| found["id"] == execution && found["state"] == state)
    });
    let tasks = run(&["tasks", execution, "--data", data, "--json"]).json();
    let tasks = tasks.as_array().unwrap().clone();
    assert_eq!((tasks.len(), states(&tasks)), (IMAGES, BTreeSet::from([state])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_execution_is_cancelled_and_continued() {
    let stage = Stage::new().await;
    let (folder, text, data) = (Arc::clone(&stage.folder), stage.document.clone(), stage.data.clone());
    let (serve, execution) = blocking(move || {
        let mut serve = Serve::start_in(&folder, &text, &["--sweep", "1h", "--concurrency", "4"]);
        serve.until_serving();
        let execution = begun(&data);
        let cancelled = run(&["cancel", &execution, "--data", &data, "--json"]);
        let told = cancelled.json();
        assert_eq!(
            (cancelled.code, &told["execution"]),
            (0, &json!(execution)),
            "{cancelled:?}"
        );
        assert!(told["cancelled"].as_u64() >= Some(1), "{told}");
        ended(&execution, "cancelled", &data);
        let again = run(&["cancel", &execution, "--data", &data, "--json"]);
        let expected = json!({ "execution": execution, "state": "cancelled", "cancelled": 0, "running": 0 });
        assert_eq!((again.code, again.json()), (0, expected));
        (serve, execution)
    })
    .await;
    assert_eq!(stage.arrived(), 0);
    stage.b.set_faults(None);
    let data = stage.data.clone();
    blocking(move || {
        let redriven = run(&["redrive", &execution, "--data", &data, "--json"]).json();
        assert_eq!(redriven["redriven"], IMAGES, "{redriven}");
        ended(redriven["executions"][0].as_str().unwrap(), "succeeded", &data);
        serve.stop();
    })
    .await;
    assert_eq!(stage.arrived(), IMAGES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_whose_process_was_killed_is_cancelled_at_once() {
    let stage = Stage::new().await;
    let (folder, text, data) = (Arc::clone(&stage.folder), stage.document.clone(), stage.data.clone());
    let execution = blocking(move || {
        let mut serve = Serve::start_in(&folder, &text, &["--sweep", "1h", "--concurrency", "4"]);
        serve.until_serving();
        let execution = begun(&data);
        drop(serve);
        let cancelled = run(&["cancel", &execution, "--data", &data, "--json"]).json();
        let expected = json!({ "execution": execution, "state": "cancelled", "cancelled": IMAGES, "running": 0 });
        assert_eq!(cancelled, expected);
        execution
    })
    .await;
    stage.b.set_faults(None);
    let (folder, text, data) = (Arc::clone(&stage.folder), stage.document.clone(), stage.data.clone());
    blocking(move || {
        let mut serve = Serve::start_in(&folder, &text, &["--sweep", "off"]);
        serve.until_serving();
        let redriven = run(&["redrive", &execution, "--data", &data, "--json"]).json();
        ended(redriven["executions"][0].as_str().unwrap(), "succeeded", &data);
        ended(&execution, "cancelled", &data);
        serve.stop();
    })
    .await;
    assert_eq!(stage.arrived(), IMAGES);
}

#[test]
fn what_cannot_be_cancelled_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let document = "version: 1\nregistries: {}\nrules: []\n";
    let held = Arc::new(tempfile::tempdir().unwrap());
    let mut serve = Serve::start_in(&held, document, &[]);
    serve.until_serving();
    let (empty, data) = (folder.path().to_str().unwrap(), held.path().join("data"));
    for (arguments, code) in [
        (&["cancel", "e-1"][..], "USAGE"),
        (&["cancel", "--data", empty], "USAGE"),
        (&["cancel", "e-1", "--data", empty], "DATA_UNAVAILABLE"),
        (
            &["cancel", "e-1", "--data", data.to_str().unwrap()],
            "UNKNOWN_EXECUTION",
        ),
    ] {
        let told = run(arguments);
        assert_eq!((told.code, told.error_code()), (2, code), "{arguments:?}");
    }
    serve.stop();
}
