//! Dynamic updates at real name servers: BIND and Knot DNS, with one suite for both.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use secrecy::SecretString;
use transship_copy::{Clock, SystemClock};
use transship_dns::DynamicUpdates;
use transship_engine::Secrets;
use transship_engine::names::{Entry, Names, Patience, RecordSet, Stamp, Switch, confirm, switch};
use transship_oci::{Code, Result};
use transship_rules::{Hostname, RecordKind, SecretReference, ServerAddress, SiteRecord};
use transship_testkit::name_server::{NameServer, Product, TSIG_KEY};
use transship_testkit::suites::{self, NamesUnderTest};

/// One secret under every name.
struct OneSecret(String);

#[async_trait]
impl Secrets for OneSecret {
    async fn secret(&self, _: &SecretReference) -> Result<SecretString> {
        Ok(self.0.clone().into())
    }

    async fn secret_anew(&self, _: &SecretReference, _: Duration) -> Result<Option<SecretString>> {
        Ok(Some(self.0.clone().into()))
    }
}

/// The system's clock, moved.
struct MovedClock {
    ahead: Duration,
    behind: Duration,
}

impl Clock for MovedClock {
    fn now(&self) -> SystemTime {
        SystemTime::now() + self.ahead - self.behind
    }
}

fn servers(ports: &[u16]) -> Vec<ServerAddress> {
    let address = |port: &u16| ServerAddress {
        host: "127.0.0.1".to_owned(),
        port: *port,
    };
    ports.iter().map(address).collect()
}

fn zone(name: &str) -> Hostname {
    name.parse().unwrap()
}

fn with(ports: &[u16], zone_name: &str, key: &str, clock: Arc<dyn Clock>) -> DynamicUpdates {
    let reference = "env:TSIG".parse().unwrap();
    let secrets = Arc::new(OneSecret(key.to_owned()));
    DynamicUpdates::new(servers(ports), zone(zone_name), reference, secrets, clock)
}

fn names(ports: &[u16], zone_name: &str) -> DynamicUpdates {
    with(ports, zone_name, TSIG_KEY, Arc::new(SystemClock))
}

fn alias(target: &str) -> SiteRecord {
    SiteRecord {
        kind: RecordKind::Cname,
        values: vec![target.to_owned()],
    }
}

fn entry(target: &str) -> Entry {
    Entry {
        records: vec![RecordSet::of(&alias(target), 60)],
        ..Entry::default()
    }
}

fn wanted(name: &Hostname, epoch: u64) -> Switch {
    Switch {
        name: name.clone(),
        from: alias("a.example.net"),
        to: alias("b.example.net"),
        ttl_seconds: 60,
        stamp: Stamp::new(epoch, "b", "test"),
    }
}

/// A port at which nothing listens while the socket is held.
fn closed_port() -> (tokio::net::TcpSocket, u16) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

/// A short wait: the servers of these tests never become current.
const BRIEF: Patience = Patience {
    times: 2,
    pause: Duration::from_millis(10),
};

async fn keeps_its_promises(product: Product) {
    let zones: Vec<String> = (0..15).map(|number| format!("z{number}.example")).collect();
    let zones: Vec<&str> = zones.iter().map(String::as_str).collect();
    let server = NameServer::primary(product, &zones).await.unwrap();
    let used = AtomicUsize::new(0);
    let make = async || {
        let next = zones[used.fetch_add(1, Ordering::Relaxed)];
        NamesUnderTest {
            names: Arc::new(names(&[server.port()], next)),
            zone: zone(next),
        }
    };
    suites::names(make).await;
}

#[tokio::test]
async fn bind_keeps_the_promises_of_the_port() {
    keeps_its_promises(Product::Bind).await;
}

#[tokio::test]
async fn knot_keeps_the_promises_of_the_port() {
    keeps_its_promises(Product::Knot).await;
}

