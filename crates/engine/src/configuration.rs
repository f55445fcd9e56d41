//! The document in force, and the registries it names, as clients that live as long as it does.
//!
//! A new version of the document replaces the old one whole; one that is refused changes nothing. Who holds a
//! [`Snapshot`] keeps what it saw.
//!
//! A process may have an older version than the process that accepted a task. What must hold: nothing is ended because of what
//! the document lacks ([`Standing`]) unless this version is known to be as new as the task.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use transship_oci::{Code, Error, Result, Verb};
use transship_registry::{Bandwidth, Credentials, Options, Profile, Registry, Retries, SiteTarget};
use transship_rules::{Document, Failover, Rule, Writers};

use crate::import::DIRECTED;
use crate::ledger::Failovers;
use crate::operations::REPLICATED;
use crate::plan::id;
use crate::secrets::ReferredTls;
use crate::{Execution, Secrets};

/// How far the clocks of two workers may differ.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5);

/// How old what is known of the writers of failover groups may be before a job begins or a delivery is accepted. Before a tag is
/// written, the state is always read.
const WRITERS_AGE_MAX: Duration = Duration::from_secs(2);

/// Makes the credentials of a registry of the document: its name and its entry are given.
pub type CredentialsOf = dyn Fn(&transship_rules::Registry) -> Arc<dyn Credentials> + Send + Sync;

/// The document in force. Cheap to clone; clones change together.
#[derive(Clone)]
pub struct Configuration(Arc<Shared>);

struct Shared {
    current: RwLock<Arc<Snapshot>>,
    credentials: Arc<CredentialsOf>,
    secrets: Arc<dyn Secrets>,
    retries: Retries,
    /// The limits of rules, by the rule's name, with their bytes per second. They outlive a version of the document.
    bandwidths: Mutex<HashMap<String, (u64, Bandwidth)>>,
    /// Where the writers of failover groups are read.
    failovers: OnceLock<Failovers>,
    writers: Mutex<KnownWriters>,
}

/// The writers of failover groups, as they were read last.
#[derive(Default)]
struct KnownWriters {
    writers: Writers,
    /// The writers that switches under way lead to.
    coming: Writers,
    read: Option<Timestamp>,
    /// The number of the read that is begun next.
    next: u64,
    /// The first number whose result is not older than what is known.
    first: u64,
}

impl KnownWriters {
    /// The number of a read that begins now.
    const fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }
}

/// One version of the document, with its clients.
pub struct Snapshot {
    /// The document, with the rules of the writers of its failover groups.
    pub document: Document,
    /// The document as it is written, if that is another one.
    written: Option<Document>,
    /// The document as it will be when the switches under way have ended, if there are any.
    coming: Option<Document>,
    clients: Mutex<HashMap<String, Registry>>,
    credentials: Arc<CredentialsOf>,
    secrets: Arc<dyn Secrets>,
    retries: Retries,
    newness: RwLock<Newness>,
}

/// What is known about how new a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Newness {
    /// No other version can be in force anywhere.
    Only,
    /// It was the newest at this time.
    NewestAt(Timestamp),
    /// The newest one cannot be used, and this older one takes its place.
    Fallback,
}

/// What the document says about the rule or import of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is enabled.
    Enabled,
    /// It is not enabled, or the document does not have it any more: the code.
    Ended(Code),
    /// As before, but this version may be older than the task.
    Unclear,
}

impl Configuration {
    /// `document` in force. `secrets` reads the certificates of its registries; `retries` says how long a worker here may wait.
    pub fn new(
        document: Document,
        credentials: Arc<CredentialsOf>,
        secrets: Arc<dyn Secrets>,
        retries: Retries,
    ) -> Self {
        let clients = (Arc::clone(&credentials), Arc::clone(&secrets), retries);
        let current = Snapshot::new(document, &KnownWriters::default(), clients);
        Self(Arc::new(Shared {
            current: RwLock::new(Arc::new(current)),
            credentials,
            secrets,
            retries,
            bandwidths: Mutex::default(),
            failovers: OnceLock::new(),
            writers: Mutex::default(),
        }))
    }

