//! What each method costs: counted at the proxy, so that a retry would show.

use std::time::Duration;

use transship_copy::Continuation;
use transship_engine::{
    Awaited, Bytes, Ledger, Outcome, Outgoing, PendingScan, Replica, TaskQueue, TaskReceiver, TaskState,
};
use transship_oci::{Digest, Repository};
use transship_testkit::suites::{at, copy_task, execution, task};

use crate::stack::Stack;

pub(crate) fn outcome(state: TaskState) -> Outcome {
    Outcome {
        state,
        digest: None,
        code: None,
        message: None,
        bytes: Bytes::default(),
        finished: at(9),
    }
}

pub(crate) fn replica(number: u32) -> Replica {
    let (task, digest) = (copy_task(number), Digest::sha256(&number.to_be_bytes()));
    Replica {
        destination: task.destination,
        source: task.source.registry().cloned(),
        digest: digest.clone(),
        earlier: Vec::new(),
        manifests: vec![digest],
        rule: task.execution.rule,
        written: at(3),
    }
}

fn digests(numbers: std::ops::Range<u32>) -> Vec<Digest> {
    numbers.map(|number| Digest::sha256(&number.to_be_bytes())).collect()
}

fn repository(name: &str) -> Repository {
    name.parse().unwrap()
}

#[tokio::test]
async fn an_event_and_a_task_cost_the_calls_that_are_promised() {
    let stack = Stack::start().await;
    let (ledger, queue) = (stack.ledger().await, stack.queue().await);
    let calls = || stack.calls.take().join(" ");
    calls();

    let messages: Vec<_> = (0..25).map(|number| Outgoing::now(copy_task(number))).collect();
    queue.send(&messages[..1]).await.unwrap();
    assert_eq!(calls(), "SendMessageBatch");
    queue.send(&messages).await.unwrap();
    assert_eq!(calls(), "SendMessageBatch SendMessageBatch SendMessageBatch");
    let received = queue.receive(10, Duration::from_mins(1)).await.unwrap();
    queue
        .extend(&received[0].receipt, Duration::from_mins(1))
        .await
        .unwrap();
    queue.retry(&received[0].receipt, Duration::ZERO).await.unwrap();
    queue.complete(&received[1].receipt).await.unwrap();
    assert_eq!(
        calls(),
        "ReceiveMessage ChangeMessageVisibility ChangeMessageVisibility DeleteMessage"
    );

    let tasks: Vec<_> = (0..99).map(task).collect();
    ledger.record(&execution(1), &tasks).await.unwrap();
    assert_eq!(calls(), "TransactWriteItems");
    ledger.record(&execution(1), &tasks).await.unwrap();
    assert_eq!(calls(), "TransactWriteItems", "all is known");
    ledger.record(&execution(1), &[task(0), task(100)]).await.unwrap();
    assert_eq!(calls(), "TransactWriteItems TransactWriteItems", "some is known");

    ledger.begin(&task(1), at(5)).await.unwrap();
    assert_eq!(calls(), "UpdateItem");
    let mut alone = task(200);
    "execution-2".clone_into(&mut alone.execution.id);
    ledger.begin(&alone, at(5)).await.unwrap();
    assert_eq!(calls(), "UpdateItem PutItem", "nobody recorded it");
    ledger.wait(&task(1), "RATE_LIMITED", "later", at(6)).await.unwrap();
    assert_eq!(calls(), "UpdateItem");
    assert!(ledger.finish(&task(1), &outcome(TaskState::Kept), &[]).await.unwrap());
    assert_eq!(calls(), "UpdateItem");
    ledger.begin(&task(1), at(7)).await.unwrap();
    assert_eq!(calls(), "UpdateItem", "a duplicate learns the end by the same call");
    let left = [replica(2), replica(3)];
    assert!(
        ledger
            .finish(&task(2), &outcome(TaskState::Succeeded), &left)
            .await
            .unwrap()
    );
    assert_eq!(calls(), "TransactWriteItems");
    assert!(
        !ledger
            .finish(&task(2), &outcome(TaskState::Succeeded), &left)
            .await
            .unwrap()
    );
    assert_eq!(calls(), "TransactWriteItems BatchWriteItem");
}

