//! The right to write tags between the sites of a group, asked for right before each write.
//!
//! A worker first records a slot, then reads the state of the group, then writes. An operator first fences the group, then reads
//! the slots. So either the worker sees the fence and writes nothing, or the operator sees the slot and waits for its end.
//! What must hold: no tag is written without a state that was read right before, after the slot was recorded, and no request that
//! writes lasts longer than its slot, also for an operator whose clock differs.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Mutex;
use transship_copy::{Clock, Gate, TimeBudget};
use transship_oci::{Code, Error, Result, Verb};
use transship_rules::{Document, Failover};

use super::{GroupState, Zones, observe};
use crate::ImageRef;
use crate::configuration::Snapshot;
use crate::jobs::Jobs;
use crate::ledger::{Failovers, Slot, SlotVersion};
use crate::send::now;

/// How long a slot counts if its worker dies.
pub(crate) const SLOT_TTL: Duration = Duration::from_mins(15);
/// The longest time that one request takes which writes a tag. A slot that would end before is extended.
const WRITE_DURATION_MAX: Duration = Duration::from_mins(4);
/// How much the clocks of workers and operators may differ. A slot counts for this much longer than its worker writes.
pub(crate) const CLOCK_SKEW_MAX: Duration = Duration::from_mins(5);

/// What the writes of one attempt are.
#[derive(Clone, Copy)]
pub struct WritesOf<'a> {
    /// The states of groups.
    pub failovers: &'a Failovers,
    /// The clock.
    pub clock: &'a dyn Clock,
    /// The document as it is written.
    pub document: &'a Document,
    /// The rule of the task.
    pub rule: &'a str,
    /// The registries of source and destination; the source of an import has none.
    pub ends: (&'a str, &'a str),
    /// The zones, from which a state that the ledger lost is made; [`None`]: this worker may not read them.
    pub zones: Option<&'a dyn Zones>,
    /// The time slot of the worker.
    pub budget: Option<TimeBudget>,
}

/// The writes of one attempt.
pub struct Writes<'a> {
    of: WritesOf<'a>,
    /// The group whose sites both ends are.
    group: Option<&'a Failover>,
    holder: String,
    slot: Mutex<Option<SlotVersion>>,
}

impl<'a> Writes<'a> {
    /// The writes of an attempt that `holder` identifies.
    pub fn new(of: WritesOf<'a>, holder: &str) -> Self {
        let (from, to) = of.ends;
        Self {
            group: of.document.failover_between(from, to),
            of,
            holder: holder.to_owned(),
            slot: Mutex::default(),
        }
    }

    /// The writes of an attempt of `rule` from `source` to `destination`.
    pub(crate) fn of_task(
        jobs: &'a Jobs,
        snapshot: &'a Snapshot,
        rule: &'a str,
        (source, destination): (Option<&'a ImageRef>, &'a ImageRef),
        (holder, budget): (&str, Option<TimeBudget>),
    ) -> Self {
        let from = source.map_or("", |source| source.registry.as_str());
        let of = WritesOf {
            failovers: &jobs.ledger.failovers,
            clock: jobs.clock.as_ref(),
            document: snapshot.written(),
            rule,
            ends: (from, &destination.registry),
            zones: jobs.zones.as_deref(),
            budget,
        };
        Self::new(of, holder)
    }

    /// True if both registries are sites of a group.
    pub const fn is_in_group(&self) -> bool {
        self.group.is_some()
    }

    /// Returns if a tag may be written now. `FAILOVER_UNDER_WAY` and `FAILOVER_EPOCH_UNKNOWN`: later perhaps. `FAILOVER_FENCED`:
    /// never. The slot stays until [`Writes::end`], because
    /// other writes of the attempt may be under way. The request that writes may take the time that is returned. Two calls for the
    /// first tag of an attempt, one for each further one; none outside of groups.
    pub async fn admit(&self) -> Result<Option<Duration>> {
        let Some(group) = self.group else { return Ok(None) };
        let unknown = |error: Error| {
            if error.is(Code::FailoverEpochUnknown) {
                return error;
            }
            Error::of(Code::FailoverEpochUnknown, Verb::Ledger.on(&group.name))
                .because(error.to_string())
                .with_source(error)
        };
        let limit = self.hold_slot(group).await.map_err(unknown)?;
        let known = self.of.failovers.get(&group.name).await.map_err(unknown)?;
        let state = match known {
            Some(known) => known.state.of(group),
            None => self.state_of_dns(group).await.map_err(unknown)?,
        };
        let refused = |code: Code, why: String| Err(Error::of(code, Verb::Copy.on(self.of.rule)).because(why));
        if state.is_fenced() {
            let by = state.under_way().map_or("", |operation| operation.by.as_str());
            return refused(
                Code::FailoverUnderWay,
                format!(
                    "the group {} is {} by {by}, epoch {}",
                    group.name, state.phase, state.epoch
                ),
            );
        }
        if !self
            .of
            .document
            .is_active(group, &state.writer, self.of.rule, self.of.ends)
        {
            return refused(
                Code::FailoverFenced,
                format!(
                    "{} is the writer of the group {} since epoch {}",
                    state.writer, group.name, state.epoch
                ),
            );
        }
        Ok(Some(limit))
    }

    /// The state of a group that the ledger does not know: it was lost, or never needed. DNS has the epoch of the last switch.
    async fn state_of_dns(&self, group: &Failover) -> Result<GroupState> {
        let Some(zones) = self.of.zones else {
            let why = format!(
                "the ledger has no state of the group; `transship dr status {}` writes it from DNS",
                group.name
            );
            return Err(Error::of(Code::FailoverEpochUnknown, Verb::Ledger.on(&group.name)).because(why));
        };
        let mut observed = observe(self.of.failovers, group, zones).await?;
        observed.settle(self.of.failovers, group).await?;
        Ok(observed.state)
    }

    /// Records the slot, or extends one that would end during a write. Returns how long a write may take from now.
    async fn hold_slot(&self, group: &Failover) -> Result<Duration> {
        let mut held = self.slot.lock().await;
        let at = now(self.of.clock);
        let left_of = |slot: &SlotVersion| {
            let left = Duration::try_from(slot.slot.expires.duration_since(at)).unwrap_or_default();
            left.saturating_sub(CLOCK_SKEW_MAX)
        };
        if let Some(left) = held.as_ref().map(left_of).filter(|left| *left >= WRITE_DURATION_MAX) {
            return Ok(left.min(WRITE_DURATION_MAX));
        }
        // A function is ended with its time, and its writes with it.
        let left = self.of.budget.map_or(SLOT_TTL, |budget| budget.left() + budget.grace());
        let lasts = left.min(SLOT_TTL.saturating_sub(CLOCK_SKEW_MAX));
        let slot = Slot {
            holder: self.holder.clone(),
            began: at,
            expires: at.checked_add(lasts + CLOCK_SKEW_MAX).unwrap_or(Timestamp::MAX),
        };
        *held = Some(self.of.failovers.begin_slot(&group.name, &slot).await?);
        Ok(lasts.min(WRITE_DURATION_MAX))
    }

    /// Ends the slot. Nothing is written afterwards.
    pub async fn end(&self) {
        let (Some(group), Some(slot)) = (self.group, self.slot.lock().await.take()) else {
            return;
        };
        if let Err(error) = self.of.failovers.end_slot(&group.name, &slot).await {
            tracing::warn!(code = error.code(), %error, "the slot of a write could not be removed and remains until it expires");
        }
    }
}

#[async_trait]
impl Gate for Writes<'_> {
    async fn pass(&self) -> Result<Option<Duration>> {
        self.admit().await
    }
}
