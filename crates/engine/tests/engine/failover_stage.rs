//! A failover group on loopback: two sites with TLS on one port at two addresses, and zones in memory.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::SecretString;
use transship_copy::Clock as _;
use transship_embedded_registry::{Auth, EmbeddedRegistry};
use transship_engine::failover::{
    CheckGroup, CheckReport, DrillGroup, DrillReport, Due, OperationKind, Order, Refresh, Slice, Switched, Switchover,
    Zones, compare_interval, is_due, observe, rules_between, writer_of,
};
use transship_engine::ledger::Ledger;
use transship_engine::names::{Answer, Entry, Names, Patience, Receipt, RecordSet, Stamp};
use transship_engine::{Configuration, ImageRef, Replica, Secrets, Snapshot};
use transship_oci::{Code, Digest, Error, RegistryHost, Repository, Result, Target, Verb};
use transship_registry::{Credentials, Login, Retries};
use transship_rules::{Document, Failover, Hostname, SecretReference, ZoneService};
use transship_testkit::clock::ManualClock;
use transship_testkit::images::{self, Sample};
use transship_testkit::memory::{MemoryLedger, MemoryNames};
use transship_testkit::proxy::{Authority, Certificate, TlsProxy};

use crate::fixture::{name, tag};

/// What clients call both sites.
pub const CLIENTS: &str = "images.example.com";
/// The login of the replication and that of the clients.
const USER: &str = "robot";

/// The secrets of the document: the authority of the sites.
struct Roots(String);

#[async_trait]
impl Secrets for Roots {
    async fn secret(&self, reference: &SecretReference) -> Result<SecretString> {
        match reference.to_string().as_str() {
            "env:ROOTS" => Ok(self.0.clone().into()),
            _ => Err(Error::of(Code::SecretUnavailable, Verb::Secret).because(reference)),
        }
    }
}

/// The password of the clients, which can be changed; that of the replication is right.
struct Logins {
    is_of_clients: bool,
    clients: Arc<Mutex<String>>,
}

#[async_trait]
impl Credentials for Logins {
    async fn login(&self, _: &RegistryHost, _: Option<&Repository>) -> Result<Login> {
        let clients = self.clients.lock().unwrap().clone();
        let password = if self.is_of_clients {
            clients
        } else {
            "right".to_owned()
        };
        Ok(Login::Basic {
            username: USER.to_owned(),
            password: password.into(),
        })
    }
}

/// A zone in memory, with further servers.
#[derive(Clone)]
pub struct Zone {
    pub names: MemoryNames,
    /// What the servers other than the first answer; [`None`]: nothing.
    pub others: Arc<Mutex<Vec<Option<Entry>>>>,
    /// The server that receives the changes does not answer.
    pub is_down: Arc<AtomicBool>,
    /// The code of the answer whether a change is allowed, if it is not yes.
    pub refusal: Arc<Mutex<Option<Code>>>,
}

#[async_trait]
impl Names for Zone {
    fn is_atomic(&self) -> bool {
        true
    }

    async fn zone(&self) -> Result<Hostname> {
        self.names.zone().await
    }

    async fn read(&self, name: &Hostname) -> Result<Entry> {
        if self.is_down.load(Ordering::Relaxed) {
            return Err(Error::of(Code::DnsUnavailable, Verb::Names.on(name)).because("it is down"));
        }
        self.names.read(name).await
    }

    async fn swap(&self, name: &Hostname, before: &Entry, after: &Entry) -> Result<Receipt> {
        self.names.swap(name, before, after).await
    }

    async fn allows_change(&self, name: &Hostname, _: &Entry) -> Result<()> {
        let refusal = *self.refusal.lock().unwrap();
        refusal.map_or(Ok(()), |code| Err(Error::of(code, Verb::Names.on(name))))
    }

    async fn answers(&self, name: &Hostname, receipt: &Receipt) -> Result<Vec<Answer>> {
        let mut answers = self.names.answers(name, receipt).await?;
        for (number, other) in self.others.lock().unwrap().iter().enumerate() {
            let down = || Error::of(Code::DnsUnavailable, Verb::Names.on(name)).because("it is down");
            answers.push(Answer {
                server: format!("ns{}", number + 2),
                entry: other.clone().map(Some).ok_or_else(down),
            });
        }
        Ok(answers)
    }
}

/// The zone by the service's name.
#[derive(Clone)]
struct ZoneTable(BTreeMap<String, Zone>);

#[async_trait]
impl Zones for ZoneTable {
    async fn names(&self, service: &ZoneService) -> Result<Arc<dyn Names>> {
        match service {
            ZoneService::Exec(zone) if self.0.contains_key(zone) => Ok(Arc::new(self.0[zone].clone())),
            _ => Err(Error::of(Code::DnsCommandUnknown, Verb::Names)),
        }
    }
}

pub struct Site {
    pub registry: EmbeddedRegistry,
    pub proxy: Option<TlsProxy>,
    pub address: IpAddr,
}

