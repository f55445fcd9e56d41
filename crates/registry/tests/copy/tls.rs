//! TLS that is not acceptable: told once and under its code, for a person to put it right; nothing is sent.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use transship_copy::Manifests;
use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::{Persistence, RegistryHost, Target};
use transship_registry::{Options, Registry, TlsMaterial, TlsSource};
use transship_testkit::images;
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

/// The certificates that a registry's entry refers to; can be changed.
#[derive(Default)]
struct Files(Mutex<TlsMaterial>);

impl Files {
    fn of(authority: Option<&Authority>, identity: Option<&Authority>) -> TlsMaterial {
        let authorities = authority.map(|authority| std::fs::read_to_string(authority.roots()).unwrap().into());
        let identity = identity.map(|authority| authority.client().unwrap());
        TlsMaterial {
            authorities,
            identity: identity.map(|(certificate, key)| (certificate.into(), key.into())),
        }
    }
}

#[async_trait]
impl TlsSource for Files {
    async fn read(&self) -> transship_oci::Result<TlsMaterial> {
        Ok(self.0.lock().unwrap().clone())
    }
}

/// A registry with one image behind a proxy that shows `certificate`.
struct Stage {
    registry: EmbeddedRegistry,
    proxy: TlsProxy,
    files: Arc<Files>,
    client: Registry,
}

impl Stage {
    async fn new(authority: &Authority, certificate: Certificate, material: TlsMaterial) -> Self {
        let registry = EmbeddedRegistry::builder().start().await.unwrap();
        images::image(1, &[100]).seed_into(&registry, &name("core/app"), &tag("v1"));
        let proxy = TlsProxy::start(registry.host(), authority, certificate).await.unwrap();
        let files = Arc::new(Files(Mutex::new(material)));
        let client = client(&registry, proxy.host(), &files);
        Self {
            registry,
            proxy,
            files,
            client,
        }
    }

    async fn code(&self) -> Option<String> {
        let repository = self.client.repository(name("core/app"));
        let head = Manifests::manifest_head(&repository, &Target::Tag(tag("v1"))).await;
        head.err().map(|error| error.code().to_owned())
    }
}

fn client(registry: &EmbeddedRegistry, host: &RegistryHost, files: &Arc<Files>) -> Registry {
    Registry::new(Options {
        endpoint: format!("https://{host}").parse().unwrap(),
        tls: Some(Arc::clone(files) as _),
        ..options_of(registry)
    })
    .unwrap()
}

#[tokio::test]
async fn a_private_authority_of_the_registry_is_trusted() {
    let authority = Authority::new().unwrap();
    let stage = Stage::new(&authority, Certificate::Right, Files::of(Some(&authority), None)).await;
    assert_eq!(stage.code().await, None);
    assert_eq!(stage.registry.requests().len(), 1);
}

#[tokio::test]
async fn another_authority_is_refused() {
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let stage = Stage::new(&authority, Certificate::Right, Files::of(Some(&other), None)).await;
    assert_eq!(stage.code().await.as_deref(), Some("TLS_ERROR"));
    assert_eq!(stage.proxy.connections(), 1);
    assert_eq!(stage.registry.requests().len(), 0);
}

#[tokio::test]
async fn a_client_certificate_opens_a_registry_that_asks_for_one() {
    let authority = Authority::new().unwrap();
    let mutual = Certificate::Mutual;
    let stage = Stage::new(&authority, mutual, Files::of(Some(&authority), Some(&authority))).await;
    assert_eq!(stage.code().await, None);
    let without = Stage::new(&authority, mutual, Files::of(Some(&authority), None)).await;
    assert_eq!(without.code().await.as_deref(), Some("TLS_ERROR"));
    let stranger = Authority::new().unwrap();
    let wrong = Stage::new(&authority, mutual, Files::of(Some(&authority), Some(&stranger))).await;
    assert_eq!(wrong.code().await.as_deref(), Some("TLS_ERROR"));
    assert_eq!(without.registry.requests().len() + wrong.registry.requests().len(), 0);
}

#[tokio::test]
async fn certificates_are_read_again_after_a_refusal() {
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let stage = Stage::new(&authority, Certificate::Right, Files::of(Some(&other), None)).await;
    assert_eq!(stage.code().await.as_deref(), Some("TLS_ERROR"));
    *stage.files.0.lock().unwrap() = Files::of(Some(&authority), None);
    assert_eq!(stage.code().await, None);
}

#[tokio::test]
async fn what_is_not_pem_is_a_tls_error() {
    let authority = Authority::new().unwrap();
    let nothing = TlsMaterial {
        authorities: Some("nothing".to_owned().into()),
        identity: None,
    };
    let key_missing = TlsMaterial {
        authorities: None,
        identity: Some((authority.client().unwrap().0.into(), "secret canary".to_owned().into())),
    };
    for material in [nothing, key_missing] {
        let stage = Stage::new(&authority, Certificate::Right, material).await;
        assert_eq!(stage.code().await.as_deref(), Some("TLS_ERROR"));
        assert_eq!(stage.proxy.connections(), 0);
    }
}
