use serde_json::json;

use super::*;

fn record(name: &str, key: &str) -> Value {
    json!({
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-west-1",
        "eventTime": "2026-01-02T03:04:05.678Z",
        "eventName": name,
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "imports",
            "bucket": { "name": "layouts", "arn": "arn:aws:s3:::layouts" },
            "object": { "key": key, "size": 5, "eTag": "b1946ac92492d234", "versionId": "IYV3p45BT0ac", "sequencer": "0055AED6DCD90281E5" },
        },
    })
}

fn notification(key: &str) -> Value {
    json!({ "Records": [record("ObjectCreated:Put", key)] })
}

fn eventbridge(kind: &str, key: &str) -> Value {
    json!({
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": kind,
        "source": "aws.s3",
        "account": "111122223333",
        "time": "2026-01-02T03:04:05Z",
        "region": "eu-west-1",
        "resources": ["arn:aws:s3:::layouts"],
        "detail": {
            "version": "0",
            "bucket": { "name": "layouts" },
            "object": { "key": key, "size": 5, "etag": "b1946ac92492d234", "version-id": "IYV3p45BT0ac", "sequencer": "0055AED6DCD90281E5" },
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "111122223333",
            "source-ip-address": "192.0.2.1",
            "reason": "PutObject",
        },
    })
}

fn uploaded(key: &str) -> Uploaded {
    Uploaded {
        bucket: "layouts".into(),
        key: key.into(),
        version: "IYV3p45BT0ac b1946ac92492d234 0055AED6DCD90281E5".into(),
    }
}

fn sqs(bodies: &[Value]) -> Value {
    let record = |body: &Value| {
        let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        json!({ "messageId": "m", "eventSource": "aws:sqs", "body": body })
    };
    json!({ "Records": bodies.iter().map(record).collect::<Vec<_>>() })
}

fn sns(message: &Value) -> Value {
    json!({ "Records": [{ "EventSource": "aws:sns", "Sns": { "Type": "Notification", "Message": message.to_string() } }] })
}