pub struct Stage {
    pub a: Site,
    pub b: Site,
    pub authority: Authority,
    pub clock: ManualClock,
    pub ledger: Ledger,
    pub configuration: Configuration,
    pub zone: Zone,
    pub clients: Arc<Mutex<String>>,
}

pub fn host(text: &str) -> Hostname {
    text.parse().unwrap()
}

pub fn entry(address: &str, epoch: u64, site: &str) -> Entry {
    let record = transship_rules::SiteRecord {
        kind: transship_rules::RecordKind::A,
        values: vec![address.to_owned()],
    };
    Entry {
        records: vec![RecordSet::of(&record, 60)],
        texts: vec![Stamp::new(epoch, site, "test").to_string()],
        owner: None,
    }
}

async fn site(authority: &Authority, last: u8, port: u16) -> Site {
    let auth = Auth::Basic {
        user: USER.to_owned(),
        password: "right".to_owned(),
    };
    let registry = EmbeddedRegistry::builder().auth(auth).start().await.unwrap();
    let address: IpAddr = Ipv4Addr::new(127, 0, 0, last).into();
    let proxy = TlsProxy::start_at(
        SocketAddr::new(address, port),
        registry.host(),
        authority,
        Certificate::Of(CLIENTS),
    )
    .await
    .unwrap();
    Site {
        registry,
        proxy: Some(proxy),
        address,
    }
}

fn port_of(site: &Site) -> u16 {
    let host = site.proxy.as_ref().unwrap().host().as_str();
    host.rsplit_once(':').unwrap().1.parse().unwrap()
}

impl Site {
    pub fn put(&self, repository: &str, reference: &str, sample: &Sample) {
        sample.seed_into(&self.registry, &name(repository), &tag(reference));
    }
}

impl Stage {
    /// A writer `a` and a standby `b` with one image at both, compared; the record leads to `a` with epoch 0.
    pub async fn ready() -> Self {
        let stage = Self::new().await;
        stage.a.put("core/app", "v1", &images::image(1, &[100]));
        stage.b.put("core/app", "v1", &images::image(1, &[100]));
        stage.compare().await;
        stage
    }

    pub async fn new() -> Self {
        let authority = Authority::new().unwrap();
        let a = site(&authority, 1, 0).await;
        let port = port_of(&a);
        let b = site(&authority, 2, port).await;
        let text = format!(
            r#"
version: 1
registries:
  a: {{ provider: distribution, endpoint: "https://127.0.0.1:{port}", credentials: "env:OWN", tls: {{ authorities: "env:ROOTS" }}, webhook: {{ secret: "env:HOOK" }} }}
  b: {{ provider: distribution, endpoint: "https://127.0.0.2:{port}", credentials: "env:OWN", tls: {{ authorities: "env:ROOTS" }} }}
rules:
  - {{ name: core, source: {{ registry: a, namespace: core, repository: [app, other] }}, destination: {{ registry: b, namespace: core }} }}
failover:
  - name: main
    endpoint: "https://{CLIENTS}:{port}"
    credentials: "env:CLIENTS"
    sites:
      - {{ registry: a, record: {{ type: A, value: 127.0.0.1 }} }}
      - {{ registry: b, record: {{ type: A, value: 127.0.0.2 }} }}
    writer: a
    zones: [{{ name: public, home: a, dns: {{ exec: zone }} }}]
    ttl: 60
    rpo: 15m
"#
        );
        let document = Document::parse(&text)
            .map_err(|errors| errors.to_string())
            .unwrap()
            .document;
        let clients = Arc::new(Mutex::new("right".to_owned()));
        let passwords = Arc::clone(&clients);
        let roots = std::fs::read_to_string(authority.roots()).unwrap();
        let configuration = Configuration::new(
            document,
            Arc::new(move |registry| {
                Arc::new(Logins {
                    is_of_clients: registry
                        .credentials
                        .as_ref()
                        .is_some_and(|own| own.to_string() == "env:CLIENTS"),
                    clients: Arc::clone(&passwords),
                })
            }),
            Arc::new(Roots(roots)),
            Retries {
                times: 0,
                ..Retries::default()
            },
        );
        let zone = Zone {
            names: MemoryNames::new(host("example.com")),
            others: Arc::default(),
            is_down: Arc::default(),
            refusal: Arc::default(),
        };
        zone.names.put(
            &host(CLIENTS),
            Entry {
                texts: Vec::new(),
                ..entry("127.0.0.1", 0, "a")
            },
        );
        let adapter = Arc::new(MemoryLedger::default());
        Self {
            a,
            b,
            authority,
            clock: ManualClock::new(std::time::SystemTime::now()),
            ledger: Ledger::new(&adapter),
            configuration,
            zone,
            clients,
        }
    }

    pub fn group(&self) -> Failover {
        self.configuration
            .current()
            .document
            .failover_group("main")
            .unwrap()
            .clone()
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now().try_into().unwrap()
    }

