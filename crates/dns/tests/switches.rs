//! A switch over a service that lies, loses answers, or has another client at the same moment.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use transship_copy::SystemClock;
use transship_dns::{Discovery, Services};
use transship_engine::SecretTable;
use transship_engine::names::{
    Answer, Entry, Names, Patience, Receipt, RecordSet, Stamp, Switch, confirm, switch, switch_patiently,
};
use transship_oci::{Code, Error, Result, Verb};
use transship_rules::{Hostname, RecordKind, SiteRecord, ZoneService};
use transship_testkit::memory::MemoryNames;

enum Fault {
    /// It accepts the change and does not make it.
    Ignored,
    /// It makes the change, and its answer is lost.
    AnswerLost,
    /// The request is lost.
    RequestLost,
    /// Another operator writes this between the reading and the change.
    Overtaken(Entry),
    /// It never reports that the change is complete.
    Pending,
    /// It answers nothing so many times, as a service that is throttled, and then reports the records.
    Throttled(Arc<AtomicU32>),
    /// It is throttled for the requests that [`CROWD`] says.
    Crowded(AtomicU32),
    /// It is throttled for everything.
    Closed,
    /// It is throttled for this number of readings after the change.
    ThrottledAfter(AtomicU32),
}

struct Faulty {
    names: MemoryNames,
    fault: Fault,
}

#[async_trait]
impl Names for Faulty {
    fn is_atomic(&self) -> bool {
        true
    }

    async fn zone(&self) -> Result<Hostname> {
        self.admit()?;
        self.names.zone().await
    }

    async fn read(&self, name: &Hostname) -> Result<Entry> {
        self.admit()?;
        if let Fault::ThrottledAfter(times) = &self.fault
            && !self.names.read(name).await?.is_same(&entry("a.example.net", 1, "a"))
            && is_left(times)
        {
            return Err(throttled());
        }
        self.names.read(name).await
    }

    async fn swap(&self, name: &Hostname, before: &Entry, after: &Entry) -> Result<Receipt> {
        self.admit()?;
        let lost = || Err(throttled());
        match &self.fault {
            Fault::Ignored => Ok(Receipt::default()),
            Fault::RequestLost => lost(),
            Fault::AnswerLost => {
                self.names.swap(name, before, after).await?;
                lost()
            }
            Fault::Overtaken(entry) => {
                self.names.put(name, entry.clone());
                self.names.swap(name, before, after).await
            }
            Fault::ThrottledAfter(_) => {
                self.names.swap(name, before, after).await?;
                Ok(Receipt("change-1".to_owned()))
            }
            Fault::Pending | Fault::Throttled(_) | Fault::Crowded(_) | Fault::Closed => {
                self.names.swap(name, before, after).await
            }
        }
    }

    async fn answers(&self, name: &Hostname, receipt: &Receipt) -> Result<Vec<Answer>> {
        if let Fault::Throttled(times) = &self.fault {
            return if is_left(times) {
                Err(throttled())
            } else {
                self.names.answers(name, receipt).await
            };
        }
        Ok(vec![Answer {
            server: "service".to_owned(),
            entry: Ok(None),
        }])
    }
}

impl Faulty {
    fn admit(&self) -> Result<()> {
        let is_admitted = match &self.fault {
            Fault::Crowded(asked) => {
                let number = usize::try_from(asked.fetch_add(1, Ordering::SeqCst)).unwrap();
                CROWD.as_bytes().get(number) != Some(&b'x')
            }
            Fault::Closed => false,
            _ => true,
        };
        if is_admitted { Ok(()) } else { Err(throttled()) }
    }
}

fn throttled() -> Error {
    Error::of(Code::DnsUnavailable, Verb::Names.on(name()))
}

/// Takes one of `times`; false if none is left.
fn is_left(times: &AtomicU32) -> bool {
    let taken = times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |times| times.checked_sub(1));
    taken.is_ok()
}

/// `x` is throttled: the name of the zone twice, the first reading, the change twice, and a reading after each.
const CROWD: &str = "xx.x.x.xx..x.";

const BRIEF: Patience = Patience {
    times: 10,
    pause: std::time::Duration::from_millis(1),
};

fn name() -> Hostname {
    "images.example.com".parse().unwrap()
}

fn alias(target: &str) -> SiteRecord {
    SiteRecord {
        kind: RecordKind::Cname,
        values: vec![target.to_owned()],
    }
}

fn entry(target: &str, epoch: u64, site: &str) -> Entry {
    Entry {
        records: vec![RecordSet::of(&alias(target), 60)],
        texts: vec![Stamp::new(epoch, site, "test").to_string()],
        owner: None,
    }
}

fn wanted() -> Switch {
    Switch {
        name: name(),
        from: alias("a.example.net"),
        to: alias("b.example.net"),
        ttl_seconds: 60,
        stamp: Stamp::new(2, "b", "test"),
    }
}

fn faulty(fault: Fault) -> Faulty {
    let names = MemoryNames::new("example.com".parse().unwrap());
    names.put(&name(), entry("a.example.net", 1, "a"));
    Faulty { names, fault }
}

