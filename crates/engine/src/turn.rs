//! Turns: of the workers that were given the same task, one goes on with it at a time.
//!
//! Here because an upload that outlived its worker can be taken up by one other: two who take it up spoil it for each other,
//! begin it anew, and meet again in the next slot, for ever. A delivery that was sent twice makes two such workers, and so
//! does one that dies after it sent its message on. What must hold: who waits for the turn keeps the message, so that
//! nothing is lost with the one who has it; and a turn ends with its slot, whatever became of its worker.

use std::time::Duration;

use transship_copy::Slot;

use crate::{Replicator, Task};
use transship_oci::Result;

/// The turn of one attempt.
pub(crate) struct Turn {
    key: String,
    holder: String,
    /// It ends by itself after so long.
    pub(crate) length: Duration,
}

impl Replicator {
    /// What an attempt must hold before it begins; [`None`]: nothing. A first one finds nothing to take up, and one without a
    /// slot leaves nothing.
    pub(crate) fn turn_of(&self, task: &Task, attempt: u32, slot: Option<Slot>) -> Option<Turn> {
        let slot = slot.filter(|_| attempt > 1)?;
        Some(Turn {
            key: format!("task {}", task.id),
            holder: format!("{} {attempt}", self.worker),
            length: slot.left() + slot.grace(),
        })
    }

    /// False if another worker has the turn.
    pub(crate) async fn turn_begin(&self, turn: &Turn) -> Result<bool> {
        let now = self.now();
        self.ledger.lease_take(&turn.key, &turn.holder, now, turn.length).await
    }

    pub(crate) async fn turn_end(&self, turn: &Turn) {
        if let Err(error) = self.ledger.lease_release(&turn.key, &turn.holder).await {
            tracing::warn!(code = error.code(), %error, "the turn at a task stays until it expires");
        }
    }
}