#[tokio::test]
async fn a_clock_that_is_wrong_by_five_minutes_is_named() {
    for product in [Product::Bind, Product::Knot] {
        let server = NameServer::primary(product, &["example.com"]).await.unwrap();
        let name = zone("images.example.com");
        // A signature is valid for 300 s. Ten minutes leave room for a slow machine.
        let wrong = Duration::from_mins(10);
        for (ahead, behind) in [(wrong, Duration::ZERO), (Duration::ZERO, wrong)] {
            let clock = Arc::new(MovedClock { ahead, behind });
            let names = with(&[server.port()], "example.com", TSIG_KEY, clock);
            let error = names
                .swap(&name, &Entry::default(), &entry("a.example.net"))
                .await
                .unwrap_err();
            assert!(error.is(Code::DnsClockSkew), "{product:?}: {error}");
            let error = names.allows_change(&name, &Entry::default()).await.unwrap_err();
            assert!(error.is(Code::DnsClockSkew), "{product:?}: {error}");
        }
        let names = names(&[server.port()], "example.com");
        assert_eq!(names.read(&name).await.unwrap(), Entry::default(), "{product:?}");
    }
}

#[tokio::test]
async fn a_key_without_the_right_is_refused_and_changes_nothing() {
    let (algorithm, other) = ("hmac-sha256", "YW5vdGhlciBzZWNyZXQ=");
    for product in [Product::Bind, Product::Knot] {
        let server = NameServer::primary(product, &["example.com"]).await.unwrap();
        let read_only = NameServer::read_only(product, &["example.org"]).await.unwrap();
        for (port, zone_name, key, code) in [
            (read_only.port(), "example.org", TSIG_KEY.to_owned(), Code::DnsRefused),
            (
                server.port(),
                "example.com",
                format!("transship:{algorithm}:{other}"),
                Code::DnsRefused,
            ),
            (
                server.port(),
                "example.com",
                format!("unknown:{algorithm}:{other}"),
                Code::DnsRefused,
            ),
            (
                server.port(),
                "example.com",
                "transship".to_owned(),
                Code::SecretUnavailable,
            ),
        ] {
            let name = zone(&format!("images.{zone_name}"));
            let names = with(&[port], zone_name, &key, Arc::new(SystemClock));
            let error = names
                .swap(&name, &Entry::default(), &entry("a.example.net"))
                .await
                .unwrap_err();
            assert!(error.is(code), "{product:?}, {key}: {error}");
            // The same is known before.
            let error = names.allows_change(&name, &Entry::default()).await.unwrap_err();
            assert!(error.is(code), "{product:?}, {key}: {error}");
            assert!(!error.to_string().contains(other), "{error}");
            assert_eq!(names.read(&name).await.unwrap(), Entry::default(), "{product:?}, {key}");
        }
    }
}

