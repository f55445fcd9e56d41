//! TLS that is not acceptable: told once and under its code, for a person to put it right; nothing is sent.

use transship_copy::Manifests;
use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::{Persistence, Target};
use transship_registry::{Options, Registry};
use transship_testkit::proxy::{Authority, Certificate, TlsProxy};

use crate::world::{name, options_of, tag};

/// What a client says who asks for a manifest at `endpoint`, where it should find `registry`.
async fn told(registry: &EmbeddedRegistry, endpoint: &str) -> transship_oci::Error {
    let client = Registry::new(Options {
        endpoint: endpoint.parse().unwrap(),
        ..options_of(registry)
    });
    let repository = client.unwrap().repository(name("core/app"));
    let target = Target::Tag(tag("v1"));
    repository.manifest_head(&target).await.unwrap_err()
}

fn assert_told(error: &transship_oci::Error) {
    assert_eq!(error.code(), "TLS_ERROR", "{error}");
    assert_eq!(error.persistence(), Persistence::Persistent);
}

#[tokio::test]
async fn a_certificate_of_nobody_is_met_once() {
    let registry = EmbeddedRegistry::builder().start().await.unwrap();
    let authority = Authority::new().unwrap();
    let proxy = TlsProxy::start(registry.host(), &authority, Certificate::SelfSigned)
        .await
        .unwrap();
    assert_told(&told(&registry, &proxy.url()).await);
    assert_eq!(proxy.connections(), 1, "it is not tried again within an attempt");
    assert_eq!(registry.requests().len(), 0);
}

#[tokio::test]
async fn a_registry_without_tls_is_told_as_such() {
    let registry = EmbeddedRegistry::builder().start().await.unwrap();
    assert_told(&told(&registry, &format!("https://{}", registry.host())).await);
    assert_eq!(registry.requests().len(), 0);
}
