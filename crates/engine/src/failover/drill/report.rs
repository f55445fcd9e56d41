//! What a drill did and measured.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_oci::Code;

use crate::failover::facts::{age, reason};
use crate::failover::{ImageAtRisk, Reason};
use crate::ledger::LastDrills;

/// How long a drill counts.
pub const DRILL_AGE_MAX: Duration = Duration::from_hours(90 * 24);

/// The report of a drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrillReport {
    /// The group.
    pub group: String,
    /// The name that was switched, and no other.
    pub name: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// The person or program.
    pub by: String,
    /// The site that clients use.
    pub from: String,
    /// The site that was rehearsed.
    pub to: String,
    /// True if every step succeeded, and nothing spoke against a flip.
    pub ok: bool,
    /// The zones, in the order of the document.
    pub zones: Vec<ZoneDrill>,
    /// The time from the beginning until clients could pull at the new site, for the slowest zone, in milliseconds. The time to
    /// live of the record comes on top of it. Null: it was not reached.
    pub rto_ms: Option<u64>,
    /// The lag of the new site, in seconds: what a flip would have lost. Null: not known.
    pub rpo_seconds: Option<u64>,
    /// The images that a flip would have lost, the first of them.
    pub at_risk: Vec<ImageAtRisk>,
    /// The number of these images.
    pub at_risk_count: u64,
    /// What would have spoken against a flip, and what failed.
    pub reasons: Vec<Reason>,
}

/// The drill in one zone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ZoneDrill {
    /// The zone.
    pub zone: String,
    /// What was done, in order.
    pub steps: Vec<StepDone>,
    /// When clients could pull at the new site, in milliseconds after the switch began.
    pub switched_ms: Option<u64>,
    /// When clients could pull at the old site again, in milliseconds after the switch back began.
    pub returned_ms: Option<u64>,
    /// The authoritative servers that did not answer, each with the reason.
    #[serde(default)]
    pub silent: Vec<String>,
    /// Every record that the drill made was removed.
    pub removed: bool,
}

/// A step of a drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepDone {
    /// What was done: `create`, `switch`, `confirm`, `pull`, `switch back`, `confirm back`, `pull back` or `remove`.
    pub step: String,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// The code of its error; null: it succeeded.
    pub code: Option<String>,
    /// The error as a sentence.
    pub text: Option<String>,
}

/// That the last good drill of `group` is too long ago.
pub fn overdue(group: &str, last: &LastDrills, now: Timestamp) -> Option<Reason> {
    let days = DRILL_AGE_MAX.as_secs() / 86_400;
    match last.last_good {
        Some(good) if age(good, now) <= DRILL_AGE_MAX => None,
        Some(good) => {
            let ago = age(good, now).as_secs() / 86_400;
            let why = format!("the last good drill of {group} was {ago} days ago, and one is due every {days} days");
            Some(reason(Code::DrillOverdue, why))
        }
        None => Some(reason(
            Code::DrillOverdue,
            format!("no drill of {group} has succeeded yet"),
        )),
    }
}
