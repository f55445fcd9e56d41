//! What each method of the queue costs: counted at the proxy, so that a retry would show.

use std::time::Duration;

use transship_engine::{Outgoing, TaskQueue, TaskReceiver};
use transship_testkit::suites::copy_task;

use crate::stack::Stack;

#[tokio::test]
async fn the_queue_costs_the_calls_that_are_promised() {
    let stack = Stack::start().await;
    let queue = stack.queue().await;
    let calls = || stack.calls.take().join(" ");
    calls();

    let messages: Vec<_> = (0..25).map(|number| Outgoing::now(copy_task(number))).collect();
    queue.send(&messages[..1]).await.unwrap();
    assert_eq!(calls(), "SendMessageBatch");
    queue.send(&messages).await.unwrap();
    assert_eq!(calls(), "SendMessageBatch SendMessageBatch SendMessageBatch");
    let received = queue.receive(10, Duration::from_mins(1)).await.unwrap();
    queue
        .extend(&received[0].receipt, Duration::from_mins(1))
        .await
        .unwrap();
    queue.retry(&received[0].receipt, Duration::ZERO).await.unwrap();
    queue.complete(&received[1].receipt).await.unwrap();
    assert_eq!(
        calls(),
        "ReceiveMessage ChangeMessageVisibility ChangeMessageVisibility DeleteMessage"
    );
}
