//! Name servers with dynamic updates (RFC 2136), signed with TSIG (RFC 8945).
//!
//! An update has prerequisites for the values of every record that it replaces, so the server compares and replaces in one
//! step, together with the epoch. Updates go to the primary server, which is the first one of the document or that of the SOA
//! record; every server is asked whether it has the new records.
//! Queries are not signed, because secondary servers need not know the key.

mod discovery;
mod exchange;
mod key;
mod message;

use std::sync::Arc;

use async_trait::async_trait;
use domain::base::Message;
use domain::base::iana::{Rcode, Rtype};
use domain::base::message_builder::AdditionalBuilder;
use domain::tsig::{ClientTransaction, ValidationError};
use futures_util::future::join_all;
use tokio::sync::OnceCell;
use transship_copy::Clock;
use transship_engine::Secrets;
use transship_engine::names::{Answer, Entry, Names, Receipt, owner_names, owner_of, text_name};
use transship_oci::{Code, Error, Operation, Result, Verb};
use transship_rules::{Hostname, RecordKind, SecretReference, ServerAddress};

pub use discovery::Discovery;
use discovery::{Authority, Server};
use exchange::Connection;
use message::{WireName, wire};

/// A zone on name servers with dynamic updates.
pub struct DynamicUpdates {
    servers: Vec<ServerAddress>,
    zone: Hostname,
    key: SecretReference,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
    discovery: Discovery,
    authority: OnceCell<Authority>,
}

impl DynamicUpdates {
    /// `servers` are all authoritative servers of `zone`; the first receives the updates. Without any, they are found by the
    /// records of the zone when they are needed first. `key` is read for every change.
    pub fn new(
        servers: Vec<ServerAddress>,
        zone: Hostname,
        key: SecretReference,
        secrets: Arc<dyn Secrets>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            servers,
            zone,
            key,
            secrets,
            clock,
            discovery: Discovery::default(),
            authority: OnceCell::new(),
        }
    }

    /// Finds servers with `discovery`.
    #[must_use]
    pub fn with_discovery(mut self, discovery: Discovery) -> Self {
        self.discovery = discovery;
        self
    }

    async fn authority(&self, operation: &Operation) -> Result<&Authority> {
        let found = async || match Authority::of(&self.servers) {
            Some(authority) => Ok(authority),
            None => self.discovery.find(&self.zone, operation).await,
        };
        self.authority.get_or_try_init(found).await
    }

    /// A connection to the server that receives the updates.
    async fn primary(&self, operation: &Operation) -> Result<Connection> {
        self.authority(operation).await?.primary.connect(operation).await
    }

    /// Signs the update and sends it to the primary server, whose code `check` must accept.
    async fn send(
        &self,
        mut request: AdditionalBuilder<Vec<u8>>,
        check: fn(Rcode, &str, &Operation) -> Result<()>,
        operation: &Operation,
    ) -> Result<()> {
        let key = key::parse(&self.secrets.secret(&self.key).await?)?;
        let mut connection = self.primary(operation).await?;
        let transaction = ClientTransaction::request(key, &mut request, key::time(self.clock.now()))
            .map_err(|why| broken(&connection, operation, &why.to_string()))?;
        let mut answer = connection.exchange(&request.finish()).await?;
        let code = answer.header().rcode();
        match transaction.answer(&mut answer, key::time(self.clock.now())) {
            Ok(()) => check(code, connection.server(), operation)?,
            // A refusal may come unsigned. It is believed, because it claims that nothing was changed, and the record is read again.
            Err(ValidationError::ServerUnsigned) if code != Rcode::NOERROR => {
                check(code, connection.server(), operation)?;
            }
            Err(why) => {
                let server_time = message::time_of_refusal(&answer);
                let skew = server_time.map(|time| time.abs_diff(key::time(self.clock.now()).into()));
                return Err(not_authentic(&why, skew, &connection, operation));
            }
        }
        Ok(())
    }

    /// What the addresses of a server answer. One that cannot be reached does not count if another one of the server answers.
    async fn answers_of(&self, server: &Server, name: &Hostname) -> Vec<Answer> {
        let asked = server.addresses.iter().map(|address| async {
            Answer {
                server: server.shown(address),
                entry: self.entry(address, name).await.map(Some),
            }
        });
        let mut answers = join_all(asked).await;
        if answers.iter().any(|answer| answer.entry.is_ok()) {
            answers.retain(|answer| answer.entry.is_ok());
        } else if answers.is_empty() {
            answers.push(Answer {
                server: server.name.clone(),
                entry: Err(server.unresolved(&Verb::Names.on(name))),
            });
        } else {
            answers.truncate(1);
        }
        answers
    }

    /// The records of `name` at `server`; without the owner.
    async fn entry(&self, server: &ServerAddress, name: &Hostname) -> Result<Entry> {
        let operation = Verb::Names.on(name);
        let mut connection = Connection::open(server, &operation).await?;
        read(&mut connection, name, &operation).await
    }
}

