//! The worker loop: messages from the queue, tasks side by side, each message given up only when its fate is recorded.
//!
//! A message at work is kept hidden by a heartbeat. A panic is one task's misfortune: its message comes again, its neighbours
//! do not notice. What is at work when the process ends is received again by the next one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use transship_copy::Progress;
use transship_engine::{Delivery, Disposition, Replicator, TaskReceiver};

use crate::SqliteQueue;
use transship_oci::Code;

/// How long a message stays hidden without a heartbeat.
const VISIBILITY: Duration = Duration::from_mins(1);
/// How often it beats.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// How often the queue is looked at without a notice: another process may have sent (`redrive`), and cannot give one.
const LOOK: Duration = Duration::from_secs(5);
/// How long running tasks may go on after the order to stop.
const GRACE: Duration = Duration::from_secs(10);
/// When the queue or the ledger did not answer, or a task panicked.
const TROUBLE: Duration = Duration::from_secs(5);
/// A message that is no task is looked at this often, a minute apart: a newer version may come back and know it.
const UNREADABLE_TIMES: u32 = 60;

/// Works on the queue of a data folder.
pub struct Worker {
    /// The queue.
    pub queue: SqliteQueue,
    /// What works on one task.
    pub replicator: Arc<Replicator>,
    /// Tasks at the same time; at least 1.
    pub concurrency: usize,
    /// Listens to all of them.
    pub progress: Arc<dyn Progress>,
}

impl Worker {
    /// Works until `shutdown` says true, then lets what runs end within ten seconds.
    pub async fn run(&self, mut shutdown: watch::Receiver<bool>) {
        let mut running = JoinSet::new();
        while !*shutdown.borrow() {
            while running.try_join_next().is_some() {}
            let free = self.concurrency.max(1).saturating_sub(running.len());
            let received = if free > 0 { self.receive(free).await } else { Vec::new() };
            let is_idle = received.is_empty();
            for delivery in received {
                running.spawn(work(
                    self.queue.clone(),
                    Arc::clone(&self.replicator),
                    Arc::clone(&self.progress),
                    delivery,
                ));
            }
            if is_idle || free == 0 {
                tokio::select! {
                    _ = running.join_next(), if !running.is_empty() => {}
                    () = self.wait(), if free > 0 => {}
                    _ = shutdown.changed() => {}
                }
            }
        }
        let rest = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, rest).await.is_err() {
            tracing::info!("tasks at work are left to the queue; they are taken up at the next start");
        }
    }

    async fn receive(&self, free: usize) -> Vec<Delivery> {
        match self.queue.receive(free, VISIBILITY).await {
            Ok(received) => received,
            Err(error) => {
                tracing::error!(code = error.code(), "{error}");
                tokio::time::sleep(TROUBLE).await;
                Vec::new()
            }
        }
    }

    async fn wait(&self) {
        if let Err(error) = self.queue.wait(LOOK).await {
            tracing::error!(code = error.code(), "{error}");
            tokio::time::sleep(TROUBLE).await;
        }
    }
}

async fn work(queue: SqliteQueue, replicator: Arc<Replicator>, progress: Arc<dyn Progress>, delivery: Delivery) {
    let Delivery {
        body,
        receipt,
        receive_count,
    } = delivery;
    let mut attempt = tokio::spawn(async move { replicator.message(&body, progress, None).await });
    let ended = loop {
        tokio::select! {
            ended = &mut attempt => break ended,
            () = tokio::time::sleep(HEARTBEAT) => {
                if let Err(error) = queue.extend(&receipt, VISIBILITY).await {
                    tracing::warn!(code = error.code(), "{error}");
                }
            }
        }
    };
    let delay = match ended {
        Ok(Ok(Disposition::Done)) => None,
        Ok(Ok(Disposition::Again(delay))) => Some(delay),
        Ok(Err(error)) if error.is(Code::MessageInvalid) => {
            tracing::error!(
                code = error.code(),
                receive_count,
                "a message is not understood: {error}"
            );
            (receive_count < UNREADABLE_TIMES).then_some(Duration::from_mins(1))
        }
        Ok(Err(error)) => {
            tracing::error!(code = error.code(), "nothing is decided, the task comes again: {error}");
            Some(TROUBLE)
        }
        Err(panic) => {
            tracing::error!(
                code = "WORKER_PANIC",
                receive_count,
                "a task panicked and comes again: {panic}"
            );
            Some(TROUBLE * receive_count.min(60))
        }
    };
    let given_up = match delay {
        None => queue.complete(&receipt).await,
        Some(delay) => queue.retry(&receipt, delay).await,
    };
    if let Err(error) = given_up {
        tracing::error!(
            code = error.code(),
            "a message stays hidden until its time is over: {error}"
        );
    }
}
