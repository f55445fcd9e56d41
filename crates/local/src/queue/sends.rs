//! Sends wait for the disk together: while one transaction is being synced, the sends that arrive gather for the next.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::messages::{self, Message};
use crate::Database;
use crate::database::{Durability, Fault};
use transship_oci::Result;

/// The sends that wait. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Sends {
    pending: Arc<Mutex<Vec<Pending>>>,
}

/// One call that waits.
struct Pending {
    messages: Vec<Message>,
    done: oneshot::Sender<Result<(), Fault>>,
}

impl Sends {
    /// Returns when the disk has `messages`.
    pub(super) async fn write(&self, database: &Database, messages: Vec<Message>) -> Result<(), Fault> {
        let (done, written) = oneshot::channel();
        self.pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Pending { messages, done });
        let sends = self.clone();
        database
            .blocking(move |database| {
                sends.write_all(database);
                Ok(())
            })
            .await?;
        written.await.unwrap_or_else(|error| Err(Fault::stopped(error)))
    }

    /// Writes every send that waits, in one transaction. Whoever comes first writes for all who came by then.
    fn write_all(&self, database: &Database) {
        let mut taken = Vec::new();
        let result = database.write_blocking(Durability::Disk, |transaction| {
            // Taken only now, with the database locked: what arrived while another transaction ran is in.
            taken = self.take();
            taken
                .iter()
                .flat_map(|send| &send.messages)
                .try_for_each(|message| messages::add(transaction, message))
        });
        if result.is_err() && taken.is_empty() {
            taken = self.take();
        }
        for send in taken {
            // Nobody listens if the caller gave up; the message is in the queue all the same, as the port allows.
            let _: Result<(), _> = send.done.send(result.clone());
        }
    }

    fn take(&self) -> Vec<Pending> {
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many calls wait.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
