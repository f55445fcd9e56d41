//! Orders to import: what is redriven searches again, and what is incomplete stays open.

use transship_aws::{Aws, DynamoLedger};
use transship_engine::ledger::{ExecutionQuery, PendingBlobs};
use transship_engine::operations::list_executions;
use transship_engine::{Envelope, Execution, ExecutionRecord, ExecutionState, Import, ListPrefix, StoreName, Trigger};
use transship_oci::{Existing, Referrers};
use transship_testkit::images;

use crate::fixture::{Fixture, TIMEOUT};

/// An order of `s3://layouts/in/` to `b/from`, and its execution.
fn order() -> (String, String) {
    let import = Import {
        name: "import".into(),
        registry: "b".into(),
        path: Some("from".parse().unwrap()),
        existing: Existing::default(),
        referrers: Referrers::default(),
    };
    let execution: Execution = import.execution("order 1", jiff::Timestamp::now());
    assert_eq!(execution.trigger, Trigger::Import);
    let id = execution.id.clone();
    let list = ListPrefix::new(import, StoreName::bucket("layouts"), "in/", execution);
    (Envelope::new(list).to_json().unwrap(), id)
}

async fn execution(ledger: &DynamoLedger, id: &str) -> ExecutionRecord {
    let all = list_executions(ledger, &ExecutionQuery::default(), 0).await.unwrap();
    all.into_iter().find(|record| record.id == id).unwrap()
}

/// The key and the bytes of an object.
type Object = (String, Vec<u8>);

/// The objects of a layout below `in/app/`: the last blob, and the others.
fn objects(sample: &images::Sample) -> (Vec<Object>, Object) {
    let folder = tempfile::tempdir().unwrap();
    sample.write_layout(folder.path(), "v1").unwrap();
    let mut found = Vec::new();
    let mut folders = vec![folder.path().to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let key = path.strip_prefix(folder.path()).unwrap().to_str().unwrap();
                found.push((format!("in/app/{key}"), std::fs::read(&path).unwrap()));
            }
        }
    }
    let (digest, _) = sample.blobs.last_key_value().unwrap();
    let last = digest.to_string().replace(':', "/");
    let position = found.iter().position(|(key, _)| key.ends_with(&last)).unwrap();
    let held = found.remove(position);
    (found, held)
}

async fn put(aws: &Aws, key: &str, bytes: Vec<u8>) {
    let request = aws.s3().put_object().bucket("layouts").key(key);
    request.body(bytes.into()).send().await.unwrap();
}

#[tokio::test]
async fn a_redriven_order_searches_again_and_an_incomplete_source_keeps_it_open() {
    let fixture = Fixture::start(TIMEOUT).await;
    let (aws, ledger) = fixture.ledger().await;
    let (order, id) = order();
    assert!(fixture.work(&[("1", &order)]).await.is_empty());
    let failed = execution(&ledger, &id).await;
    assert_eq!(
        failed.state,
        ExecutionState::Failed,
        "the bucket does not exist: {failed:?}"
    );

    let redrive = fixture.redrive(&aws, &ledger);
    aws.s3().create_bucket().bucket("layouts").send().await.unwrap();
    let empty = redrive.run(Some(&id), 0).await.unwrap().executions.remove(0);
    fixture.drain().await;
    let still = execution(&ledger, &empty).await;
    assert_eq!(still.state, ExecutionState::Failed, "the bucket is empty: {still:?}");

    let sample = images::image(1, &[3000, 500]);
    let (objects, held) = objects(&sample);
    for (key, bytes) in objects {
        put(&aws, &key, bytes).await;
    }
    let third = redrive.run(Some(&empty), 0).await.unwrap().executions.remove(0);
    fixture.drain().await;
    let waiting = execution(&ledger, &third).await;
    assert_eq!(
        (waiting.state, waiting.code.as_deref()),
        (ExecutionState::Waiting, Some("SOURCE_INCOMPLETE")),
        "{waiting:?}"
    );

    let (name, bytes) = held;
    put(&aws, &name, bytes).await;
    // As the bulk import does for the event of the upload.
    let (digest, _) = sample.blobs.last_key_value().unwrap();
    let now = jiff::Timestamp::now();
    let pending = PendingBlobs::new(std::sync::Arc::clone(&ledger) as _);
    let complete = pending.arrived("s3://layouts/in/app/", digest, now).await.unwrap();
    assert_eq!(complete.len(), 1, "the order waits for it");
    assert!(fixture.work(&[("2", &complete[0].job)]).await.is_empty());
    fixture.drain().await;
    let done = execution(&ledger, &third).await;
    assert_eq!(done.state, ExecutionState::Succeeded, "{done:?}");
    let tag = "v1".parse().unwrap();
    assert_eq!(
        fixture.b.digest(&"from/app".parse().unwrap(), &tag).as_ref(),
        Some(&sample.root)
    );
}
