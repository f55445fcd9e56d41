//! What workers agree on: who commits a tag, and which host is left in peace until when. One call each.
//!
//! Ends are compared with the caller's time, not with the table's.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use transship_engine::Result;

use super::attributes::{GRACE, expires, key, text, text_of, time, time_of};
use super::expression::{Change, Values};
use super::table::{Item, Table, Written};

fn lease_key(key_of_lease: &str) -> Item {
    key(format!("C#{key_of_lease}"), "C")
}

/// Takes, extends or takes over a lease; false if another holder has it.
pub(super) async fn lease_take(table: &Table, key: &str, holder: &str, now: Timestamp, ttl: Duration) -> Result<bool> {
    let until = now.saturating_add(ttl).unwrap_or(Timestamp::MAX);
    let change = Change::default()
        .set("holder", text(holder))
        .set("until", time(until))
        .set("expires", expires(until, GRACE))
        .only_if("attribute_not_exists(#pk) OR #holder = :holder OR #until <= :now")
        .value("now", time(now));
    let written = table.update("ledger lease_take", lease_key(key), change).await?;
    Ok(matches!(written, Written::Done(_)))
}

/// Gives a lease back if `holder` has it.
pub(super) async fn lease_release(table: &Table, key: &str, holder: &str) -> Result<()> {
    let values = Values::from([(":holder".to_owned(), text(holder))]);
    let condition = Some(("#holder = :holder", values));
    table.delete("ledger lease_release", lease_key(key), condition).await
}

fn pause_key(host: &str) -> Item {
    key(format!("P#{host}"), "P")
}

/// Pauses a host; an earlier end than the one in force changes nothing.
pub(super) async fn pause(table: &Table, host: &str, until: Timestamp) -> Result<()> {
    let change = Change::default()
        .set("until", time(until))
        .set("expires", expires(until, GRACE))
        .only_if("attribute_not_exists(#pk) OR #until < :until");
    table.update("ledger pause", pause_key(host), change).await?;
    Ok(())
}

/// Which of the hosts is paused the longest, and until when.
pub(super) async fn paused_until(table: &Table, hosts: &[&str], now: Timestamp) -> Result<Option<(String, Timestamp)>> {
    let operation = "ledger paused_until";
    let hosts: BTreeSet<&str> = hosts.iter().copied().collect();
    let keys = hosts.into_iter().map(pause_key).collect();
    let mut longest: Option<(String, Timestamp)> = None;
    for item in table.batch_get(operation, keys, true).await? {
        let paused = text_of(&item, "pk")
            .and_then(|key| Ok((key.trim_start_matches("P#").to_owned(), time_of(&item, "until")?)));
        let (host, until) = paused.map_err(|answer| table.unreadable(answer, operation))?;
        if until > now && longest.as_ref().is_none_or(|(_, other)| *other < until) {
            longest = Some((host, until));
        }
    }
    Ok(longest)
}
