//! Orders: objects of the bucket are imported to any destination, or by an import of the document.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use transship_tests::layouts::{Layout, Objects};
use transship_tests::{DockerRegistry, Image};

use crate::stage::{Stage, alone, failed, is_of};

#[test]
fn an_order_is_done_and_one_that_cannot_be_says_why() {
    if DockerRegistry::skipped() {
        return;
    }
    let _alone = alone();
    let stage = Stage::set(|document, bucket| document.import("seed", bucket, "seed/", "core"));
    let (seeded, ordered) = (
        Layout::of("v1", Image::single(1, &[500])),
        Layout::of("v2", Image::multi_platform(2, 500)),
    );
    // No import covers gap/. The objects below seed/ are imported by their events, and again by the order.
    let bucket = stage.bucket().to_owned();
    let mut objects = BTreeMap::new();
    for (prefix, layout) in [("gap/2026/team/app", &ordered), ("seed/app", &seeded)] {
        for (path, bytes) in layout.files() {
            objects.insert(format!("{prefix}/{path}"), bytes);
        }
    }
    stage.upload(&Objects::shuffled(objects, 3));
    stage.at_rest(1);
    let order = |order: Value| stage.stack.invoke_bulk_import(&order);

    let begun = order(json!({ "bucket": bucket, "prefix": "gap/2026/", "to": "b/from/gap" }));
    assert!(begun["execution"].is_string(), "{begun}\n{}", stage.stack.logs_tail());
    let named = order(json!({ "import": "seed" }));
    assert!(named["execution"].is_string(), "{named}");
    // The image of the events, and of each order its listing, its source and its image.
    let tasks = stage.at_rest(7);
    assert_eq!(failed(&tasks), Vec::<&Value>::new());
    let of_order: Vec<_> = tasks.iter().filter(|task| is_of(task, &begun)).collect();
    assert_eq!(of_order.len(), 3, "{tasks:?}");
    let images = of_order.iter().filter(|task| task.get("digest").is_some());
    assert_eq!(images.count(), 1, "{tasks:?}");
    stage.assert_holds(
        &[
            ("from/gap/team/app".to_owned(), ordered.expected()),
            ("core/app".to_owned(), seeded.expected()),
        ]
        .into(),
    );

    for (refused, code) in [
        (
            json!({ "bucket": bucket, "prefix": "gap/", "to": "nowhere/at-all" }),
            "UNKNOWN_REGISTRY",
        ),
        (json!({ "import": "none" }), "UNKNOWN_IMPORT"),
        (json!({ "bucket": bucket, "prefix": "gap/" }), "ORDER_INVALID"),
        (json!({ "bukket": bucket }), "EVENT_INVALID"),
    ] {
        let answer = order(refused);
        assert_eq!(answer["errorType"], code, "{answer}");
        assert!(
            answer["errorMessage"]
                .as_str()
                .is_some_and(|sentence| sentence.contains(' ')),
            "{answer}"
        );
    }

    let empty = order(json!({ "bucket": bucket, "prefix": "nothing/here/", "to": "b/from" }));
    let tasks = stage.at_rest(tasks.len() + 1);
    let ended = failed(&tasks);
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!(ended[0]["state"], "failed");
    assert_eq!(ended[0]["code"], "SOURCE_EMPTY");
    assert!(is_of(ended[0], &empty), "{}", ended[0]);
    let message = ended[0]["message"].as_str().unwrap();
    assert!(
        message.contains("nothing/here/"),
        "it does not say where it looked: {message}"
    );
    stage.assert_clean();
}
