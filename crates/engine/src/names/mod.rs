//! The port of DNS: a name is changed only if its records are the expected ones, and the epoch of the change is written with it.
//!
//! What must hold: an operation with an older epoch changes nothing, and records that another client changed are reported, not
//! replaced. [`switch`] decides this for every adapter; an adapter compares and replaces.

mod confirmation;
mod stamp;
mod switch;

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use transship_oci::{Code, Error, Result, Verb};
use transship_rules::{Hostname, RecordKind, SiteRecord};

pub use confirmation::{Confirmation, Patience, confirm};
pub use stamp::Stamp;
pub use switch::{Switch, Switched, switch, switch_patiently};

/// The records of one name that a switch compares and replaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// The records of types CNAME, A and AAAA, in the order of their kinds, at most one set for each.
    pub records: Vec<RecordSet>,
    /// The texts of the TXT record `_transship.<name>`, sorted; each is one value with its strings joined.
    pub texts: Vec<String>,
    /// The tool that manages the name, if a record says so.
    pub owner: Option<String>,
}

/// The records of one type of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordSet {
    /// The type.
    pub kind: RecordKind,
    /// The values in their canonical form, sorted; never empty.
    pub values: Vec<String>,
    /// The time to live in seconds.
    pub ttl_seconds: u32,
}

/// What a service returned for a change: a change id, or nothing. Only the adapter that returned it reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt(pub String);

/// Fails if the service refuses changes of `name`, see [`Names::allows_change`]. One that does not answer that, because it is
/// throttled, may still accept them.
pub async fn expect_allowed(names: &dyn Names, name: &Hostname, entry: &Entry) -> Result<()> {
    match names.allows_change(name, entry).await {
        Err(error) if error.is(Code::DnsUnavailable) => {
            tracing::info!(code = error.code(), %error, "the service could not be asked whether it allows a change");
            Ok(())
        }
        answer => answer,
    }
}

/// What one authoritative server answers.
#[derive(Debug)]
pub struct Answer {
    /// The server, for messages.
    pub server: String,
    /// Its records; an error if it does not answer; [`None`] if the service only reports that the change is under way.
    pub entry: Result<Option<Entry>>,
}

/// A DNS zone that can be changed.
///
/// A `name` is always in the zone. A change concerns the records of types CNAME, A and AAAA of the name, and the TXT record
/// [`text_name`] of it, and no other record.
#[async_trait]
pub trait Names: Send + Sync {
    /// True if [`Names::swap`] compares and replaces in one step of the service. Otherwise it reads, compares, writes and reads
    /// again, and a change by another client in between can be lost.
    fn is_atomic(&self) -> bool;

    /// The name of the zone.
    async fn zone(&self) -> Result<Hostname>;

    /// The records of `name` at the server or service that receives the changes; empty if there are none.
    ///
    /// An alias or a record with a routing policy is `DNS_RECORD_UNSUPPORTED`.
    async fn read(&self, name: &Hostname) -> Result<Entry>;

    /// Replaces the records and the text of `name` by those of `after` if they are those of `before`; times to live may differ.
    ///
    /// If they are others, it is `DNS_RECORD_CHANGED`, and nothing is changed. The owner is not compared. If the outcome is not
    /// known, because the connection broke, the error is `DNS_UNAVAILABLE`.
    async fn swap(&self, name: &Hostname, before: &Entry, after: &Entry) -> Result<Receipt>;

    /// Asks the service whether it would accept a change of `name`, which has the records of `entry`, and changes nothing. The
    /// errors are those of [`Names::swap`]. A service that cannot be asked that allows it. `DNS_UNAVAILABLE` says nothing about the
    /// right, see [`expect_allowed`].
    async fn allows_change(&self, _name: &Hostname, _entry: &Entry) -> Result<()> {
        Ok(())
    }

    /// The shortest wait between two calls of [`Names::answers`].
    fn pause_min(&self) -> Duration {
        Duration::ZERO
    }

    /// What every authoritative server answers now, after the change with `receipt`. Never empty.
    async fn answers(&self, name: &Hostname, receipt: &Receipt) -> Result<Vec<Answer>>;
}

/// The name of the TXT record with the epoch.
pub fn text_name(name: &Hostname) -> Result<Hostname> {
    name.below("_transship").ok_or_else(|| {
        let why = format!("{name} is too long for the TXT record _transship.{name}");
        Error::of(Code::DnsZoneInvalid, Verb::Names.on(name)).because(why)
    })
}

/// The names of TXT records in which external-dns keeps what it manages: the name itself, and since its version 0.12 the name
/// with the type in front. Names with a prefix or suffix of the operator's choice (`--txt-prefix`) are not found.
///
/// Source: kubernetes-sigs/external-dns, `docs/registry/txt.md`.
pub fn owner_names(name: &Hostname) -> Vec<String> {
    let types = ["a-", "aaaa-", "cname-"].iter().map(|kind| format!("{kind}{name}"));
    std::iter::once(name.to_string()).chain(types).collect()
}

