//! `serve --sweep` finds pushes without a notification, and `redrive` retries failed tasks while `serve` runs.

use std::sync::Arc;

use serde_json::{Value, json};
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::Action;
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images;

use crate::run::{Run, run};
use crate::serve::Serve;

pub fn document(a: &EmbeddedRegistry, b: &EmbeddedRegistry) -> String {
    let (a, b) = (a.url(), b.url());
    format!(
        "version: 1\nregistries:\n  a: {{ provider: distribution, endpoint: \"{a}\", webhook: none }}\n  b: {{ provider: distribution, endpoint: \"{b}\" }}\nrules:\n  - {{ name: core, backfill: true, source: {{ registry: a, namespace: core }}, destination: {{ registry: b, namespace: copy }} }}\n"
    )
}

/// Runs on its own thread, because the registries run on the runtime of this one.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_told_is_swept_up_and_what_failed_is_redriven_once() {
    let a = EmbeddedRegistry::builder().start().await.unwrap();
    let b = EmbeddedRegistry::builder().start().await.unwrap();
    let sample = images::image(1, &[100]);
    sample.seed_into(&a, &"core/app".parse().unwrap(), &"v1".parse().unwrap());
    let refuse = Fault::new("POST", "/blobs/uploads/", Action::status(403)).unwrap();
    b.set_faults(Some(Arc::new(Script::new([refuse.always()]))));
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let data = folder.path().join("data").to_str().unwrap().to_owned();
    let document = document(&a, &b);

    let (at, text) = (Arc::clone(&folder), document.clone());
    let failed = blocking(move || {
        let mut serve = Serve::start_in(&at, &text, &["--sweep", "2s"]);
        let failed = serve.until(|event| event["state"].is_string());
        serve.stop();
        failed
    })
    .await;
    assert_eq!(
        (&failed["state"], &failed["code"]),
        (&"failed".into(), &"ACCESS_DENIED".into())
    );
    b.set_faults(None);

    let (first, second) = blocking(move || {
        let mut serve = Serve::start_in(&folder, &document, &["--sweep", "off"]);
        serve.until_serving();
        let redrive = || run(&["redrive", "--data", &data, "--json"]);
        let first = redrive();
        let execution = first.json()["executions"][0].as_str().unwrap().to_owned();
        serve.until(|event| event["state"].is_string() && event.to_string().contains(&execution));
        serve.stop();
        let tasks = run(&["tasks", &execution, "--data", &data, "--json"]).json();
        assert_eq!(tasks[0]["code"], Value::Null, "{tasks}");
        (first, redrive())
    })
    .await;
    assert!(first.json()["redriven"].as_u64() >= Some(1), "{first:?}");
    assert_eq!(second.json(), json!({ "redriven": 0, "executions": [] }));
    let arrived = b.digest(&"copy/app".parse().unwrap(), &"v1".parse().unwrap());
    assert_eq!(arrived, Some(sample.root));
}

#[test]
fn what_cannot_be_redriven_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    for (arguments, code) in [
        (&["redrive"][..], "USAGE"),
        (&["redrive", "--data", data], "DATA_UNAVAILABLE"),
        (&["redrive", "--table", "t"], "USAGE"),
    ] {
        let told = run(arguments);
        assert_eq!((told.code, told.error_code()), (2, code), "{told:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}

#[cfg(not(feature = "aws"))]
#[test]
fn a_build_without_aws_says_so_wherever_a_stack_is_named() {
    for arguments in [
        &["tasks", "--table", "t"][..],
        &["executions", "--table", "t"],
        &["redrive", "--table", "t", "--queue", "http://127.0.0.1:1/q"],
    ] {
        let told = run(arguments);
        assert_eq!((told.code, told.error_code()), (2, "AWS_NOT_BUILT"), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_that_is_not_there_is_no_success() {
    let a = EmbeddedRegistry::builder().start().await.unwrap();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let document = document(&a, &a);
    let told: Run = blocking(move || {
        let mut serve = Serve::start_in(&folder, &document, &[]);
        serve.until_serving();
        let data = folder.path().join("data");
        run(&["redrive", "e-none", "--data", data.to_str().unwrap()])
    })
    .await;
    assert_eq!((told.code, told.error_code()), (2, "UNKNOWN_EXECUTION"), "{told:?}");
}
