//! The queue and the ledger keep what their ports promise on AWS, within the calls they may cost, and say what is wrong
//! when AWS refuses: on MiniStack, through a proxy that counts and breaks.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod faults;
mod names;
mod ports;
mod released;
mod sends;
mod stack;

use std::sync::Arc;
use std::time::Duration;

use transship_engine::ledger::{Hints, Records, Replicas};
use transship_testkit::suites::{self, QueueUnderTest};

use stack::Stack;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_history_keeps_its_promises() {
    let stack = Stack::start().await;
    suites::history(async || Arc::new(stack.ledger().await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replicas_keep_their_promises() {
    let stack = Stack::start().await;
    suites::replicas(async || Arc::new(stack.ledger().await) as Arc<dyn Replicas>).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hints_keep_their_promises() {
    let stack = Stack::start().await;
    suites::hints(async || Arc::new(stack.ledger().await) as Arc<dyn Hints>).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_records_keep_their_promises() {
    let stack = Stack::start().await;
    suites::records(async || Arc::new(stack.ledger().await) as Arc<dyn Records>).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_keeps_its_promises() {
    let stack = Stack::start().await;
    let make = async || {
        let queue = Arc::new(stack.queue().await);
        QueueUnderTest {
            queue: Arc::clone(&queue) as _,
            receiver: queue,
            advance: Box::new(|by| Box::pin(tokio::time::sleep(by))),
            visibility: Duration::from_secs(2),
            is_exact: false,
        }
    };
    suites::queue(make).await;
}
