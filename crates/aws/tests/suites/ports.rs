//! What each method of the ledger's ports costs: counted at the proxy, so that a retry would show. The sums are the budget of
//! the product: an event 2 calls with its send, an unchanged image 3, the first copy 6.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use transship_aws::DynamoLedger;
use transship_copy::Continuation;
use transship_engine::ledger::{
    By, Claim, ExecutionQuery, Hints, History, Key, Leases, Locations, Pauses, PendingBlobs, PendingScan, Records,
    Replicas, TaskEntry, TaskQuery, Uploads,
};
use transship_engine::{Begin, TaskState};
use transship_oci::{Digest, Repository};
use transship_testkit::suites::{at, ending, entry, entry_alone, replica};

use crate::stack::Stack;

const HOLDER: &str = "worker-1";

/// A ledger, as the port each part of the product sees.
struct Ledger {
    adapter: Arc<DynamoLedger>,
    history: Arc<dyn History>,
    replicas: Arc<dyn Replicas>,
    hints: Arc<dyn Hints>,
    records: Arc<dyn Records>,
}

async fn ledger(stack: &Stack) -> Ledger {
    let adapter = Arc::new(stack.ledger().await);
    stack.calls.take();
    Ledger {
        history: Arc::clone(&adapter) as _,
        replicas: Arc::clone(&adapter) as _,
        hints: Arc::clone(&adapter) as _,
        records: Arc::clone(&adapter) as _,
        adapter,
    }
}

fn digests(numbers: std::ops::Range<u32>) -> Vec<Digest> {
    numbers.map(|number| Digest::sha256(&number.to_be_bytes())).collect()
}

fn repository(name: &str) -> Repository {
    name.parse().unwrap()
}

#[tokio::test]
async fn an_event_a_copy_and_an_unchanged_image_cost_the_calls_that_are_promised() {
    let stack = Stack::start().await;
    let Ledger {
        history,
        replicas,
        hints,
        ..
    } = ledger(&stack).await;
    let calls = || stack.calls.take().join(" ");
    let (locations, pauses) = (Locations::new(Arc::clone(&hints)), Pauses::new(hints));
    let hosts = ["a.example", "b.example"];
    let blobs = digests(0..12);

    // The first task of a process, with its origin; and any later one.
    for number in 1..=2 {
        history.record(&[entry_alone(number)]).await.unwrap();
        assert_eq!(calls(), "TransactWriteItems", "an event, without its send");
    }

    // The first copy.
    let (task, wanted) = (entry_alone(1), replica(1, &["index", "amd64"]));
    assert_eq!(history.begin(&task, at(2)).await.unwrap(), Begin::Attempt(1));
    pauses.until(&hosts, at(2)).await.unwrap();
    locations.find("b.example", &blobs, at(2)).await.unwrap();
    let claim = replicas.claim(&wanted, HOLDER, at(3), Duration::from_secs(30)).await;
    let (earlier, accepted) = (Vec::new(), at(0));
    assert_eq!(claim.unwrap(), Claim::Granted { earlier, accepted });
    let target = repository("copy/app");
    locations.add("b.example", &blobs, &target, at(4)).await.unwrap();
    let end = ending(TaskState::Succeeded, 5);
    assert!(history.finish(&task, &end, &[wanted], HOLDER).await.unwrap());
    assert_eq!(
        calls(),
        "UpdateItem BatchGetItem BatchGetItem UpdateItem BatchWriteItem TransactWriteItems"
    );

    // An unchanged image.
    let task = entry_alone(2);
    history.begin(&task, at(2)).await.unwrap();
    pauses.until(&hosts, at(2)).await.unwrap();
    let end = ending(TaskState::Unchanged, 5);
    assert!(history.finish(&task, &end, &[], HOLDER).await.unwrap());
    assert_eq!(calls(), "UpdateItem BatchGetItem TransactWriteItems");
}

