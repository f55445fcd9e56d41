//! The fault proxy in front of the embedded registry.

use std::sync::Arc;

use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::Digest;
use transship_testkit::faults::{Action, Ending, Fault, Script, Seeded};
use transship_testkit::images;
use transship_testkit::proxy::{Class, FaultProxy};

#[tokio::test]
async fn a_push_through_the_proxy_arrives_and_is_counted() {
    let registry = EmbeddedRegistry::builder().start().await.unwrap();
    let proxy = FaultProxy::start(registry.host()).await.unwrap();
    let (sample, repository, tag) = (
        images::image(1, &[70_000, 5]),
        "a/b".parse().unwrap(),
        "v1".parse().unwrap(),
    );
    transship_testkit::http::get(format!("{}/v2/", proxy.url()))
        .await
        .unwrap();
    sample.push_over_http(&proxy.url(), &repository, &tag).await.unwrap();
    assert_eq!(registry.digest(&repository, &tag).as_ref(), Some(&sample.root));
    let traffic = proxy.traffic();
    assert_eq!((traffic.total.requests, traffic.pings), (7, 1));
    assert_eq!(traffic.count("PUT", Class::Upload).bytes_in, sample.blobs_size());
    assert_eq!(traffic, registry.traffic());
    proxy.reset_requests();
    assert!(proxy.requests().is_empty());
}

#[tokio::test]
async fn a_large_body_passes_both_ways_exactly() {
    let registry = EmbeddedRegistry::builder().start().await.unwrap();
    let proxy = FaultProxy::start(registry.host()).await.unwrap();
    let sample = images::image(2, &[20_000_000]);
    let (repository, tag) = ("a".parse().unwrap(), "v1".parse().unwrap());
    sample.push_over_http(&proxy.url(), &repository, &tag).await.unwrap();
    for digest in sample.blobs.keys() {
        let answer = transship_testkit::http::get(format!("{}/v2/a/blobs/{digest}", proxy.url()))
            .await
            .unwrap();
        assert_eq!(answer.content_length(), Some(sample.blobs[digest].len() as u64));
        assert_eq!(&Digest::sha256(&answer.bytes().await.unwrap()), digest);
    }
}

#[tokio::test]
async fn a_scripted_fault_strikes_once_and_the_next_try_passes() {
    let registry = EmbeddedRegistry::builder().start().await.unwrap();
    let proxy = FaultProxy::start(registry.host()).await.unwrap();
    let (sample, repository, tag) = (images::image(3, &[10]), "a".parse().unwrap(), "v1".parse().unwrap());
    let script = Arc::new(Script::new([
        Fault::new("PUT", "/manifests/v1$", Action::LoseResponse).unwrap()
    ]));
    proxy.set_faults(Some(Arc::clone(&script) as _));
    let error = sample
        .push_over_http(&proxy.url(), &repository, &tag)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "REQUEST_FAILED");
    assert_eq!(
        registry.digest(&repository, &tag).as_ref(),
        Some(&sample.root),
        "the effect is there"
    );
    sample.push_over_http(&proxy.url(), &repository, &tag).await.unwrap();
    assert_eq!(script.struck(), 1);
}

#[tokio::test]
async fn a_cut_body_is_noticed_or_not_as_scripted() {
    let registry = EmbeddedRegistry::builder().start().await.unwrap();
    let proxy = FaultProxy::start(registry.host()).await.unwrap();
    let (sample, repository, tag) = (
        images::image(4, &[500_000]),
        "a".parse().unwrap(),
        "v1".parse().unwrap(),
    );
    sample.seed_into(&registry, &repository, &tag);
    let (digest, _) = sample.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let url = format!("{}/v2/a/blobs/{digest}", proxy.url());
    let cut = |ending| {
        let action = Action::CutBody {
            after_bytes: 300_000,
            ending,
        };
        Fault::new("GET", "/blobs/", action).unwrap()
    };
    proxy.set_faults(Some(Arc::new(Script::new([
        cut(Ending::Reset),
        cut(Ending::Close).nth(1),
        cut(Ending::Unnoticed).nth(1),
    ]))));
    for _ in 0..2 {
        assert!(transship_testkit::http::get(&url).await.unwrap().bytes().await.is_err());
    }
    let short = transship_testkit::http::get(&url).await.unwrap().bytes().await.unwrap();
    assert_eq!(short.len(), 300_000);
    assert_eq!(
        transship_testkit::http::get(&url)
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap()
            .len(),
        500_000
    );
}

#[tokio::test]
async fn with_seeded_faults_a_stubborn_client_still_arrives() {
    let registry = EmbeddedRegistry::builder().start().await.unwrap();
    let proxy = FaultProxy::start(registry.host()).await.unwrap();
    let seeded = Arc::new(Seeded::new(7, 20));
    proxy.set_faults(Some(Arc::clone(&seeded) as _));
    let (sample, repository, tag) = (
        images::image(5, &[1000, 10, 20]),
        "a".parse().unwrap(),
        "v1".parse().unwrap(),
    );
    let mut tries = 0;
    while sample.push_over_http(&proxy.url(), &repository, &tag).await.is_err() {
        tries += 1;
        assert!(tries < 100, "seed {} never lets it pass", seeded.seed());
    }
    assert!(seeded.struck() > 0);
    for (digest, bytes) in &sample.blobs {
        assert_eq!(registry.blob(&repository, digest).as_ref(), Some(bytes));
    }
}

#[tokio::test]
async fn a_proxy_before_nothing_says_so() {
    let port = transship_testkit::runtime_free_port().unwrap();
    let proxy = FaultProxy::start(&format!("127.0.0.1:{port}").parse().unwrap())
        .await
        .unwrap();
    assert_eq!(transship_testkit::http::get(proxy.url()).await.unwrap().status(), 502);
}
