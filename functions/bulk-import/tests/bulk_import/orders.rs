//! Orders, by a direct invocation.

use serde_json::json;
use transship_engine::{Job, Trigger};

use crate::fixture::Fixture;

#[tokio::test]
async fn an_order_becomes_a_search_of_its_execution() {
    let fixture = Fixture::start().await;
    let by_path = json!({ "bucket": "other", "prefix": "seed/", "to": "zhangjiakou/team" });
    let by_host = json!({ "bucket": "other", "to": "zhangjiakou.example.com/team" });
    let by_name = json!({ "import": "seed" });
    for (order, rule, store, path) in [
        (by_path, "import", "s3://other", "team"),
        (by_host, "import", "s3://other", "team"),
        (by_name, "seed", "s3://layouts", "core"),
    ] {
        let answer = fixture.answer(&order).await;
        let sent = fixture.sent().await;
        let [Job::List(search)] = sent.as_slice() else {
            panic!("{sent:?}");
        };
        assert_eq!(answer, json!({ "execution": search.execution.id }), "{order}");
        assert_eq!(search.execution.trigger, Trigger::Import);
        assert_eq!((search.execution.rule.as_str(), search.store.as_str()), (rule, store));
        assert_eq!(search.import.registry, "zhangjiakou");
        assert_eq!(search.import.path.as_ref().unwrap().as_str(), path);
    }
}

#[tokio::test]
async fn a_repeated_request_is_the_same_order_and_another_one_is_not() {
    let mut fixture = Fixture::start().await;
    let order = json!({ "import": "seed" });
    let first = fixture.answer(&order).await;
    assert_ne!(fixture.answer(&order).await, first);
    fixture.repeat();
    assert_eq!(fixture.answer(&order).await, first);
}

#[tokio::test]
async fn a_refused_order_says_its_code_and_why() {
    let fixture = Fixture::start().await;
    for (order, code, why) in [
        (json!({}), "ORDER_INVALID", "either to"),
        (
            json!({ "bucket": "other", "to": "zhangjiakou", "import": "seed" }),
            "ORDER_INVALID",
            "either to",
        ),
        (json!({ "to": "zhangjiakou/team" }), "ORDER_INVALID", "bucket"),
        (json!({ "import": "missing" }), "UNKNOWN_IMPORT", "missing"),
        (
            json!({ "bucket": "other", "to": "elsewhere/team" }),
            "UNKNOWN_REGISTRY",
            "elsewhere",
        ),
        (json!({ "bukket": "other" }), "EVENT_INVALID", "bukket"),
        (json!("text"), "EVENT_INVALID", "nor an order"),
        (json!({ "Records": [] }), "EVENT_INVALID", "not an event"),
    ] {
        let refused = fixture.refusal(&order).await;
        assert_eq!(refused.0, code, "{order}: {}", refused.1);
        assert!(refused.1.contains(why), "{order}: {}", refused.1);
    }
    assert!(fixture.sent().await.is_empty());
    assert_eq!(fixture.lambda.starts().len(), 1, "no refusal ends the process");
}

#[tokio::test]
async fn an_order_that_cannot_be_made_durable_fails_its_invocation() {
    let fixture = Fixture::start().await;
    let queue = fixture.deployment.queue_url().to_owned();
    fixture.deployment.queue_remove(&queue).await.unwrap();
    let (code, sentence) = fixture.refusal(&json!({ "import": "seed" })).await;
    assert_eq!(code, "QUEUE_UNAVAILABLE", "{sentence}");
}

#[tokio::test]
async fn without_a_table_an_order_is_taken_all_the_same() {
    let fixture = Fixture::start().await;
    fixture.deployment.table_remove().await.unwrap();
    fixture.answer(&json!({ "import": "seed" })).await;
    assert_eq!(fixture.sent().await.len(), 1);
}
