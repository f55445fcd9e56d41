//! Lambda's poller of the queue, at its worst: every message is delivered one to three times, in any order, in batches of
//! any size, to any worker, and some workers are killed while they work.
//!
//! A message that was sent on again and again comes once: each of its deliveries may be sent on, so that three of each would
//! be thousands after a few steps, of which SQS is not capable.
//!
//! The first delivery that ends decides over the message: done, it is deleted; not done (reported, crashed, killed at the
//! deadline), it is given back at once. The other deliveries come all the same. The queue itself moves what was received too
//! often to the dead letters.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Handle;
use transship_testkit::lambda_runtime::{Ended, Lambda};

use super::{Options, QUEUE, invocation};
use crate::aws::{Aws, Received};
use crate::random::Random;
use crate::wait;

/// Visibility of a message in seconds, longer than any test.
const VISIBILITY_S: u32 = 3600;
/// A message that was sent on more often is delivered once.
const HOPS_WITH_COPIES: u64 = 1;
/// How many deliveries wait before no more are received, so that there is an order to break.
const BAG: usize = 16;

/// How messages are delivered and workers are killed. By default each message is delivered once, ten at a time, and no worker
/// is killed.
#[derive(Debug, Clone, Copy)]
pub struct Deliveries {
    /// The most deliveries of one receipt.
    pub copies_max: usize,
    /// The most messages of a batch.
    pub batch_max: usize,
    /// Number of workers that are killed with SIGKILL while they are busy.
    pub kills: usize,
    /// A kill comes so long after its invocation began, at most.
    pub kill_within: Duration,
    /// A worker is not killed if its message was received more often than this, because the message would become a dead letter.
    pub kill_until_receipt: u32,
}

impl Default for Deliveries {
    fn default() -> Self {
        Self {
            copies_max: 1,
            batch_max: 10,
            kills: 0,
            kill_within: Duration::from_millis(600),
            kill_until_receipt: 2,
        }
    }
}

/// How deliveries ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Batches that were answered.
    pub answered: usize,
    /// Workers that were killed while they worked. One whose kill comes when it has just answered dies for the next batch, in
    /// addition.
    pub killed: usize,
    /// Workers that died of themselves.
    pub crashed: usize,
    /// Workers that were killed at their deadline.
    pub timed_out: usize,
    /// Batches that ended with an error of the function.
    pub failed: usize,
    /// Deliveries of single messages.
    pub deliveries: usize,
    /// Of those, the ones that were not done.
    pub not_done: usize,
}

/// The threads that poll, one for each worker; ended when dropped.
pub(super) struct Poller {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    aws: Aws,
    queue: String,
    deliveries: Deliveries,
    state: Mutex<State>,
    stopped: AtomicBool,
}

struct State {
    random: Random,
    bag: Vec<Arc<Message>>,
    /// Deliveries that workers have.
    busy: usize,
    /// Kills that are not drawn yet, or were given back.
    kills_left: usize,
    tally: Tally,
    seen: BTreeSet<String>,
}

struct Message {
    received: Received,
    /// A delivery of it has ended.
    is_decided: AtomicBool,
}

impl Poller {
    pub(super) fn start(aws: &Aws, queue: &str, workers: &[Arc<Lambda>], runtime: &Handle, options: &Options) -> Self {
        let shared = Arc::new(Shared {
            aws: aws.clone(),
            queue: queue.to_owned(),
            deliveries: options.deliveries,
            state: Mutex::new(State {
                random: Random::new(options.seed),
                bag: Vec::new(),
                busy: 0,
                kills_left: options.deliveries.kills,
                tally: Tally::default(),
                seen: BTreeSet::new(),
            }),
            stopped: AtomicBool::new(false),
        });
        let threads = workers.iter().map(|worker| {
            let (shared, worker, runtime) = (Arc::clone(&shared), Arc::clone(worker), runtime.clone());
            std::thread::spawn(move || shared.poll(&worker, &runtime))
        });
        Self {
            threads: threads.collect(),
            shared,
        }
    }

    /// Deliveries that wait or that workers have.
    pub(super) fn under_way(&self) -> usize {
        let state = self.shared.state();
        state.bag.len() + state.busy
    }