#[tokio::test]
async fn the_history_costs_the_calls_that_are_promised() {
    let stack = Stack::start().await;
    let Ledger { history, replicas, .. } = ledger(&stack).await;
    let calls = || stack.calls.take().join(" ");

    let tasks: Vec<TaskEntry> = (1..=97).map(entry).collect();
    history.record(&tasks).await.unwrap();
    assert_eq!(calls(), "TransactWriteItems");
    history.record(&tasks).await.unwrap();
    assert_eq!(calls(), "TransactWriteItems", "all is known");
    history.record(&[entry(1), entry(98)]).await.unwrap();
    assert_eq!(calls(), "TransactWriteItems TransactWriteItems", "a part is known");
    history.record(&[]).await.unwrap();
    assert_eq!(calls(), "");

    history.begin(&entry(1), at(5)).await.unwrap();
    assert_eq!(calls(), "UpdateItem");
    history.begin(&entry_alone(200), at(5)).await.unwrap();
    assert_eq!(calls(), "UpdateItem TransactWriteItems", "nobody recorded it");
    history.begin(&entry_alone(200), at(6)).await.unwrap();
    assert_eq!(calls(), "UpdateItem", "now it is");
    history.wait(&entry(1), "RATE_LIMITED", "later", at(6)).await.unwrap();
    assert_eq!(calls(), "UpdateItem");
    let finish = async |number: u32, seconds: i64, settled: &[transship_engine::Replica]| {
        let end = ending(TaskState::Failed, seconds);
        history.finish(&entry(number), &end, settled, HOLDER).await.unwrap()
    };
    assert!(finish(1, 20, &[]).await);
    assert_eq!(calls(), "TransactWriteItems");
    history.begin(&entry(1), at(7)).await.unwrap();
    assert_eq!(calls(), "UpdateItem", "a duplicate learns the end by the same call");
    let settled = [replica(2, &["a"]), replica(3, &["b"])];
    assert!(finish(2, 21, &settled).await);
    assert_eq!(calls(), "TransactWriteItems");
    assert!(!finish(2, 22, &settled).await);
    assert_eq!(calls(), "TransactWriteItems UpdateItem UpdateItem", "it had ended");
    assert!(finish(3, 10, &[]).await);
    assert_eq!(calls(), "TransactWriteItems TransactWriteItems", "ends out of order");
    let ttl = Duration::from_secs(30);
    replicas.claim(&settled[0], "another", at(100), ttl).await.unwrap();
    calls();
    assert!(finish(4, 101, &settled).await);
    assert_eq!(
        calls(),
        "TransactWriteItems TransactWriteItems",
        "another worker has a lease"
    );

    let list = async |by: By, limit: usize| {
        let page = history.tasks(&TaskQuery::new(by), None, limit).await.unwrap();
        page.items.len()
    };
    assert_eq!(list(By::Execution("execution-1".to_owned()), 50).await, 50);
    assert_eq!(calls(), "Query");
    let destination = By::Destination {
        registry: "zhangjiakou".to_owned(),
        repository: repository("copy/app"),
    };
    assert_eq!(list(destination, 50).await, 50);
    assert_eq!(calls(), "Query BatchGetItem");
    assert_eq!(list(By::Failed, 2).await, 2);
    assert_eq!(calls(), "Query BatchGetItem");
    assert_eq!(list(By::Open, 50).await, 50);
    assert_eq!(calls(), "Query Query BatchGetItem", "the origins, and one origin");
    assert_eq!(history.execution("execution-1").await.unwrap().unwrap().bytes, 4 * 1200);
    assert_eq!(calls(), "Query");
    let page = history.executions(&ExecutionQuery::default(), None, 2).await.unwrap();
    assert_eq!(page.items.len(), 2);
    let made = calls();
    assert!(made.ends_with("Query BatchGetItem"), "{made}");
    history.is_busy("hangzhou", &repository("core/app")).await.unwrap();
    assert_eq!(calls(), "Query");
    assert_eq!(
        history
            .untouched("hangzhou", at(200), Timestamp::MAX, 10)
            .await
            .unwrap()
            .len(),
        10
    );
    assert_eq!(calls(), "Query BatchGetItem");
}

