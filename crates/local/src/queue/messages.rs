//! The statements of the queue. A receipt holds a message from its delivery until the message is given back, removed or
//! delivered again. Statements with any other receipt change nothing.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Result, Row, Transaction, params};
use transship_engine::ReceivedMessage;
use transship_oci::Backoff;

use super::fairness::{InFlight, Peers, Waiting};
use super::milliseconds;

/// Deliveries of a message that may end with the process before the message waits.
const UNEXPLAINED_DELIVERIES_MAX: u32 = 12;
/// The waits of a message that was delivered more often and may be the one that kills the process.
const SUSPECT_BACKOFF: Backoff = Backoff::doubling(Duration::from_secs(2), Duration::from_mins(5));

/// A message to write.
pub(super) struct Message {
    /// What its job reads and where it writes.
    pub(super) peers: Peers,
    /// The task's JSON.
    pub(super) body: String,
    /// When the message becomes visible, in milliseconds since 1970.
    pub(super) visible: i64,
    /// When it was sent, in the same unit.
    pub(super) hidden_since: i64,
}

/// The content of a receipt: `{id}.{receive_count}`. The count makes the receipt of each delivery different.
pub(super) struct Receipt {
    id: i64,
    receive_count: u32,
}

impl Receipt {
    /// Parses a receipt; [`None`] for any other text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (id, receive_count) = text.split_once('.')?;
        Some(Self {
            id: id.parse().ok()?,
            receive_count: receive_count.parse().ok()?,
        })
    }
}

/// Adds a message.
pub(super) fn add(transaction: &Transaction<'_>, message: &Message) -> Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO message (destination, source, body, visible, hidden_since) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            message.peers.destination,
            message.peers.source,
            message.body,
            message.visible,
            message.hidden_since
        ])?;
    Ok(())
}

/// Makes every message visible at `now` that was hidden later than now, because the clock was ahead then. A message in flight
/// is kept hidden by its worker, or released with all others when the process starts again.
pub(super) fn show_hidden_by_clock(transaction: &Transaction<'_>, now: i64) -> Result<()> {
    transaction
        .prepare_cached("UPDATE message SET visible = ?1, hidden_since = ?1 WHERE in_flight = 0 AND hidden_since > ?1")?
        .execute([now])?;
    Ok(())
}

/// The next `max` messages that are visible at `now`, of every pair of source and destination.
pub(super) fn waiting(connection: &Connection, now: i64, max: usize) -> Result<Vec<Waiting>> {
    // One index step for each pair, regardless of its number of messages.
    let mut next = connection.prepare_cached(
        "SELECT destination, source FROM message WHERE (destination, source) > (?1, ?2) ORDER BY destination, source LIMIT 1",
    )?;
    let mut visible = connection.prepare_cached(
        "SELECT id FROM message WHERE destination = ?1 AND source = ?2 AND visible <= ?3 ORDER BY visible, id LIMIT ?4",
    )?;
    let limit = i64::try_from(max).unwrap_or(i64::MAX);
    let mut found = Vec::new();
    let mut pair = connection
        .query_row(
            "SELECT destination, source FROM message ORDER BY destination, source LIMIT 1",
            [],
            peers,
        )
        .optional()?;
    while let Some(peers_of_pair) = pair {
        let Peers { source, destination } = &peers_of_pair;
        let messages = visible
            .query_map(params![destination, source, now, limit], |row| row.get(0))?
            .collect::<Result<Vec<i64>>>()?;
        pair = next.query_row([destination, source], peers).optional()?;
        if !messages.is_empty() {
            found.push(Waiting {
                peers: peers_of_pair,
                messages,
            });
        }
    }
    Ok(found)
}

/// The number of messages in flight at `now`, of every pair of source and destination that has one.
pub(super) fn in_flight(connection: &Connection, now: i64) -> Result<Vec<InFlight>> {
    connection
        .prepare_cached(
            "SELECT destination, source, count(*) FROM message WHERE in_flight = 1 AND visible > ?1 GROUP BY destination, source",
        )?
        .query_map([now], |row| {
            Ok(InFlight {
                peers: peers(row)?,
                count: usize::try_from(row.get::<_, i64>(2)?).unwrap_or_default(),
            })
        })?
        .collect()
}

fn peers(row: &Row<'_>) -> Result<Peers> {
    Ok(Peers {
        destination: row.get(0)?,
        source: row.get(1)?,
    })
}

/// Delivers a message at `now` and hides it until `until`.
pub(super) fn hand_out(transaction: &Transaction<'_>, id: i64, now: i64, until: i64) -> Result<ReceivedMessage> {
    transaction
        .prepare_cached(
            "UPDATE message SET visible = ?2, hidden_since = ?3, in_flight = 1, receive_count = receive_count + 1 WHERE id = ?1
             RETURNING body, receive_count, receive_count - forgiven, ended_alone",
        )?
        .query_row(params![id, until, now], |row| {
            let delivery: u32 = row.get(1)?;
            Ok(ReceivedMessage {
                body: row.get(0)?,
                receipt: format!("{id}.{delivery}"),
                receive_count: row.get(2)?,
                ended_alone: row.get(3)?,
            })
        })
}

