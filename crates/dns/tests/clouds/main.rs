//! `PrivateZone` and Private DNS against a stand-in that verifies signatures.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod stand_in;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use secrecy::SecretString;
use transship_copy::{Clock, SystemClock};
use transship_dns::{private_dns, private_zone};
use transship_engine::Secrets;
use transship_engine::names::{Entry, Names, RecordSet, Stamp, Switch, switch};
use transship_oci::{Code, Result};
use transship_rules::{CloudZone, Hostname, RecordKind, SecretReference, SiteRecord};
use transship_testkit::suites::{self, EXTERNAL_DNS, NamesUnderTest, OWNED};

use stand_in::{ID, SECRET, Shared, ZONE, Zone};

/// A change of the zone that makes the service refuse.
type Spoil = fn(&mut Zone);

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

/// The system's clock, ahead of the time.
struct Ahead(Duration);

impl Clock for Ahead {
    fn now(&self) -> SystemTime {
        SystemTime::now() + self.0
    }
}

#[derive(Debug, Clone, Copy)]
enum Cloud {
    Alibaba,
    Tencent,
}

const CLOUDS: [Cloud; 2] = [Cloud::Alibaba, Cloud::Tencent];

struct Client<'a> {
    zone: &'a str,
    secret: String,
    clock: Arc<dyn Clock>,
}

impl Default for Client<'_> {
    fn default() -> Self {
        Self {
            zone: ZONE,
            secret: format!("{ID}:{SECRET}"),
            clock: Arc::new(SystemClock),
        }
    }
}

impl Client<'_> {
    fn names(self, cloud: Cloud, endpoint: &str) -> Arc<dyn Names> {
        let zone = CloudZone {
            zone: self.zone.to_owned(),
            credentials: "env:KEY".parse().unwrap(),
            region: None,
            endpoint: Some(url::Url::parse(endpoint).unwrap()),
        };
        let secrets = Arc::new(OneSecret(self.secret));
        match cloud {
            Cloud::Alibaba => private_zone(&zone, secrets, self.clock),
            Cloud::Tencent => private_dns(&zone, secrets, self.clock),
        }
        .unwrap()
    }
}

