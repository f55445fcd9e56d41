//! Rules whose pushes are found only by the sweep: the notifications of their source do not arrive.
//!
//! A sweep that compared every tag of a rule sets a mark. What a later sweep finds missing was pushed after the mark, so a
//! delivery should have announced it. It is counted, and judged when the next sweep has ended: by then a delivery that was
//! only late has arrived. Any push of the rule that a delivery announced since the mark ends the silence.
//!
//! What must hold: no delivery costs a call for this; a sweep costs two, and one more while something is counted. What is lost
//! here costs a report and never an image.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_oci::{Code, Error, Result, Verb};

use super::{ExecutionQuery, Freshness, Hint, Hints, History, Key};
use crate::Trigger;

/// How long a rule is remembered that is not swept.
const SILENCE_TTL: Duration = Duration::from_hours(90 * 24);
/// Executions that one look reads.
const EXECUTIONS_READ_MAX: usize = 100;

/// What the sweeps of one rule found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// The settings of the rule and its registries, see [`crate::Snapshot::fingerprint`]. With others, the counts begin again.
    pub rule_version: String,
    /// The start of the last sweep that compared every tag.
    pub whole: Option<Timestamp>,
    /// The start of the last sweep that could not compare every tag.
    #[serde(default)]
    pub partial: Option<Timestamp>,
    /// Pushes that earlier sweeps found.
    pub pushes: u64,
    /// Pushes that the sweep in progress, or the last one, found.
    pub latest: u64,
    /// The mark after which the first of them was pushed.
    pub since: Option<Timestamp>,
}

impl Silence {
    /// Counts `pushes` that one message of a sweep found. Without a mark nothing is known about their age.
    pub fn count(&mut self, pushes: u64) {
        if pushes > 0 && self.whole.is_some() {
            self.latest += pushes;
            self.since = self.since.or(self.whole);
        }
    }

    /// The sweep that started at `started` compared every tag. `is_heard`: a delivery announced a push since the first one
    /// that was counted. Returns the number of pushes that no delivery announced; 0 if there are none, or if they are too new.
    pub fn end(&mut self, started: Timestamp, is_heard: bool) -> u64 {
        self.whole = Some(started);
        if is_heard {
            (self.pushes, self.latest, self.since) = (0, 0, None);
        }
        let silent = self.pushes;
        self.pushes += std::mem::take(&mut self.latest);
        silent
    }

    /// All pushes that were counted.
    pub const fn all(&self) -> u64 {
        self.pushes + self.latest
    }
}

/// The silence of each rule.
#[derive(Clone)]
pub struct Silences {
    hints: Arc<dyn Hints>,
}

impl Silences {
    /// Kept in `hints`.
    pub const fn new(hints: Arc<dyn Hints>) -> Self {
        Self { hints }
    }

    /// What is known of `rule` in this version; nothing is known of a rule that changed. One call.
    pub async fn of(&self, rule: &str, rule_version: &str, now: Timestamp) -> Result<Silence> {
        let key = key_of(rule);
        let mut found = self
            .hints
            .get(std::slice::from_ref(&key), now, Freshness::Exact)
            .await?;
        let known: Option<Silence> = found.remove(&key).and_then(|text| serde_json::from_str(&text).ok());
        let known = known.filter(|known| known.rule_version == rule_version);
        Ok(known.unwrap_or_else(|| Silence {
            rule_version: rule_version.to_owned(),
            ..Silence::default()
        }))
    }

    /// Remembers what is known of `rule`. One call. Only one sweep of a rule runs at a time, so there is one writer.
    pub async fn put(&self, rule: &str, silence: &Silence, now: Timestamp) -> Result<()> {
        let value = serde_json::to_string(silence).map_err(|error| {
            let why = "the silence of a rule has no JSON";
            Error::of(Code::LedgerUnavailable, Verb::Ledger.on("silences_put"))
                .because(why)
                .with_source(error)
        })?;
        let expires = now.saturating_add(SILENCE_TTL).unwrap_or(Timestamp::MAX);
        let key = key_of(rule);
        self.hints.put(&[Hint { key, value, expires }]).await
    }
}

/// The time of the last push of `rule` that a delivery announced, not before `from`. It may be one of the newest hundred and
/// not the newest; [`None`]: there is none.
pub async fn last_delivery(history: &dyn History, rule: &str, from: Option<Timestamp>) -> Result<Option<Timestamp>> {
    let query = ExecutionQuery {
        rule: Some(rule.to_owned()),
        from,
        trigger: Some(Trigger::Event),
        ..ExecutionQuery::default()
    };
    let mut after = None;
    loop {
        let page = history.executions(&query, after.as_ref(), EXECUTIONS_READ_MAX).await?;
        if let Some(newest) = page.items.iter().map(|execution| execution.created).max() {
            return Ok(Some(newest));
        }
        after = page.next;
        if after.is_none() {
            return Ok(None);
        }
    }
}

fn key_of(rule: &str) -> Key {
    Key::new("silence", rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(hour * 3600).unwrap()
    }

    #[test]
    fn what_was_there_before_the_first_whole_sweep_is_not_counted() {
        let mut silence = Silence::default();
        silence.count(1000);
        assert_eq!(silence.end(at(1), false), 0);
        assert_eq!((silence.all(), silence.since), (0, None));
    }

    #[test]
    fn pushes_are_reported_by_the_sweep_after_the_one_that_found_them_and_by_each_one_until_a_delivery() {
        let mut silence = Silence::default();
        assert_eq!(silence.end(at(1), false), 0);
        silence.count(2);
        silence.count(1);
        assert_eq!(silence.end(at(2), false), 0, "a delivery may be on its way");
        assert_eq!((silence.all(), silence.since), (3, Some(at(1))));
        silence.count(4);
        assert_eq!(silence.end(at(3), false), 3);
        assert_eq!(silence.end(at(4), false), 7);
        assert_eq!(silence.end(at(5), true), 0);
        assert_eq!((silence.all(), silence.since), (0, None));
    }
}
