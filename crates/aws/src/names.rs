//! Hosted zones of Amazon Route 53 as DNS zones that can be changed, public and private.
//!
//! One change batch deletes the exact old records and creates the new ones, together with the epoch; Route 53 executes all of
//! it or nothing, and refuses to delete a record with other values. Only a record of another type that appears between reading
//! and writing is not noticed by the batch; it is noticed when the records are read afterwards.
//!
//! Source: Amazon Route 53 API reference, `ChangeResourceRecordSets`, `ListResourceRecordSets`, `GetChange`.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_route53::types::{
    Change, ChangeAction, ChangeBatch, ChangeStatus, ResourceRecord, ResourceRecordSet, RrType,
};
use transship_engine::names::{Answer, Entry, Names, Receipt, RecordSet, owner_names, owner_of, text_name};
use transship_oci::{Code, Error, Operation, Result, Verb};
use transship_rules::{Hostname, RecordKind};

use crate::Aws;
use crate::error::AwsError;

/// The number of times that a change is sent while an earlier change of the zone is not complete.
const PRIOR_REQUEST_TIMES: u32 = 10;
/// The wait between two of them.
const PRIOR_REQUEST_PAUSE: Duration = Duration::from_secs(1);

/// The wait between two times that a change is asked for, of 3 requests at most. Route 53 takes 5 requests a second of an account.
const ANSWERS_PAUSE: Duration = Duration::from_millis(500);

/// The value of a text that no zone has.
const NO_TEXT: &str = "asks whether a change is allowed";

/// A hosted zone.
pub struct HostedZone {
    aws: Aws,
    zone: String,
}

/// What a zone has of one name.
struct Found {
    entry: Entry,
    /// The record sets of `entry`, as they have to be deleted.
    sets: Vec<ResourceRecordSet>,
}

impl HostedZone {
    /// `zone` is the id, without `/hostedzone/`.
    pub fn new(aws: Aws, zone: impl Into<String>) -> Self {
        Self { aws, zone: zone.into() }
    }

    async fn find(&self, name: &Hostname) -> Result<Found> {
        let operation = Verb::Names.on(name);
        let mut found = Found {
            entry: Entry::default(),
            sets: Vec::new(),
        };
        for set in self.sets(name.as_str(), &operation).await? {
            let Some(kind) = RecordKind::of(set.r#type().as_str()) else {
                continue;
            };
            if set.alias_target().is_some() || set.set_identifier().is_some() {
                let why = format!("the {kind} record of {name} in the zone {}", self.zone);
                return Err(Error::of(Code::DnsRecordUnsupported, operation).because(why));
            }
            found.entry.records.push(record_set(kind, &set));
            found.sets.push(set);
        }
        found.entry.records.sort_by_key(|set| set.kind);
        for set in self.sets(text_name(name)?.as_str(), &operation).await? {
            if *set.r#type() == RrType::Txt {
                found.entry.texts.extend(texts(&set));
                found.sets.push(set);
            }
        }
        found.entry.texts.sort_unstable();
        Ok(found)
    }

    async fn owner(&self, name: &Hostname) -> Result<Option<String>> {
        let operation = Verb::Names.on(name);
        for owner in owner_names(name) {
            let sets = self.sets(&owner, &operation).await?;
            let mut texts = sets.iter().filter(|set| *set.r#type() == RrType::Txt).flat_map(texts);
            if let Some(owner) = texts.find_map(|text| owner_of(&text)) {
                return Ok(Some(owner));
            }
        }
        Ok(None)
    }

    /// Every record set of exactly this name.
    async fn sets(&self, name: &str, operation: &Operation) -> Result<Vec<ResourceRecordSet>> {
        let mut sets = Vec::new();
        let mut start = (name.to_owned(), None, None);
        loop {
            let request = self
                .aws
                .route53()
                .list_resource_record_sets()
                .hosted_zone_id(&self.zone)
                .start_record_name(&start.0)
                .set_start_record_type(start.1)
                .set_start_record_identifier(start.2);
            let page = request.send().await;
            let page = page.map_err(|error| self.failed(&AwsError::of(&error), operation))?;
            let is_of_name = |set: &ResourceRecordSet| set.name().trim_end_matches('.').eq_ignore_ascii_case(name);
            let all = page.resource_record_sets.len();
            let own: Vec<ResourceRecordSet> = page.resource_record_sets.into_iter().filter(is_of_name).collect();
            // The list is in the order of names: another name ends it.
            let is_end = own.len() < all;
            sets.extend(own);
            match page.next_record_name {
                Some(next) if page.is_truncated && !is_end => {
                    start = (next, page.next_record_type, page.next_record_identifier);
                }
                _ => return Ok(sets),
            }
        }
    }

    /// Sends the batch; again while an earlier one is not complete.
    async fn change(&self, batch: &ChangeBatch) -> std::result::Result<String, AwsError> {
        let mut time = 1;
        loop {
            let request = self
                .aws
                .route53()
                .change_resource_record_sets()
                .hosted_zone_id(&self.zone)
                .change_batch(batch.clone());
            let error = match request.send().await {
                Ok(response) => return Ok(response.change_info.map_or(String::new(), |info| info.id)),
                Err(error) => AwsError::of(&error),
            };
            if error.code != "PriorRequestNotComplete" || time >= PRIOR_REQUEST_TIMES {
                return Err(error);
            }
            time += 1;
            tokio::time::sleep(PRIOR_REQUEST_PAUSE).await;
        }
    }

    fn failed(&self, error: &AwsError, operation: &Operation) -> Error {
        let code = match error.code.as_str() {
            "NoSuchHostedZone" => Code::DnsZoneInvalid,
            "RequestExpired" | "RequestTimeTooSkewed" => Code::DnsClockSkew,
            "Timeout" | "Unreachable" | "ServiceUnavailable" | "InternalFailure" | "PriorRequestNotComplete" => {
                Code::DnsUnavailable
            }
            _ if error.is_throttled() => Code::DnsUnavailable,
            _ => Code::DnsRefused,
        };
        Error::of(code, operation.clone()).because(format_args!("hosted zone {}: {error}", self.zone))
    }
}

