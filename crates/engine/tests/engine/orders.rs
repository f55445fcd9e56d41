//! Orders to import the existing objects of a bucket to any destination.

use std::time::{Duration, Instant};

use bytes::Bytes;
use transship_copy::TimeBudget;
use transship_engine::{Next, Order};
use transship_testkit::images;

use crate::bucket::{Bucket, Objects, layout};
use crate::fixture::{assert_parts, name, tag};

fn order(text: &str) -> Order {
    serde_json::from_str(text).unwrap()
}

/// Ten layouts, two of them within others.
fn bucket_of_ten() -> Objects {
    let mut objects = Objects::new();
    for (seed, path) in (0..).zip(["a", "b", "c", "c/d", "e/f", "e/g", "h", "i", "j", "j/k/l"]) {
        objects.extend(layout(&format!("to-b/{path}"), &[("v1", &images::image(seed, &[64]))]));
    }
    objects
}

async fn ordered(bucket: &Bucket, text: &str) -> Result<String, String> {
    let execution = bucket.intake.ordered(&order(text), "request-1").await;
    execution
        .map(|execution| execution.id)
        .map_err(|error| error.code().to_owned())
}

#[tokio::test]
async fn all_that_lies_below_a_prefix_goes_where_the_order_says() {
    let bucket = Bucket::new().await;
    bucket.put_all(&bucket_of_ten()).await;
    for to in ["b/mirror", &format!("{}/mirror/", bucket.fixture.b.host())] {
        let text = format!(r#"{{"bucket":"layouts","prefix":"to-b/","to":"{to}"}}"#);
        let execution = ordered(&bucket, &text).await.unwrap();
        bucket.fixture.drain().await;
        let tasks = bucket.fixture.tasks().await;
        assert!(tasks.iter().all(|task| task.execution == execution), "{tasks:?}");
        let told = bucket.told().await;
        assert_eq!(told.len(), 10, "{told:?}");
        assert!(told.contains(&"s3://layouts/j/k/l:v1 -> b/mirror/j/k/l:v1 succeeded".to_owned()));
    }
    assert_parts(&bucket.fixture.b, &name("mirror/c/d"), &images::image(3, &[64]));
}

#[tokio::test]
async fn an_import_of_the_document_names_the_same_whatever_part_of_it_is_ordered() {
    for (prefix, expected) in [
        (r#""prefix":"to-b/e/","#, 2),
        (r#""prefix":"to-b/c/d","#, 1),
        (r#""prefix":"to-b/e/f/","#, 1),
        ("", 10),
    ] {
        let bucket = Bucket::new().await;
        bucket.put_all(&bucket_of_ten()).await;
        ordered(&bucket, &format!(r#"{{{prefix}"import":"seed"}}"#))
            .await
            .unwrap();
        bucket.fixture.drain().await;
        let told = bucket.told().await;
        assert_eq!(told.len(), expected, "{prefix}: {told:?}");
        for line in &told {
            let destination = line.split(' ').nth(2).unwrap();
            let path = destination
                .strip_prefix("b/core/")
                .and_then(|rest| rest.strip_suffix(":v1"));
            assert!(
                bucket_of_ten().contains_key(&format!("to-b/{}/index.json", path.unwrap())),
                "{line}"
            );
            assert!(line.ends_with("succeeded"), "{line}");
        }
    }
}

#[tokio::test]
async fn an_order_that_says_too_little_or_what_nobody_knows_is_refused() {
    let bucket = Bucket::new().await;
    for (text, code) in [
        (r#"{"bucket":"layouts","prefix":"x/"}"#, "ORDER_INVALID"),
        (r#"{"bucket":"layouts","to":"b/x","import":"seed"}"#, "ORDER_INVALID"),
        (r#"{"to":"b/x"}"#, "ORDER_INVALID"),
        (r#"{"bucket":"layouts","to":"b/UPPER"}"#, "ORDER_INVALID"),
        (r#"{"import":"seed","prefix":"elsewhere/"}"#, "ORDER_INVALID"),
        (r#"{"import":"seed","bucket":"another"}"#, "ORDER_INVALID"),
        (r#"{"import":"nobody"}"#, "UNKNOWN_IMPORT"),
        (r#"{"bucket":"layouts","to":"nowhere/x"}"#, "UNKNOWN_REGISTRY"),
        (
            r#"{"bucket":"layouts","to":"registry.example.com/x"}"#,
            "UNKNOWN_REGISTRY",
        ),
    ] {
        assert_eq!(ordered(&bucket, text).await, Err(code.to_owned()), "{text}");
    }
    assert!(serde_json::from_str::<Order>(r#"{"bukket":"layouts"}"#).is_err());
    assert_eq!(bucket.fixture.drain().await, 0);
}

#[tokio::test]
async fn a_prefix_with_nothing_below_it_is_recorded_with_where_it_looked() {
    let bucket = Bucket::new().await;
    bucket.store.put("to-b/readme.txt", Bytes::from_static(b"x")).await;
    ordered(&bucket, r#"{"bucket":"layouts","prefix":"to-b/none","to":"b/x"}"#)
        .await
        .unwrap();
    bucket.fixture.drain().await;
    let task = bucket.fixture.task().await;
    assert_eq!(
        (task.state.as_str(), task.code.as_deref()),
        ("failed", Some("SOURCE_EMPTY"))
    );
    assert!(
        task.message.unwrap().contains("s3://layouts/to-b/none"),
        "it says where"
    );
}

#[tokio::test]
async fn an_order_told_twice_is_done_once() {
    let bucket = Bucket::new().await;
    bucket.put_all(&bucket_of_ten()).await;
    for _ in 0..2 {
        ordered(&bucket, r#"{"import":"seed"}"#).await.unwrap();
        bucket.fixture.drain().await;
    }
    assert_eq!(bucket.told().await.len(), 10);
}

#[tokio::test]
async fn a_search_that_has_no_time_goes_on_in_the_next_message() {
    let bucket = Bucket::new().await;
    bucket.put_all(&bucket_of_ten()).await;
    ordered(&bucket, r#"{"import":"seed"}"#).await.unwrap();
    let delivery = {
        use transship_engine::TaskReceiver as _;
        let received = bucket.fixture.queue.inner.receive(1, Duration::from_mins(1)).await;
        received.unwrap().remove(0)
    };
    // Its slot is over when it begins: it does one page all the same, so that it ends some day.
    let budget = TimeBudget::until(Instant::now(), Duration::from_secs(10));
    let done = bucket.fixture.work(&delivery.body, Some(budget)).await;
    assert_eq!(done, Next::Done);
    {
        use transship_engine::TaskReceiver as _;
        bucket.fixture.queue.inner.complete(&delivery.receipt).await.unwrap();
    }
    bucket.fixture.drain().await;
    let told = bucket.told().await;
    assert_eq!(told.len(), 10, "{told:?}");
    assert!(bucket.fixture.b.digest(&name("core/e/g"), &tag("v1")).is_some());
}