    /// Follows the writers of failover groups as `failovers` has them, from the next [`Configuration::refresh_writers`] on.
    pub fn follow(&self, failovers: Failovers) {
        // A second ledger is not possible in a process.
        let _ = self.0.failovers.set(failovers);
    }

    /// Reads the writers of failover groups if what is known is old, and puts their rules in force. A ledger that does not answer
    /// changes nothing. No call for a document without groups.
    pub async fn refresh_writers(&self, now: Timestamp) {
        let read = self.known_writers().read;
        let is_recent = read.is_some_and(|read| {
            let age = now.duration_since(read);
            !age.is_negative() && age.unsigned_abs() < WRITERS_AGE_MAX
        });
        if !is_recent && let Err(error) = self.read_writers(now).await {
            tracing::warn!(code = error.code(), %error, "the writers of failover groups could not be read; those that were known stay");
        }
    }

    /// Reads the writers of failover groups and puts their rules in force, unless a read that began later has put others there.
    pub async fn read_writers(&self, now: Timestamp) -> Result<()> {
        let Some(failovers) = self.0.failovers.get() else {
            return Ok(());
        };
        if self.current().document.failover.is_empty() {
            return Ok(());
        }
        let number = self.known_writers().number();
        let states = failovers.all().await?;
        let coming = states.iter().filter_map(|(group, state)| {
            let operation = state.under_way().filter(|_| state.is_fenced())?;
            Some((group.clone(), operation.writer.as_ref()?.to.clone()))
        });
        let coming: Writers = coming.collect();
        let writers: Writers = states.into_iter().map(|(group, state)| (group, state.writer)).collect();
        self.put_known(number, (writers, coming), Some(now));
        Ok(())
    }

    /// Puts the rules of `writers` in force.
    pub fn put_writers(&self, writers: Writers) {
        let number = self.known_writers().number();
        self.put_known(number, (writers, Writers::default()), None);
    }

    /// Puts the result of the read `number` in force. That of a read which began earlier than the last one changes nothing: it may
    /// be older.
    fn put_known(&self, number: u64, (writers, coming): (Writers, Writers), read: Option<Timestamp>) {
        let mut known = self.known_writers();
        if number < known.first {
            return;
        }
        known.first = number + 1;
        known.read = read.or(known.read);
        let is_new = (&known.writers, &known.coming) != (&writers, &coming);
        (known.writers, known.coming) = (writers, coming);
        if is_new {
            let current = self.current();
            self.put_in_force(&known, current.written().clone(), current.newness());
        }
    }

    fn known_writers(&self) -> std::sync::MutexGuard<'_, KnownWriters> {
        self.0.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The limit that all tasks of the rule `name` in this process share; [`None`] if it has none.
    pub fn bandwidth(&self, name: &str) -> Option<Bandwidth> {
        let snapshot = self.current();
        let wanted = snapshot.document.rule(name).and_then(|rule| rule.bandwidth);
        let mut known = self.0.bandwidths.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(wanted) = wanted else {
            known.remove(name);
            return None;
        };
        match known.get(name) {
            Some((rate, bandwidth)) if *rate == wanted => Some(bandwidth.clone()),
            _ => {
                let bandwidth = Bandwidth::new(wanted);
                known.insert(name.to_owned(), (wanted, bandwidth.clone()));
                Some(bandwidth)
            }
        }
    }

    /// The version in force now.
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another version in force, the only one there is. Tasks at work end with the one they began with.
    pub fn replace(&self, document: Document) {
        self.put_in_force(&self.known_writers(), document, Newness::Only);
    }

    /// Puts another version in force, which was the newest at `now`.
    pub fn replace_with_newest(&self, document: Document, now: Timestamp) {
        self.put_in_force(&self.known_writers(), document, Newness::NewestAt(now));
    }

