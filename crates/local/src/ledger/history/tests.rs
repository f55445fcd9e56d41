use jiff::SignedDuration;
use transship_engine::TaskState;
use transship_engine::ledger::{By, Freshness, Hint, Hints, Key, Records};
use transship_testkit::suites::{at, ending, entry, entry_alone};

use super::*;
use crate::Database;

fn ledger() -> (tempfile::TempDir, SqliteLedger) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::new(Database::open(dir.path()).unwrap());
    (dir, ledger)
}

async fn end(ledger: &SqliteLedger, task: &TaskEntry, seconds: i64) {
    ledger.begin(task, at(5)).await.unwrap();
    let end = ending(TaskState::Succeeded, seconds);
    assert!(ledger.finish(task, &end, &[], "worker").await.unwrap());
}

async fn listed(ledger: &SqliteLedger) -> Vec<String> {
    let page = ledger.tasks(&TaskQuery::new(By::Newest), None, 1000).await.unwrap();
    page.items.into_iter().map(|task| task.id).collect()
}

#[tokio::test]
async fn what_ended_long_ago_is_deleted_in_batches() {
    let (_dir, ledger) = ledger();
    for number in 1..=25 {
        end(&ledger, &entry_alone(number), 100 + i64::from(number)).await;
    }
    // One that ended in an execution that has not, and one that has not ended.
    let mut open = entry(50);
    open.execution = entry_alone(40).execution;
    end(&ledger, &entry_alone(40), 101).await;
    ledger.begin(&open, at(5)).await.unwrap();
    let key = Key::new("family", "name");
    let hint = Hint {
        key: key.clone(),
        value: "1".to_owned(),
        expires: at(50),
    };
    Hints::put(&ledger, &[hint]).await.unwrap();
    assert!(Records::put_if(&ledger, &key, None, "kept").await.unwrap().is_some());

    let mut calls = 0;
    while ledger.delete_ended(at(121), at(60), 10).await.unwrap() == 10 {
        calls += 1;
    }
    assert_eq!(calls, 2, "21 tasks by 10");
    assert_eq!(
        listed(&ledger).await,
        ["task-50", "task-25", "task-24", "task-23", "task-22", "task-21"]
    );
    let executions = ledger
        .executions(&ExecutionQuery::default(), None, 100)
        .await
        .unwrap()
        .items;
    let ids: Vec<&str> = executions.iter().map(|execution| execution.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "execution-40",
            "execution-25",
            "execution-24",
            "execution-23",
            "execution-22",
            "execution-21"
        ]
    );
    assert_eq!(executions[0].bytes, 1200, "what was counted stays counted");
    let found = Hints::get(&ledger, std::slice::from_ref(&key), at(0), Freshness::Exact)
        .await
        .unwrap();
    assert!(found.is_empty(), "a hint that expired is deleted");
    assert!(Records::get(&ledger, &key).await.unwrap().is_some());

    let later = at(121) + SignedDuration::from_hours(1);
    assert_eq!(ledger.delete_ended(later, at(60), 100).await.unwrap(), 5);
    assert_eq!(listed(&ledger).await, ["task-50"]);
    assert_eq!(ledger.delete_ended(later, at(60), 100).await.unwrap(), 0);
}

#[tokio::test]
async fn a_reader_sees_what_a_worker_writes_and_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let worker = SqliteLedger::new(Database::open(dir.path()).unwrap());
    let reader = SqliteLedger::new(Database::open_read_only(dir.path()).unwrap());
    assert!(listed(&reader).await.is_empty());
    worker.record(&[entry(1)]).await.unwrap();
    assert_eq!(listed(&reader).await, ["task-1"]);
    let error = reader.begin(&entry(1), at(1)).await.unwrap_err();
    assert_eq!(error.code(), "LEDGER_UNAVAILABLE");
    assert!(error.to_string().contains("check the permissions"), "{error}");
}

/// Each access path uses an index: no list sorts or reads the whole table.
#[tokio::test]
async fn lists_read_by_an_index() {
    let (_dir, ledger) = ledger();
    let order = |path: &str, order: &str| {
        format!(
            "EXPLAIN QUERY PLAN SELECT {} WHERE {path} ORDER BY {order} DESC, t.number DESC LIMIT 9",
            tasks::COLUMNS
        )
    };
    let plans = [
        order("TRUE", "t.created"),
        order(
            "t.execution_number = (SELECT number FROM history_execution WHERE id = 'a') AND (t.created, t.number) < (1, 1)",
            "t.created",
        ),
        order("t.rule = 'a' AND t.created >= 1", "t.created"),
        order(
            "t.destination_registry = 'a' AND t.destination_repository = 'b'",
            "t.created",
        ),
        order("t.state IN ('queued', 'running', 'waiting')", "t.touched"),
        order("t.state = 'failed'", "t.finished"),
    ];
    for sql in plans {
        let plan: Vec<String> = ledger
            .read("test", {
                let sql = sql.clone();
                move |connection| {
                    connection
                        .prepare(&sql)?
                        .query_map([], |row| row.get("detail"))?
                        .collect()
                }
            })
            .await
            .unwrap();
        let plan = plan.join("; ");
        assert!(plan.contains("INDEX history_task_"), "{sql}: {plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{sql}: {plan}");
    }
}
