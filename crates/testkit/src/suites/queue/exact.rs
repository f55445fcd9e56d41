//! The promises of a queue that delivers a message to one receiver at a time and returns all visible messages.

use super::{Arc, Duration, MINUTE, Outgoing, QueueUnderTest, SECOND, copy_task, ids, just_before, parsed, place};

pub(super) async fn a_received_message_is_hidden_for_its_visibility(under: QueueUnderTest) {
    under.send(0..2, Duration::ZERO).await;
    assert_eq!(under.receive(10).await.len(), 2);
    (under.advance)(just_before(MINUTE)).await;
    assert!(under.receive(10).await.is_empty());
    (under.advance)(SECOND).await;
    let again = under.receive(10).await;
    assert_eq!(ids(&again).len(), 2);
    assert!(again.iter().all(|delivery| delivery.receive_count == 2));
    assert_eq!(under.receiver.depth().await.unwrap(), 2);
}

pub(super) async fn extending_hides_a_message_longer(under: QueueUnderTest) {
    under.send(0..1, Duration::ZERO).await;
    let received = under.receive(1).await;
    (under.advance)(30 * SECOND).await;
    under.receiver.extend(&received[0].receipt, 2 * MINUTE).await.unwrap();
    (under.advance)(just_before(2 * MINUTE)).await;
    assert!(under.receive(1).await.is_empty());
    (under.advance)(SECOND).await;
    assert_eq!(under.receive(1).await.len(), 1);
}

pub(super) async fn a_replaced_receipt_does_nothing(under: QueueUnderTest) {
    under.send(0..1, Duration::ZERO).await;
    let slow = under.receive(1).await.remove(0);
    (under.advance)(MINUTE).await;
    let fast = under.receive(1).await.remove(0);
    assert_ne!(slow.receipt, fast.receipt);
    under.receiver.complete(&slow.receipt).await.unwrap();
    under.receiver.retry(&slow.receipt, Duration::ZERO).await.unwrap();
    under.receiver.extend(&slow.receipt, Duration::ZERO).await.unwrap();
    assert!(under.receive(1).await.is_empty(), "the second receiver still has it");
    assert_eq!(under.receiver.depth().await.unwrap(), 1);
    under.receiver.complete(&fast.receipt).await.unwrap();
    assert_eq!(under.receiver.depth().await.unwrap(), 0);
}

pub(super) async fn a_receipt_given_back_does_nothing(under: QueueUnderTest) {
    under.send(0..1, Duration::ZERO).await;
    let given_back = under.receive(1).await.remove(0);
    under.receiver.retry(&given_back.receipt, MINUTE).await.unwrap();
    under.receiver.complete(&given_back.receipt).await.unwrap();
    assert_eq!(under.receiver.depth().await.unwrap(), 1);
}

pub(super) async fn a_backlog_of_one_destination_does_not_keep_others_waiting(under: QueueUnderTest) {
    under.send(0..40, Duration::ZERO).await;
    let mut other = copy_task(99);
    other.destination = place("qingdao", "copy/app", 99);
    under.queue.send(&[Outgoing::now(other)]).await.unwrap();
    assert!(ids(&under.receive(4).await).contains("task-99"));
}

pub(super) async fn receivers_at_the_same_time_get_different_messages(under: QueueUnderTest) {
    under.send(0..60, Duration::ZERO).await;
    let receivers = [(); 4].map(|()| {
        let receiver = Arc::clone(&under.receiver);
        tokio::spawn(async move {
            let mut received = Vec::new();
            for _ in 0..5 {
                received.extend(receiver.receive(3, MINUTE).await.unwrap());
            }
            received
        })
    });
    let mut received = Vec::new();
    for receiver in receivers {
        received.extend(receiver.await.unwrap().iter().map(|delivery| parsed(delivery).id));
    }
    assert_eq!(received.len(), 60);
    received.sort();
    received.dedup();
    assert_eq!(received.len(), 60, "a message was delivered to two receivers");
}
