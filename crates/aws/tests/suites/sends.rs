//! A batch that SQS takes in part, or not at all, and what is in a message.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_sqs::types::MessageSystemAttributeName;
use transship_aws::SqsQueue;
use transship_engine::{Envelope, Job, Outgoing, TaskQueue, TaskReceiver};
use transship_testkit::suites::copy_task;

use crate::stack::{Stack, answer, refusal};

const MINUTE: Duration = Duration::from_mins(1);

fn messages(count: u32) -> Vec<Outgoing> {
    (0..count).map(|number| Outgoing::now(copy_task(number))).collect()
}

/// An answer that names these as taken, and these as failed.
fn partial(taken: &[u32], failed: &[u32], is_fault_of_sender: bool) -> transship_testkit::faults::Action {
    let taken: Vec<_> = taken
        .iter()
        .map(|id| serde_json::json!({"Id": id.to_string(), "MessageId": "m", "MD5OfMessageBody": "0"}))
        .collect();
    let failed: Vec<_> = failed
        .iter()
        .map(|id| {
            serde_json::json!({"Id": id.to_string(), "Code": "Strange", "Message": "said so",
                               "SenderFault": is_fault_of_sender})
        })
        .collect();
    answer(
        200,
        &serde_json::json!({"Successful": taken, "Failed": failed}).to_string(),
    )
}

/// What arrived, by its number.
async fn arrived(queue: &SqsQueue) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    loop {
        let received = queue.receive(10, MINUTE).await.unwrap();
        if received.is_empty() {
            return ids;
        }
        for delivery in received {
            let task = Envelope::parse(&delivery.body).unwrap().job.task().unwrap();
            assert!(ids.insert(task.id), "sent twice");
        }
    }
}

fn ids(numbers: &[u32]) -> BTreeSet<String> {
    numbers.iter().map(|number| copy_task(*number).id).collect()
}

#[tokio::test]
async fn only_what_failed_of_a_batch_is_sent_again() {
    let stack = Stack::start().await;
    let queue = stack.queue().await;
    stack.calls.take();
    stack
        .calls
        .break_next("SendMessageBatch", partial(&[0, 1, 2, 3, 4, 5, 6], &[7, 8, 9], false));
    queue.send(&messages(10)).await.unwrap();
    assert_eq!(stack.calls.take().len(), 2);
    // The stub took what it said it took; the queue has the rest.
    assert_eq!(arrived(&queue).await, ids(&[7, 8, 9]));
}

#[tokio::test]
async fn what_is_named_neither_taken_nor_failed_is_sent_again() {
    let stack = Stack::start().await;
    let queue = stack.queue().await;
    stack.calls.break_next("SendMessageBatch", partial(&[1], &[], false));
    queue.send(&messages(3)).await.unwrap();
    assert_eq!(arrived(&queue).await, ids(&[0, 2]));
}

#[tokio::test]
async fn a_batch_that_keeps_failing_is_an_error_and_not_a_loss() {
    let stack = Stack::start().await;
    let queue = stack.queue().await;
    for _ in 0..5 {
        stack.calls.break_next("SendMessageBatch", partial(&[0], &[1], false));
        // The second time it is alone, and still called 1.
    }
    let error = queue.send(&messages(2)).await.unwrap_err();
    assert!(stack.calls.all_struck());
    assert_eq!(error.code(), "QUEUE_UNAVAILABLE");
    assert!(!error.persistence().is_permanent());
}

#[tokio::test]
async fn a_message_the_queue_refuses_is_permanent() {
    let stack = Stack::start().await;
    let queue = stack.queue().await;
    stack.calls.break_next("SendMessageBatch", partial(&[0], &[1], true));
    let error = queue.send(&messages(2)).await.unwrap_err();
    assert_eq!(error.code(), "MESSAGE_INVALID");
    assert!(error.persistence().is_permanent());
    assert!(error.to_string().contains("Strange: said so"), "{error}");
}

#[tokio::test]
async fn throttles_and_failures_of_the_queue_are_tried_again() {
    let stack = Stack::start().await;
    let queue = stack.queue().await;
    stack.calls.take();
    stack
        .calls
        .break_next("SendMessageBatch", refusal(400, "RequestThrottled"));
    stack
        .calls
        .break_next("SendMessageBatch", refusal(500, "InternalError"));
    queue.send(&messages(2)).await.unwrap();
    assert_eq!(stack.calls.take().len(), 3);
    assert_eq!(arrived(&queue).await, ids(&[0, 1]));
}

#[tokio::test]
async fn a_queue_that_is_missing_or_refuses_is_named() {
    let stack = Stack::start().await;
    let url = "http://127.0.0.1/000000000000/nowhere";
    let queue = SqsQueue::new(&stack.aws, url.into());
    for error in [
        queue.send(&messages(1)).await.unwrap_err(),
        queue.receive(1, MINUTE).await.unwrap_err(),
        queue.complete("receipt").await.unwrap_err(),
        queue.depth().await.unwrap_err(),
    ] {
        let text = error.to_string();
        assert_eq!(error.code(), "QUEUE_UNAVAILABLE");
        assert!(text.contains(url) && text.contains("exists in this region"), "{text}");
    }
    let queue = stack.queue().await;
    stack
        .calls
        .break_next("SendMessageBatch", refusal(400, "AccessDeniedException"));
    let error = queue.send(&messages(1)).await.unwrap_err();
    assert!(error.to_string().contains("policy of the role"), "{error}");
}

#[tokio::test]
async fn a_message_has_its_group_and_any_characters() {
    let stack = Stack::start().await;
    let queue = stack.queue().await;
    let mut strange = copy_task(1);
    strange.execution.rule = "\u{0}\u{b}\u{fffe}\u{ffff}".to_owned();
    queue.send(&[Outgoing::now(strange.clone())]).await.unwrap();
    let request = stack.aws.sqs().receive_message().queue_url(queue.url());
    let received = request
        .message_system_attribute_names(MessageSystemAttributeName::MessageGroupId)
        .send()
        .await
        .unwrap();
    let message = &received.messages()[0];
    assert_eq!(
        message.attributes().unwrap()[&MessageSystemAttributeName::MessageGroupId],
        strange.destination.registry
    );
    assert_eq!(
        Envelope::parse(message.body().unwrap()).unwrap().job,
        Job::Copy(strange)
    );
}
