//! Checks of a queue from both ends: a message is received, received again until it is completed, and never lost.
//!
//! A queue may deliver twice, late and in any order, so a check receives repeatedly and advances time until it has what it
//! expects.

mod checks;
mod exact;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use transship_engine::{CopyTask, Envelope, Job, Outgoing, ReceivedMessage, TaskQueue, TaskReceiver};

use super::run_checks;
use super::samples::{copy_task, place};

/// Lets time pass for the queue: advances its clock, or waits if it has no such clock.
pub type Advance = Box<dyn Fn(Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// An empty queue with both of its ends.
pub struct QueueUnderTest {
    /// The sending end.
    pub queue: Arc<dyn TaskQueue>,
    /// The receiving end.
    pub receiver: Arc<dyn TaskReceiver>,
    /// Lets time pass.
    pub advance: Advance,
    /// Visibility of a received message, and the unit of time of the checks: [`MINUTE`] if a clock is advanced; a few seconds,
    /// at least two, if real time passes.
    pub visibility: Duration,
    /// True if the queue delivers a message to one receiver at a time and returns all visible messages: this is then checked as
    /// well. SQS promises neither.
    pub is_exact: bool,
}

/// Checks every promise of [`TaskQueue`] and [`TaskReceiver`]. `make` must return an empty queue each time.
pub async fn queue(make: impl AsyncFn() -> QueueUnderTest) {
    run_checks!(
        make,
        [
            checks::every_task_arrives_as_it_was_sent,
            checks::completing_everything_empties_the_queue,
            checks::what_is_not_completed_comes_back,
            checks::a_delayed_message_is_not_early,
            checks::a_message_given_back_is_not_early,
            checks::a_receipt_that_is_over_is_no_error,
            checks::receivers_at_the_same_time_lose_nothing,
            checks::no_more_is_received_than_was_asked_for,
        ]
    );
    if make().await.is_exact {
        run_checks!(
            make,
            [
                exact::a_received_message_is_hidden_for_its_visibility,
                exact::extending_hides_a_message_longer,
                exact::a_replaced_receipt_does_nothing,
                exact::a_receipt_given_back_does_nothing,
                exact::a_backlog_of_one_destination_does_not_keep_others_waiting,
                exact::receivers_at_the_same_time_get_different_messages,
            ]
        );
    }
}

/// Visibility of a queue whose clock is advanced.
pub const MINUTE: Duration = Duration::from_mins(1);
const SECOND: Duration = Duration::from_secs(1);

/// Number of receives after which a message counts as lost.
const ROUNDS: usize = 500;

impl QueueUnderTest {
    async fn send(&self, numbers: impl Iterator<Item = u32>, delay: Duration) {
        let messages: Vec<_> = numbers
            .map(|number| Outgoing::later(copy_task(number), delay))
            .collect();
        self.queue.send(&messages).await.unwrap();
    }

    async fn receive(&self, max: usize) -> Vec<ReceivedMessage> {
        self.receiver.receive(max, self.visibility).await.unwrap()
    }

    /// Number of receives for the messages that are visible now. If real time passes, each receive takes time.
    fn asks(&self) -> usize {
        if self.visibility < MINUTE { 2 } else { 20 }
    }

    /// Asks a few times without letting time pass, so that a queue that gives little at a time gives what it has.
    async fn receive_now(&self) -> Vec<ReceivedMessage> {
        let mut received = Vec::new();
        for _ in 0..self.asks() {
            received.extend(self.receive(10).await);
        }
        received
    }

    /// Receives until `count` different tasks were seen; every delivery of the way.
    async fn receive_different(&self, count: usize) -> Vec<ReceivedMessage> {
        let mut received = Vec::new();
        for _ in 0..ROUNDS {
            let some = self.receive(10).await;
            let is_empty = some.is_empty();
            received.extend(some);
            if ids(&received).len() >= count {
                return received;
            }
            if is_empty {
                (self.advance)(SECOND).await;
            }
        }
        assert_eq!(ids(&received).len(), count, "messages are lost");
        received
    }

    /// Receives and completes until nothing is left.
    async fn drain(&self) -> Vec<ReceivedMessage> {
        let mut received = Vec::new();
        for _ in 0..ROUNDS {
            let some = self.receive(10).await;
            for delivery in &some {
                self.receiver.complete(&delivery.receipt).await.unwrap();
            }
            if self.receiver.depth().await.unwrap() == 0 {
                received.extend(some);
                return received;
            }
            if some.is_empty() {
                (self.advance)(SECOND).await;
            }
            received.extend(some);
        }
        assert_eq!(
            self.receiver.depth().await.unwrap(),
            0,
            "the queue does not become empty"
        );
        received
    }
}

/// A second before `time` has passed.
fn just_before(time: Duration) -> Duration {
    time.saturating_sub(SECOND)
}

fn parsed(delivery: &ReceivedMessage) -> CopyTask {
    let copy = match Envelope::parse(&delivery.body).unwrap().job {
        Job::Copy(task) => Some(task),
        _ => None,
    };
    copy.unwrap()
}

fn ids(deliveries: &[ReceivedMessage]) -> BTreeSet<String> {
    deliveries.iter().map(|delivery| parsed(delivery).id).collect()
}
