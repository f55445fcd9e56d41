//! The worker loop of a process that stays: it receives messages, works on several at the same time, and removes a message
//! only after its fate is recorded.
//!
//! A heartbeat keeps a message hidden while it is worked on. When the process ends, the next one receives its messages
//! again. A message that was received too often, because it ends its workers, is recorded as failed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use transship_engine::{ReceivedMessage, TaskReceiver};

use crate::message::{DeadLetterRecorder, ERROR_BACKOFF, Message, MessageProcessor, Received, isolate, isolation_time};

/// Visibility of a message without a heartbeat.
const VISIBILITY: Duration = Duration::from_mins(1);
/// The interval between heartbeats.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(20);
/// The interval between reads of the queue without a notification. Another process that sends (`redrive`, each step of
/// `dr failback`) cannot notify.
const QUEUE_READ_INTERVAL: Duration = Duration::from_secs(1);
/// How long running jobs may continue after the request to stop.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// A message whose job ended its worker this often, at least once while no other was worked on, is recorded as failed. Only
/// ends of the process, panics and lost heartbeats count, because a message that has to wait is sent on as a new one, and a
/// process that stops as asked gives its messages back.
const CRASHES_MAX: u32 = 3;
/// The same for a message that was never worked on alone.
const CRASHES_IN_COMPANY_MAX: u32 = 12;
/// How long putting back the messages of running jobs may take.
const HALT_GRACE: Duration = Duration::from_secs(2);
/// A message that is not valid is received this often, a minute apart, because a newer release may return that can read it.
const INVALID_RECEIVES_MAX: u32 = 60;
/// The wait between receipts of a message that is not valid.
const INVALID_BACKOFF: Duration = Duration::from_mins(1);

/// Works on the messages of a queue. Clones are the same worker.
#[derive(Clone)]
pub struct Worker {
    /// Where messages are received.
    pub receiver: Arc<dyn TaskReceiver>,
    /// Works on each message.
    pub processor: MessageProcessor,
    /// Records jobs that no worker survived.
    pub dead_letters: DeadLetterRecorder,
    /// The number of jobs at the same time; at least 1.
    pub concurrency: usize,
    /// True once running jobs must end at once.
    pub halt: watch::Sender<bool>,
}

impl Worker {
    /// Works until `shutdown` is true, then lets running jobs end within [`STOP_GRACE`].
    pub async fn run(&self, shutdown: watch::Receiver<bool>) {
        self.run_until(shutdown, STOP_GRACE).await;
    }

    async fn run_until(&self, mut shutdown: watch::Receiver<bool>, grace: Duration) {
        let mut running = JoinSet::new();
        let mut isolated_until = Instant::now();
        while !*shutdown.borrow() {
            while running.try_join_next().is_some() {}
            let isolation = match running.len() {
                0 => Duration::ZERO,
                _ => isolated_until.saturating_duration_since(Instant::now()),
            };
            let free = match isolation {
                Duration::ZERO => self.concurrency.max(1).saturating_sub(running.len()),
                _ => 0,
            };
            let received = if free > 0 { self.receive(free).await } else { Vec::new() };
            let is_idle = received.is_empty();
            if let Some(isolation) = self.begin(received, &mut running).await {
                isolated_until = Instant::now() + isolation;
            }
            if is_idle || free == 0 {
                tokio::select! {
                    _ = running.join_next(), if !running.is_empty() => {}
                    () = self.wait(), if free > 0 => {}
                    () = tokio::time::sleep(isolation), if !isolation.is_zero() => {}
                    _ = shutdown.changed() => {}
                }
            }
        }
        if !joined(&mut running, grace).await {
            tracing::info!("running tasks are put back into the queue; the next start resumes them");
            self.halt.send_replace(true);
            joined(&mut running, HALT_GRACE).await;
        }
    }

    /// Begins to work on messages. Returns how long no others are to be received, if one of them is suspect.
    async fn begin(&self, received: Vec<ReceivedMessage>, running: &mut JoinSet<()>) -> Option<Duration> {
        let mut messages = Vec::new();
        for received in received {
            match Message::parse(received.into()) {
                Ok(message) if is_dead(&message.received) => self.record_dead(&message).await,
                Ok(message) => messages.push(message),
                Err(invalid) if invalid.receive_count < INVALID_RECEIVES_MAX => {
                    self.give_back(&invalid.id, INVALID_BACKOFF).await;
                }
                Err(invalid) => self.complete(&invalid.id).await,
            }
        }
        let isolated = isolate(&self.processor, messages, None).await;
        for deferred in &isolated.deferred {
            self.complete(&deferred.id).await;
        }
        for message in isolated.staying {
            let worker = self.clone();
            running.spawn(async move { worker.work(message).await });
        }
        isolated.suspect_receives.map(isolation_time)
    }

    async fn work(self, message: Message) {
        let Received {
            id: receipt,
            receive_count,
            ..
        } = message.received.clone();
        let mut halt = self.halt.subscribe();
        let is_settled = tokio::select! {
            is_settled = self.processor.process(message, None) => Some(is_settled),
            () = self.keep_hidden(&receipt) => None,
            () = halted(&mut halt) => None,
        };
        match is_settled {
            Some(true) => self.complete(&receipt).await,
            Some(false) => self.give_back(&receipt, ERROR_BACKOFF * receive_count.min(60)).await,
            None => log_hidden(self.receiver.put_back(&receipt).await),
        }
    }

    /// Extends the visibility of a message, without end.
    async fn keep_hidden(&self, receipt: &str) {
        loop {
            tokio::time::sleep(HEARTBEAT_INTERVAL).await;
            if let Err(error) = self.receiver.extend(receipt, VISIBILITY).await {
                tracing::warn!(code = error.code(), "{error}");
            }
        }
    }

    async fn record_dead(&self, message: &Message) {
        if self.dead_letters.record(message).await {
            self.complete(&message.received.id).await;
        } else {
            self.give_back(&message.received.id, ERROR_BACKOFF).await;
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

    async fn complete(&self, receipt: &str) {
        log_hidden(self.receiver.complete(receipt).await);
    }

    async fn give_back(&self, receipt: &str, delay: Duration) {
        log_hidden(self.receiver.retry(receipt, delay).await);
    }
}

/// True if the message ended its workers too often to be tried again.
const fn is_dead(received: &Received) -> bool {
    let crashes_max = if received.ended_alone {
        CRASHES_MAX
    } else {
        CRASHES_IN_COMPANY_MAX
    };
    received.receive_count > crashes_max
}

/// Waits until the worker is halted.
async fn halted(halt: &mut watch::Receiver<bool>) {
    let _: Result<_, _> = halt.wait_for(|halted| *halted).await;
}

/// Waits until all of `running` ended, at most for `grace`. False if some did not.
async fn joined(running: &mut JoinSet<()>, grace: Duration) -> bool {
    let all = async { while running.join_next().await.is_some() {} };
    tokio::time::timeout(grace, all).await.is_ok()
}

fn log_hidden(answered: transship_oci::Result<()>) {
    if let Err(error) = answered {
        tracing::error!(
            code = error.code(),
            "a message stays hidden until its visibility is over: {error}"
        );
    }
}

#[cfg(test)]
mod tests;