    /// True if a thread has ended by a panic: what it had received never ends.
    pub(super) fn is_broken(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    pub(super) fn messages(&self) -> BTreeSet<String> {
        self.shared.state().seen.clone()
    }

    pub(super) fn tally(&self) -> Tally {
        self.shared.state().tally
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of the poller panics")
    }

    fn poll(&self, worker: &Lambda, runtime: &Handle) {
        while !self.stopped.load(Ordering::Relaxed) {
            self.receive();
            let (batch, doom) = self.state().draw(&self.deliveries);
            if batch.is_empty() {
                wait::pause();
                continue;
            }
            let received: Vec<_> = batch.iter().map(|message| &message.received).collect();
            let event = invocation::event(QUEUE, &received);
            let ended = runtime.block_on(invocation::invoke(worker, &event, doom));
            let done: Vec<_> = batch.iter().map(|message| self.decide(message, &ended)).collect();
            self.state().settle(&done, &ended, doom.is_some());
        }
    }

    /// Fills the bag.
    fn receive(&self) {
        if self.state().bag.len() >= BAG {
            return;
        }
        let received = self.aws.queue_receive(&self.queue, 10, VISIBILITY_S);
        let mut state = self.state();
        for received in received {
            let copies = match tries(&received.body) {
                0..=HOPS_WITH_COPIES => 1 + state.random.below(self.deliveries.copies_max),
                _ => 1,
            };
            state.seen.insert(received.body.clone());
            let message = Arc::new(Message {
                received,
                is_decided: AtomicBool::new(false),
            });
            state.bag.extend(std::iter::repeat_n(message, copies));
        }
    }

    /// Deletes the message or gives it back, if this is the first of its deliveries to end. True if it is done.
    fn decide(&self, message: &Message, ended: &Ended) -> bool {
        let received = &message.received;
        let is_done = invocation::is_done(ended, &received.id);
        if !message.is_decided.swap(true, Ordering::SeqCst) {
            if is_done {
                self.aws.queue_delete(&self.queue, &received.receipt);
            } else {
                self.aws.queue_give_back(&self.queue, &received.receipt);
            }
        }
        is_done
    }
}

/// How often a task was sent on.
fn tries(body: &str) -> u64 {
    let message: Value = serde_json::from_str(body).unwrap_or_default();
    message["tries"].as_u64().unwrap_or(0)
}

impl State {
    /// A batch, in which no message stands twice, and when its worker is to die.
    fn draw(&mut self, deliveries: &Deliveries) -> (Vec<Arc<Message>>, Option<Duration>) {
        let wanted = 1 + self.random.below(deliveries.batch_max);
        let mut batch: Vec<Arc<Message>> = Vec::new();
        for _ in 0..wanted.min(self.bag.len()) {
            let at = self.random.below(self.bag.len());
            if batch.iter().all(|other| other.received.id != self.bag[at].received.id) {
                batch.push(self.bag.swap_remove(at));
            }
        }
        self.busy += batch.len();
        let is_spared = |message: &Arc<Message>| message.received.receive_count > deliveries.kill_until_receipt;
        let doom = (self.kills_left > 0 && !batch.is_empty() && !batch.iter().any(is_spared)).then(|| {
            self.kills_left -= 1;
            let within = usize::try_from(deliveries.kill_within.as_millis()).unwrap_or(usize::MAX);
            Duration::from_millis(self.random.below(within.max(1)) as u64)
        });
        (batch, doom)
    }

    fn settle(&mut self, done: &[bool], ended: &Ended, was_doomed: bool) {
        match ended {
            Ended::Answered(_) => self.tally.answered += 1,
            Ended::Crashed(status) if status.starts_with("signal: 9") => self.tally.killed += 1,
            Ended::Crashed(_) => self.tally.crashed += 1,
            Ended::TimedOut => self.tally.timed_out += 1,
            Ended::Failed(_) => self.tally.failed += 1,
        }
        // It was faster than its end: another one dies for it.
        if was_doomed && !matches!(ended, Ended::Crashed(_)) {
            self.kills_left += 1;
        }
        self.tally.deliveries += done.len();
        self.tally.not_done += done.iter().filter(|is_done| !**is_done).count();
        self.busy -= done.len();
    }
}
