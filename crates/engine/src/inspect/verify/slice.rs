//! A verification in slices: how far it got, what its later parts need of the earlier ones, and what one slice may do.
//!
//! What must hold: what a slice reports and how far it got belong together, so that a slice that is cut off anywhere counts nothing
//! that the next one counts again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_copy::TimeBudget;
use transship_oci::{Error, Repository, Result};

use super::super::{ASKED_WAITS_MAX, PATIENCE};
use super::{Checked, Verification};
use crate::job::Cursor;
use crate::ledger::VerifySummary;
use crate::walk::{End, Narrow, Patience, Visitor as _, Walk};

/// How far a verification got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyPlace {
    /// When it began.
    pub(crate) began: Timestamp,
    pub(crate) part: VerifyPart,
    /// How far it got in this part.
    pub(crate) cursor: Cursor,
    /// How often it could not go on from the cursor.
    pub(crate) stuck: u32,
    /// How often it waited at the cursor because a registry asked for it.
    pub(crate) waits: u32,
    /// Not every repository of the source was listed.
    pub(crate) is_cut: bool,
    /// What was found so far.
    pub(crate) summary: VerifySummary,
}

/// The parts of a verification, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VerifyPart {
    /// The tags of the source, each compared with the destination.
    Tags,
    /// The repositories that only the destination has.
    Repositories,
    /// The tags that only the destination has.
    Extras,
    /// The end was reached.
    Over,
}

impl VerifyPart {
    const fn next(self) -> Self {
        match self {
            Self::Tags => Self::Repositories,
            Self::Repositories => Self::Extras,
            Self::Extras | Self::Over => Self::Over,
        }
    }
}

/// The names that the search for extra tags needs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SeenNames {
    /// Hashes of the names that the source gives at the destination, whether or not the rule selects their tags.
    pub named: BTreeSet<u64>,
    /// The repositories of the destination that the source has.
    pub repositories: BTreeSet<Repository>,
    /// Those among them whose tags at the source are not all known.
    pub unread: BTreeSet<Repository>,
}

impl SeenNames {
    /// Adds what `other` has.
    pub fn extend(&mut self, other: Self) {
        self.named.extend(other.named);
        self.repositories.extend(other.repositories);
        self.unread.extend(other.unread);
    }

    /// Removes what `other` has.
    pub(crate) fn remove(&mut self, other: &Self) {
        self.named.retain(|hash| !other.named.contains(hash));
        self.repositories.retain(|one| !other.repositories.contains(one));
        self.unread.retain(|one| !other.unread.contains(one));
    }
}

/// What one slice may use.
pub(crate) struct Slot {
    /// The time; [`None`]: no limit.
    pub(crate) budget: Option<TimeBudget>,
    /// Tags, repositories and pages that it may still look at.
    pub(crate) looks_left: usize,
}

impl Slot {
    pub(crate) fn is_over(&self) -> bool {
        self.looks_left == 0 || self.budget.is_some_and(|budget| budget.left().is_zero())
    }

    pub(super) const fn look(&mut self) {
        self.looks_left = self.looks_left.saturating_sub(1);
    }

    /// Waits for `work` as long as the slot lasts; [`None`]: it is over.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        within(self.budget, work).await
    }
}

/// Waits for `work` as long as the budget lasts; [`None`]: it is over.
pub(crate) async fn within<T>(budget: Option<TimeBudget>, work: impl Future<Output = T>) -> Option<T> {
    match budget {
        Some(budget) => tokio::time::timeout(budget.left(), work).await.ok(),
        None => Some(work.await),
    }
}

/// Why a verification does not go on at once.
pub(crate) enum Step {
    /// A part ended, and the next one may begin: see [`VerifyPlace::part`].
    Next,
    /// The slot is over.
    Enough,
    /// Something could not be read.
    Stopped(Error),
}

