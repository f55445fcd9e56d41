//! A table that is throttled, in the way of itself, slow, missing, or on another clock.

use std::time::Duration;

use jiff::Timestamp;
use transship_aws::DynamoLedger;
use transship_engine::{Begin, Ledger, TaskFilter, TaskState};
use transship_oci::{Algorithm, Digest, Repository};
use transship_testkit::faults::Action;
use transship_testkit::suites::{at, execution, task};

use crate::calls::{outcome, replica};
use crate::stack::{Stack, answer, refusal};

#[tokio::test]
async fn throttles_and_failures_of_the_table_are_tried_again() {
    let stack = Stack::start().await;
    let ledger = stack.ledger().await;
    for (code, name) in [
        (400, "ProvisionedThroughputExceededException"),
        (400, "ThrottlingException"),
        (500, "InternalServerError"),
        (400, "TransactionConflictException"),
    ] {
        stack.calls.take();
        stack.calls.break_next("UpdateItem", refusal(code, name));
        ledger.pause("r.example", Timestamp::now()).await.unwrap();
        assert_eq!(stack.calls.take(), ["UpdateItem", "UpdateItem"], "{name}");
    }
    for _ in 0..3 {
        stack.calls.break_next("GetItem", refusal(400, "RequestLimitExceeded"));
    }
    let error = ledger
        .continuation("task-1", &Digest::sha256(b"layer"), at(0))
        .await
        .unwrap_err();
    assert!(stack.calls.all_struck());
    assert_eq!(error.code(), "LEDGER_UNAVAILABLE");
    assert!(!error.persistence().is_permanent());
    assert!(error.to_string().contains("capacity"), "{error}");
}

#[tokio::test]
async fn a_transaction_that_met_another_is_tried_again() {
    let stack = Stack::start().await;
    let ledger = stack.ledger().await;
    let cancelled = |first: &str, second: &str| {
        answer(
            400,
            &format!(
                r#"{{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","Message":"cancelled",
                     "CancellationReasons":[{{"Code":"{first}"}},{{"Code":"{second}"}}]}}"#
            ),
        )
    };
    stack.calls.take();
    stack.calls.break_next(
        "TransactWriteItems",
        cancelled("ConditionalCheckFailed", "TransactionConflict"),
    );
    stack
        .calls
        .break_next("TransactWriteItems", cancelled("None", "ThrottlingError"));
    ledger.record(&execution(1), &[task(1)]).await.unwrap();
    assert_eq!(stack.calls.take().len(), 3);
    assert_eq!(ledger.tasks(&TaskFilter::default()).await.unwrap().len(), 1);

    stack
        .calls
        .break_next("TransactWriteItems", cancelled("TransactionConflict", "None"));
    let ended = ledger
        .finish(&task(1), &outcome(TaskState::Succeeded), &[replica(1)])
        .await;
    assert!(
        ended.unwrap(),
        "a conflict does not mean that the end was already written"
    );
}

