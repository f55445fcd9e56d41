//! `resume` ends the pause of a host while `serve` runs.

use std::sync::Arc;

use serde_json::Value;
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::Action;
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images;

use crate::redrive::{blocking, document};
use crate::run::run;
use crate::serve::Serve;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_asked_for_a_day_is_resumed_at_once() {
    let a = EmbeddedRegistry::builder().start().await.unwrap();
    let b = EmbeddedRegistry::builder().start().await.unwrap();
    let sample = images::image(1, &[100]);
    sample.seed_into(&a, &"core/app".parse().unwrap(), &"v1".parse().unwrap());
    let refuse = Fault::new("POST", "/blobs/uploads/", Action::too_many_requests(86400)).unwrap();
    b.set_faults(Some(Arc::new(Script::new([refuse.always()]))));
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let data = folder.path().join("data").to_str().unwrap().to_owned();
    let (document, host) = (document(&a, &b), b.host().to_string());

    let (serve, warned) = blocking(move || {
        let mut serve = Serve::start_in(&folder, &document, &["--sweep", "1h"]);
        let warned = serve.until(|event| event["level"] == "WARN" && event["host"].is_string());
        serve.until(|event| event["message"] == "the task will be retried");
        (serve, warned)
    })
    .await;
    assert_eq!(
        (&warned["code"], &warned["host"]),
        (&"RATE_LIMITED".into(), &host.as_str().into())
    );
    b.set_faults(None);

    let (mut serve, resumed) = blocking(move || {
        let tasks = run(&["tasks", "--state", "waiting", "--data", &data, "--json"]).json();
        assert_eq!(tasks[0]["code"], "RATE_LIMITED", "{tasks}");
        (serve, run(&["resume", &host, "--data", &data, "--json"]))
    })
    .await;
    assert_eq!(resumed.json()["woken"], 1, "{resumed:?}");
    assert!(resumed.json()["paused_until"].is_string(), "{resumed:?}");
    let ended: Value = blocking(move || serve.until(|event| event["state"].is_string())).await;
    assert_eq!(ended["state"], "succeeded", "{ended}");
    let arrived = b.digest(&"copy/app".parse().unwrap(), &"v1".parse().unwrap());
    assert_eq!(arrived, Some(sample.root));
}

#[test]
fn a_host_that_is_not_paused_is_no_failure_and_a_folder_that_is_not_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("data");
    let refused = run(&["resume", "r.example", "--data", missing.to_str().unwrap()]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(!missing.exists());
}
