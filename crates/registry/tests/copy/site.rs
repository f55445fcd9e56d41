//! A site of a name: asked by that name at its own addresses, also while the name leads elsewhere.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use transship_copy::Manifests as _;
use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::Target;
use transship_registry::{Options, Registry, Retries, SiteTarget, TlsMaterial, TlsSource};
use transship_testkit::images;
use transship_testkit::proxy::{Authority, Certificate, TlsProxy};

use crate::world::{name, options_of, tag};

const CLIENTS: &str = "images.example.invalid";

struct Roots(TlsMaterial);

#[async_trait]
impl TlsSource for Roots {
    async fn read(&self) -> transship_oci::Result<TlsMaterial> {
        Ok(self.0.clone())
    }
}

struct Site {
    registry: EmbeddedRegistry,
    authority: Authority,
    proxy: TlsProxy,
}

impl Site {
    async fn new(address: SocketAddr, certificate: Certificate) -> Self {
        let registry = EmbeddedRegistry::builder().start().await.unwrap();
        let authority = Authority::new().unwrap();
        let proxy = TlsProxy::start_at(address, registry.host(), &authority, certificate)
            .await
            .unwrap();
        Self {
            registry,
            authority,
            proxy,
        }
    }

    fn port(&self) -> u16 {
        self.proxy.host().as_str().rsplit_once(':').unwrap().1.parse().unwrap()
    }

    fn client(&self, allowed: &[IpAddr], target: SiteTarget) -> Registry {
        let material = TlsMaterial {
            authorities: Some(std::fs::read_to_string(self.authority.roots()).unwrap().into()),
            identity: None,
        };
        let options = Options {
            endpoint: format!("https://{CLIENTS}:{}", self.port()).parse().unwrap(),
            tls: Some(Arc::new(Roots(material))),
            retries: Retries {
                times: 0,
                ..Retries::default()
            },
            ..options_of(&self.registry)
        };
        Registry::at_site(options, allowed, target).unwrap()
    }
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

#[tokio::test]
async fn a_site_is_reached_by_the_name_of_the_clients_at_its_own_address() {
    let first = Site::new(SocketAddr::new(address(1), 0), Certificate::Of(CLIENTS)).await;
    let second = Site::new(SocketAddr::new(address(2), first.port()), Certificate::Of(CLIENTS)).await;
    for (number, site) in [(1, &first), (2, &second)] {
        images::image(number, &[100]).seed_into(&site.registry, &name("core/app"), &tag("v1"));
        let last = u8::try_from(number).unwrap();
        let client = site.client(&[address(last)], SiteTarget::Addresses(vec![address(last)]));
        let answer = client.ask_site().await.unwrap();
        assert!(answer.certificate_end.unwrap() > SystemTime::now());
        let repository = client.repository(name("core/app"));
        let found = repository
            .manifest_head(&Target::Tag(tag("v1")))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(found.digest, images::image(number, &[100]).root);
    }
}

#[tokio::test]
async fn a_certificate_of_another_name_is_not_that_of_the_clients() {
    let site = Site::new(SocketAddr::new(address(1), 0), Certificate::Right).await;
    let client = site.client(&[address(1)], SiteTarget::Addresses(vec![address(1)]));
    let error = client.ask_site().await.unwrap_err();
    assert_eq!(error.code(), "TLS_ERROR", "{error}");
    assert_eq!(site.registry.requests().len(), 0);
}

/// An alias may resolve to any address, so the ordinary rules hold; an address that the operator did not write is denied too.
#[tokio::test]
async fn only_addresses_of_the_record_are_allowed() {
    let site = Site::new(SocketAddr::new(address(1), 0), Certificate::Of(CLIENTS)).await;
    for (allowed, target) in [
        (address(2), SiteTarget::Addresses(vec![address(1)])),
        (address(2), SiteTarget::Alias("localhost".to_owned())),
        (
            "169.254.169.254".parse().unwrap(),
            SiteTarget::Addresses(vec!["169.254.169.254".parse().unwrap()]),
        ),
    ] {
        let client = site.client(&[allowed], target.clone());
        let error = client.ask_site().await.unwrap_err();
        assert_eq!(error.code(), "EGRESS_DENIED", "{target:?}: {error}");
    }
    assert_eq!(site.registry.requests().len(), 0);
}

#[tokio::test]
async fn a_site_at_which_nothing_listens_is_not_reached() {
    let site = Site::new(SocketAddr::new(address(1), 0), Certificate::Of(CLIENTS)).await;
    let client = site.client(&[address(3)], SiteTarget::Addresses(vec![address(3)]));
    let error = client.ask_site().await.unwrap_err();
    assert_eq!(error.code(), "CONNECT_FAILED", "{error}");
    let unknown = SiteTarget::Alias("registry.example.invalid".to_owned());
    assert_eq!(unknown.addresses().await.unwrap_err().code(), "CONNECT_FAILED");
}
