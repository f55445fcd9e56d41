//! The ledger's ports on a table that is throttled, in the way of itself, slow, missing, full, or on another clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use transship_aws::DynamoLedger;
use transship_engine::ledger::{
    By, ExecutionQuery, Hints, History, Leases, Locations, Pauses, Replicas, TaskQuery, Uploads,
};
use transship_engine::{Begin, Replica, TaskState};
use transship_oci::{Algorithm, Digest, Repository};
use transship_testkit::faults::Action;
use transship_testkit::suites::{at, ending, entry, replica};

use crate::stack::{Stack, answer, refusal};

const HOLDER: &str = "worker-1";

/// A ledger in a table of its own, and its hints.
async fn ledger(stack: &Stack) -> (Arc<DynamoLedger>, Arc<dyn Hints>) {
    let ledger = Arc::new(stack.ledger().await);
    stack.calls.take();
    (Arc::clone(&ledger), ledger)
}

async fn finish(ledger: &DynamoLedger, state: TaskState, settled: &[Replica]) -> bool {
    let ended = ledger.finish(&entry(1), &ending(state, 9), settled, HOLDER).await;
    ended.unwrap()
}

#[tokio::test]
async fn throttles_and_failures_are_tried_again() {
    let stack = Stack::start().await;
    let (ledger, hints) = ledger(&stack).await;
    let pauses = Pauses::new(hints);
    let now = Timestamp::now();
    for (code, name) in [
        (400, "ProvisionedThroughputExceededException"),
        (400, "ThrottlingException"),
        (500, "InternalServerError"),
        (400, "TransactionConflictException"),
    ] {
        stack.calls.take();
        stack.calls.break_next("UpdateItem", refusal(code, name));
        let until = now + Duration::from_mins(1);
        pauses.pause(&format!("{name}.example"), until, now).await.unwrap();
        assert_eq!(stack.calls.take(), ["UpdateItem", "UpdateItem"], "{name}");
    }
    for _ in 0..3 {
        stack.calls.break_next("GetItem", refusal(400, "RequestLimitExceeded"));
    }
    let error = Replicas::get(&*ledger, &replica(1, &["x"]).destination)
        .await
        .unwrap_err();
    assert!(stack.calls.all_struck());
    assert_eq!(error.code(), "LEDGER_UNAVAILABLE");
    assert!(!error.persistence().is_permanent());
    assert!(error.to_string().contains("capacity"), "{error}");
}

#[tokio::test]
async fn a_transaction_that_met_another_one_is_tried_again() {
    let stack = Stack::start().await;
    let (ledger, _) = ledger(&stack).await;
    let cancelled = |first: &str, second: &str| {
        answer(
            400,
            &format!(
                r#"{{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","Message":"cancelled",
                     "CancellationReasons":[{{"Code":"{first}"}},{{"Code":"{second}"}}]}}"#
            ),
        )
    };
    let break_next = |first: &str, second: &str| {
        stack.calls.break_next("TransactWriteItems", cancelled(first, second));
    };
    break_next("ConditionalCheckFailed", "TransactionConflict");
    break_next("None", "ThrottlingError");
    ledger.record(&[entry(1)]).await.unwrap();
    assert_eq!(stack.calls.take().len(), 3);
    let listed = History::tasks(&*ledger, &TaskQuery::new(By::Newest), None, 10).await;
    assert_eq!(listed.unwrap().items.len(), 1);

    break_next("TransactionConflict", "None");
    assert!(
        finish(&ledger, TaskState::Succeeded, &[replica(1, &["x"])]).await,
        "a conflict does not mean that an end was written already"
    );
}