    /// Puts an older version in force, because the newest one cannot be used. Until another version is in force, nothing is
    /// cancelled or deleted, and tasks whose rule is not in it wait.
    pub fn fall_back(&self, document: Document) {
        self.put_in_force(&self.known_writers(), document, Newness::Fallback);
    }

    /// Notes that the version in force is the newest at `now`. Nothing changes for a fallback.
    pub fn confirm(&self, now: Timestamp) {
        let current = self.current();
        let mut newness = current.newness.write().unwrap_or_else(PoisonError::into_inner);
        if *newness != Newness::Fallback {
            *newness = Newness::NewestAt(now);
        }
    }

    /// Puts `document` in force with the rules of `known`, which is locked meanwhile.
    fn put_in_force(&self, known: &KnownWriters, document: Document, newness: Newness) {
        let (credentials, secrets) = (Arc::clone(&self.0.credentials), Arc::clone(&self.0.secrets));
        let mut next = Snapshot::new(document, known, (credentials, secrets, self.0.retries));
        next.newness = RwLock::new(newness);
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }
}

impl Snapshot {
    fn new(
        document: Document,
        known: &KnownWriters,
        (credentials, secrets, retries): (Arc<CredentialsOf>, Arc<dyn Secrets>, Retries),
    ) -> Self {
        let writers = &known.writers;
        let coming = (!known.coming.is_empty()).then(|| {
            let mut all = writers.clone();
            all.extend(known.coming.clone());
            document.with_writers(&all)
        });
        let is_as_written = document
            .failover
            .iter()
            .all(|group| writers.get(&group.name).is_none_or(|writer| *writer == group.writer));
        let (document, written) = if is_as_written {
            (document, None)
        } else {
            (document.with_writers(writers), Some(document))
        };
        Self {
            document,
            written,
            coming,
            clients: Mutex::default(),
            credentials,
            secrets,
            retries,
            newness: RwLock::new(Newness::Only),
        }
    }

    /// The document as it is written, whichever sites are the writers.
    pub fn written(&self) -> &Document {
        self.written.as_ref().unwrap_or(&self.document)
    }

    /// The document as it will be when the switches under way have ended, if there are any.
    pub(crate) const fn coming(&self) -> Option<&Document> {
        self.coming.as_ref()
    }

    /// True if a switch under way puts the rule in force.
    pub(crate) fn is_coming(&self, rule: &str) -> bool {
        let coming = self.coming().and_then(|coming| coming.rule(rule));
        coming.is_some_and(|rule| rule.enabled)
    }

    /// True if an older version of the document took the place of one that cannot be used. Nothing may be cancelled or deleted
    /// then.
    pub fn is_fallback(&self) -> bool {
        self.newness() == Newness::Fallback
    }

    /// Identifies the settings that the copies of `rule` depend on: its own and those of its registries. Secrets are not among
    /// them, only their names.
    pub fn fingerprint(&self, rule: &Rule) -> String {
        let registry = |name: &str| format!("{:?}", self.document.registries.get(name));
        let parts = [
            format!("{rule:?}"),
            registry(&rule.source.registry),
            registry(&rule.destination.registry),
        ];
        id("v", &parts.each_ref().map(String::as_str))
    }

    /// When this version was known to be the newest for the last time; [`None`]: it is a fallback, or the only one there is.
    pub fn newest_at(&self) -> Option<Timestamp> {
        match self.newness() {
            Newness::NewestAt(time) => Some(time),
            Newness::Only | Newness::Fallback => None,
        }
    }

    /// True if this version is known to be as new as what was accepted as `execution`: what it lacks, it lacks for good.
    pub(crate) fn covers(&self, execution: &Execution) -> bool {
        match self.newness() {
            Newness::Only => true,
            Newness::NewestAt(time) => {
                let accepted = execution.created.saturating_add(CLOCK_SKEW_MAX);
                time >= accepted.unwrap_or(Timestamp::MAX)
            }
            Newness::Fallback => false,
        }
    }