#[tokio::test]
async fn a_service_that_accepts_and_does_not_change_is_named() {
    let names = faulty(Fault::Ignored);
    let error = switch(&names, &wanted()).await.unwrap_err();
    assert!(error.is(Code::DnsNotChanged), "{error}");
    assert!(error.to_string().contains("CNAME a.example.net"), "{error}");
}

#[tokio::test]
async fn a_lost_answer_is_replaced_by_the_records() {
    let names = faulty(Fault::AnswerLost);
    let switched = switch(&names, &wanted()).await.unwrap();
    assert_eq!(switched.after, entry("b.example.net", 2, "b"));
    let names = faulty(Fault::RequestLost);
    let error = switch(&names, &wanted()).await.unwrap_err();
    assert!(error.is(Code::DnsUnavailable), "{error}");
}

#[tokio::test]
async fn the_operator_who_was_slower_is_informed_of_the_other_one() {
    for (other, code) in [
        (entry("c.example.net", 2, "c"), Code::DnsEpochOld),
        (entry("a.example.net", 3, "a"), Code::DnsEpochOld),
        (entry("elsewhere.example.org", 1, "a"), Code::DnsRecordChanged),
    ] {
        let names = faulty(Fault::Overtaken(other.clone()));
        let error = switch(&names, &wanted()).await.unwrap_err();
        assert!(error.is(code), "{error}");
        assert_eq!(names.read(&name()).await.unwrap(), other);
    }
    // The same switch by two operators is one switch.
    let names = faulty(Fault::Overtaken(entry("b.example.net", 2, "b")));
    assert!(switch(&names, &wanted()).await.is_ok());
}

/// Route 53 takes 5 requests a second of an account, and the zones of a group are changed side by side.
#[tokio::test]
async fn a_switch_goes_on_after_a_service_was_throttled() {
    let names = faulty(Fault::Crowded(AtomicU32::new(0)));
    let switched = switch_patiently(&names, &wanted(), BRIEF).await.unwrap();
    assert_eq!(switched.before, entry("a.example.net", 1, "a"));
    assert_eq!(switched.after, entry("b.example.net", 2, "b"));

    // The change is made once, and its receipt is not lost: with it, the service is asked whether the change is complete.
    let names = faulty(Fault::ThrottledAfter(AtomicU32::new(3)));
    let switched = switch_patiently(&names, &wanted(), BRIEF).await.unwrap();
    assert_eq!(switched.receipt, Receipt("change-1".to_owned()));

    let names = faulty(Fault::Closed);
    let error = switch_patiently(&names, &wanted(), BRIEF).await.unwrap_err();
    assert!(error.is(Code::DnsUnavailable), "{error}");
}

#[tokio::test]
async fn a_change_that_stays_under_way_is_not_confirmed() {
    let names = faulty(Fault::Pending);
    let switched = switch(&names, &wanted()).await.unwrap();
    let patience = Patience {
        times: 3,
        pause: std::time::Duration::from_millis(1),
    };
    let confirmation = confirm(&names, &name(), &switched, patience).await.unwrap();
    let error = confirmation.check(&name()).unwrap_err();
    assert!(error.is(Code::DnsNotSettled), "{error}");
    assert!(
        error
            .to_string()
            .contains("0 of 1 servers are current; service reports"),
        "{error}"
    );
}

#[tokio::test]
async fn a_service_that_cannot_be_asked_at_the_moment_is_asked_again() {
    let patience = Patience {
        times: 3,
        pause: std::time::Duration::from_millis(1),
    };
    let confirmed = async |failures: u32| {
        let names = faulty(Fault::Throttled(Arc::new(AtomicU32::new(failures))));
        let switched = switch(&names, &wanted()).await.unwrap();
        confirm(&names, &name(), &switched, patience).await
    };
    assert!(confirmed(2).await.unwrap().is_complete());
    let error = confirmed(3).await.unwrap_err();
    assert!(error.is(Code::DnsUnavailable), "{error}");
}

#[test]
fn only_a_registered_command_is_run() {
    let services = |commands: &[(&str, &str)]| Services {
        secrets: Arc::new(SecretTable::default()),
        clock: Arc::new(SystemClock),
        commands: commands
            .iter()
            .map(|(name, path)| ((*name).to_owned(), PathBuf::from(path)))
            .collect::<BTreeMap<_, _>>(),
        discovery: Discovery::default(),
    };
    let exec = ZoneService::Exec("balancer".to_owned());
    for commands in [&[][..], &[("other", "/bin/true")]] {
        let error = services(commands).names(&exec).err().unwrap();
        assert!(error.is(Code::DnsCommandUnknown), "{error}");
    }
    let registered = services(&[("balancer", "/bin/true")]);
    assert!(registered.names(&exec).unwrap().is_some());
    let route53 = ZoneService::Route53 { zone: "Z1".to_owned() };
    assert!(registered.names(&route53).unwrap().is_none());
}
