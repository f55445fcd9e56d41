//! DNS services of clouds that change one record at a time, without a comparison.
//!
//! A change reads and compares, writes the epoch, reads and compares again, writes the records, and reads once more. Two
//! operators at the same moment both pass the first comparison; the second one finds the epoch of the other and stops, or finds
//! it at the end and says so. It is not atomic, and [`Names::is_atomic`] says so.

mod access_key;
mod alibaba;
mod request;
mod tencent;

use async_trait::async_trait;
use transship_engine::names::{Answer, Entry, Names, Receipt, RecordSet, owner_names, owner_of, text_name};
use transship_oci::{Code, Error, Operation, Result, Verb};
use transship_rules::{Hostname, RecordKind};

pub use alibaba::private_zone;
pub use tencent::private_dns;

/// The most records of a zone that are read.
const RECORDS_MAX: usize = 50_000;

/// A service that keeps records with ids.
#[async_trait]
pub(crate) trait RecordService: Send + Sync {
    /// The service, for messages.
    fn title(&self) -> &'static str;

    /// The name of the zone.
    async fn zone_name(&self, operation: &Operation) -> Result<String>;

    /// One page of the records of the zone, counted from 0, and the number of all records.
    async fn page(&self, number: usize, operation: &Operation) -> Result<(Vec<Stored>, usize)>;

    async fn create(&self, draft: &Draft, operation: &Operation) -> Result<()>;

    async fn update(&self, id: &str, draft: &Draft, operation: &Operation) -> Result<()>;

    async fn delete(&self, id: &str, operation: &Operation) -> Result<()>;
}

/// A record that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    /// The name relative to the zone; `@` is the zone itself.
    pub(crate) host: String,
    pub(crate) kind: &'static str,
    pub(crate) value: String,
    pub(crate) ttl_seconds: u32,
}

/// A record of the zone.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) host: String,
    pub(crate) kind: String,
    pub(crate) value: String,
    pub(crate) ttl_seconds: u32,
    /// Clients get it.
    pub(crate) is_enabled: bool,
}

/// A zone at such a service.
pub(crate) struct RecordByRecord<S>(pub(crate) S);

/// The records of one name, and where they are.
struct Found {
    host: String,
    text_host: String,
    /// The records of kinds that are switched.
    records: Vec<Stored>,
    texts: Vec<Stored>,
    entry: Entry,
}

impl<S: RecordService> RecordByRecord<S> {
    async fn zone_at(&self, operation: &Operation) -> Result<Hostname> {
        let name = self.0.zone_name(operation).await?;
        name.parse().map_err(|why| {
            Error::of(Code::DnsZoneInvalid, operation.clone()).because(format_args!("its name {name:?} {why}"))
        })
    }

    async fn find(&self, name: &Hostname) -> Result<Found> {
        let operation = Verb::Names.on(name);
        let zone = self.zone_at(&operation).await?;
        let host = host_of(name.as_str(), &zone, &operation)?;
        let text_host = host_of(text_name(name)?.as_str(), &zone, &operation)?;
        let mut records = Vec::new();
        let mut texts = Vec::new();
        let mut owner = None;
        let owners: Vec<String> = owner_names(name)
            .iter()
            .filter_map(|name| host_of(name, &zone, &operation).ok())
            .collect();
        for record in self.all(&operation).await? {
            let is_text = record.kind == "TXT";
            if record.host == host && RecordKind::of(&record.kind).is_some() {
                records.push(record);
            } else if is_text && record.host == text_host {
                texts.push(record);
            } else if is_text && owners.contains(&record.host) {
                owner = owner.or_else(|| owner_of(&record.value));
            }
        }
        if let Some(record) = records.iter().chain(&texts).find(|record| !record.is_enabled) {
            let why = format!(
                "the {} record of {} in the zone is disabled: enable or remove it",
                record.kind, record.host
            );
            return Err(Error::of(Code::DnsRecordUnsupported, operation).because(why));
        }
        let entry = Entry {
            records: RecordKind::ALL
                .into_iter()
                .filter_map(|kind| set_of(kind, &records))
                .collect(),
            texts: sorted(texts.iter().map(|record| record.value.trim_matches('"').to_owned())),
            owner,
        };
        Ok(Found {
            host,
            text_host,
            records,
            texts,
            entry,
        })
    }

    async fn all(&self, operation: &Operation) -> Result<Vec<Stored>> {
        let mut all = Vec::new();
        for number in 0.. {
            let (page, total) = self.0.page(number, operation).await?;
            let is_last = page.is_empty();
            all.extend(page);
            if all.len() >= total {
                break;
            }
            // A short list would hide a record, and a change would then look like a new name.
            if is_last || all.len() > RECORDS_MAX {
                let why = format!("{} listed {} of {total} records", self.0.title(), all.len());
                return Err(Error::of(Code::DnsUnavailable, operation.clone()).because(why));
            }
        }
        Ok(all)
    }

