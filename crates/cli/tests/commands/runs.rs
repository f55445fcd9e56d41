//! `transship run`: existing images of a rule, with and without a process that works on the queue.

use std::path::Path;
use std::sync::Arc;

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

    pub fn put(&self, registry: &EmbeddedRegistry, repository: &str, tag: &str, sample: &Sample) {
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
        sides.put(&sides.a, "core/app", tag, &sample);
    }
    sides.put(&sides.b, "copy/app", "v1", &sample);
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
    let first = sides.transship(&["run", "core-images"]).await;
    let second = sides.transship(&["run", "core-images"]).await;
    assert_eq!((first.code, &first.out), (0, &second.out), "{first:?}");
    assert!(first.err.contains("no process works on the queue"), "{first:?}");
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
