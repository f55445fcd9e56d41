//! The delay proxy delays bytes, does not change them, and does not limit the bandwidth.

use std::time::{Duration, Instant};

use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::VirtualBlob;
use transship_oci::{Digest, Repository};
use transship_testkit::proxy::DelayProxy;

const ROUND_TRIP: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_request_costs_one_round_trip_and_a_connection_one_more() {
    let registry = EmbeddedRegistry::builder().start().await.unwrap();
    let proxy = DelayProxy::start(registry.host(), ROUND_TRIP).await.unwrap();
    let (client, url) = (transship_testkit::http::client(), format!("{}/v2/", proxy.url()));
    for round_trips in [2, 1, 1] {
        let start = Instant::now();
        client.get(&url).send().await.unwrap();
        let elapsed = start.elapsed();
        // Only the lower bound is the proxy's promise; the upper one would measure this machine.
        assert!(elapsed >= ROUND_TRIP * round_trips, "{elapsed:?} for {round_trips}");
    }
    assert_eq!(registry.requests().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_stay_exact_and_wait_together() {
    let registry = EmbeddedRegistry::builder().start().await.unwrap();
    let repository: Repository = "a".parse().unwrap();
    let digest = registry
        .seed_virtual_blob(&repository, &VirtualBlob::new(1, 3_000_000))
        .digest;
    let proxy = DelayProxy::start(registry.host(), ROUND_TRIP).await.unwrap();
    let url = format!("{}/v2/a/blobs/{digest}", proxy.url());
    let start = Instant::now();
    let reads = (0..20).map(|_| async {
        let answer = transship_testkit::http::get(&url).await.unwrap();
        Digest::sha256(&answer.bytes().await.unwrap())
    });
    for read in futures_util::future::join_all(reads).await {
        assert_eq!(read, digest);
    }
    // 20 reads of 46 chunks: in sequence, or with one chunk per round trip, this takes more than 2 s even on an idle machine.
    println!("20 reads of 3 MB at 50 ms: {:?}", start.elapsed());
    assert_eq!(registry.requests().len(), 20);
}

#[tokio::test]
async fn a_dropped_proxy_cuts_its_connections() {
    let registry = EmbeddedRegistry::builder().start().await.unwrap();
    let proxy = DelayProxy::start(registry.host(), Duration::ZERO).await.unwrap();
    let (client, url) = (transship_testkit::http::client(), format!("{}/v2/", proxy.url()));
    client.get(&url).send().await.unwrap();
    drop(proxy);
    assert!(client.get(&url).send().await.is_err());
}
