//! Comparisons of the sites of a failover group, which go on over several messages.

use serde_json::{Value, json};
use transship_engine::ledger::{Ledger, Leg};
use transship_engine::{CompareSites, Envelope};
use transship_testkit::images;

use crate::fixture::{Fixture, TIMEOUT};

/// Repositories of the source: more than one message looks at, at the source and again at the destination.
const REPOSITORIES: usize = 1050;

/// The document of the fixture with a group.
fn document(fixture: &Fixture) -> String {
    let mut document: Value = serde_json::from_str(&fixture.document()).unwrap();
    document["registries"]["a"]["webhook"] = "none".into();
    document["rules"] = json!([
        { "name": "core", "source": { "registry": "a", "namespace": "core" }, "destination": { "registry": "b" } }
    ]);
    let site = |registry: &str, value: &str| json!({ "registry": registry, "record": { "type": "A", "value": value } });
    document["failover"] = json!([{
        "name": "main",
        "endpoint": "https://images.example.com",
        "sites": [site("a", "127.0.0.1"), site("b", "127.0.0.2")],
        "writer": "a",
        "zones": [{ "name": "public", "home": "a", "dns": { "route53": { "zone": "Z0123456789ABCDEFGHIJ" } } }],
    }]);
    document.to_string()
}

#[tokio::test]
async fn a_comparison_that_does_not_fit_into_a_message_goes_on_in_the_next_ones() {
    let fixture = Fixture::without_document(TIMEOUT).await;
    let text = document(&fixture);
    fixture.deployment.document_put(&text).await.unwrap();
    let sample = images::image(1, &[100]);
    let manifest = &sample.manifests[0];
    for number in 0..REPOSITORIES {
        let repository = format!("core/app-{number:04}").parse().unwrap();
        fixture
            .a
            .seed_manifest(&repository, &manifest.media_type, manifest.bytes.clone());
    }
    let tag = "v1".parse().unwrap();
    for (number, is_copied) in [(0, true), (1049, true), (1000, false)] {
        let repository = format!("core/app-{number:04}").parse().unwrap();
        sample.seed_into(&fixture.a, &repository, &tag);
        if is_copied {
            sample.seed_into(&fixture.b, &repository, &tag);
        }
    }
    let leg = Leg {
        rule: "core".to_owned(),
        from: "a".to_owned(),
        to: "b".to_owned(),
    };
    let (_, adapter) = fixture.ledger().await;
    let comparisons = Ledger::new(&adapter).comparisons;

    let order = CompareSites {
        failover: "main".to_owned(),
        goes_on: false,
    };
    let mut messages = vec![Envelope::new(order).to_json().unwrap()];
    let mut worked = 0;
    while let Some(message) = messages.pop() {
        assert!(
            fixture.work(&[("m", &message)]).await.is_empty(),
            "{}",
            fixture.lambda.log()
        );
        worked += 1;
        let queue = fixture.deployment.queue_url();
        messages.extend(fixture.deployment.queue_receive(queue).await.unwrap());
        let is_under_way = comparisons.unfinished(&leg).await.unwrap().is_some();
        assert_eq!(is_under_way, !messages.is_empty(), "{}", fixture.lambda.log());
    }
    assert!(worked >= 3, "{worked}");
    let known = comparisons.get(&leg).await.unwrap().unwrap();
    let whole = known.whole.unwrap();
    assert_eq!(
        (whole.images, whole.replicated, whole.missing, whole.verified),
        (3, 2, 1, 2)
    );
    assert_eq!(known.failure, None);
}
