//! The limit of a rule's deletes, which all workers share.
//!
//! The deletes of a period are counted in a record, and a task that was counted, or released by an operator, has a grant. What
//! must hold: no more deletes of a rule begin in a period than its limit says; a task that is tried again is not counted again;
//! and a counted delete that is lost with its worker costs one delete of the period, never one more.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_oci::{Code, Error, Result, Verb};
use transship_rules::DeleteLimit;

use super::{Freshness, Hint, Hints, Key, Records};

/// How long a grant is kept: as long as the task is listed.
const GRANT_TTL: Duration = Duration::from_hours(90 * 24);
/// How far the clocks of workers may differ.
const CLOCK_SKEW_MAX: Duration = Duration::from_mins(1);
/// How often the record is tried to be changed while other workers change it too.
const CAS_TRIES_MAX: usize = 32;

/// The deletes that may begin.
#[derive(Clone)]
pub struct DeleteGrants {
    hints: Arc<dyn Hints>,
}

impl DeleteGrants {
    /// Grants kept in `hints`.
    pub const fn new(hints: Arc<dyn Hints>) -> Self {
        Self { hints }
    }

    /// Lets the delete of `task` begin, regardless of the limit. One call.
    pub async fn add(&self, task: &str, now: Timestamp) -> Result<()> {
        let grant = Hint {
            key: grant_key(task),
            value: now.to_string(),
            expires: now.saturating_add(GRANT_TTL).unwrap_or(Timestamp::MAX),
        };
        self.hints.put(&[grant]).await
    }

    async fn has(&self, task: &str, now: Timestamp) -> Result<bool> {
        let key = grant_key(task);
        let found = self
            .hints
            .get(std::slice::from_ref(&key), now, Freshness::Exact)
            .await?;
        Ok(found.contains_key(&key))
    }
}

/// The counters of the rules that limit their deletes.
#[derive(Clone)]
pub struct DeleteLimits {
    records: Arc<dyn Records>,
    grants: DeleteGrants,
}

/// The deletes of one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Counted {
    /// When the period began, in milliseconds.
    since_ms: i64,
    count: u32,
}

impl DeleteLimits {
    /// Counters kept in `records`, with the grants of tasks.
    pub const fn new(records: Arc<dyn Records>, grants: DeleteGrants) -> Self {
        Self { records, grants }
    }

    /// True if the delete of `task` may begin: it was granted before, or `rule` has deletes left in this period, of which it takes
    /// one. A period begins with its first delete. One call for a task that was granted, otherwise four; more while other workers
    /// count as well.
    pub async fn admit(&self, rule: &str, task: &str, limit: DeleteLimit, now: Timestamp) -> Result<bool> {
        if self.grants.has(task, now).await? {
            return Ok(true);
        }
        let key = Key::new("delete-limit", rule);
        for _ in 0..CAS_TRIES_MAX {
            let record = self.records.get(&key).await?;
            let known = record
                .as_ref()
                .and_then(|record| serde_json::from_str(&record.value).ok());
            let Some(counted) = next(known, limit, now) else {
                return Ok(false);
            };
            let value = serde_json::to_string(&counted).unwrap_or_default();
            let version = record.map(|record| record.version);
            if self.records.put_if(&key, version, &value).await?.is_some() {
                self.grants.add(task, now).await?;
                return Ok(true);
            }
        }
        let why = "other workers count deletes of the rule at the same time";
        Err(Error::of(Code::LedgerUnavailable, Verb::Ledger.on("delete_limit")).because(why))
    }
}

/// The count with one delete more; [`None`] if the limit is reached. A period that another worker began a moment ago, by its clock
/// later than now, is the current one. One that began much later is over, because the clock of its worker was ahead.
fn next(known: Option<Counted>, limit: DeleteLimit, now: Timestamp) -> Option<Counted> {
    let now_ms = now.as_millisecond();
    let per_ms = i64::try_from(limit.per.as_millis()).unwrap_or(i64::MAX);
    let skew_ms = i64::try_from(CLOCK_SKEW_MAX.as_millis()).unwrap_or(i64::MAX);
    let period = |since_ms: i64| since_ms.saturating_sub(skew_ms)..since_ms.saturating_add(per_ms);
    match known.filter(|known| period(known.since_ms).contains(&now_ms)) {
        Some(counted) if counted.count >= limit.count => None,
        Some(counted) => Some(Counted {
            count: counted.count + 1,
            ..counted
        }),
        None => Some(Counted {
            since_ms: now_ms,
            count: 1,
        }),
    }
}

fn grant_key(task: &str) -> Key {
    Key::new(format!("delete-grant#{task}"), "G")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_begins_with_its_first_delete_and_holds_as_many_as_the_limit() {
        let limit = DeleteLimit {
            count: 2,
            per: Duration::from_secs(10),
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = next(None, limit, at(100));
        assert_eq!(
            first,
            Some(Counted {
                since_ms: 100_000,
                count: 1
            })
        );
        let second = next(first, limit, at(109));
        assert_eq!(
            second,
            Some(Counted {
                since_ms: 100_000,
                count: 2
            })
        );
        assert_eq!(next(second, limit, at(109)), None);
        assert_eq!(
            next(second, limit, at(110)),
            Some(Counted {
                since_ms: 110_000,
                count: 1
            })
        );
        // Another worker that looked at its clock before, a clock that was ahead, and a limit that was lowered.
        assert_eq!(next(second, limit, at(99)), None);
        assert_eq!(
            next(second, limit, at(39)),
            Some(Counted {
                since_ms: 39_000,
                count: 1
            })
        );
        assert_eq!(next(first, DeleteLimit { count: 1, ..limit }, at(101)), None);
    }
}