fn record_set(kind: RecordKind, set: &ResourceRecordSet) -> RecordSet {
    let values: Vec<String> = set
        .resource_records()
        .iter()
        .map(|record| record.value().to_owned())
        .collect();
    let ttl_seconds = set.ttl().and_then(|ttl| u32::try_from(ttl).ok()).unwrap_or_default();
    RecordSet::parse(kind, &values, ttl_seconds).unwrap_or(RecordSet {
        kind,
        values,
        ttl_seconds,
    })
}

/// The texts of a TXT record: each value is one or more strings in quotes.
fn texts(set: &ResourceRecordSet) -> Vec<String> {
    let records = set.resource_records().iter();
    records.map(|record| unquoted(record.value())).collect()
}

/// The strings of a value, joined. Source: Route 53 developer guide, "TXT record type"; other bytes are three octal digits.
fn unquoted(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut characters = value.bytes().peekable();
    let mut is_inside = false;
    while let Some(byte) = characters.next() {
        match byte {
            b'"' => is_inside = !is_inside,
            b'\\' if is_inside => {
                let mut digits = Vec::new();
                while digits.len() < 3
                    && let Some(digit) = characters.next_if(|byte| (b'0'..=b'7').contains(byte))
                {
                    digits.push(digit - b'0');
                }
                match digits.as_slice() {
                    [] => bytes.extend(characters.next()),
                    digits => bytes.push(
                        digits
                            .iter()
                            .fold(0_u8, |code, digit| code.wrapping_mul(8).wrapping_add(*digit)),
                    ),
                }
            }
            byte if is_inside => bytes.push(byte),
            _ => {}
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

fn set_of(name: &Hostname, kind: RrType, ttl_seconds: u32, values: Vec<String>) -> Option<ResourceRecordSet> {
    let records = values
        .into_iter()
        .map(|value| ResourceRecord::builder().value(value).build())
        .collect::<std::result::Result<Vec<_>, _>>();
    let set = ResourceRecordSet::builder()
        .name(format!("{name}."))
        .r#type(kind)
        .ttl(i64::from(ttl_seconds))
        .set_resource_records(records.ok());
    set.build().ok()
}

/// The batch that deletes `sets` and creates the records of `after`; [`None`] if a value is missing.
fn batch(name: &Hostname, sets: Vec<ResourceRecordSet>, after: &Entry) -> Option<ChangeBatch> {
    let change = |action, set| Change::builder().action(action).resource_record_set(set).build().ok();
    let text_ttl_seconds = after.records.first().map_or(60, |set| set.ttl_seconds);
    let mut new = Vec::new();
    for set in &after.records {
        new.push(set_of(
            name,
            set.kind.as_str().into(),
            set.ttl_seconds,
            set.values.clone(),
        )?);
    }
    if !after.texts.is_empty() {
        let values = after.texts.iter().map(|text| quoted(text)).collect();
        new.push(set_of(&text_name(name).ok()?, RrType::Txt, text_ttl_seconds, values)?);
    }
    let deletes = sets.into_iter().map(|set| change(ChangeAction::Delete, set));
    let creates = new.into_iter().map(|set| change(ChangeAction::Create, set));
    let changes: Option<Vec<Change>> = deletes.chain(creates).collect();
    ChangeBatch::builder().set_changes(changes).build().ok()
}

#[async_trait]
impl Names for HostedZone {
    fn is_atomic(&self) -> bool {
        true
    }

    async fn zone(&self) -> Result<Hostname> {
        let operation = Verb::Names.on(&self.zone);
        let response = self.aws.route53().get_hosted_zone().id(&self.zone).send().await;
        let response = response.map_err(|error| self.failed(&AwsError::of(&error), &operation))?;
        let name = response.hosted_zone.map_or(String::new(), |zone| zone.name);
        name.parse()
            .map_err(|why| Error::of(Code::DnsZoneInvalid, operation).because(format_args!("its name {name:?} {why}")))
    }

    async fn read(&self, name: &Hostname) -> Result<Entry> {
        let owner = self.owner(name).await?;
        let found = self.find(name).await?;
        Ok(Entry { owner, ..found.entry })
    }

    async fn swap(&self, name: &Hostname, before: &Entry, after: &Entry) -> Result<Receipt> {
        let operation = Verb::Names.on(name);
        let changed =
            |found: &Entry| Error::of(Code::DnsRecordChanged, operation.clone()).because(format_args!("found {found}"));
        // The batch has to name the exact time to live, which the caller does not compare.
        let found = self.find(name).await?;
        if !found.entry.is_same(before) {
            return Err(changed(&found.entry));
        }
        let batch = batch(name, found.sets, after).ok_or_else(|| Error::of(Code::DnsRefused, operation.clone()))?;
        let error = match self.change(&batch).await {
            Ok(id) => return Ok(Receipt(id)),
            Err(error) => error,
        };
        // The code is the same for records that were changed meanwhile, and for records that are not allowed there.
        if error.code == "InvalidChangeBatch" {
            let now = self.find(name).await?.entry;
            if !now.is_same(before) {
                return Err(changed(&now));
            }
        }
        Err(self.failed(&error, &operation))
    }

    /// Deletes a text that is not there: without the right, the request is denied before Route 53 looks for it.
    async fn allows_change(&self, name: &Hostname, _: &Entry) -> Result<()> {
        let operation = Verb::Names.on(name);
        let refused = || Error::of(Code::DnsRefused, operation.clone());
        let text = set_of(&text_name(name)?, RrType::Txt, 1, vec![quoted(NO_TEXT)]).ok_or_else(refused)?;
        let batch = batch(name, vec![text], &Entry::default()).ok_or_else(refused)?;
        match self.change(&batch).await {
            Err(error) if error.code != "InvalidChangeBatch" => Err(self.failed(&error, &operation)),
            _ => Ok(()),
        }
    }

    fn pause_min(&self) -> Duration {
        ANSWERS_PAUSE
    }

    async fn answers(&self, name: &Hostname, receipt: &Receipt) -> Result<Vec<Answer>> {
        let operation = Verb::Names.on(name);
        let is_in_sync = if receipt.0.is_empty() {
            true
        } else {
            let response = self.aws.route53().get_change().id(&receipt.0).send().await;
            let response = response.map_err(|error| self.failed(&AwsError::of(&error), &operation))?;
            response
                .change_info
                .is_some_and(|info| info.status == ChangeStatus::Insync)
        };
        let entry = if is_in_sync {
            self.find(name).await.map(|found| Some(found.entry))
        } else {
            Ok(None)
        };
        Ok(vec![Answer {
            server: format!("hosted zone {}", self.zone),
            entry,
        }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_strings_in_quotes() {
        for (value, text) in [
            (r#""a b""#, "a b"),
            (r#""a" "b""#, "ab"),
            (r#""a\"b\\""#, r#"a"b\"#),
            (r#""\303\251""#, "é"),
            ("", ""),
            (r#""\"#, ""),
        ] {
            assert_eq!(unquoted(value), text, "{value}");
        }
        assert_eq!(unquoted(&quoted(r#"x"\y"#)), r#"x"\y"#);
    }
}