#[tokio::test]
async fn what_workers_agree_on_costs_the_calls_that_are_promised() {
    let stack = Stack::start().await;
    let Ledger {
        replicas,
        hints,
        records,
        ..
    } = ledger(&stack).await;
    let calls = || stack.calls.take().join(" ");
    let ttl = Duration::from_secs(1);

    let wanted = replica(1, &["index"]);
    replicas.claim(&wanted, "a", at(0), ttl).await.unwrap();
    replicas.claim(&wanted, "b", at(0), ttl).await.unwrap();
    replicas.release(&wanted.destination, "a").await.unwrap();
    replicas.get(&wanted.destination).await.unwrap().unwrap();
    assert_eq!(calls(), "UpdateItem UpdateItem UpdateItem GetItem");
    let (target, source) = (repository("copy/app"), repository("core/app"));
    let held = replicas.holds(("zhangjiakou", &target), ("hangzhou", &source), &wanted.digest);
    held.await.unwrap();
    assert_eq!(calls(), "Query");

    let leases = Leases::new(Arc::clone(&hints));
    assert!(leases.take("sweep", "a", at(0), ttl).await.unwrap());
    assert!(!leases.take("sweep", "b", at(0), ttl).await.unwrap());
    leases.release("sweep", "a").await.unwrap();
    assert_eq!(calls(), "UpdateItem UpdateItem BatchGetItem DeleteItem");

    let pauses = Pauses::new(Arc::clone(&hints));
    pauses.pause("a.example", at(5), at(0)).await.unwrap();
    pauses.pause("a.example", at(4), at(0)).await.unwrap();
    let hosts = ["a.example", "b.example", "a.example"];
    assert!(pauses.until(&hosts, at(0)).await.unwrap().is_some());
    assert_eq!(calls(), "UpdateItem UpdateItem BatchGetItem");
    pauses.until(&[], at(0)).await.unwrap();
    assert_eq!(calls(), "");

    let uploads = Uploads::new(hints);
    let upload = Continuation {
        digest: Digest::sha256(b"layer"),
        location: "https://r.example/upload".into(),
        offset: 7,
        hash: vec![1, 2, 3],
        hops: 0,
    };
    uploads.put("task-1", &upload, at(9)).await.unwrap();
    uploads.find("task-1", &upload.digest, at(0)).await.unwrap().unwrap();
    uploads.remove("task-1", &upload.digest).await.unwrap();
    assert_eq!(calls(), "PutItem BatchGetItem DeleteItem");

    let key = Key::new("family", "name");
    let version = records.put_if(&key, None, "1").await.unwrap().unwrap();
    records.get(&key).await.unwrap().unwrap();
    assert_eq!(records.list("family", "n", None, 10).await.unwrap().items.len(), 1);
    assert!(records.remove_if(&key, version).await.unwrap());
    assert_eq!(calls(), "UpdateItem GetItem Query DeleteItem");
}

#[tokio::test]
async fn locations_cost_one_call_for_25_written_and_100_read() {
    let stack = Stack::start().await;
    let Ledger { hints, .. } = ledger(&stack).await;
    let calls = || stack.calls.take().join(" ");
    let locations = Locations::new(Arc::clone(&hints));
    let (host, blobs) = ("r.example", digests(0..150));
    locations.find(host, &blobs, at(0)).await.unwrap();
    assert_eq!(calls(), "BatchGetItem BatchGetItem");
    for expected in ["BatchWriteItem BatchWriteItem", ""] {
        let repository = repository("a");
        locations.add(host, &blobs[..27], &repository, at(0)).await.unwrap();
        assert_eq!(calls(), expected, "what was found is known, and then nothing changes");
    }
    locations
        .remove(host, &blobs[0], &repository("a"), at(0))
        .await
        .unwrap();
    assert_eq!(calls(), "UpdateItem");

    // Another process knows nothing yet.
    let other = Locations::new(hints);
    other.add(host, &blobs[1..3], &repository("b"), at(0)).await.unwrap();
    assert_eq!(calls(), "BatchGetItem BatchWriteItem");
    // The first one's memory is behind now: the table decides.
    locations
        .remove(host, &blobs[1], &repository("a"), at(0))
        .await
        .unwrap();
    assert_eq!(calls(), "UpdateItem BatchGetItem UpdateItem");
}

