//! Zones whose document names no server: the servers are those of the zone's records. Everything is on loopback: the resolver is
//! the primary server, and the servers of a zone share a port at several addresses.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use transship_copy::SystemClock;
use transship_dns::{Discovery, DynamicUpdates};
use transship_engine::Secrets;
use transship_engine::names::{Entry, Names as _, Patience, Receipt, RecordSet, Stamp, Switch, confirm, switch};
use transship_oci::{Code, Result};
use transship_rules::{Hostname, RecordKind, SecretReference, ServerAddress, SiteRecord};
use transship_testkit::name_server::{NameServer, Product, TSIG_KEY};

/// A short wait: some servers of these tests never become current.
const BRIEF: Patience = Patience {
    times: 2,
    pause: Duration::from_millis(10),
};

struct OneSecret;

#[async_trait]
impl Secrets for OneSecret {
    async fn secret(&self, _: &SecretReference) -> Result<SecretString> {
        Ok(SecretString::from(TSIG_KEY))
    }
}

fn at(host: &str, port: u16) -> ServerAddress {
    let host = host.to_owned();
    ServerAddress { host, port }
}

/// The zone, with the resolvers at these addresses.
fn found(resolvers: &[ServerAddress], zone: &str, port: u16) -> DynamicUpdates {
    let key = "env:TSIG".parse().unwrap();
    let clock = Arc::new(SystemClock);
    let updates = DynamicUpdates::new(Vec::new(), zone.parse().unwrap(), key, Arc::new(OneSecret), clock);
    updates.with_discovery(Discovery::new(resolvers.to_vec(), port))
}

fn alias(target: &str) -> SiteRecord {
    SiteRecord {
        kind: RecordKind::Cname,
        values: vec![target.to_owned()],
    }
}

fn name() -> Hostname {
    "images.example.com".parse().unwrap()
}

async fn begin(names: &DynamicUpdates) {
    let entry = Entry {
        records: vec![RecordSet::of(&alias("a.example.net"), 60)],
        ..Entry::default()
    };
    names.swap(&name(), &Entry::default(), &entry).await.unwrap();
}

fn wanted() -> Switch {
    Switch {
        name: name(),
        from: alias("a.example.net"),
        to: alias("b.example.net"),
        ttl_seconds: 60,
        stamp: Stamp::new(1, "b", "test"),
    }
}

/// The update goes to the primary server of the SOA record, and every server of the NS records is asked.
#[tokio::test]
async fn the_servers_are_those_that_the_zone_names() {
    for product in [Product::Bind, Product::Knot] {
        let servers = NameServer::named(product, "example.com", 2, 2).await.unwrap();
        let port = servers[0].port();
        let names = found(&[at("127.0.0.1", port)], "example.com", port);
        begin(&names).await;
        let switched = switch(&names, &wanted()).await.unwrap();
        let confirmation = confirm(&names, &name(), &switched, Patience::default()).await.unwrap();
        confirmation.check(&name()).unwrap();
        let expected = [
            format!("ns1.example.com (127.0.0.1:{port})"),
            format!("ns2.example.com (127.0.0.2:{port})"),
        ];
        assert_eq!(confirmation.current, expected, "{product:?}");
        assert!(confirmation.silent().is_empty());
    }
}

/// Half of the secondary servers are down: the switch is confirmed by the others, and those are named.
#[tokio::test]
async fn servers_that_are_down_are_named_and_do_not_keep_a_switch() {
    let servers = NameServer::named(Product::Bind, "example.com", 3, 5).await.unwrap();
    let port = servers[0].port();
    let names = found(&[at("127.0.0.1", port)], "example.com", port);
    begin(&names).await;
    let switched = switch(&names, &wanted()).await.unwrap();
    let confirmation = confirm(&names, &name(), &switched, Patience::default()).await.unwrap();
    confirmation.check(&name()).unwrap();
    assert_eq!(confirmation.current.len(), 3, "{:?}", confirmation.current);
    let silent = confirmation.silent();
    assert_eq!(silent.len(), 2, "{silent:?}");
    for (number, line) in [4, 5].into_iter().zip(&silent) {
        let server = format!("ns{number}.example.com (127.0.0.{number}:{port}): ");
        assert!(line.starts_with(&server), "{line}");
    }
}

/// A server that answers with the old record keeps a switch, also if every other one has the new record.
#[tokio::test]
async fn a_server_that_never_hears_of_the_change_keeps_a_switch() {
    let servers = NameServer::named(Product::Bind, "example.com", 1, 2).await.unwrap();
    let port = servers[0].port();
    let names = found(&[at("127.0.0.1", port)], "example.com", port);
    begin(&names).await;
    // ns2 has the zone, and never transfers it from ns1.
    let _stale = NameServer::read_only_at(Product::Knot, &["example.com"], ("127.0.0.2", port))
        .await
        .unwrap();
    let switched = switch(&names, &wanted()).await.unwrap();
    let confirmation = confirm(&names, &name(), &switched, BRIEF).await.unwrap();
    let error = confirmation.check(&name()).unwrap_err();
    assert!(error.is(Code::DnsNotSettled), "{error}");
    assert!(error.to_string().contains("ns2.example.com (127.0.0.2:"), "{error}");
}

#[tokio::test]
async fn a_resolver_that_is_down_is_followed_by_the_next_one() {
    let servers = NameServer::named(Product::Bind, "example.com", 1, 1).await.unwrap();
    let port = servers[0].port();
    // Nothing listens at the second address.
    let (down, up) = (at("127.0.0.2", port), at("127.0.0.1", port));
    let names = found(&[down.clone(), up], "example.com", port);
    assert_eq!(names.read(&name()).await.unwrap(), Entry::default());
    let names = found(&[down], "example.com", port);
    for error in [
        names.read(&name()).await.unwrap_err(),
        names.answers(&name(), &Receipt::default()).await.unwrap_err(),
    ] {
        assert!(error.is(Code::DnsUnavailable), "{error}");
        assert!(error.to_string().contains("127.0.0.2"), "{error}");
    }
}

#[tokio::test]
async fn a_name_that_is_no_zone_is_named() {
    let servers = NameServer::named(Product::Bind, "example.com", 1, 1).await.unwrap();
    let port = servers[0].port();
    // It exists, and has no servers of its own.
    let names = found(&[at("127.0.0.1", port)], "ns1.example.com", port);
    let error = names
        .read(&"images.ns1.example.com".parse().unwrap())
        .await
        .unwrap_err();
    assert!(error.is(Code::DnsZoneInvalid), "{error}");
    assert!(error.to_string().contains("write `servers`"), "{error}");
}
