//! One switch of one name in one zone: read, decide, compare and replace, read again.
//!
//! Interrupted at any point, it can be repeated with the same stamp: what is done already is not done again.

use transship_oci::{Code, Error, Result, Verb};
use transship_rules::{Hostname, SiteRecord};

use super::{Entry, Names, Receipt, RecordSet, Stamp, fits};

/// What is to change.
#[derive(Debug, Clone)]
pub struct Switch {
    /// The name that clients use.
    pub name: Hostname,
    /// The record that is expected: that of the site which clients use now.
    pub from: SiteRecord,
    /// The record of the site that clients are to use.
    pub to: SiteRecord,
    /// The time to live of the new records, in seconds.
    pub ttl_seconds: u32,
    /// The epoch of this switch, the site of `to`, and the operator.
    pub stamp: Stamp,
}

/// A switch that is made.
#[derive(Debug, Clone)]
pub struct Switched {
    /// The records before; equal to `after` if the switch was made already.
    pub before: Entry,
    /// The records now.
    pub after: Entry,
    /// For [`Names::answers`].
    pub receipt: Receipt,
}

#[derive(Debug)]
enum Decision {
    Swap(Entry),
    Done,
}

/// Makes the switch, or says why not. Nothing is changed if
///
/// - the zone cannot hold the record (`DNS_ZONE_INVALID`, `DNS_APEX_CNAME`),
/// - another tool manages the name (`DNS_RECORD_OWNED`),
/// - a switch with the same epoch to another site, or with a higher epoch, was made (`DNS_EPOCH_OLD`),
/// - the records are neither the expected nor the new ones (`DNS_RECORD_CHANGED`).
///
/// A service that accepts the change and still has the old records is `DNS_NOT_CHANGED`.
pub async fn switch(names: &dyn Names, switch: &Switch) -> Result<Switched> {
    let name = &switch.name;
    fits(&names.zone().await?, name, &switch.to)?;
    let before = names.read(name).await?;
    let after = match decide(&before, switch)? {
        Decision::Done => {
            return Ok(Switched {
                after: before.clone(),
                before,
                receipt: Receipt::default(),
            });
        }
        Decision::Swap(after) => after,
    };
    let swapped = names.swap(name, &before, &after).await;
    if let Err(error) = &swapped
        && !matches!(error.kind(), Code::DnsRecordChanged | Code::DnsUnavailable)
    {
        return Err(error.clone());
    }
    // Another client was faster, or the outcome is not known: the records say what happened.
    let found = match (names.read(name).await, swapped.as_ref().err()) {
        (Ok(found), _) => found,
        (Err(_), Some(error)) => return Err(error.clone()),
        (Err(error), None) => return Err(error),
    };
    match (decide(&found, switch)?, swapped) {
        (Decision::Done, swapped) => Ok(Switched {
            before,
            after: found,
            receipt: swapped.unwrap_or_default(),
        }),
        (Decision::Swap(_), Err(error)) => Err(error),
        (Decision::Swap(_), Ok(_)) => {
            Err(Error::of(Code::DnsNotChanged, Verb::Names.on(name)).because(format_args!("the record is {found}")))
        }
    }
}

fn decide(found: &Entry, switch: &Switch) -> Result<Decision> {
    let refused = |code, why: String| Err(Error::of(code, Verb::Names.on(&switch.name)).because(why));
    if let Some(owner) = &found.owner {
        return refused(Code::DnsRecordOwned, format!("it is managed by {owner}"));
    }
    let stamp = match found.texts.as_slice() {
        [text] => Stamp::parse(text),
        _ => None,
    };
    if stamp.is_none() && !found.texts.is_empty() {
        return refused(
            Code::DnsRecordChanged,
            format!("the TXT record _transship.{} is not an epoch: {found}", switch.name),
        );
    }
    let own = &switch.stamp;
    let is_own = stamp
        .as_ref()
        .is_some_and(|stamp| (stamp.epoch, &stamp.site) == (own.epoch, &own.site));
    if let Some(stamp) = stamp.filter(|stamp| stamp.epoch >= own.epoch && !is_own) {
        let why = format!("this is epoch {}, and the record has {stamp}", own.epoch);
        return refused(Code::DnsEpochOld, why);
    }
    let is_there = found.leads_to(&switch.to);
    if is_there && is_own {
        return Ok(Decision::Done);
    }
    if !is_there && !found.leads_to(&switch.from) {
        return refused(
            Code::DnsRecordChanged,
            format!("expected {}, found {found}", switch.from),
        );
    }
    Ok(Decision::Swap(Entry {
        records: vec![RecordSet::of(&switch.to, switch.ttl_seconds)],
        texts: vec![own.to_string()],
        owner: None,
    }))
}
