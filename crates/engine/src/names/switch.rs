//! One switch of one name in one zone: read, decide, compare and replace, read again.
//!
//! Interrupted at any point, it can be repeated with the same stamp: what is done already is not done again.

use std::time::Duration;

use transship_oci::{Code, Error, Result, Verb};
use transship_rules::{Hostname, SiteRecord};

use super::{Entry, Names, Patience, Receipt, RecordSet, Stamp, fits};

/// How often a service is asked the same that cannot be asked at the moment: for 3 seconds. Route 53 takes 5 requests a second of
/// an account.
const UNAVAILABLE_TIMES: u32 = 4;

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
    let once = Tries {
        times: 1,
        pause: Duration::ZERO,
    };
    switch_within(names, switch, once).await
}

/// The same; a service that cannot be asked at the moment (`DNS_UNAVAILABLE`), because it is throttled, is asked again after the
/// pause of `patience`, a few times. The receipt of a change that was accepted is kept over that.
pub async fn switch_patiently(names: &dyn Names, switch: &Switch, patience: Patience) -> Result<Switched> {
    let tries = Tries {
        times: UNAVAILABLE_TIMES.min(patience.times),
        pause: patience.pause,
    };
    switch_within(names, switch, tries).await
}

/// How often, and with which pauses, a service is asked the same.
#[derive(Clone, Copy)]
struct Tries {
    times: u32,
    pause: Duration,
}

impl Tries {
    /// Waits if there is one more try after `time` of them.
    async fn has_more_after(self, time: u32) -> bool {
        if time >= self.times {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        true
    }

    async fn ask<T>(self, ask: impl AsyncFn() -> Result<T>) -> Result<T> {
        let mut time = 1;
        loop {
            match ask().await {
                Err(error) if error.is(Code::DnsUnavailable) && self.has_more_after(time).await => time += 1,
                answer => return answer,
            }
        }
    }
}

async fn switch_within(names: &dyn Names, switch: &Switch, tries: Tries) -> Result<Switched> {
    let name = &switch.name;
    fits(&tries.ask(async || names.zone().await).await?, name, &switch.to)?;
    let before = tries.ask(async || names.read(name).await).await?;
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
    let (mut current, mut time) = (before.clone(), 1);
    loop {
        let swapped = names.swap(name, &current, &after).await;
        if let Err(error) = &swapped
            && !matches!(error.kind(), Code::DnsRecordChanged | Code::DnsUnavailable)
        {
            return Err(error.clone());
        }
        // Another client was faster, or the outcome is not known: the records say what happened.
        let read = tries.ask(async || names.read(name).await).await;
        let found = match (read, swapped.as_ref().err()) {
            (Ok(found), _) => found,
            (Err(_), Some(error)) => return Err(error.clone()),
            (Err(error), None) => return Err(error),
        };
        match (decide(&found, switch)?, swapped) {
            (Decision::Done, swapped) => {
                return Ok(Switched {
                    before,
                    after: found,
                    receipt: swapped.unwrap_or_default(),
                });
            }
            (Decision::Swap(_), Err(error)) if error.is(Code::DnsUnavailable) && tries.has_more_after(time).await => {
                (current, time) = (found, time + 1);
            }
            (Decision::Swap(_), Err(error)) => return Err(error),
            (Decision::Swap(_), Ok(_)) => {
                let error = Error::of(Code::DnsNotChanged, Verb::Names.on(name));
                return Err(error.because(format_args!("the record is {found}")));
            }
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
