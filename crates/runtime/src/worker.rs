//! The worker loop: messages from the queue, tasks side by side, each message given up only when its fate is recorded.
//!
//! A message at work is kept hidden by a heartbeat. A panic is one task's misfortune: its message comes again, its neighbours
//! do not notice. What is at work when the process ends is received again by the next one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use transship_copy::Progress;
use transship_engine::{Envelope, Jobs, Next, ReceivedMessage, TaskQueue, TaskReceiver};

/// How long a message stays hidden without a heartbeat.
const VISIBILITY: Duration = Duration::from_mins(1);
/// How often it beats.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// How often the queue is read without a notice: another process may have sent (`redrive`), and cannot give one.
const QUEUE_READ_INTERVAL: Duration = Duration::from_secs(5);
/// How long running jobs may go on after the order to stop.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// The wait when the queue or the ledger did not answer, or a job panicked.
const ERROR_BACKOFF: Duration = Duration::from_secs(5);
/// A message that cannot be read is tried this often, a minute apart: a newer version of this program may come back and
/// know it.
const INVALID_RECEIVES_MAX: u32 = 60;

/// Works on the messages of a queue. Clones are the same worker.
#[derive(Clone)]
pub struct Worker {
    /// Where messages are received.
    pub receiver: Arc<dyn TaskReceiver>,
    /// Where further messages are sent.
    pub queue: Arc<dyn TaskQueue>,
    /// What works on one message.
    pub jobs: Arc<Jobs>,
    /// Jobs at the same time; at least 1.
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
                let worker = self.clone();
                running.spawn(async move { worker.work(delivery).await });
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
        if tokio::time::timeout(STOP_GRACE, rest).await.is_err() {
            tracing::info!("tasks at work are left to the queue; they are taken up at the next start");
        }
    }

    async fn receive(&self, free: usize) -> Vec<ReceivedMessage> {
        match self.receiver.receive(free, VISIBILITY).await {
            Ok(received) => received,
            Err(error) => {
                tracing::error!(code = error.code(), "{error}");
                tokio::time::sleep(ERROR_BACKOFF).await;
                Vec::new()
            }
        }
    }

    async fn wait(&self) {
        if let Err(error) = self.receiver.wait(QUEUE_READ_INTERVAL).await {
            tracing::error!(code = error.code(), "{error}");
            tokio::time::sleep(ERROR_BACKOFF).await;
        }
    }

    async fn work(self, message: ReceivedMessage) {
        let (receiver, jobs, progress) = (self.receiver.as_ref(), self.jobs, self.progress);
        let ReceivedMessage {
            body,
            receipt,
            receive_count,
        } = message;
        let delay = match Envelope::parse(&body) {
            Ok(envelope) => {
                let attempt = tokio::spawn(async move { jobs.run(&envelope, progress, None).await });
                let ended = kept_hidden(receiver, &receipt, attempt).await;
                delay_after(self.queue.as_ref(), ended, receive_count).await
            }
            Err(error) => {
                tracing::error!(
                    code = error.code(),
                    receive_count,
                    "a message is not understood: {error}"
                );
                (receive_count < INVALID_RECEIVES_MAX).then_some(Duration::from_mins(1))
            }
        };
        let given_up = match delay {
            None => receiver.complete(&receipt).await,
            Some(delay) => receiver.retry(&receipt, delay).await,
        };
        if let Err(error) = given_up {
            tracing::error!(
                code = error.code(),
                "a message stays hidden until its time is over: {error}"
            );
        }
    }
}

/// Waits for the attempt, and extends the visibility of its message meanwhile.
async fn kept_hidden<T>(
    receiver: &dyn TaskReceiver,
    receipt: &str,
    mut attempt: JoinHandle<T>,
) -> Result<T, JoinError> {
    loop {
        tokio::select! {
            ended = &mut attempt => return ended,
            () = tokio::time::sleep(HEARTBEAT) => {
                if let Err(error) = receiver.extend(receipt, VISIBILITY).await {
                    tracing::warn!(code = error.code(), "{error}");
                }
            }
        }
    }
}

/// After how long the message comes again; [`None`]: it is done.
async fn delay_after(
    receive_count: u32,
) -> Option<Duration> {
    let worked = match ended {
        Ok(Ok(Next::Send(messages))) => queue.send(&messages).await.map(|()| Next::Done),
        Ok(worked) => worked,
        Err(panic) => {
            tracing::error!(
                code = "WORKER_PANIC",
                receive_count,
                "a task panicked and comes again: {panic}"
            );
            return Some(ERROR_BACKOFF * receive_count.min(60));
        }
    };
    match worked {
        Ok(Next::Again(delay)) => Some(delay),
        Ok(_) => None,
        Err(error) => {
            tracing::error!(code = error.code(), "nothing is decided, the task comes again: {error}");
            Some(ERROR_BACKOFF)
        }
    }
}
