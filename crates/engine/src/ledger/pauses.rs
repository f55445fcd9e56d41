//! Pauses of hosts: until when no worker should send requests to a host.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::hints::is_later;
use super::{Freshness, Hint, Hints, Key, Put};
use transship_oci::Result;

/// How often a pause is tried to be written while others write it too.
const CAS_TRIES_MAX: usize = 8;
const NAME: &str = "P";

/// Pauses by host.
#[derive(Clone)]
pub struct Pauses {
    hints: Arc<dyn Hints>,
}

impl Pauses {
    /// Pauses kept in `hints`.
    pub const fn new(hints: Arc<dyn Hints>) -> Self {
        Self { hints }
    }

    /// Asks all workers to send nothing to `host` before `until`. An earlier time than the one in force changes nothing. Returns
    /// true if the host was not paused before. One call, two to extend a pause.
    pub async fn pause(&self, host: &str, until: Timestamp, now: Timestamp) -> Result<bool> {
        let pause = Hint {
            key: key_of(host),
            value: format!("{} {}", until.as_millisecond(), now.as_millisecond()),
            expires: until,
        };
        let mut expected: Option<String> = None;
        for _ in 0..CAS_TRIES_MAX {
            match self.hints.put_if(&pause, expected.as_deref(), now).await? {
                Put::Done => return Ok(expected.as_deref().and_then(|known| read(known, now)).is_none()),
                Put::Refused(known)
                    if known
                        .as_deref()
                        .and_then(|known| read(known, now))
                        .is_some_and(|known| known >= until) =>
                {
                    return Ok(false);
                }
                Put::Refused(known) => expected = known,
            }
        }
        // Others pause the host as well, so it is paused.
        Ok(false)
    }

    /// Which of `hosts` is paused the longest, and until when, if one is at `now`. One call for all; none for no host.
    pub async fn until(&self, hosts: &[&str], now: Timestamp) -> Result<Option<(String, Timestamp)>> {
        let keys: Vec<Key> = keys_of(hosts).collect();
        Ok(longest(self.hints.get(&keys, now, Freshness::Exact).await?, now))
    }

    /// Ends the pause of `host`.
    pub async fn resume(&self, host: &str) -> Result<()> {
        self.hints.remove(&key_of(host), None).await
    }
}

/// The keys of the pauses of `hosts`, each once.
pub(super) fn keys_of(hosts: &[&str]) -> impl Iterator<Item = Key> {
    let hosts: BTreeSet<&str> = hosts.iter().copied().collect();
    hosts.into_iter().map(key_of)
}

/// The longest of the pauses that are in force at `now`, with its host.
pub(super) fn longest(found: HashMap<Key, String>, now: Timestamp) -> Option<(String, Timestamp)> {
    let pauses = found.into_iter().filter_map(|(key, value)| {
        let host = key.family.strip_prefix(FAMILY)?.to_owned();
        Some((host, read(&value, now)?))
    });
    pauses.filter(|(_, until)| *until > now).max_by_key(|(_, until)| *until)
}

const FAMILY: &str = "P#";

fn key_of(host: &str) -> Key {
    Key::new(format!("{FAMILY}{host}"), NAME)
}

/// The end of a pause. [`None`] for a pause that began later than `now`: the clock of the worker that recorded it was ahead. A
/// pause of an earlier release has no beginning.
fn read(value: &str, now: Timestamp) -> Option<Timestamp> {
    let time = |text: &str| Timestamp::from_millisecond(text.parse().ok()?).ok();
    match value.split_once(' ') {
        Some((until, since)) => time(until).filter(|_| time(since).is_some_and(|since| !is_later(since, now))),
        None => time(value),
    }
}
