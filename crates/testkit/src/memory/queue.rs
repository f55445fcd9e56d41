//! A queue in memory, well-behaved or harsher than SQS: by a seed, it duplicates, reorders and withholds messages. It never
//! loses one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use transship_copy::Clock;
use transship_engine::{Outgoing, ReceivedMessage, TaskQueue, TaskReceiver};
use transship_oci::Result;

/// A [`TaskQueue`] and [`TaskReceiver`] in memory.
pub struct MemoryQueue {
    clock: Arc<dyn Clock>,
    harsh: bool,
    state: Mutex<State>,
}

struct State {
    random: u64,
    last_id: u64,
    messages: Vec<Message>,
}

struct Message {
    id: u64,
    group: String,
    body: String,
    visible: SystemTime,
    receive_count: u32,
    in_flight: bool,
}

impl MemoryQueue {
    /// In order except for the alternation of destinations, with each message delivered to one receiver at a time.
    pub fn calm(clock: Arc<dyn Clock>) -> Self {
        Self::new(clock, false, 0)
    }

    /// One message in four is duplicated, the order is random, and a receive may return fewer messages than there are. The same
    /// seed and the same calls give the same result.
    pub fn harsh(clock: Arc<dyn Clock>, seed: u64) -> Self {
        Self::new(clock, true, seed)
    }

    fn new(clock: Arc<dyn Clock>, harsh: bool, seed: u64) -> Self {
        let state = State {
            random: seed,
            last_id: 0,
            messages: Vec::new(),
        };
        Self {
            clock,
            harsh,
            state: Mutex::new(state),
        }
    }

    /// Sends any text, like another program with access to the queue.
    pub fn inject(&self, body: &str) {
        self.state().add("", body.to_owned(), self.clock.now());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_held(&self, receipt: &str, act: impl FnOnce(&mut Message, SystemTime)) {
        let now = self.clock.now();
        if let Some(message) = self.state().held(receipt) {
            act(message, now);
        }
    }
}

impl State {
    fn add(&mut self, group: &str, body: String, visible: SystemTime) {
        self.last_id += 1;
        self.messages.push(Message {
            id: self.last_id,
            group: group.to_owned(),
            body,
            visible,
            receive_count: 0,
            in_flight: false,
        });
    }

    fn held(&mut self, receipt: &str) -> Option<&mut Message> {
        self.messages.iter_mut().find(|message| message.is_held_by(receipt))
    }

    /// The indexes of the visible messages, one of each destination before the next of any destination.
    fn in_turn(&self, now: SystemTime) -> Vec<usize> {
        let mut turns: HashMap<&str, usize> = HashMap::new();
        let mut places: Vec<(usize, usize)> = Vec::new();
        for (at, message) in self.messages.iter().enumerate() {
            if message.visible <= now {
                let turn = turns.entry(&message.group).or_default();
                places.push((*turn, at));
                *turn += 1;
            }
        }
        places.sort_unstable();
        places.into_iter().map(|(_, at)| at).collect()
    }

    /// A number below `bound`, by splitmix64.
    fn random_below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }

    fn shuffle(&mut self) {
        for last in (1..self.messages.len()).rev() {
            let other = usize::try_from(self.random_below(last as u64 + 1)).unwrap_or_default();
            self.messages.swap(last, other);
        }
    }
}

impl Message {
    fn receipt(&self) -> String {
        format!("{}.{}", self.id, self.receive_count)
    }

    fn is_held_by(&self, receipt: &str) -> bool {
        self.in_flight && self.receipt() == receipt
    }

    fn hand_out(&mut self, until: SystemTime) -> ReceivedMessage {
        self.visible = until;
        self.in_flight = true;
        self.receive_count += 1;
        ReceivedMessage {
            body: self.body.clone(),
            receipt: self.receipt(),
            receive_count: self.receive_count,
            ended_alone: true,
        }
    }
}

#[async_trait]
impl TaskQueue for MemoryQueue {
    async fn send(&self, messages: &[Outgoing]) -> Result<()> {
        let now = self.clock.now();
        let mut state = self.state();
        for outgoing in messages {
            let (group, body) = (outgoing.envelope.job.group(), outgoing.envelope.to_json()?);
            if self.harsh && state.random_below(4) == 0 {
                state.add(group, body.clone(), now + outgoing.delay);
            }
            state.add(group, body, now + outgoing.delay);
        }
        Ok(())
    }
}

#[async_trait]
impl TaskReceiver for MemoryQueue {
    async fn receive(&self, max: usize, visibility: Duration) -> Result<Vec<ReceivedMessage>> {
        let now = self.clock.now();
        let mut state = self.state();
        let max = if self.harsh {
            state.shuffle();
            usize::try_from(state.random_below(max as u64 + 1)).unwrap_or_default()
        } else {
            max
        };
        let chosen = state.in_turn(now);
        Ok(chosen
            .into_iter()
            .take(max)
            .map(|at| state.messages[at].hand_out(now + visibility))
            .collect())
    }

    async fn extend(&self, receipt: &str, visibility: Duration) -> Result<()> {
        self.with_held(receipt, |message, now| message.visible = now + visibility);
        Ok(())
    }

    async fn complete(&self, receipt: &str) -> Result<()> {
        self.state().messages.retain(|message| !message.is_held_by(receipt));
        Ok(())
    }

    async fn retry(&self, receipt: &str, delay: Duration) -> Result<()> {
        self.with_held(receipt, |message, now| {
            message.visible = now + delay;
            message.in_flight = false;
        });
        Ok(())
    }

    async fn depth(&self) -> Result<usize> {
        Ok(self.state().messages.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::suites::{self, QueueUnderTest};

    fn under_test(queue: MemoryQueue, clock: ManualClock, is_exact: bool) -> QueueUnderTest {
        let queue = Arc::new(queue);
        QueueUnderTest {
            queue: Arc::clone(&queue) as _,
            receiver: queue,
            advance: Box::new(move |by| {
                clock.advance(by);
                Box::pin(std::future::ready(()))
            }),
            visibility: suites::MINUTE,
            is_exact,
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_calm_queue_passes_the_suite() {
        let make = async || {
            let clock = ManualClock::default();
            under_test(MemoryQueue::calm(Arc::new(clock.clone())), clock, true)
        };
        suites::queue(make).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_harsh_queue_passes_the_suite_with_any_seed() {
        for seed in 0..20 {
            println!("seed {seed}");
            let make = async || {
                let clock = ManualClock::default();
                under_test(MemoryQueue::harsh(Arc::new(clock.clone()), seed), clock, false)
            };
            suites::queue(make).await;
        }
    }

    #[tokio::test]
    async fn a_harsh_queue_really_duplicates_and_reorders() {
        let queue = MemoryQueue::harsh(Arc::new(ManualClock::default()), 7);
        for number in 0..40 {
            queue.send(&[Outgoing::now(suites::copy_task(number))]).await.unwrap();
        }
        assert!(queue.depth().await.unwrap() > 40);
        let mut bodies = Vec::new();
        while bodies.len() < queue.depth().await.unwrap() {
            let received = queue.receive(10, Duration::from_mins(1)).await.unwrap();
            bodies.extend(received.into_iter().map(|delivery| delivery.body));
        }
        assert!(!bodies.is_sorted());
    }
}
