//! The promises of every queue, including one that delivers twice, late and in any order.

use super::{
    BTreeSet, Duration, MINUTE, Outgoing, QueueUnderTest, ROUNDS, SECOND, TaskReceiver, copy_task, ids, just_before,
    parsed,
};
use std::sync::Arc;

pub(super) async fn every_task_arrives_as_it_was_sent(under: QueueUnderTest) {
    under.queue.send(&[]).await.unwrap();
    under.send(0..300, Duration::ZERO).await;
    assert!(under.receiver.depth().await.unwrap() >= 300);
    let mut seen = BTreeSet::new();
    for delivery in under.drain().await {
        let received = parsed(&delivery);
        let number = received.id.trim_start_matches("task-").parse().unwrap();
        assert_eq!(received, copy_task(number));
        assert!(delivery.receive_count >= 1);
        seen.insert(number);
    }
    assert_eq!(seen, (0..300).collect());
}

pub(super) async fn completing_everything_empties_the_queue(under: QueueUnderTest) {
    assert_eq!(under.receiver.depth().await.unwrap(), 0);
    under.send(0..30, Duration::ZERO).await;
    assert_eq!(ids(&under.drain().await).len(), 30);
    (under.advance)(2 * under.visibility).await;
    assert!(
        under.receive_now().await.is_empty(),
        "a completed message was received again"
    );
}

pub(super) async fn what_is_not_completed_comes_back(under: QueueUnderTest) {
    under.send(0..1, Duration::ZERO).await;
    let mut highest = 0;
    for _ in 0..ROUNDS {
        for delivery in under.receive(10).await {
            highest = highest.max(delivery.receive_count);
        }
        if highest >= 3 {
            break;
        }
        (under.advance)(under.visibility + SECOND).await;
    }
    assert!(
        highest >= 3,
        "a message that is not completed is received again, and counted"
    );
    (under.advance)(under.visibility + SECOND).await;
    assert_eq!(ids(&under.drain().await).len(), 1);
}

pub(super) async fn a_delayed_message_is_not_early(under: QueueUnderTest) {
    let a_while = under.visibility;
    // The long delay is not checked for a queue that needs real time.
    let long = (a_while >= MINUTE).then_some((1, 120 * a_while));
    for (number, delay) in std::iter::once((0, a_while)).chain(long) {
        under.send(number..=number, delay).await;
        (under.advance)(just_before(delay)).await;
        assert!(under.receive_now().await.is_empty(), "delayed by {delay:?}");
        assert!(under.receiver.depth().await.unwrap() >= 1, "a delayed message counts");
        (under.advance)(SECOND).await;
        assert_eq!(ids(&under.drain().await), [copy_task(number).id].into());
    }
}

pub(super) async fn a_message_given_back_is_not_early(under: QueueUnderTest) {
    under.send(0..1, Duration::ZERO).await;
    let delay = 3 * under.visibility;
    // Copies of the message that the queue created are given back as well, as long as there are any.
    for _ in 0..under.asks() {
        for delivery in under.receive_now().await {
            under.receiver.retry(&delivery.receipt, delay).await.unwrap();
        }
    }
    (under.advance)(just_before(delay)).await;
    assert!(under.receive_now().await.is_empty());
    (under.advance)(SECOND).await;
    let again = under.receive_different(1).await;
    assert!(again[0].receive_count >= 2);
    for delivery in &again {
        under.receiver.retry(&delivery.receipt, Duration::ZERO).await.unwrap();
    }
    assert_eq!(
        ids(&under.receive_now().await).len(),
        1,
        "a message without a delay is visible at once"
    );
}

pub(super) async fn a_receipt_that_is_over_is_no_error(under: QueueUnderTest) {
    under.send(0..1, Duration::ZERO).await;
    let received = under.receive_different(1).await;
    for delivery in &received {
        under.receiver.complete(&delivery.receipt).await.unwrap();
    }
    for delivery in &received {
        under.receiver.complete(&delivery.receipt).await.unwrap();
        under
            .receiver
            .extend(&delivery.receipt, under.visibility)
            .await
            .unwrap();
        under.receiver.retry(&delivery.receipt, Duration::ZERO).await.unwrap();
    }
}

pub(super) async fn receivers_at_the_same_time_lose_nothing(under: QueueUnderTest) {
    under.send(0..50, Duration::ZERO).await;
    let send_more = {
        let queue = Arc::clone(&under.queue);
        tokio::spawn(async move {
            for number in 50..100 {
                queue.send(&[Outgoing::now(copy_task(number))]).await.unwrap();
            }
        })
    };
    let visibility = under.visibility;
    let receive = |receiver: Arc<dyn TaskReceiver>| {
        tokio::spawn(async move {
            let mut received = Vec::new();
            for _ in 0..30 {
                for delivery in receiver.receive(3, visibility).await.unwrap() {
                    receiver.complete(&delivery.receipt).await.unwrap();
                    received.push(delivery);
                }
            }
            received
        })
    };
    let receivers = [(); 3].map(|()| receive(Arc::clone(&under.receiver)));
    let mut received = Vec::new();
    for receiver in receivers {
        received.extend(receiver.await.unwrap());
    }
    send_more.await.unwrap();
    received.extend(under.drain().await);
    assert_eq!(ids(&received).len(), 100);
}

pub(super) async fn no_more_is_received_than_was_asked_for(under: QueueUnderTest) {
    under.send(0..20, Duration::ZERO).await;
    for max in [1, 3, 10] {
        assert!(under.receive(max).await.len() <= max);
    }
    assert!(under.receive(0).await.is_empty());
}
