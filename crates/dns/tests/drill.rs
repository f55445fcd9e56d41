//! A check and a drill over real parts: BIND with TSIG and a secondary, and two docker-registries with TLS on one port at two loopback
//! addresses.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use transship_copy::SystemClock;
use transship_dns::{Discovery, Services};
use transship_engine::failover::{CheckGroup, CheckReport, DrillGroup, Due, Refresh, Slice, Zones, observe};
use transship_engine::ledger::Ledger;
use transship_engine::names::{Entry, Names, Patience, Receipt, RecordSet};
use transship_engine::{Configuration, Secrets};
use transship_oci::{Code, Error, Result, Verb};
use transship_registry::{Anonymous, Retries};
use transship_rules::{Document, Hostname, RecordKind, SecretReference, SiteRecord, ZoneService};
use transship_testkit::images;
use transship_testkit::memory::MemoryLedger;
use transship_testkit::name_server::{NameServer, Product, TSIG_KEY};
use transship_testkit::processes::DockerRegistry;
use transship_testkit::proxy::{Authority, Certificate, TlsProxy};

const CLIENTS: &str = "images.example.com";
const DRILL: &str = "drill-images.example.com";

struct Table(BTreeMap<&'static str, String>);

#[async_trait]
impl Secrets for Table {
    async fn secret(&self, reference: &SecretReference) -> Result<SecretString> {
        let found = self.0.get(reference.to_string().as_str()).cloned();
        found
            .map(Into::into)
            .ok_or_else(|| Error::of(Code::SecretUnavailable, Verb::Secret).because(reference))
    }
}

#[derive(Clone)]
struct Served(Services);

#[async_trait]
impl Zones for Served {
    async fn names(&self, service: &ZoneService) -> Result<Arc<dyn Names>> {
        Ok(self.0.names(service)?.unwrap())
    }
}

fn host(text: &str) -> Hostname {
    text.parse().unwrap()
}

fn record(address: &str) -> Entry {
    let record = SiteRecord {
        kind: RecordKind::A,
        values: vec![address.to_owned()],
    };
    Entry {
        records: vec![RecordSet::of(&record, 60)],
        ..Entry::default()
    }
}

/// What every server answers for a name.
async fn answers(names: &dyn Names, name: &str) -> Vec<Entry> {
    let answers = names.answers(&host(name), &Receipt::default()).await.unwrap();
    answers
        .into_iter()
        .map(|answer| answer.entry.unwrap().unwrap())
        .collect()
}

fn address(last: u8, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), port)
}

fn refusals(report: &CheckReport) -> Vec<&str> {
    let of_sites = report.sites.iter().flat_map(|site| &site.reasons);
    let of_zones = report.zones.iter().flat_map(|zone| &zone.reasons);
    of_sites.chain(of_zones).map(|reason| reason.code.as_str()).collect()
}

