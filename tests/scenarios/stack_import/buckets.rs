//! Buckets that the stack did not make, named in its parameters.

use serde_json::{Value, json};
use transship_tests::layouts::{Layout, Objects};
use transship_tests::{DockerRegistry, Image};

use crate::stage::{Stage, alone, failed};

const NAMED: &str = "a-bucket.of-ours";

#[test]
fn what_is_dropped_into_a_named_bucket_arrives_and_no_other_bucket_is_heard_or_read() {
    if DockerRegistry::skipped() {
        return;
    }
    let _alone = alone();
    let stage = Stage::set_with(&[("ImportBuckets", &format!("another-one,{NAMED}"))], |document, _| {
        document
            .import("ours", NAMED, "", "ours")
            .import("foreign", "a-bucket.of-others", "", "foreign")
    });
    let aws = stage.stack.aws();
    for bucket in [NAMED, "a-bucket.of-others"] {
        aws.bucket_create(bucket);
        aws.bucket_tells_events(bucket);
    }
    let sample = include_str!("../../../events/eventbridge-s3-object-created.json");
    let sample: Value = serde_json::from_str(sample).unwrap();
    let told = |bucket: &str| {
        let mut event = sample.clone();
        event["detail"]["bucket"]["name"] = json!(bucket);
        stage.stack.upload_rule_takes(&event)
    };
    assert!([stage.bucket(), NAMED, "another-one"].into_iter().all(told));
    assert!(
        !["a-bucket.of-others", "a-bucket", "my-layouts", ""]
            .into_iter()
            .any(told)
    );
    let mut deleted = sample.clone();
    deleted["detail"]["bucket"]["name"] = json!(NAMED);
    deleted["detail-type"] = json!("Object Deleted");
    assert!(!stage.stack.upload_rule_takes(&deleted));

    let layout = Layout::of("v1", Image::single(1, &[700]));
    let objects = layout
        .files()
        .into_iter()
        .map(|(path, bytes)| (format!("app/{path}"), bytes));
    let objects = Objects::shuffled(objects.collect(), 5);
    objects.upload(|key, bytes| aws.object_put("a-bucket.of-others", key, bytes));
    stage.upload_to(NAMED, &objects);
    let tasks = stage.at_rest(1);
    assert_eq!(failed(&tasks), Vec::<&Value>::new());
    stage.assert_holds(&[("ours/app".to_owned(), layout.expected())].into());
    stage.assert_clean();

    let order = json!({ "bucket": "a-bucket.of-others", "to": "b/foreign" });
    stage.stack.invoke_bulk_import(&order);
    let tasks = stage.at_rest(tasks.len() + 1);
    let refused = failed(&tasks);
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0]["code"], "OBJECT_REFUSED", "{}", refused[0]);
}
