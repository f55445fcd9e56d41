//! A table that the previous release wrote: its tasks are listed, finished and counted as before.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use transship_engine::ledger::{By, ExecutionQuery, Hints, History, Locations, Replicas, TaskQuery};
use transship_engine::{Begin, ExecutionState, TaskState};
use transship_oci::Digest;
use transship_testkit::suites::{at, copy_task, ending};

use crate::stack::Stack;

type Item = HashMap<String, AttributeValue>;

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn texts(value: impl Into<String>) -> AttributeValue {
    AttributeValue::L(vec![text(value)])
}

/// An item of the previous release, which the table does not delete soon.
fn item<const COUNT: usize>(pk: &str, sk: &str, attributes: [(&str, AttributeValue); COUNT]) -> Item {
    let kept_until = Timestamp::now().as_second() + 90 * 86_400;
    let key = [("pk", text(pk)), ("sk", text(sk)), ("expires", number(kept_until))];
    let attributes = key.into_iter().chain(attributes);
    attributes.map(|(name, value)| (name.to_owned(), value)).collect()
}

fn digest(task: u32) -> Digest {
    Digest::sha256(&task.to_be_bytes())
}

/// Task `number` of `execution-1` as it was recorded.
fn task(number_of_task: u32, state: &str, touched: i64) -> Item {
    let body = format!(
        r#"{{"version":1,"id":"task-{number_of_task}","execution":"execution-1","rule":"core-images","trigger":"event",
            "action":"copy","source":{{"registry":"hangzhou","repository":"core/app","target":{{"tag":"v{number_of_task}"}}}},
            "destination":{{"registry":"zhangjiakou","repository":"copy/app","target":{{"tag":"v{number_of_task}"}}}},
            "existing":"follow","referrers":"include","follows":false,"hint":"{}","created":"{}"}}"#,
        digest(number_of_task),
        at(i64::from(number_of_task))
    );
    item(
        "E#execution-1",
        &format!("T#task-{number_of_task}"),
        [
            ("body", text(body)),
            ("state", text(state)),
            ("touched", number(at(touched).as_millisecond())),
            ("repository", text("core/app")),
            ("follows", AttributeValue::Bool(false)),
            ("recorded", AttributeValue::Bool(true)),
        ],
    )
}

/// One execution with a task that ended, one that was begun and one that was recorded; what the first task left.
fn items() -> Vec<Item> {
    let created = at(1).as_millisecond();
    let execution = item(
        "E#execution-1",
        "E",
        [
            ("rule", text("core-images")),
            ("trigger", text("event")),
            ("created", number(created)),
            ("month", text("2026-01")),
            ("month_order", text(format!("{created:015}#execution-1"))),
        ],
    );
    let with = |mut item: Item, attributes: &[(&str, AttributeValue)]| {
        item.extend(
            attributes
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        item
    };
    let is_open = ("unfinished_of", text("hangzhou"));
    let ended = [
        ("attempts", number(1)),
        ("finished", number(at(9).as_millisecond())),
        ("copied", number(0)),
        ("mounted", number(0)),
        ("skipped", number(0)),
    ];
    let replica = item(
        "R#zhangjiakou/copy/app",
        ":v1",
        [
            ("source_registry", text("hangzhou")),
            ("source_repository", text("core/app")),
            ("source_target", text(":v1")),
            ("digests", texts(digest(1).to_string())),
            ("manifests", texts(digest(1).to_string())),
            ("rule", text("core-images")),
            ("written", number(at(3).as_millisecond())),
        ],
    );
    let location = item(
        &format!("B#r.example#{}", digest(1)),
        "B",
        [("repositories", texts("copy/app"))],
    );
    vec![
        execution,
        with(task(1, "succeeded", 5), &ended),
        with(task(2, "running", 5), &[is_open.clone(), ("attempts", number(1))]),
        with(task(3, "queued", 3), &[is_open]),
        replica,
        location,
    ]
}

#[tokio::test]
async fn what_the_previous_release_wrote_is_understood() {
    let stack = Stack::start().await;
    let ledger = Arc::new(stack.ledger().await);
    let history: Arc<dyn History> = Arc::clone(&ledger) as _;
    for item in items() {
        let put = stack.aws.dynamodb().put_item().table_name(ledger.table());
        put.set_item(Some(item)).send().await.unwrap();
    }

    let tasks = history
        .tasks(&TaskQuery::new(By::Newest), None, 10)
        .await
        .unwrap()
        .items;
    assert_eq!(tasks.len(), 3);
    assert!(tasks.iter().all(|task| task.source.starts_with("hangzhou/core/app:v")));
    let execution = async || history.execution("execution-1").await.unwrap().unwrap();
    let found = execution().await;
    assert_eq!((found.state, found.repositories), (ExecutionState::Running, 1));
    assert!((found.success_ratio - 1.0 / 3.0).abs() < 1e-9);

    // Work goes on. The execution is not counted, so its totals stay those of its tasks.
    let untouched = history
        .untouched("hangzhou", at(100), Timestamp::MAX, 10)
        .await
        .unwrap();
    assert_eq!(untouched.len(), 2);
    for entry in &untouched {
        let job = entry.envelope().unwrap().job;
        assert_eq!(job.task().unwrap().id, entry.id);
        assert!(matches!(history.begin(entry, at(6)).await.unwrap(), Begin::Attempt(_)));
        let end = ending(TaskState::Succeeded, 10);
        assert!(history.finish(entry, &end, &[], "worker").await.unwrap());
    }
    let found = execution().await;
    assert_eq!(
        (found.state, found.bytes, found.duration_ms),
        (ExecutionState::Succeeded, 2400, Some(9000))
    );
    let page = history.executions(&ExecutionQuery::default(), None, 10).await.unwrap();
    assert_eq!(page.items, [found]);

    // A task that joins an execution of the previous release.
    let mut late = untouched[0].clone();
    late.id = "late".to_owned();
    history.record(std::slice::from_ref(&late)).await.unwrap();
    assert_eq!(execution().await.state, ExecutionState::Running);
    late.id = "later".to_owned();
    history.begin(&late, at(20)).await.unwrap();
    assert!((execution().await.success_ratio - 3.0 / 5.0).abs() < 1e-9);

    let replicas: Arc<dyn Replicas> = Arc::clone(&ledger) as _;
    let known = replicas.get(&copy_task(1).destination).await.unwrap().unwrap();
    assert_eq!(known.digest, digest(1));
    let locations = Locations::new(ledger as Arc<dyn Hints>);
    let layer = digest(1);
    let found = locations
        .find("r.example", std::slice::from_ref(&layer), at(0))
        .await
        .unwrap();
    assert_eq!(found[&layer].repositories, ["copy/app".parse().unwrap()]);
}