/// The tool that says in the text of a TXT record that it manages the name.
pub fn owner_of(text: &str) -> Option<String> {
    let text = text.trim_matches('"');
    let fields = text.strip_prefix("heritage=external-dns")?;
    let field = |key: &str| fields.split(',').find_map(|field| field.strip_prefix(key));
    let owner = field("external-dns/owner=").unwrap_or("unknown");
    let resource = field("external-dns/resource=").map_or(String::new(), |resource| format!(", resource {resource}"));
    Some(format!("external-dns (owner {owner}{resource})"))
}

/// Whether the zone can hold the record under the name: the name is in the zone, and no CNAME is at its apex.
pub fn fits(zone: &Hostname, name: &Hostname, record: &SiteRecord) -> Result<()> {
    let operation = Verb::Names.on(name);
    if !name.is_in(zone) {
        let why = format!("the zone is {zone}");
        return Err(Error::of(Code::DnsZoneInvalid, operation).because(why));
    }
    if name == zone && record.kind == RecordKind::Cname {
        return Err(Error::of(Code::DnsApexCname, operation).because(format!("{name} is the zone itself")));
    }
    Ok(())
}

impl RecordSet {
    /// The record of a site.
    pub fn of(record: &SiteRecord, ttl_seconds: u32) -> Self {
        Self {
            kind: record.kind,
            values: record.values.clone(),
            ttl_seconds,
        }
    }

    /// The set of values as a service wrote them. The error is the value that is not valid for the kind.
    pub fn parse(kind: RecordKind, values: &[String], ttl_seconds: u32) -> std::result::Result<Self, String> {
        let canonical = values
            .iter()
            .map(|value| kind.canonical(value).map_err(|_| value.clone()))
            .collect::<std::result::Result<Vec<String>, String>>();
        let mut values = canonical?;
        values.sort_unstable();
        values.dedup();
        Ok(Self {
            kind,
            values,
            ttl_seconds,
        })
    }
}

impl Entry {
    /// The set of one kind.
    pub fn set(&self, kind: RecordKind) -> Option<&RecordSet> {
        self.records.iter().find(|set| set.kind == kind)
    }

    /// The values of one kind; empty if there is no such record.
    pub fn values(&self, kind: RecordKind) -> &[String] {
        self.set(kind).map_or(&[], |set| &set.values)
    }

    /// True if both have the same records and texts; times to live and the owner may differ.
    pub fn is_same(&self, other: &Self) -> bool {
        let has_same = |kind: RecordKind| self.values(kind) == other.values(kind);
        self.texts == other.texts && RecordKind::ALL.into_iter().all(has_same)
    }

    /// True if the only record is that of the site.
    pub fn leads_to(&self, site: &SiteRecord) -> bool {
        matches!(self.records.as_slice(), [set] if set.kind == site.kind && set.values == site.values)
    }
}

/// As in a zone file, on one line: `60 CNAME a.example.net; TXT "epoch=7; …"`.
impl std::fmt::Display for Entry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let records = self
            .records
            .iter()
            .map(|set| format!("{} {} {}", set.ttl_seconds, set.kind, set.values.join(", ")));
        let texts = self.texts.iter().map(|text| {
            let text: String = text.chars().take(200).collect();
            format!("TXT \"{}\"", text.escape_default())
        });
        let parts: Vec<String> = records.chain(texts).collect();
        if parts.is_empty() {
            formatter.write_str("no record")
        } else {
            formatter.write_str(&parts.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_dns_is_recognised_by_its_text() {
        let text = "\"heritage=external-dns,external-dns/owner=default,external-dns/resource=ingress/x\"";
        assert_eq!(
            owner_of(text),
            Some("external-dns (owner default, resource ingress/x)".to_owned())
        );
        assert_eq!(
            owner_of("heritage=external-dns"),
            Some("external-dns (owner unknown)".to_owned())
        );
        assert_eq!(owner_of("v=spf1 -all"), None);
    }

    #[test]
    fn a_zone_holds_names_below_it_and_no_alias_at_its_apex() {
        let name = |text: &str| text.parse::<Hostname>().unwrap();
        let alias = SiteRecord {
            kind: RecordKind::Cname,
            values: vec!["a.example.net".to_owned()],
        };
        let address = SiteRecord {
            kind: RecordKind::A,
            values: vec!["10.0.8.4".to_owned()],
        };
        let zone = name("example.com");
        assert!(fits(&zone, &name("images.example.com"), &alias).is_ok());
        assert!(fits(&zone, &zone, &address).is_ok());
        assert!(fits(&zone, &zone, &alias).unwrap_err().is(Code::DnsApexCname));
        let outside = fits(&zone, &name("images.example.org"), &alias).unwrap_err();
        assert!(outside.is(Code::DnsZoneInvalid));
    }
}