/// The uploads of an invocation without invalid messages.
fn uploads_of(invocation: &Invocation) -> &[Uploaded] {
    match invocation {
        Invocation::Uploads(uploads, None) => uploads,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_notifications_key_is_decoded_once() {
    for (told, key) in [
        ("to/app/index.json", "to/app/index.json"),
        ("to+b/a%2Bb.tar", "to b/a+b.tar"),
        ("%C3%BC/%252F/a%20b", "ü/%2F/a b"),
    ] {
        let read = Invocation::read(&notification(told)).unwrap();
        assert_eq!(uploads_of(&read), [uploaded(key)], "{told}");
    }
}

#[test]
fn eventbridge_tells_a_key_as_it_is() {
    for key in ["to/app/index.json", "to+b/a%2Bb.tar", "ü/ /a"] {
        let read = Invocation::read(&eventbridge("Object Created", key)).unwrap();
        assert_eq!(uploads_of(&read), [uploaded(key)]);
    }
}

#[test]
fn what_a_bucket_without_versions_leaves_out_is_left_out() {
    let mut event = notification("a");
    event["Records"][0]["s3"]["object"]["versionId"] = json!("null");
    event["Records"][0]["s3"]["object"]["eTag"] = json!("\"b1946ac92492d234\"");
    let Ok(Invocation::Uploads(uploads, None)) = Invocation::read(&event) else {
        panic!("{event}");
    };
    assert_eq!(uploads[0].version, "b1946ac92492d234 0055AED6DCD90281E5");
}

#[test]
fn every_way_of_creating_an_object_is_an_upload_and_nothing_else_is() {
    for name in [
        "ObjectCreated:Put",
        "ObjectCreated:CompleteMultipartUpload",
        "s3:ObjectCreated:Copy",
    ] {
        let event = json!({ "Records": [record(name, "a"), record("ObjectRemoved:Delete", "b")] });
        let read = Invocation::read(&event).unwrap();
        assert_eq!(uploads_of(&read), [uploaded("a")], "{name}");
    }
    for event in [
        json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-01-02T03:04:05Z", "Bucket": "layouts" }),
        json!({ "Records": [record("ObjectRemoved:Delete", "a")] }),
        eventbridge("Object Deleted", "a"),
        json!({ "source": "aws.events", "detail-type": "Scheduled Event", "detail": {} }),
        sqs(&[json!({ "Service": "Amazon S3", "Event": "s3:TestEvent" })]),
    ] {
        assert!(matches!(Invocation::read(&event), Ok(Invocation::Nothing)), "{event}");
    }
}

#[test]
fn queues_and_topics_are_read_through() {
    let all = [uploaded("a b"), uploaded("c")];
    let envelope =
        json!({ "Type": "Notification", "TopicArn": "arn", "Message": eventbridge("Object Created", "c").to_string() });
    for event in [
        sqs(&[notification("a+b"), eventbridge("Object Created", "c")]),
        sqs(&[notification("a+b"), envelope]),
        sns(&json!({ "Records": [record("ObjectCreated:Put", "a+b"), record("ObjectCreated:Post", "c")] })),
    ] {
        assert_eq!(uploads_of(&Invocation::read(&event).unwrap()), all, "{event}");
    }
}

#[test]
fn a_bad_message_fails_and_what_came_with_it_is_read() {
    for bad in [
        json!("no JSON"),
        json!({}),
        json!("[]"),
        json!({ "Records": [{ "eventSource": "aws:s3" , "eventName": "ObjectCreated:Put" }] }),
    ] {
        let read = Invocation::read(&sqs(&[notification("a"), bad.clone(), notification("b")]));
        let Ok(Invocation::Uploads(uploads, Some(refused))) = read else {
            panic!("{bad}");
        };
        assert_eq!(refused.code(), "EVENT_INVALID");
        assert_eq!(uploads, [uploaded("a"), uploaded("b")], "{bad}");
    }
    let unreadable = Invocation::read(&notification("%FF")).unwrap_err();
    assert!(
        unreadable.to_string().contains("no key that can be read"),
        "{unreadable}"
    );
}

#[test]
fn messages_in_messages_come_to_an_end() {
    let mut event = notification("a");
    for _ in 0..100 {
        event = sqs(&[event]);
        if event.to_string().len() > 100_000 {
            break;
        }
    }
    let refused = Invocation::read(&event).unwrap_err();
    assert!(refused.to_string().contains("one queue and one topic"), "{refused}");
}

#[test]
fn the_rest_is_an_order_or_refused_with_a_sentence() {
    let order = json!({ "bucket": "layouts", "prefix": "to/", "to": "zhangjiakou/core" });
    let Ok(Invocation::Order(read)) = Invocation::read(&order) else {
        panic!("{order}");
    };
    assert_eq!(
        (read.bucket.as_deref(), read.to.as_deref()),
        (Some("layouts"), Some("zhangjiakou/core"))
    );
    // Whether it says enough is for who carries it out.
    let Ok(Invocation::Order(empty)) = Invocation::read(&json!({})) else {
        panic!("an empty order");
    };
    assert_eq!(empty, Order::default());
    for (event, why) in [
        (json!({ "bukket": "layouts" }), "bukket"),
        (json!({ "bucket": 7 }), "invalid type"),
        (json!("text"), "not an object"),
        (json!([]), "not an object"),
        (json!(null), "not an object"),
        (json!({ "Records": [] }), "neither Records"),
        (json!({ "Records": 7 }), "neither Records"),
        (json!({ "Records": [7] }), "no source"),
        (json!({ "Records": [{ "eventSource": "aws:dynamodb" }] }), "no source"),
    ] {
        let refused = Invocation::read(&event).unwrap_err();
        assert!(refused.to_string().contains(why), "{event}: {refused}");
    }
}
