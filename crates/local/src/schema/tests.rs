use jiff::Timestamp;
use rusqlite::Connection;
use transship_engine::ledger::{By, ExecutionQuery, History as _, Locations, Pauses, Replicas as _, TaskQuery};
use transship_engine::{Begin, ExecutionState, Replica, TaskState};
use transship_oci::Digest;
use transship_testkit::suites::{at, ending, replica};

use super::*;
use crate::{Database, SqliteLedger};

/// A database file as release 0.1 left it (`user_version` 2), with the rows that it wrote.
fn released(dir: &std::path::Path) {
    let connection = Connection::open(dir.join("transship.db")).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    for step in &STEPS[..2] {
        connection.execute_batch(step).unwrap();
    }
    connection.execute_batch(include_str!("tests/released.sql")).unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
}

#[tokio::test]
async fn a_database_of_the_released_schema_is_migrated_with_its_data() {
    let dir = tempfile::tempdir().unwrap();
    released(dir.path());
    let ledger = std::sync::Arc::new(SqliteLedger::new(Database::open(dir.path()).unwrap()));

    let executions = ledger
        .executions(&ExecutionQuery::default(), None, 10)
        .await
        .unwrap()
        .items;
    let shown: Vec<_> = executions
        .iter()
        .map(|execution| {
            (
                execution.id.as_str(),
                execution.state,
                execution.repositories,
                execution.bytes,
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("e-import", ExecutionState::Running, 1, 0),
            ("e-event", ExecutionState::Partial, 2, 1230)
        ]
    );
    assert_eq!(executions[1].duration_ms, Some(9000));

    let tasks = ledger.tasks(&TaskQuery::new(By::Newest), None, 10).await.unwrap().items;
    let shown: Vec<_> = tasks
        .iter()
        .map(|task| (task.id.as_str(), task.state, task.source.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            ("t-scan", TaskState::Waiting, "s3://layouts/a:_"),
            ("t-waiting", TaskState::Waiting, "hangzhou/core/app:v3"),
            ("t-failed", TaskState::Failed, "hangzhou/core/app:v2"),
            ("t-copied", TaskState::Succeeded, "hangzhou/core/app:v1"),
        ]
    );
    assert_eq!(tasks[3].digest, Some(Digest::sha256(b"")));
    assert_eq!(tasks[2].code.as_deref(), Some("NOT_FOUND"));
    let failed = ledger
        .entries(&TaskQuery::new(By::Failed), None, 10)
        .await
        .unwrap()
        .items;
    assert_eq!(
        (failed.len(), failed[0].job.as_str()),
        (1, r#"{"version":1,"id":"t-failed"}"#)
    );
    let destination = By::Destination {
        registry: "zhangjiakou".to_owned(),
        repository: "copy/app".parse().unwrap(),
    };
    assert_eq!(
        ledger
            .tasks(&TaskQuery::new(destination), None, 10)
            .await
            .unwrap()
            .items
            .len(),
        2
    );

    // Work goes on where it was.
    assert!(ledger.is_busy("hangzhou", &"core/app".parse().unwrap()).await.unwrap());
    let untouched = ledger
        .untouched("hangzhou", Timestamp::MAX, Timestamp::MAX, 10)
        .await
        .unwrap();
    let [waiting] = &*untouched else {
        panic!("{untouched:?}")
    };
    assert_eq!(ledger.begin(waiting, at(9)).await.unwrap(), Begin::Attempt(3));
    assert!(
        ledger
            .finish(waiting, &ending(TaskState::Succeeded, 10), &[], "worker")
            .await
            .unwrap()
    );
    let scan = ledger
        .untouched("s3://layouts", Timestamp::MAX, Timestamp::MAX, 10)
        .await
        .unwrap()
        .remove(0);
    assert_eq!((scan.source_repository, scan.destination_repository), (None, None));
    let execution = ledger.execution("e-import").await.unwrap().unwrap();
    assert_eq!((execution.state, execution.bytes), (ExecutionState::Running, 1200));

    let known = Replica {
        digest: Digest::sha256(b""),
        earlier: Vec::new(),
        manifests: vec![Digest::sha256(b"")],
        ..replica(1, &["x"])
    };
    let found = ledger.get(&known.destination).await.unwrap().unwrap();
    assert_eq!((found.digest, found.manifests), (known.digest, known.manifests));
    let layer = Digest::sha256(b"");
    let now = Timestamp::now();
    let locations = Locations::new(ledger.clone())
        .find("r.example", std::slice::from_ref(&layer), now)
        .await
        .unwrap();
    let names: Vec<&str> = locations[&layer]
        .repositories
        .iter()
        .map(transship_oci::Repository::as_str)
        .collect();
    assert_eq!(names, ["copy/b", "copy/a"], "the latest first");
    let pause = Pauses::new(ledger).until(&["r.example"], now).await.unwrap();
    assert!(pause.is_some());
}

#[tokio::test]
async fn an_older_database_is_not_read_before_it_is_migrated() {
    let dir = tempfile::tempdir().unwrap();
    released(dir.path());
    let error = Database::open_read_only(dir.path()).err().unwrap();
    assert_eq!(error.code(), "DATA_UNAVAILABLE");
    assert!(error.to_string().contains("start serve once"), "{error}");
}
