//! A source whose notifications do not arrive: `serve` logs it, and `check --data` says so, until a delivery arrives.

use std::sync::Arc;

use serde_json::{Value, json};
use transship_embedded_registry::EmbeddedRegistry;
use transship_testkit::images;

use crate::redrive::{blocking, document};
use crate::run::run;
use crate::serve::Serve;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_whose_pushes_only_the_sweep_finds_is_reported() {
    let a = Arc::new(EmbeddedRegistry::builder().start().await.unwrap());
    let b = EmbeddedRegistry::builder().start().await.unwrap();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let (data, config) = (folder.path().join("data"), folder.path().join("transship.yaml"));
    let document = document(&a, &b);
    std::fs::write(&config, &document).unwrap();
    let (data, config) = (data.to_str().unwrap().to_owned(), config.to_str().unwrap().to_owned());
    let source = Arc::clone(&a);
    let (before, reported, after) = blocking(move || {
        let check = || run(&["check", "--config", &config, "--data", &data, "--json"]);
        let mut serve = Serve::start_in(&folder, &document, &["--sweep", "1s"]);
        serve.until(|event| event["message"] == "compared tags");
        let before = check();
        images::image(1, &[100]).seed_into(&source, &"core/app".parse().unwrap(), &"v1".parse().unwrap());
        let reported = serve.until(|event| event["code"] == "SOURCE_SILENT");
        let after = check();
        serve.stop();
        (before, reported, after)
    })
    .await;
    assert_eq!(
        (&reported["source"], &reported["pushes"]),
        (&json!("a"), &json!(1)),
        "{reported}"
    );
    assert_eq!(before.code, 0, "{before:?}");
    assert_eq!(before.json()["sources"][0]["ok"], true, "{before:?}");
    assert_eq!(after.code, 1, "{after:?}");
    let told = &after.json()["sources"][0];
    assert_eq!(
        [
            &told["registry"],
            &told["rule"],
            &told["code"],
            &told["found_by_sweep"],
            &told["last_delivery"]
        ],
        [
            &json!("a"),
            &json!("core"),
            &json!("SOURCE_SILENT"),
            &json!(1),
            &Value::Null
        ]
    );
    assert!(
        after.err.contains("CHECK_FAILED") && after.err.contains("rule core"),
        "{after:?}"
    );
}
