//! One batch of the queue within the time of one invocation of a function.
//!
//! Here because a function answers for a whole batch. What must hold: every message is done, sent on, or reported as failed
//! in time for the answer. The queue delivers a failed message again when its visibility is over.

use std::time::Instant;

use futures_util::future::join_all;

use crate::message::{Deadline, Message, MessageProcessor, Received, isolate};

/// Works on `received` until `deadline`, at which the process may be ended. Returns the ids of the messages that failed, in
/// the order of the batch.
pub async fn run_batch(processor: &MessageProcessor, received: Vec<Received>, deadline: Instant) -> Vec<String> {
    let deadline = Some(Deadline::new(deadline));
    let order: Vec<String> = received.iter().map(|message| message.id.clone()).collect();
    let (mut messages, mut failed) = (Vec::new(), Vec::new());
    for received in received {
        match Message::parse(received) {
            Ok(message) => messages.push(message),
            Err(invalid) => failed.push(invalid.id),
        }
    }
    let messages = isolate(processor, messages, deadline).await.staying;
    let processed = join_all(messages.into_iter().map(|message| async {
        let id = message.received.id.clone();
        let is_settled = processor.process(message, deadline).await;
        (!is_settled).then_some(id)
    }));
    failed.extend(processed.await.into_iter().flatten());
    failed.sort_by_key(|id| order.iter().position(|other| other == id));
    failed
}