/// Hides a held message until `visible`.
pub(super) fn extend(transaction: &Transaction<'_>, receipt: &Receipt, visible: i64) -> Result<()> {
    transaction
        .prepare_cached("UPDATE message SET visible = ?3 WHERE id = ?1 AND receive_count = ?2 AND in_flight = 1")?
        .execute(params![receipt.id, receipt.receive_count, visible])?;
    Ok(())
}

/// Removes a held message. Returns its pair and when it was delivered, in milliseconds since 1970.
pub(super) fn complete(transaction: &Transaction<'_>, receipt: &Receipt) -> Result<Option<(Peers, i64)>> {
    transaction
        .prepare_cached(
            "DELETE FROM message WHERE id = ?1 AND receive_count = ?2 AND in_flight = 1
             RETURNING destination, source, hidden_since",
        )?
        .query_row(params![receipt.id, receipt.receive_count], |row| {
            Ok((peers(row)?, row.get(2)?))
        })
        .optional()
}

/// Gives a held message back without counting its delivery.
pub(super) fn put_back(transaction: &Transaction<'_>, receipt: &Receipt, now: i64) -> Result<()> {
    transaction
        .prepare_cached(
            "UPDATE message SET visible = ?3, hidden_since = ?3, in_flight = 0, forgiven = forgiven + 1
             WHERE id = ?1 AND receive_count = ?2 AND in_flight = 1",
        )?
        .execute(params![receipt.id, receipt.receive_count, now])?;
    Ok(())
}

/// Makes the messages visible at `now` that wait for the pause of `host` to end, and returns their number.
pub(super) fn wake(transaction: &Transaction<'_>, host: &str, now: i64) -> Result<usize> {
    transaction
        .prepare_cached(
            "UPDATE message SET visible = ?2, hidden_since = ?2
             WHERE in_flight = 0 AND visible > ?2 AND json_extract(body, '$.waits_for') = ?1",
        )?
        .execute(params![host, now])
}

/// Gives a held message back at `now`, hidden until `visible`. Its job panicked, or nothing could be decided about it.
pub(super) fn retry(transaction: &Transaction<'_>, receipt: &Receipt, now: i64, visible: i64) -> Result<()> {
    transaction
        .prepare_cached(
            "UPDATE message SET visible = ?3, hidden_since = ?4, in_flight = 0, ended_alone = 1
             WHERE id = ?1 AND receive_count = ?2 AND in_flight = 1",
        )?
        .execute(params![receipt.id, receipt.receive_count, visible, now])?;
    Ok(())
}

/// Makes every message in flight visible at `now`, and returns their number. A message that was delivered more often than
/// [`UNEXPLAINED_DELIVERIES_MAX`] waits, so that others are delivered.
pub(super) fn release_all(transaction: &Transaction<'_>, now: i64) -> Result<usize> {
    let receive_counts: Vec<u32> = transaction
        .prepare_cached("SELECT DISTINCT receive_count FROM message WHERE in_flight = 1")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_>>()?;
    transaction
        .prepare_cached(
            "UPDATE message SET ended_alone = 1
             WHERE in_flight = 1 AND (SELECT count(*) FROM message WHERE in_flight = 1) = 1",
        )?
        .execute([])?;
    let mut release = transaction.prepare_cached(
        "UPDATE message SET in_flight = 0, visible = ?1, hidden_since = ?3 WHERE in_flight = 1 AND receive_count = ?2",
    )?;
    let mut released = 0;
    for receive_count in receive_counts {
        let visible = now.saturating_add(milliseconds(release_wait(receive_count)));
        released += release.execute(params![visible, receive_count, now])?;
    }
    Ok(released)
}

/// How long a message stays hidden whose process ended, after this number of deliveries.
fn release_wait(receive_count: u32) -> Duration {
    match receive_count.checked_sub(UNEXPLAINED_DELIVERIES_MAX + 1) {
        Some(retries) => SUSPECT_BACKOFF.wait(retries),
        None => Duration::ZERO,
    }
}

/// When the first message becomes visible, of those that were hidden at the time `seen` if there is one, and those that are hidden
/// now; `now` if a clock that was ahead hid one.
pub(super) fn earliest(connection: &Connection, now: i64, seen: Option<i64>) -> Result<Option<i64>> {
    let is_hidden_by_clock: bool = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM message WHERE in_flight = 0 AND hidden_since > ?1)")?
        .query_row([now], |row| row.get(0))?;
    if is_hidden_by_clock {
        return Ok(Some(now));
    }
    connection
        .prepare_cached("SELECT min(visible) FROM message WHERE visible > ?1 AND (hidden_since <= ?2 OR visible > ?3)")?
        .query_row([seen.unwrap_or(i64::MIN), seen.unwrap_or(i64::MAX), now], |row| {
            row.get(0)
        })
}

/// Number of messages.
pub(super) fn count(connection: &Connection) -> Result<usize> {
    let count: i64 = connection.query_row("SELECT count(*) FROM message", [], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspect_message_waits_longer_after_each_delivery() {
        let seconds = [0, 1, 12, 13, 14, 20, 21, 60, u32::MAX].map(|count| release_wait(count).as_secs());
        assert_eq!(seconds, [0, 0, 0, 2, 4, 256, 300, 300, 300]);
    }
}