#[tokio::test]
async fn a_blob_nobody_waits_for_costs_one_call() {
    let stack = Stack::start().await;
    let Ledger { hints, .. } = ledger(&stack).await;
    let calls = || stack.calls.take().join(" ");
    let pending = PendingBlobs::new(hints);
    let place = "s3://layouts/a/";
    let wait_for = async |number: u32, blobs: &[Digest]| {
        let scan = PendingScan {
            id: format!("scan-{number}"),
            job: "{}".to_owned(),
            since: at(0),
            blobs: blobs.len(),
        };
        pending.wait_for(&scan, place, blobs, at(9)).await.unwrap();
    };
    let arrived = async |blob: &Digest| pending.arrived(place, blob, at(1)).await.unwrap().len();
    let blobs = digests(0..27);
    assert_eq!(arrived(&blobs[0]).await, 0);
    assert_eq!(calls(), "Query");
    wait_for(1, &blobs).await;
    assert_eq!(calls(), ["BatchWriteItem"; 5].join(" "));
    assert_eq!(arrived(&blobs[1]).await, 0);
    assert_eq!(calls(), "Query BatchGetItem DeleteItem Query");
    pending.settle("scan-2", at(1)).await.unwrap();
    assert_eq!(calls(), "BatchGetItem", "it never waited");
    assert_eq!(pending.waiting(10, at(1)).await.unwrap().len(), 1);
    assert_eq!(calls(), "Query BatchGetItem");
    pending.settle("scan-1", at(1)).await.unwrap();
    assert_eq!(calls(), "BatchGetItem DeleteItem DeleteItem");

    // What leads to nothing any more is found once.
    assert_eq!(arrived(&blobs[2]).await, 0);
    assert_eq!(calls(), "Query BatchGetItem DeleteItem");
    assert_eq!(arrived(&blobs[2]).await, 0);
    assert_eq!(calls(), "Query");
}

/// The table deletes tasks and executions by itself, after their end.
#[tokio::test]
async fn only_what_ended_expires() {
    let stack = Stack::start().await;
    let Ledger { adapter, history, .. } = ledger(&stack).await;
    let client = stack.aws.dynamodb();
    let expires = async |pk: &str, sk: &str| {
        let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
        let request = client.get_item().table_name(adapter.table());
        let found = request.key("pk", text(pk)).key("sk", text(sk)).send().await.unwrap();
        let expires = found.item.unwrap().remove("expires")?;
        Some(expires.as_n().unwrap().parse::<i64>().unwrap())
    };
    let (task, end) = (entry_alone(1), ending(TaskState::Succeeded, 60));
    history.record(std::slice::from_ref(&task)).await.unwrap();
    history.begin(&task, at(2)).await.unwrap();
    assert_eq!(expires("E#execution-1", "T#task-1").await, None);
    assert!(history.finish(&task, &end, &[], HOLDER).await.unwrap());
    let kept = Duration::from_hours(90 * 24);
    let earliest = Timestamp::now().as_second();
    for sk in ["T#task-1", "E"] {
        // The stack's retention is longer by the age of the samples.
        let expires = expires("E#execution-1", sk).await.unwrap();
        let kept_seconds = i64::try_from(kept.as_secs()).unwrap();
        assert!(
            (expires - earliest - kept_seconds).abs() < 600,
            "{sk}: {}",
            expires - earliest
        );
    }
}