#[tokio::test]
async fn what_the_fleet_agrees_on_costs_the_calls_that_are_promised() {
    let stack = Stack::start().await;
    let ledger = stack.ledger().await;
    let calls = || stack.calls.take().join(" ");
    calls();

    let place = replica(2).destination;
    let tag = place.target.tag().unwrap().clone();
    ledger.replica_intend(&replica(2)).await.unwrap();
    ledger.replica(&place.registry, &place.repository, &tag).await.unwrap();
    let of = replica(2);
    let source = of.source.as_ref().unwrap();
    ledger.is_replicated(source, &of.destination, &of.digest).await.unwrap();
    assert_eq!(calls(), "UpdateItem GetItem Query");
    ledger.is_busy("hangzhou", &repository("core/app")).await.unwrap();
    assert_eq!(calls(), "Query");
    ledger.begin(&task(1), at(1)).await.unwrap();
    calls();
    assert_eq!(ledger.unfinished("hangzhou", at(2), 10).await.unwrap().len(), 1);
    assert_eq!(calls(), "Query BatchGetItem");

    let second = Duration::from_secs(1);
    assert!(ledger.lease_take("key", "a", at(0), second).await.unwrap());
    assert!(!ledger.lease_take("key", "b", at(0), second).await.unwrap());
    ledger.lease_release("key", "a").await.unwrap();
    assert_eq!(calls(), "UpdateItem UpdateItem DeleteItem");
    ledger.pause("a.example", at(5)).await.unwrap();
    ledger.pause("a.example", at(4)).await.unwrap();
    ledger
        .paused_until(&["a.example", "b.example", "a.example"], at(0))
        .await
        .unwrap();
    assert_eq!(calls(), "UpdateItem UpdateItem BatchGetItem");
    ledger.paused_until(&[], at(0)).await.unwrap();
    assert_eq!(calls(), "");

    let upload = Continuation {
        digest: Digest::sha256(b"layer"),
        location: "https://r.example/upload".into(),
        offset: 7,
        hash: vec![1, 2, 3],
        hops: 0,
    };
    ledger.continuation_put("task-1", &upload, at(9)).await.unwrap();
    ledger
        .continuation("task-1", &upload.digest, at(0))
        .await
        .unwrap()
        .unwrap();
    ledger.continuation_remove("task-1", &upload.digest).await.unwrap();
    assert_eq!(calls(), "PutItem GetItem DeleteItem");
}

#[tokio::test]
async fn blob_locations_cost_one_call_for_25_written_and_100_read() {
    let stack = Stack::start().await;
    let ledger = stack.ledger().await;
    let calls = || stack.calls.take().join(" ");
    calls();
    let (host, blobs) = ("r.example", digests(0..150));
    ledger.locations_find(host, &blobs).await.unwrap();
    assert_eq!(calls(), "BatchGetItem BatchGetItem");
    ledger
        .locations_add(host, &blobs[..26], &repository("a"))
        .await
        .unwrap();
    assert_eq!(calls(), "BatchWriteItem BatchWriteItem", "what was found is known");
    ledger
        .locations_add(host, &blobs[..26], &repository("a"))
        .await
        .unwrap();
    assert_eq!(calls(), "", "nothing changes");
    ledger.location_remove(host, &blobs[0], &repository("a")).await.unwrap();
    assert_eq!(calls(), "UpdateItem");

    // Another process knows nothing yet.
    let other = transship_aws::DynamoLedger::new(&stack.aws, ledger.table().to_owned());
    other.locations_add(host, &blobs[1..3], &repository("b")).await.unwrap();
    assert_eq!(calls(), "BatchGetItem BatchWriteItem");
    // The first one's memory is behind now: the table decides.
    ledger.location_remove(host, &blobs[1], &repository("a")).await.unwrap();
    assert_eq!(calls(), "UpdateItem GetItem UpdateItem");
    let found = ledger.locations_find(host, &blobs[..3]).await.unwrap();
    assert_eq!(found.get(&blobs[0]), None);
    assert_eq!(found[&blobs[1]], [repository("b")]);
    assert_eq!(found[&blobs[2]], ["b", "a"].map(repository));
}

#[tokio::test]
async fn an_upload_nobody_waits_for_costs_one_call_and_each_that_waits_one_more() {
    let stack = Stack::start().await;
    let ledger = stack.ledger().await;
    let calls = || stack.calls.take().join(" ");
    let wait_for = async |number: u32, blobs: &[Digest]| {
        let waiting = PendingScan {
            id: format!("task-{number}"),
            job: "{}".to_owned(),
            since: at(0),
            blobs: blobs.len(),
        };
        ledger
            .wait_for(&waiting, "s3://layouts/a/", blobs, at(9))
            .await
            .unwrap();
    };
    let arrived = async |blob: &Digest| ledger.arrived("s3://layouts/a/", blob, at(1)).await.unwrap().len();
    calls();
    let blobs = digests(0..26);
    assert_eq!(arrived(&blobs[0]).await, 0);
    assert_eq!(calls(), "Query");
    wait_for(1, &blobs).await;
    assert_eq!(calls(), "PutItem BatchWriteItem BatchWriteItem");
    wait_for(2, &blobs[..1]).await;
    assert_eq!(calls(), "PutItem BatchWriteItem");
    assert_eq!(arrived(&blobs[1]).await, 0);
    assert_eq!(calls(), "Query UpdateItem");
    assert_eq!(arrived(&blobs[0]).await, 1);
    assert_eq!(calls(), "Query UpdateItem UpdateItem");
    ledger.settle("task-2", "s3://layouts/a/").await.unwrap();
    assert_eq!(calls(), "DeleteItem");
    assert_eq!(ledger.waiting(10, at(1)).await.unwrap().len(), 1);
    assert_eq!(calls(), "Query BatchGetItem");

    // What leads to nothing any more is found once.
    ledger.settle("task-1", "s3://layouts/a/").await.unwrap();
    calls();
    assert_eq!(arrived(&blobs[2]).await, 0);
    assert_eq!(calls(), "Query UpdateItem DeleteItem");
    assert_eq!(arrived(&blobs[2]).await, 0);
    assert_eq!(calls(), "Query");
    assert!(ledger.waiting(10, at(1)).await.unwrap().is_empty());
    assert_eq!(calls(), "Query");
}
