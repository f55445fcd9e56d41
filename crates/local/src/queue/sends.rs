//! Groups sends: while one transaction is synced, new sends are collected for the next one.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::messages::{self, Message};
use crate::Database;
use crate::database::{Durability, stopped};
use transship_oci::Result;

/// The pending sends. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Sends {
    pending: Arc<Mutex<Vec<Pending>>>,
}

/// One pending call.
struct Pending {
    messages: Vec<Message>,
    done: oneshot::Sender<Result<()>>,
}

impl Sends {
    /// Returns when `messages` are on the disk.
    pub(super) async fn write(&self, database: &Database, messages: Vec<Message>) -> Result<()> {
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
        written.await.unwrap_or_else(|error| Err(stopped(error)))
    }

    /// Writes all pending sends in one transaction. The first caller writes for all others.
    fn write_all(&self, database: &Database) {
        let mut taken = Vec::new();
        let result = database.write_blocking(Durability::Disk, |transaction| {
            // The sends are taken after the database is locked, so that those that arrived during another transaction are included.
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
            // The caller may have been cancelled. The message is in the queue nevertheless, as the port allows.
            let _: Result<(), _> = send.done.send(result.clone());
        }
    }

    fn take(&self) -> Vec<Pending> {
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Number of pending calls.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