#[tokio::test]
async fn a_zone_that_the_server_does_not_have_is_named() {
    for product in [Product::Bind, Product::Knot] {
        let server = NameServer::primary(product, &["example.com"]).await.unwrap();
        let names = names(&[server.port()], "example.org");
        let error = names.read(&zone("images.example.org")).await.unwrap_err();
        assert!(
            matches!(error.kind(), Code::DnsRefused | Code::DnsZoneInvalid),
            "{product:?}: {error}"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_unavailable() {
    let (_held, port) = closed_port();
    let names = names(&[port], "example.com");
    let error = names.read(&zone("images.example.com")).await.unwrap_err();
    assert!(error.is(Code::DnsUnavailable), "{error}");
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}

/// The server would remove the old record and then ignore the alias.
#[tokio::test]
async fn a_record_beside_an_alias_stops_the_change() {
    for product in [Product::Bind, Product::Knot] {
        let server = NameServer::primary(product, &["example.com"]).await.unwrap();
        let names = names(&[server.port()], "example.com");
        // The first name has a TXT record, the second is the zone.
        for name in ["a-owned.example.com", "example.com"] {
            let name = zone(name);
            let error = names
                .swap(&name, &Entry::default(), &entry("a.example.net"))
                .await
                .unwrap_err();
            assert!(error.is(Code::DnsRecordChanged), "{product:?}: {error}");
        }
    }
}

#[tokio::test]
async fn a_secondary_follows_and_one_that_is_down_is_named() {
    for product in [Product::Bind, Product::Knot] {
        let (primary, secondary) = NameServer::pair(product, &["example.com"]).await.unwrap();
        let name = zone("images.example.com");
        let both = names(&[primary.port(), secondary.port()], "example.com");
        both.swap(&name, &Entry::default(), &entry("a.example.net"))
            .await
            .unwrap();
        let switched = switch(&both, &wanted(&name, 1)).await.unwrap();
        let confirmation = confirm(&both, &name, &switched, Patience::default()).await.unwrap();
        confirmation.check(&name).unwrap();
        assert_eq!(confirmation.current, [primary.address(), secondary.address()]);

        let (_held, down) = closed_port();
        let half = names(&[primary.port(), secondary.port(), down], "example.com");
        let confirmation = confirm(&half, &name, &switched, BRIEF).await.unwrap();
        assert_eq!(confirmation.current.len(), 2);
        confirmation.check(&name).unwrap();
        let silent = confirmation.silent();
        assert_eq!(silent.len(), 1, "{silent:?}");
        assert!(silent[0].starts_with(&format!("127.0.0.1:{down}: ")), "{silent:?}");

        // Nobody confirms it where no server answers.
        let none = names(&[down], "example.com");
        let confirmation = confirm(&none, &name, &switched, BRIEF).await.unwrap();
        let error = confirmation.check(&name).unwrap_err();
        assert!(error.is(Code::DnsNotSettled), "{error}");
        let sentence = format!("0 of 1 servers are current; 127.0.0.1:{down} does not answer (DNS_UNAVAILABLE)");
        assert!(error.to_string().contains(&sentence), "{error}");
    }
}

#[tokio::test]
async fn a_secondary_with_old_records_is_shown() {
    let primary = NameServer::primary(Product::Bind, &["example.com"]).await.unwrap();
    // It has the zone, and never hears of a change.
    let stale = NameServer::read_only(Product::Knot, &["example.com"]).await.unwrap();
    let name = zone("images.example.com");
    let names = names(&[primary.port(), stale.port()], "example.com");
    names
        .swap(&name, &Entry::default(), &entry("a.example.net"))
        .await
        .unwrap();
    let switched = switch(&names, &wanted(&name, 1)).await.unwrap();
    let confirmation = confirm(&names, &name, &switched, BRIEF).await.unwrap();
    let error = confirmation.check(&name).unwrap_err();
    let sentence = format!("1 of 2 servers are current; {} answers no record", stale.address());
    assert!(
        error.is(Code::DnsNotSettled) && error.to_string().contains(&sentence),
        "{error}"
    );
}

/// A secondary server changes nothing, whether it says NOTAUTH, NOTIMP or REFUSED.
#[tokio::test]
async fn an_update_to_a_server_that_is_not_the_primary_one_changes_nothing() {
    for product in [Product::Bind, Product::Knot] {
        let (primary, secondary) = NameServer::pair(product, &["example.com"]).await.unwrap();
        let name = zone("images.example.com");
        let wrong = names(&[secondary.port()], "example.com");
        let error = wrong
            .swap(&name, &Entry::default(), &entry("a.example.net"))
            .await
            .unwrap_err();
        assert!(
            matches!(error.kind(), Code::DnsRefused | Code::DnsZoneInvalid),
            "{product:?}: {error}"
        );
        let right = names(&[primary.port()], "example.com");
        assert_eq!(right.read(&name).await.unwrap(), Entry::default(), "{product:?}");
    }
}