#[tokio::test]
async fn what_a_batch_left_over_is_asked_again() {
    let stack = Stack::start().await;
    let ledger = stack.ledger().await;
    let blobs = [Digest::sha256(b"a"), Digest::sha256(b"b")];
    let repository: Repository = "core/app".parse().unwrap();
    let item = format!(
        r#"{{"pk":{{"S":"B#r.example#{}"}},"sk":{{"S":"B"}},"repositories":{{"L":[{{"S":"core/app"}}]}}}}"#,
        blobs[1]
    );
    let left = format!(
        r#"{{"UnprocessedItems":{{"{}":[{{"PutRequest":{{"Item":{item}}}}}]}}}}"#,
        ledger.table()
    );
    stack.calls.take();
    stack.calls.break_next("BatchWriteItem", answer(200, &left));
    ledger.locations_add("r.example", &blobs, &repository).await.unwrap();
    assert_eq!(stack.calls.take(), ["BatchGetItem", "BatchWriteItem", "BatchWriteItem"]);
    let key = format!(r#"{{"pk":{{"S":"B#r.example#{}"}},"sk":{{"S":"B"}}}}"#, blobs[1]);
    let left = format!(
        r#"{{"Responses":{{}},"UnprocessedKeys":{{"{}":{{"Keys":[{key}]}}}}}}"#,
        ledger.table()
    );
    stack.calls.break_next("BatchGetItem", answer(200, &left));
    let found = ledger.locations_find("r.example", &blobs).await.unwrap();
    assert_eq!(stack.calls.take().len(), 2);
    assert_eq!(found.len(), 1, "the stub took the first one for itself");
    assert_eq!(found[&blobs[1]], [repository]);
}

#[tokio::test]
async fn an_end_whose_answer_is_lost_is_written_once() {
    let stack = Stack::start().await;
    let ledger = stack.ledger().await;
    ledger.begin(&task(1), at(1)).await.unwrap();
    stack.calls.break_next("TransactWriteItems", Action::LoseResponse);
    ledger
        .finish(&task(1), &outcome(TaskState::Succeeded), &[replica(1)])
        .await
        .unwrap();
    assert!(stack.calls.all_struck());
    assert!(!ledger.finish(&task(1), &outcome(TaskState::Failed), &[]).await.unwrap());
    assert_eq!(
        ledger.begin(&task(1), at(20)).await.unwrap(),
        Begin::Finished(TaskState::Succeeded)
    );
}

#[tokio::test]
async fn a_table_that_is_missing_or_refuses_is_named() {
    let stack = Stack::start().await;
    let ledger = DynamoLedger::new(&stack.aws, "nowhere".into());
    for error in [
        ledger.record(&execution(1), &[task(1)]).await.unwrap_err(),
        ledger.begin(&task(1), at(1)).await.unwrap_err(),
        ledger.executions(0).await.unwrap_err(),
        ledger.paused_until(&["r.example"], at(1)).await.unwrap_err(),
    ] {
        let text = error.to_string();
        assert_eq!(error.code(), "LEDGER_UNAVAILABLE");
        assert!(
            text.contains("table nowhere") && text.contains("exists in this region"),
            "{text}"
        );
    }
    let ledger = stack.ledger().await;
    stack
        .calls
        .break_next("UpdateItem", refusal(400, "AccessDeniedException"));
    let error = ledger.begin(&task(1), at(1)).await.unwrap_err();
    assert!(error.to_string().contains("policy of the role"), "{error}");
}

#[tokio::test]
async fn a_table_that_does_not_answer_costs_seconds_and_not_the_slot() {
    let stack = Stack::start().await;
    let ledger = stack.ledger().await;
    for _ in 0..3 {
        stack.calls.break_next("GetItem", Action::Delay { delay_ms: 20_000 });
    }
    let begun = std::time::Instant::now();
    let error = ledger.continuation("task-1", &Digest::sha256(b"layer"), at(0)).await;
    assert_eq!(error.unwrap_err().code(), "LEDGER_UNAVAILABLE");
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_clock_five_minutes_off_neither_loses_nor_keeps_a_lease() {
    let stack = Stack::start().await;
    let ledger = stack.ledger().await;
    let (ttl, skew) = (Duration::from_secs(30), Duration::from_mins(5));
    for now in [Timestamp::now() - skew, Timestamp::now() + skew] {
        let key = now.to_string();
        let after = |seconds| now + Duration::from_secs(seconds);
        assert!(ledger.lease_take(&key, "a", now, ttl).await.unwrap());
        assert!(!ledger.lease_take(&key, "b", after(29), ttl).await.unwrap());
        assert!(ledger.lease_take(&key, "b", after(31), ttl).await.unwrap());
        ledger.pause(&key, after(30)).await.unwrap();
        assert_eq!(
            ledger.paused_until(&[&key], now).await.unwrap().unwrap().1.as_second(),
            after(30).as_second()
        );
        assert!(ledger.paused_until(&[&key], after(31)).await.unwrap().is_none());
        // The table's own clock must not end it first.
        let request = stack.aws.dynamodb().get_item().table_name(ledger.table());
        let lease = request
            .key("pk", aws_sdk_dynamodb::types::AttributeValue::S(format!("C#{key}")))
            .key("sk", aws_sdk_dynamodb::types::AttributeValue::S("C".into()))
            .send()
            .await
            .unwrap();
        let expires: i64 = lease.item.unwrap()["expires"].as_n().unwrap().parse().unwrap();
        assert!(expires > Timestamp::now().as_second() + 60);
    }
}

#[tokio::test]
async fn an_item_stays_within_what_the_table_takes() {
    let stack = Stack::start().await;
    let ledger = stack.ledger().await;
    ledger.begin(&task(1), at(1)).await.unwrap();
    let mut end = outcome(TaskState::Failed);
    end.message = Some("é".repeat(500_000));
    let mut huge = replica(1);
    let digest = |number: u32| Digest::of(Algorithm::Sha512, &number.to_be_bytes());
    huge.manifests = (0..5000).map(digest).collect();
    assert!(
        ledger
            .finish(&task(1), &end, std::slice::from_ref(&huge))
            .await
            .unwrap()
    );
    let listed = ledger.tasks(&TaskFilter::default()).await.unwrap();
    assert_eq!(listed[0].message.as_ref().unwrap().chars().count(), 2000);
    let source = huge.source.as_ref().unwrap();
    let holds = async |digest: &Digest| {
        let held = ledger.is_replicated(source, &huge.destination, digest);
        held.await.unwrap()
    };
    assert!(holds(&digest(0)).await);
    assert!(!holds(&digest(4999)).await);
}