impl VerifyPlace {
    /// The beginning of a verification of `rule`.
    pub(crate) fn new(rule: &str, began: Timestamp) -> Self {
        Self {
            began,
            part: VerifyPart::Tags,
            cursor: Cursor::default(),
            stuck: 0,
            waits: 0,
            is_cut: false,
            summary: VerifySummary::new(rule, began),
        }
    }

    /// Where it is, for people.
    pub(crate) fn at(&self) -> String {
        match (&self.cursor.repository, &self.cursor.tag) {
            (Some(repository), Some(tag)) => format!("{repository}:{tag}"),
            (Some(repository), None) => repository.to_string(),
            (None, _) => "the list of repositories".to_owned(),
        }
    }

    pub(super) fn move_to(&mut self, cursor: Cursor) {
        if self.cursor != cursor {
            (self.stuck, self.waits) = (0, 0);
        }
        self.cursor = cursor;
    }

    pub(super) fn begin_next(&mut self) {
        (self.stuck, self.waits) = (0, 0);
        (self.part, self.cursor) = (self.part.next(), Cursor::default());
    }
}

impl<F: FnMut(Checked) + Send + Sync> Verification<'_, F> {
    /// Goes on until the slot is over, the part is, or something cannot be read.
    pub(crate) async fn advance(&mut self, slot: &mut Slot) -> Result<Step> {
        match self.place.part {
            VerifyPart::Tags => Ok(Box::pin(self.walk(slot)).await),
            VerifyPart::Repositories => Box::pin(self.find_others(slot)).await,
            VerifyPart::Extras => Box::pin(self.extras(slot)).await,
            VerifyPart::Over => Ok(Step::Next),
        }
    }

    /// How long the registry asked to wait before the verification goes on; [`None`]: it asked for nothing, or too often.
    pub(crate) fn asked(&mut self, error: &Error) -> Option<Duration> {
        let asked = error.persistence().retry_after();
        let asked = asked.filter(|_| self.place.waits < ASKED_WAITS_MAX)?;
        self.place.waits += 1;
        Some(asked)
    }

    /// After an error that was not waited for: what cannot be read is read once more, tag by tag, and passed over if it still cannot.
    /// Where nothing behind it is known either, the part is over.
    pub(crate) fn go_past(&mut self, error: &Error) {
        if self.place.stuck < self.patience.waits_max {
            self.place.stuck += 1;
        } else {
            self.pass_over(None, None, error);
            self.report();
            self.place.begin_next();
        }
    }

    async fn walk(&mut self, slot: &mut Slot) -> Step {
        let mut walk = Walk {
            rule: self.verify.rule,
            source: self.verify.source.clone(),
            expected: Vec::new(),
            narrow: Narrow::default(),
            patience: self.patience,
            cursor: self.place.cursor.clone(),
            stuck: self.place.stuck,
            looks_left: slot.looks_left,
        };
        let begun = walk.cursor.clone();
        let checks = Arc::clone(&self.checks);
        let ended = slot.within(Box::pin(walk.run(checks.as_ref(), self))).await;
        slot.looks_left = walk.looks_left;
        self.place.stuck = walk.stuck;
        match ended {
            Some(Ok(End::Whole)) => {
                self.report();
                self.place.begin_next();
                Step::Next
            }
            Some(Ok(End::Enough)) => Step::Enough,
            Some(Err(error)) => {
                self.pending.clear();
                Step::Stopped(error)
            }
            None => {
                self.pending.clear();
                // What did not fit into one slot may fit into the next in smaller steps.
                self.place.stuck += u32::from(self.place.cursor == begun);
                Step::Enough
            }
        }
    }

    /// True for an error that another attempt may not meet.
    pub(super) fn may_pass(&self, error: &Error) -> bool {
        error.persistence().is_temporary() && self.place.stuck < self.patience.waits_max
    }
}

/// What cannot be read is reported at once: the registry client has already repeated its requests.
pub(super) const AT_ONCE: Patience = PATIENCE;

/// The same, but what cannot be read is read twice.
pub(crate) const TWICE: Patience = Patience {
    waits_max: 1,
    ..PATIENCE
};