#[tokio::test]
async fn what_a_batch_left_over_is_sent_again() {
    let stack = Stack::start().await;
    let (ledger, hints) = ledger(&stack).await;
    let locations = Locations::new(hints);
    let blobs = [Digest::sha256(b"a"), Digest::sha256(b"b")];
    let repository: Repository = "core/app".parse().unwrap();
    let key = format!(r#""pk":{{"S":"B#r.example#{}"}},"sk":{{"S":"B"}}"#, blobs[1]);
    let item = format!(r#"{{{key},"value":{{"S":"[\"core/app\"]"}},"until":{{"N":"9999999999999"}}}}"#);
    let left = format!(
        r#"{{"UnprocessedItems":{{"{}":[{{"PutRequest":{{"Item":{item}}}}}]}}}}"#,
        ledger.table()
    );
    stack.calls.break_next("BatchWriteItem", answer(200, &left));
    locations.add("r.example", &blobs, &repository, at(0)).await.unwrap();
    assert_eq!(stack.calls.take(), ["BatchGetItem", "BatchWriteItem", "BatchWriteItem"]);
    let left = format!(
        r#"{{"Responses":{{}},"UnprocessedKeys":{{"{}":{{"Keys":[{{{key}}}]}}}}}}"#,
        ledger.table()
    );
    stack.calls.break_next("BatchGetItem", answer(200, &left));
    let found = locations.find("r.example", &blobs, at(0)).await.unwrap();
    assert_eq!(stack.calls.take().len(), 2);
    assert_eq!(found.len(), 1, "the stub took the first one for itself");
    assert_eq!(found[&blobs[1]].repositories, [repository]);
}

#[tokio::test]
async fn an_end_whose_answer_is_lost_is_written_and_counted_once() {
    let stack = Stack::start().await;
    let (ledger, _) = ledger(&stack).await;
    ledger.begin(&entry(1), at(1)).await.unwrap();
    stack.calls.break_next("TransactWriteItems", Action::LoseResponse);
    finish(&ledger, TaskState::Succeeded, &[replica(1, &["x"])]).await;
    assert!(stack.calls.all_struck());
    assert!(!finish(&ledger, TaskState::Failed, &[]).await);
    let begun = ledger.begin(&entry(1), at(20)).await.unwrap();
    assert_eq!(begun, Begin::Finished(TaskState::Succeeded));
    let execution = ledger.execution("execution-1").await.unwrap().unwrap();
    assert_eq!(execution.bytes, 1200);
}

#[tokio::test]
async fn a_table_that_is_missing_or_refuses_is_named_by_every_port() {
    let stack = Stack::start().await;
    let ledger = DynamoLedger::new(&stack.aws, "nowhere".into());
    let hints: Arc<dyn Hints> = Arc::new(ledger.clone());
    let executions = ExecutionQuery::default();
    for error in [
        ledger.record(&[entry(1)]).await.unwrap_err(),
        ledger.begin(&entry(1), at(1)).await.unwrap_err(),
        ledger.executions(&executions, None, 1).await.unwrap_err(),
        Pauses::new(hints).until(&["r.example"], at(1)).await.unwrap_err(),
    ] {
        let text = error.to_string();
        assert_eq!(error.code(), "LEDGER_UNAVAILABLE");
        assert!(
            text.contains("table nowhere") && text.contains("exists in this region"),
            "{text}"
        );
    }
    let ledger = stack.ledger().await;
    let denied = refusal(400, "AccessDeniedException");
    stack.calls.break_next("UpdateItem", denied);
    let error = ledger.begin(&entry(1), at(1)).await.unwrap_err();
    assert!(error.to_string().contains("policy of the role"), "{error}");
}

#[tokio::test]
async fn a_table_that_does_not_answer_costs_seconds() {
    let stack = Stack::start().await;
    let (_, hints) = ledger(&stack).await;
    for _ in 0..3 {
        stack
            .calls
            .break_next("BatchGetItem", Action::Delay { delay_ms: 20_000 });
    }
    let begun = Instant::now();
    let layer = Digest::sha256(b"layer");
    let error = Uploads::new(hints).find("task-1", &layer, at(0)).await.unwrap_err();
    assert_eq!(error.code(), "LEDGER_UNAVAILABLE");
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_clock_that_is_five_minutes_off_neither_loses_nor_keeps_a_lease() {
    let stack = Stack::start().await;
    let (ledger, hints) = ledger(&stack).await;
    let (leases, pauses) = (Leases::new(Arc::clone(&hints)), Pauses::new(hints));
    let (ttl, skew) = (Duration::from_secs(30), Duration::from_mins(5));
    for now in [Timestamp::now() - skew, Timestamp::now() + skew] {
        let name = now.to_string();
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(leases.take(&name, "a", now, ttl).await.unwrap());
        assert!(!leases.take(&name, "b", after(29), ttl).await.unwrap());
        assert!(leases.take(&name, "b", after(31), ttl).await.unwrap());
        pauses.pause(&name, after(30), now).await.unwrap();
        let until = pauses.until(&[&name], now).await.unwrap().unwrap().1;
        assert_eq!(until.as_second(), after(30).as_second());
        assert!(pauses.until(&[&name], after(31)).await.unwrap().is_none());
        // The table's own clock must not end it first.
        let lease = stack.aws.dynamodb().get_item().table_name(ledger.table());
        let lease = lease
            .key("pk", AttributeValue::S(Leases::FAMILY.to_owned()))
            .key("sk", AttributeValue::S(name))
            .send()
            .await
            .unwrap();
        let expires: i64 = lease.item.unwrap()["expires"].as_n().unwrap().parse().unwrap();
        assert!(expires > Timestamp::now().as_second() + 60);
    }
}

#[tokio::test]
async fn an_item_stays_within_the_size_that_the_table_takes() {
    let stack = Stack::start().await;
    let (ledger, _) = ledger(&stack).await;
    ledger.begin(&entry(1), at(1)).await.unwrap();
    let mut end = ending(TaskState::Failed, 9);
    end.message = Some("é".repeat(500_000));
    let mut huge = replica(1, &["x"]);
    let digest = |number: u32| Digest::of(Algorithm::Sha512, &number.to_be_bytes());
    huge.manifests = (0..5000).map(digest).collect();
    let settled = std::slice::from_ref(&huge);
    assert!(ledger.finish(&entry(1), &end, settled, HOLDER).await.unwrap());
    let listed = History::tasks(&*ledger, &TaskQuery::new(By::Newest), None, 10).await;
    let message = listed.unwrap().items.remove(0).message.unwrap();
    assert_eq!(message.chars().count(), 2000);
    let (destination, source) = (&huge.destination, huge.source.as_ref().unwrap());
    let holds = async |number: u32| {
        let destination = (destination.registry.as_str(), &destination.repository);
        let source = (source.registry.as_str(), &source.repository);
        ledger.holds(destination, source, &digest(number)).await.unwrap()
    };
    assert!(holds(0).await);
    assert!(!holds(4999).await);
}

#[tokio::test]
async fn an_execution_with_very_many_repositories_counts_its_tasks() {
    let stack = Stack::start().await;
    let (ledger, _) = ledger(&stack).await;
    ledger.record(&[entry(1)]).await.unwrap();
    let marks = (0..10_000).map(|number| format!("{number:012x}")).collect();
    let filled = stack.aws.dynamodb().update_item().table_name(ledger.table());
    filled
        .key("pk", AttributeValue::S("E#execution-1".to_owned()))
        .key("sk", AttributeValue::S("E".to_owned()))
        .update_expression("ADD repositories :marks")
        .expression_attribute_values(":marks", AttributeValue::Ss(marks))
        .send()
        .await
        .unwrap();
    let mut task = entry(2);
    task.destination_repository = Some("copy/another".parse().unwrap());
    ledger.record(std::slice::from_ref(&task)).await.unwrap();
    ledger.begin(&task, at(3)).await.unwrap();
    assert!(
        ledger
            .finish(&task, &ending(TaskState::Succeeded, 9), &[], HOLDER)
            .await
            .unwrap()
    );
    let execution = ledger.execution("execution-1").await.unwrap().unwrap();
    assert_eq!(execution.repositories, 10_001, "further ones are not counted");
    assert!((execution.success_ratio - 0.5).abs() < 1e-9, "the tasks are");
}