    fn newness(&self) -> Newness {
        *self.newness.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the document says about the rule of `execution`.
    pub(crate) fn standing_of_rule(&self, execution: &Execution) -> Standing {
        let rule = self.document.rule(&execution.rule);
        if rule.is_none() && execution.rule == REPLICATED {
            return Standing::Enabled;
        }
        match self.standing(execution, rule.map(|rule| rule.enabled)) {
            Standing::Ended(_) if self.is_inactive(&execution.rule) => Standing::Ended(Code::FailoverFenced),
            standing => standing,
        }
    }

    /// True if the rule is in force only while another site is the writer of its failover group.
    fn is_inactive(&self, rule: &str) -> bool {
        let written = self.written().rule(rule);
        self.written().is_of_failover(rule) && written.is_none_or(|rule| rule.enabled)
    }

    /// The same for its import. An order that named its destination itself is in no document.
    pub(crate) fn standing_of_import(&self, execution: &Execution) -> Standing {
        let import = self.document.import(&execution.rule);
        if import.is_none() && execution.rule == DIRECTED {
            return Standing::Enabled;
        }
        self.standing(execution, import.map(|import| import.enabled))
    }

    fn standing(&self, execution: &Execution, is_enabled: Option<bool>) -> Standing {
        match is_enabled {
            Some(true) => Standing::Enabled,
            _ if !self.covers(execution) => Standing::Unclear,
            Some(false) => Standing::Ended(Code::RuleDisabled),
            None => Standing::Ended(Code::RuleRemoved),
        }
    }

    /// The client of a registry by its name. `UNKNOWN_REGISTRY` if the document has none of that name.
    pub fn registry(&self, name: &str) -> Result<Registry> {
        let entry = self
            .document
            .registries
            .get(name)
            .ok_or_else(|| unknown_registry(name, Verb::Registry))?;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(name) {
            return Ok(client.clone());
        }
        let client = Registry::allowing(self.options(entry), &self.document.record_addresses(name))
            .map_err(|error| Error::new(Code::RegistryInvalid, Verb::Registry.on(name), error.to_string()))?;
        clients.insert(name.to_owned(), client.clone());
        Ok(client)
    }

    /// A client of a site as clients of `group` are: by their name and with their login, at `target`. It asks once.
    pub(crate) fn site_client(&self, group: &Failover, site: &str, target: SiteTarget) -> Result<Registry> {
        let entry = self.document.registries.get(site);
        let mut entry = entry.ok_or_else(|| unknown_registry(site, Verb::Registry))?.clone();
        // Its own hosts may be its realm.
        entry
            .hosts
            .extend(entry.endpoint.host_str().and_then(|host| host.parse().ok()));
        entry.endpoint = group.endpoint.clone();
        entry.credentials.clone_from(&group.credentials);
        let options = Options {
            retries: Retries {
                times: 0,
                ..self.retries
            },
            ..self.options(&entry)
        };
        Registry::at_site(options, &self.document.record_addresses(site), target)
            .map_err(|error| Error::new(Code::RegistryInvalid, Verb::Registry.on(site), error.to_string()))
    }

    fn options(&self, entry: &transship_rules::Registry) -> Options {
        Options {
            endpoint: entry.endpoint.clone(),
            names: entry.hosts.clone(),
            network: entry.network,
            limits: entry.limits,
            profile: Profile::of(entry.provider),
            retries: self.retries,
            credentials: (self.credentials)(entry),
            tls: entry.tls.as_ref().map(|tls| {
                Arc::new(ReferredTls {
                    tls: tls.clone(),
                    secrets: Arc::clone(&self.secrets),
                }) as _
            }),
        }
    }
}

/// `UNKNOWN_REGISTRY`: the document has no registry called `name`.
pub(crate) fn unknown_registry(name: &str, operation: Verb) -> Error {
    let message = format!("the document has no registry {name:?}");
    Error::new(Code::UnknownRegistry, operation, message)
}
