//! `dead-letters`: what waits for an operator is listed, and one message is removed.

use crate::Stack;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_poison_message_is_removed_and_the_others_stay() {
    let stack = Stack::start().await;
    let deployment = &stack.deployment;
    let (dead, undelivered) = (deployment.dead_letters_url(), deployment.undelivered_url());
    deployment.queue_send(deployment.queue_url(), "a task").await.unwrap();
    for number in 0..12 {
        deployment
            .queue_send(undelivered, &format!("event {number}"))
            .await
            .unwrap();
    }
    deployment.queue_send(undelivered, "poison").await.unwrap();
    deployment.queue_send(dead, "a letter").await.unwrap();

    // A list changes nothing, so the second one is the same.
    for _ in 0..2 {
        let listed = stack.json(&["dead-letters", "--json"]);
        let mut bodies: Vec<_> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|letter| letter["body"].as_str().unwrap())
            .collect();
        bodies.sort_unstable();
        assert_eq!(bodies.len(), 14, "{listed}");
        assert!(bodies.contains(&"a letter") && bodies.contains(&"poison"), "{listed}");
        assert!(!bodies.contains(&"a task"), "the task queue is not listed: {listed}");
    }
    let listed = stack.json(&["dead-letters", "--json"]);
    let poison = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|letter| letter["body"] == "poison")
        .unwrap();
    let id = poison["id"].as_str().unwrap();
    let removed = stack.json(&["dead-letters", "--remove", id, "--json"]);
    assert_eq!(
        (&removed["id"], &removed["queue"]),
        (&poison["id"], &"undelivered".into())
    );
    let listed = stack.json(&["dead-letters", "--json"]);
    assert_eq!(listed.as_array().unwrap().len(), 13, "{listed}");
    assert_eq!(deployment.queue_depth(undelivered).await.unwrap(), 12);

    let (code, _, error) = stack.run(&["dead-letters", "--remove", id]);
    assert_eq!(code, 2, "{error}");
    assert!(error.starts_with("UNKNOWN_MESSAGE: "), "{error}");
    let (code, out, error) = stack.run(&["dead-letters", "--limit", "1", "--queue", deployment.queue_url()]);
    assert_eq!((code, out.lines().count()), (0, 2), "{out} {error}");
}
