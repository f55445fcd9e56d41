//! The document in force, and the registries it names, as clients that live as long as it does.
//!
//! A new version of the document replaces the old one whole; one that is refused changes nothing. Who holds a
//! [`Snapshot`] keeps what it saw.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use transship_oci::{Code, Error, Result, Verb};
use transship_registry::{Bandwidth, Credentials, Options, Profile, Registry, Retries};
use transship_rules::Document;

use crate::Secrets;
use crate::secrets::ReferredTls;

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
}

/// One version of the document, with its clients.
pub struct Snapshot {
    /// The document.
    pub document: Document,
    clients: Mutex<HashMap<String, Registry>>,
    credentials: Arc<CredentialsOf>,
    secrets: Arc<dyn Secrets>,
    retries: Retries,
}

impl Configuration {
    /// `document` in force. `secrets` reads the certificates of its registries; `retries` says how long a worker here may wait.
    pub fn new(
        document: Document,
        credentials: Arc<CredentialsOf>,
        secrets: Arc<dyn Secrets>,
        retries: Retries,
    ) -> Self {
        let current = Snapshot::new(document, Arc::clone(&credentials), Arc::clone(&secrets), retries);
        Self(Arc::new(Shared {
            current: RwLock::new(Arc::new(current)),
            credentials,
            secrets,
            retries,
            bandwidths: Mutex::default(),
        }))
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

    /// Puts another version in force. Tasks at work end with the one they began with.
    pub fn replace(&self, document: Document) {
        let (credentials, secrets) = (Arc::clone(&self.0.credentials), Arc::clone(&self.0.secrets));
        let next = Snapshot::new(document, credentials, secrets, self.0.retries);
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }
}

impl Snapshot {
    fn new(document: Document, credentials: Arc<CredentialsOf>, secrets: Arc<dyn Secrets>, retries: Retries) -> Self {
        Self {
            document,
            clients: Mutex::default(),
            credentials,
            secrets,
            retries,
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
        let client = Registry::new(Options {
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
        })
        .map_err(|error| Error::new(Code::RegistryInvalid, Verb::Registry.on(name), error.to_string()))?;
        clients.insert(name.to_owned(), client.clone());
        Ok(client)
    }
}

/// `UNKNOWN_REGISTRY`: the document has no registry called `name`.
pub(crate) fn unknown_registry(name: &str, operation: Verb) -> Error {
    let message = format!("the document has no registry {name:?}");
    Error::new(Code::UnknownRegistry, operation, message)
}