async fn read(connection: &mut Connection, name: &Hostname, operation: &Operation) -> Result<Entry> {
    let own = wire(name.as_str(), operation)?;
    let mut entry = Entry::default();
    for kind in RecordKind::ALL {
        let answer = ask(connection, &own, message::rtype(kind), operation).await?;
        let set = message::record_set(&answer, &own, kind);
        entry
            .records
            .extend(set.map_err(|why| broken(connection, operation, &why))?);
    }
    entry.texts = texts(connection, text_name(name)?.as_str(), operation).await?;
    Ok(entry)
}

async fn texts(connection: &mut Connection, name: &str, operation: &Operation) -> Result<Vec<String>> {
    let name = wire(name, operation)?;
    let answer = ask(connection, &name, Rtype::TXT, operation).await?;
    message::texts(&answer, &name).map_err(|why| broken(connection, operation, &why))
}

/// The answer to a query; it is authoritative.
async fn ask(
    connection: &mut Connection,
    name: &WireName,
    rtype: Rtype,
    operation: &Operation,
) -> Result<Message<Vec<u8>>> {
    let query = message::query(name, rtype).map_err(|why| broken(connection, operation, &why.to_string()))?;
    let answer = connection.exchange(&query).await?;
    match answer.header().rcode() {
        Rcode::NOERROR | Rcode::NXDOMAIN => {}
        Rcode::REFUSED => {
            let why = format!("{} does not answer queries for {name}", connection.server());
            return Err(Error::of(Code::DnsRefused, operation.clone()).because(why));
        }
        code => {
            let why = format!("{} answered {code}", connection.server());
            return Err(Error::of(Code::DnsUnavailable, operation.clone()).because(why));
        }
    }
    if !answer.header().aa() {
        let why = format!("{} is not an authoritative server of {name}", connection.server());
        return Err(Error::of(Code::DnsZoneInvalid, operation.clone()).because(why));
    }
    Ok(answer)
}

fn broken(connection: &Connection, operation: &Operation, why: &str) -> Error {
    Error::of(Code::DnsUnavailable, operation.clone()).because(format_args!("{}: {why}", connection.server()))
}

#[async_trait]
impl Names for DynamicUpdates {
    fn is_atomic(&self) -> bool {
        true
    }

    async fn zone(&self) -> Result<Hostname> {
        Ok(self.zone.clone())
    }

    async fn read(&self, name: &Hostname) -> Result<Entry> {
        let operation = Verb::Names.on(name);
        let mut connection = self.primary(&operation).await?;
        let mut entry = read(&mut connection, name, &operation).await?;
        for owner in owner_names(name) {
            // The name with a type in front may be too long to exist.
            if owner.parse::<WireName>().is_err() {
                continue;
            }
            let texts = texts(&mut connection, &owner, &operation).await?;
            entry.owner = entry.owner.or_else(|| texts.iter().find_map(|text| owner_of(text)));
        }
        Ok(entry)
    }

    async fn swap(&self, name: &Hostname, before: &Entry, after: &Entry) -> Result<Receipt> {
        let operation = Verb::Names.on(name);
        let zone = wire(self.zone.as_str(), &operation)?;
        let request = message::update(&zone, name, (before, after), &operation)?;
        self.send(request, message::check, &operation).await?;
        Ok(Receipt::default())
    }

    async fn allows_change(&self, name: &Hostname, entry: &Entry) -> Result<()> {
        let operation = Verb::Names.on(name);
        let zone = wire(self.zone.as_str(), &operation)?;
        let request = message::no_update(&zone, name, entry, &operation)?;
        self.send(request, message::check_no_update, &operation).await
    }

    async fn answers(&self, name: &Hostname, _: &Receipt) -> Result<Vec<Answer>> {
        let authority = self.authority(&Verb::Names.on(name)).await?;
        let asked = authority.servers.iter().map(|server| self.answers_of(server, name));
        Ok(join_all(asked).await.into_iter().flatten().collect())
    }
}

/// Source: RFC 8945, section 5.2. `skew` is the difference of the clocks in seconds, if the server refused the time.
///
/// `domain` 0.12.3 signs two bytes too many of the server's time, so it finds every signature of such a refusal bad. The
/// refusal is believed without it, because it says only that nothing was changed.
fn not_authentic(why: &ValidationError, skew: Option<u64>, connection: &Connection, operation: &Operation) -> Error {
    let (code, sentence) = match (why, skew) {
        (ValidationError::ServerBadTime { .. } | ValidationError::BadSig, Some(seconds)) => {
            (Code::DnsClockSkew, format!("its clock differs by {seconds} s"))
        }
        (ValidationError::ServerBadTime { .. } | ValidationError::BadTime, _) => {
            (Code::DnsClockSkew, "its clock differs by more than 300 s".to_owned())
        }
        (ValidationError::ServerBadKey, _) => (Code::DnsRefused, "it has no key of this name and algorithm".to_owned()),
        (ValidationError::ServerBadSig, _) => (Code::DnsRefused, "it has another key under this name".to_owned()),
        (why, _) => (
            Code::DnsUnavailable,
            format!("its answer is not signed as expected ({why}), so the outcome is not known"),
        ),
    };
    Error::of(code, operation.clone()).because(format_args!("{}: {sentence}", connection.server()))
}