    /// Makes the records of one name those of `wanted`. What is not needed is removed first, because a CNAME has no neighbours;
    /// then a record is changed in place, so that the name is never without one.
    async fn write(&self, stored: &[Stored], wanted: Vec<Draft>, operation: &Operation) -> Result<()> {
        let is_written = |draft: &Draft, record: &Stored| {
            let is_same = draft.kind == record.kind && draft.ttl_seconds == record.ttl_seconds;
            is_same && draft.value == canonical(record)
        };
        let (kept, old): (Vec<&Stored>, Vec<&Stored>) = stored
            .iter()
            .partition(|record| wanted.iter().any(|draft| is_written(draft, record)));
        let new: Vec<&Draft> = wanted
            .iter()
            .filter(|draft| !kept.iter().any(|record| is_written(draft, record)))
            .collect();
        let pairs = old.len().min(new.len());
        for record in old.iter().skip(pairs) {
            self.0.delete(&record.id, operation).await?;
        }
        for (record, draft) in old.iter().zip(&new) {
            self.0.update(&record.id, draft, operation).await?;
        }
        for draft in new.iter().skip(pairs) {
            self.0.create(draft, operation).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl<S: RecordService> Names for RecordByRecord<S> {
    fn is_atomic(&self) -> bool {
        false
    }

    async fn zone(&self) -> Result<Hostname> {
        self.zone_at(&Verb::Names.on(self.0.title())).await
    }

    async fn read(&self, name: &Hostname) -> Result<Entry> {
        self.find(name).await.map(|found| found.entry)
    }

    async fn swap(&self, name: &Hostname, before: &Entry, after: &Entry) -> Result<Receipt> {
        let operation = Verb::Names.on(name);
        let changed =
            |found: &Entry| Error::of(Code::DnsRecordChanged, operation.clone()).because(format_args!("found {found}"));
        let found = self.find(name).await?;
        if !found.entry.is_same(before) {
            return Err(changed(&found.entry));
        }
        let ttl_seconds = after.records.first().map_or(60, |set| set.ttl_seconds);
        let texts = after.texts.iter().map(|text| Draft {
            host: found.text_host.clone(),
            kind: "TXT",
            value: text.clone(),
            ttl_seconds,
        });
        self.write(&found.texts, texts.collect(), &operation).await?;

        // The epoch is written first. Who does not find the own one there was slower than another operator.
        let found = self.find(name).await?;
        let expected = Entry {
            records: before.records.clone(),
            texts: after.texts.clone(),
            owner: None,
        };
        if found.entry.is_same(before) && before.texts != after.texts {
            let error = Error::of(Code::DnsNotChanged, operation.clone());
            return Err(error.because(format_args!("the record is {before}")));
        }
        if !found.entry.is_same(&expected) {
            return Err(changed(&found.entry));
        }
        let records = after.records.iter().flat_map(|set| {
            let host = &found.host;
            set.values.iter().map(move |value| Draft {
                host: host.clone(),
                kind: set.kind.as_str(),
                value: value.clone(),
                ttl_seconds: set.ttl_seconds,
            })
        });
        self.write(&found.records, records.collect(), &operation).await?;
        let found = self.find(name).await?.entry;
        if found.texts != after.texts {
            return Err(changed(&found));
        }
        Ok(Receipt::default())
    }

    async fn answers(&self, name: &Hostname, _: &Receipt) -> Result<Vec<Answer>> {
        Ok(vec![Answer {
            server: self.0.title().to_owned(),
            entry: self.read(name).await.map(Some),
        }])
    }
}

/// The value in the form in which it is compared.
fn canonical(record: &Stored) -> String {
    let kind = RecordKind::of(&record.kind);
    kind.and_then(|kind| kind.canonical(&record.value).ok())
        .unwrap_or_else(|| record.value.trim_matches('"').to_owned())
}

fn set_of(kind: RecordKind, records: &[Stored]) -> Option<RecordSet> {
    let of_kind = || records.iter().filter(|record| record.kind == kind.as_str());
    let ttl_seconds = of_kind().map(|record| record.ttl_seconds).min()?;
    Some(RecordSet {
        kind,
        values: sorted(of_kind().map(canonical)),
        ttl_seconds,
    })
}

fn sorted(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut values: Vec<String> = values.collect();
    values.sort_unstable();
    values
}

/// `name` relative to the zone, as both clouds write it.
fn host_of(name: &str, zone: &Hostname, operation: &Operation) -> Result<String> {
    if name == zone.as_str() {
        return Ok("@".to_owned());
    }
    name.strip_suffix(zone.as_str())
        .and_then(|host| host.strip_suffix('.'))
        .map(str::to_owned)
        .ok_or_else(|| Error::of(Code::DnsZoneInvalid, operation.clone()).because(format_args!("the zone is {zone}")))
}