fn name() -> Hostname {
    "images.example.com".parse().unwrap()
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

fn wanted() -> Switch {
    Switch {
        name: name(),
        from: alias("a.example.net"),
        to: alias("b.example.net"),
        ttl_seconds: 60,
        stamp: Stamp::new(1, "b", "test"),
    }
}

async fn with(change: impl FnOnce(&mut Zone)) -> (Shared, String) {
    let mut zone = Zone::default();
    zone.add("images", "CNAME", "A.example.net.", 600);
    change(&mut zone);
    let zone = Arc::new(Mutex::new(zone));
    let endpoint = stand_in::start(Arc::clone(&zone)).await;
    (zone, endpoint)
}

async fn keeps_its_promises(cloud: Cloud) {
    let make = async || {
        let mut zone = Zone::default();
        zone.add(&format!("a-{OWNED}"), "TXT", EXTERNAL_DNS, 300);
        let endpoint = stand_in::start(Arc::new(Mutex::new(zone))).await;
        NamesUnderTest {
            names: Client::default().names(cloud, &endpoint),
            zone: "example.com".parse().unwrap(),
        }
    };
    suites::names(make).await;
}

#[tokio::test]
async fn private_zone_keeps_the_promises_of_the_port() {
    keeps_its_promises(Cloud::Alibaba).await;
}

#[tokio::test]
async fn private_dns_keeps_the_promises_of_the_port() {
    keeps_its_promises(Cloud::Tencent).await;
}

#[tokio::test]
async fn a_record_that_the_console_made_is_switched_in_place() {
    for cloud in CLOUDS {
        let (zone, endpoint) = with(|_| ()).await;
        let names = Client::default().names(cloud, &endpoint);
        assert!(!names.is_atomic());
        let switched = switch(&*names, &wanted()).await.unwrap();
        assert_eq!(
            switched.before,
            Entry {
                records: vec![RecordSet::of(&alias("a.example.net"), 600)],
                ..Entry::default()
            }
        );
        let zone = zone.lock().unwrap();
        let writes: Vec<&str> = zone
            .calls
            .iter()
            .map(String::as_str)
            .filter(|call| !call.starts_with("Describe"))
            .collect();
        let (create, update) = match cloud {
            Cloud::Alibaba => ("AddZoneRecord", "UpdateZoneRecord"),
            Cloud::Tencent => ("CreatePrivateZoneRecord", "ModifyPrivateZoneRecord"),
        };
        assert_eq!(
            writes,
            [create, update],
            "the epoch first, and the name is never without a record"
        );
        assert!(
            zone.records
                .iter()
                .any(|record| record.host == "_transship.images" && record.kind == "TXT")
        );
    }
}

#[tokio::test]
async fn every_page_is_read() {
    for cloud in CLOUDS {
        let (_, endpoint) = with(|zone| {
            for number in 0..230 {
                zone.add(&format!("h{number}"), "A", "10.0.0.1", 60);
            }
            zone.add("cname-images", "TXT", EXTERNAL_DNS, 60);
        })
        .await;
        let error = switch(&*Client::default().names(cloud, &endpoint), &wanted())
            .await
            .unwrap_err();
        assert!(error.is(Code::DnsRecordOwned), "{cloud:?}: {error}");
    }
}

#[tokio::test]
async fn what_a_service_refuses_has_its_code_and_changes_nothing() {
    for cloud in CLOUDS {
        let other = || Client {
            secret: format!("{ID}:hunter2"),
            ..Client::default()
        };
        let unknown = || Client {
            secret: format!("AKIDother:{SECRET}"),
            ..Client::default()
        };
        let invalid = || Client {
            secret: "hunter2".to_owned(),
            ..Client::default()
        };
        let ahead = || Client {
            clock: Arc::new(Ahead(Duration::from_mins(20))),
            ..Client::default()
        };
        let missing = || Client {
            zone: "zone-2",
            ..Client::default()
        };
        let plain: Spoil = |_| ();
        let cases: [(Client<'_>, Spoil, Code); 9] = [
            (other(), plain, Code::DnsRefused),
            (unknown(), plain, Code::DnsRefused),
            (invalid(), plain, Code::SecretUnavailable),
            (ahead(), plain, Code::DnsClockSkew),
            (missing(), plain, Code::DnsZoneInvalid),
            (Client::default(), |zone| zone.is_read_only = true, Code::DnsRefused),
            (Client::default(), |zone| zone.is_lazy = true, Code::DnsNotChanged),
            (Client::default(), |zone| zone.hidden = 1, Code::DnsUnavailable),
            (
                Client::default(),
                |zone| zone.records[0].is_enabled = false,
                Code::DnsRecordUnsupported,
            ),
        ];
        for (number, (client, change, code)) in cases.into_iter().enumerate() {
            let (zone, endpoint) = with(change).await;
            let error = switch(&*client.names(cloud, &endpoint), &wanted()).await.unwrap_err();
            assert!(error.is(code), "{cloud:?} {number}: {error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
            let records = &zone.lock().unwrap().records;
            assert_eq!(
                (records.len(), records[0].value.as_str()),
                (1, "A.example.net."),
                "{cloud:?} {number}"
            );
        }
    }
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_unavailable() {
    // Nothing listens at its port while the socket is held.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = format!("http://{}", socket.local_addr().unwrap());
    for cloud in CLOUDS {
        let names = Client::default().names(cloud, &endpoint);
        let error = names.read(&name()).await.unwrap_err();
        assert!(error.is(Code::DnsUnavailable), "{error}");
        let error = names
            .swap(&name(), &entry("a.example.net"), &entry("b.example.net"))
            .await
            .unwrap_err();
        assert!(error.is(Code::DnsUnavailable), "{error}");
    }
}