    fn zones(&self) -> ZoneTable {
        ZoneTable(BTreeMap::from([("zone".to_owned(), self.zone.clone())]))
    }

    /// Compares the sites, also if they were compared just now.
    pub async fn compare(&self) {
        let snapshot = self.configuration.current();
        let refresh = self.refresh(&snapshot);
        refresh.run(&self.group(), Due::GoingOn(Duration::ZERO)).await.unwrap();
    }

    pub fn refresh<'a>(&'a self, snapshot: &'a Snapshot) -> Refresh<'a> {
        Refresh {
            snapshot,
            ledger: &self.ledger,
            clock: Arc::new(self.clock.clone()),
            worker: "worker-1",
            slice: Slice::within(None),
        }
    }

    /// True if a timer would order a comparison now.
    pub async fn is_comparison_due(&self) -> bool {
        let (snapshot, group) = (self.configuration.current(), self.group());
        let writer = writer_of(&self.ledger, &group).await.unwrap();
        let rules = rules_between(snapshot.written(), &group, &writer.site);
        let interval = compare_interval(group.rpo);
        is_due(&self.ledger, &rules, (&writer, interval), self.now())
            .await
            .unwrap()
    }

    /// The ledger knows that the rule copied the image from `a` to `b`.
    pub async fn note_copy(&self, tag_name: &str, digest: &Digest) {
        let at = |registry: &str| ImageRef {
            registry: registry.to_owned(),
            repository: name("core/app"),
            target: Target::Tag(tag(tag_name)),
        };
        let replica = Replica {
            destination: at("b"),
            source: Some(at("a")),
            digest: digest.clone(),
            earlier: Vec::new(),
            manifests: Vec::new(),
            selected: None,
            rule: "core".to_owned(),
            written: self.now(),
            accepted: self.now(),
        };
        let claim = self
            .ledger
            .replicas
            .claim(&replica, "worker-1", self.now(), Duration::from_mins(1));
        claim.await.unwrap();
    }

    pub fn checker(&self) -> CheckGroup {
        CheckGroup {
            snapshot: self.configuration.current(),
            ledger: self.ledger.clone(),
            zones: Arc::new(self.zones()),
            clock: Arc::new(self.clock.clone()),
            from: "here".to_owned(),
        }
    }

    pub async fn check(&self) -> CheckReport {
        self.checker().run(&self.group()).await.unwrap()
    }

    /// The codes of everything that speaks against a switch.
    pub async fn refusals(&self) -> Vec<String> {
        let report = self.check().await;
        let standby = report.sites.iter().filter(|site| site.site != report.writer);
        let of_sites = standby.flat_map(|site| &site.reasons);
        let of_zones = report.zones.iter().flat_map(|zone| &zone.reasons);
        let reasons = report.reasons.iter().chain(of_sites).chain(of_zones);
        let codes: Vec<String> = reasons.map(|reason| reason.code.clone()).collect();
        assert_eq!(report.ready, codes.is_empty(), "{codes:?}");
        codes
    }

    /// Leads the clients to a site; [`None`]: a failback.
    pub async fn lead(&self, to: Option<&str>) -> Result<Switched> {
        self.lead_in(&self.group(), to).await
    }

    /// The same for a group that differs from that of the document.
    pub async fn lead_in(&self, group: &Failover, to: Option<&str>) -> Result<Switched> {
        let order = Order {
            kind: to.map_or(OperationKind::Failback, |_| OperationKind::Flip),
            to: to.map(str::to_owned),
            zone: None,
            accepts_data_loss: false,
        };
        let patience = Patience {
            times: 10,
            pause: Duration::from_millis(1),
        };
        let switchover = Switchover {
            failovers: self.ledger.failovers.clone(),
            zones: Arc::new(self.zones()),
            assess: Arc::new(self.checker()),
            clock: Arc::new(self.clock.clone()),
            by: "test".to_owned(),
            process: "here 1".to_owned(),
            has_ended: |_| false,
            patience,
            drain: patience,
        };
        let switched = switchover.run(group, &order).await?;
        let writers = [("main".to_owned(), switched.state.writer.clone())];
        self.configuration.put_writers(writers.into_iter().collect());
        Ok(switched)
    }

    pub async fn drill(&self) -> DrillReport {
        let check = self.checker();
        let group = self.group();
        let zones = self.zones();
        let observed = observe(&self.ledger.failovers, &group, &zones).await.unwrap();
        let report = self.check().await;
        let standby = report.sites.into_iter().find(|site| site.site == "b");
        let sample = standby.and_then(|site| site.facts).and_then(|facts| facts.sample);
        let drill = DrillGroup {
            snapshot: self.configuration.current(),
            ledger: &self.ledger,
            zones: &zones,
            assess: &check,
            clock: Arc::new(self.clock.clone()),
            by: "test",
            patience: Patience {
                times: 2,
                pause: Duration::from_millis(1),
            },
        };
        drill
            .run(&group, &observed.state, group.site("b").unwrap(), sample.as_ref())
            .await
            .unwrap()
    }
}