#[tokio::test]
async fn a_drill_switches_a_real_name_and_leaves_the_clients_alone() {
    let (Some(a), Some(b)) = (
        DockerRegistry::start(None).await.unwrap(),
        DockerRegistry::start(None).await.unwrap(),
    ) else {
        return;
    };
    let authority = Authority::new().unwrap();
    let certificate = Certificate::Of(CLIENTS);
    let first = TlsProxy::start_at(address(1, 0), a.host(), &authority, certificate)
        .await
        .unwrap();
    let port: u16 = first.host().as_str().rsplit_once(':').unwrap().1.parse().unwrap();
    let _second = TlsProxy::start_at(address(2, port), b.host(), &authority, certificate)
        .await
        .unwrap();
    let sample = images::image(1, &[1000, 50]);
    for registry in [&a, &b] {
        sample
            .push_over_http(
                &format!("http://{}", registry.host()),
                &"core/app".parse().unwrap(),
                &"v1".parse().unwrap(),
            )
            .await
            .unwrap();
    }
    let (primary, secondary) = NameServer::pair(Product::Bind, &["example.com"]).await.unwrap();
    let text = format!(
        r#"
version: 1
registries:
  a: {{ provider: distribution, endpoint: "https://127.0.0.1:{port}", tls: {{ authorities: "env:ROOTS" }}, webhook: none }}
  b: {{ provider: distribution, endpoint: "https://127.0.0.2:{port}", tls: {{ authorities: "env:ROOTS" }} }}
rules:
  - {{ name: core, source: {{ registry: a, namespace: core, repository: [app] }}, destination: {{ registry: b, namespace: core }} }}
failover:
  - name: main
    endpoint: "https://{CLIENTS}:{port}"
    sites:
      - {{ registry: a, record: {{ type: A, value: 127.0.0.1 }} }}
      - {{ registry: b, record: {{ type: A, value: 127.0.0.2 }} }}
    writer: a
    zones: [{{ name: inside, home: a, dns: {{ rfc2136: {{ servers: ["{}", "{}"], zone: example.com, key: "env:TSIG" }} }} }}]
"#,
        primary.address(),
        secondary.address()
    );
    let document = Document::parse(&text)
        .map_err(|errors| errors.to_string())
        .unwrap()
        .document;
    let roots = std::fs::read_to_string(authority.roots()).unwrap();
    let secrets: Arc<dyn Secrets> = Arc::new(Table(BTreeMap::from([
        ("env:ROOTS", roots),
        ("env:TSIG", TSIG_KEY.to_owned()),
    ])));
    let zones = Served(Services {
        secrets: Arc::clone(&secrets),
        clock: Arc::new(SystemClock),
        commands: BTreeMap::new(),
        discovery: Discovery::default(),
    });
    let configuration = Configuration::new(document, Arc::new(|_| Arc::new(Anonymous)), secrets, Retries::default());
    let snapshot = configuration.current();
    let group = snapshot.document.failover_group("main").unwrap().clone();
    let names = zones.names(&group.zones[0].dns).await.unwrap();
    let real = record("127.0.0.1");
    names.swap(&host(CLIENTS), &Entry::default(), &real).await.unwrap();
    // The secondary follows by itself.
    while answers(names.as_ref(), CLIENTS)
        .await
        .iter()
        .any(|entry| !entry.is_same(&real))
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let ledger = Ledger::new(&Arc::new(MemoryLedger::default()));
    let refresh = Refresh {
        snapshot: &snapshot,
        ledger: &ledger,
        clock: Arc::new(SystemClock),
        worker: "test",
        slice: Slice::within(None),
    };
    refresh.run(&group, Due::OlderThan(Duration::ZERO)).await.unwrap();
    let check = CheckGroup {
        snapshot: Arc::clone(&snapshot),
        ledger: ledger.clone(),
        zones: Arc::new(zones.clone()),
        clock: Arc::new(SystemClock),
        from: "test".to_owned(),
    };
    let report = check.run(&group).await.unwrap();
    assert!(report.ready, "{report:?}");
    assert_eq!(report.zones[0].servers.len(), 2);

    let observed = observe(&ledger.failovers, &group, &zones).await.unwrap();
    let sample = report.sites[1].facts.as_ref().unwrap().sample.clone();
    let drill = DrillGroup {
        snapshot,
        ledger: &ledger,
        zones: &zones,
        assess: &check,
        clock: Arc::new(SystemClock),
        by: "test",
        patience: Patience::default(),
    };
    let drilled = drill
        .run(&group, &observed.state, group.site("b").unwrap(), sample.as_ref())
        .await
        .unwrap();
    assert!(drilled.ok && drilled.zones[0].removed, "{drilled:?}");
    assert!(drilled.rto_ms.is_some() && drilled.rpo_seconds == Some(0));
    assert_eq!(names.read(&host(DRILL)).await.unwrap(), Entry::default());
    for entry in answers(names.as_ref(), CLIENTS).await {
        assert_eq!(entry, real, "the record of the clients is as it was");
    }

    // Half of the name servers are down.
    let down = secondary.address();
    drop(secondary);
    let report = check.run(&group).await.unwrap();
    assert_eq!(refusals(&report), Vec::<&str>::new());
    let notes = &report.zones[0].warnings;
    assert_eq!(notes[0].code, "DNS_SERVER_SILENT", "{notes:?}");
    assert!(notes[0].text.contains(&down), "{notes:?}");
}
