//! What the suite cannot see: the disk, a restart, waking, and who gets the workers.

use futures_util::FutureExt as _;
use transship_engine::ledger::{By, History as _, TaskQuery};
use transship_testkit::suites::{copy_task, task};

use super::*;

fn queue(dir: &tempfile::TempDir) -> SqliteQueue {
    SqliteQueue::new(Database::open(dir.path()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sends_that_arrive_together_are_written_together() {
    let dir = tempfile::tempdir().unwrap();
    let queue = queue(&dir);
    let count = |queue: &SqliteQueue| -> i64 {
        let connection = queue.database.lock();
        connection
            .query_row("SELECT count(*) FROM message", [], |row| row.get(0))
            .unwrap()
    };
    let held = queue.database.lock();
    let sends: Vec<_> = (0..20)
        .map(|number| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.send(&[Outgoing::now(copy_task(number))]).await })
        })
        .collect();
    while queue.database.waiting() < 20 {
        std::thread::yield_now();
    }
    drop(held);
    // The first to get the database writes for all, so the first answer means that all are there.
    let mut sends = sends.into_iter();
    sends.next().unwrap().await.unwrap().unwrap();
    assert_eq!(count(&queue), 20);
    for send in sends {
        send.await.unwrap().unwrap();
    }
    assert_eq!(count(&queue), 20);
}

#[tokio::test]
async fn a_full_disk_refuses_the_send_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let queue = queue(&dir);
    queue.send(&[Outgoing::now(copy_task(1))]).await.unwrap();
    queue.database.lock().pragma_update(None, "max_page_count", 1).unwrap();
    let many: Vec<_> = (2..500).map(|number| Outgoing::now(copy_task(number))).collect();
    let error = queue.send(&many).await.unwrap_err();
    assert_eq!(error.code(), "QUEUE_UNAVAILABLE");
    assert!(error.to_string().contains("disk of the data folder is full"), "{error}");
    queue
        .database
        .lock()
        .pragma_update(None, "max_page_count", 1_000_000)
        .unwrap();
    assert_eq!(queue.depth().await.unwrap(), 1, "nothing of the failed send is there");
    queue.send(&many).await.unwrap();
    assert_eq!(queue.depth().await.unwrap(), 499);
}

#[tokio::test]
async fn a_new_owner_gets_at_once_what_was_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    let before = queue(&dir);
    let later = Outgoing::later(copy_task(3), Duration::from_mins(10));
    before
        .send(&[Outgoing::now(copy_task(1)), Outgoing::now(copy_task(2)), later])
        .await
        .unwrap();
    let held = before.receive(1, Duration::from_mins(10)).await.unwrap();
    drop(before);
    let after = queue(&dir);
    assert_eq!(after.release_all().await.unwrap(), 1);
    let received = after.receive(9, Duration::from_mins(10)).await.unwrap();
    assert_eq!(received.len(), 2, "the delayed one stays delayed");
    let again: Vec<_> = received.iter().filter(|delivery| delivery.receive_count == 2).collect();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].body, held[0].body);
}

#[tokio::test]
async fn a_message_that_goes_down_with_its_process_again_and_again_lets_its_neighbours_go_first() {
    let dir = tempfile::tempdir().unwrap();
    queue(&dir).send(&[Outgoing::now(copy_task(1))]).await.unwrap();
    let mut lives = 0;
    loop {
        let queue = queue(&dir);
        queue.release_all().await.unwrap();
        if queue.receive(1, Duration::from_mins(10)).await.unwrap().is_empty() {
            let wait = queue.next_visible_in().await.unwrap().unwrap();
            assert!(wait > Duration::ZERO && wait <= Duration::from_secs(2), "{wait:?}");
            break;
        }
        lives += 1;
        assert!(lives < 20, "it is always first");
    }
    assert_eq!(lives, 13, "a dozen restarts are nobody's fault");
    let after = queue(&dir);
    after.send(&[Outgoing::now(copy_task(2))]).await.unwrap();
    assert_eq!(after.receive(9, Duration::from_mins(10)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_message_that_ended_its_process_alone_is_known_and_a_stop_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    queue(&dir)
        .send(&[Outgoing::now(copy_task(1)), Outgoing::now(copy_task(2))])
        .await
        .unwrap();
    let minute = Duration::from_mins(1);
    let receive = async |queue: &SqliteQueue, max| queue.receive(max, minute).await.unwrap();
    // Both in flight.
    receive(&queue(&dir), 2).await;
    let second = queue(&dir);
    second.release_all().await.unwrap();
    let both = receive(&second, 2).await;
    assert!(
        both.iter()
            .all(|message| message.receive_count == 2 && !message.ended_alone)
    );
    // One is given back by a process that stops, so that the other one is alone when it ends.
    second.put_back(&both[0].receipt).await.unwrap();
    let third = queue(&dir);
    third.release_all().await.unwrap();
    let mut known: Vec<_> = receive(&third, 2).await;
    known.sort_by_key(|message| message.body == both[1].body);
    let facts: Vec<_> = known
        .iter()
        .map(|known| (known.receive_count, known.ended_alone))
        .collect();
    assert_eq!(facts, [(2, false), (3, true)]);
    // A receipt of the delivery that does not count holds nothing any more.
    third.complete(&both[0].receipt).await.unwrap();
    assert_eq!(third.depth().await.unwrap(), 2);
}

#[tokio::test]
async fn what_waits_for_a_host_is_woken_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let queue = queue(&dir);
    let hour = Duration::from_hours(1);
    let waiting =
        |number, host: Option<&str>| Outgoing::later(copy_task(number), hour).waiting_for(host.map(Into::into));
    queue
        .send(&[
            waiting(1, Some("a.example")),
            waiting(2, Some("b.example:5000")),
            waiting(3, None),
        ])
        .await
        .unwrap();
    assert_eq!(queue.wake("b.example:5000").await.unwrap(), Some(1));
    assert_eq!(queue.wake("b.example:5000").await.unwrap(), Some(0));
    let received = queue.receive(9, hour).await.unwrap();
    assert_eq!(received.len(), 1);
    assert!(received[0].body.contains("b.example:5000"));
}

#[tokio::test]
async fn a_send_wakes_the_worker() {
    let dir = tempfile::tempdir().unwrap();
    let queue = queue(&dir);
    let waiting = {
        let queue = queue.clone();
        tokio::spawn(async move { queue.wait(Duration::from_hours(1)).await })
    };
    queue.send(&[Outgoing::now(copy_task(1))]).await.unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_next_message_is_known_by_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let clock = transship_testkit::clock::ManualClock::default();
    let queue = SqliteQueue::with_clock(Database::open(dir.path()).unwrap(), Arc::new(clock.clone()));
    assert_eq!(queue.next_visible_in().await.unwrap(), None);
    let minute = Duration::from_mins(1);
    queue.send(&[Outgoing::later(copy_task(1), 2 * minute)]).await.unwrap();
    assert_eq!(queue.next_visible_in().await.unwrap(), Some(2 * minute));
    clock.advance(2 * minute);
    assert_eq!(queue.next_visible_in().await.unwrap(), Some(Duration::ZERO));
    queue.receive(1, minute).await.unwrap();
    assert_eq!(queue.next_visible_in().await.unwrap(), Some(minute));
}

#[tokio::test]
async fn a_slow_destination_does_not_take_every_worker() {
    let dir = tempfile::tempdir().unwrap();
    let queue = queue(&dir);
    let to = |registry: &str, numbers: std::ops::Range<u32>| {
        numbers
            .map(|number| {
                let mut task = copy_task(number);
                registry.clone_into(&mut task.destination.registry);
                Outgoing::now(task)
            })
            .collect::<Vec<_>>()
    };
    queue.send(&to("slow", 0..100)).await.unwrap();
    queue.send(&to("fast", 100..200)).await.unwrap();
    let hour = Duration::from_hours(1);
    let mut done = 0;
    // Eight workers: what goes to the slow destination never ends, what goes to the fast one ends at once.
    let mut busy = 0;
    for _ in 0..40 {
        for delivery in queue.receive(8 - busy, hour).await.unwrap() {
            if delivery.body.contains("\"slow\"") {
                busy += 1;
            } else {
                done += 1;
                queue.complete(&delivery.receipt).await.unwrap();
            }
        }
    }
    assert_eq!((done, busy), (100, 8));
}

#[tokio::test]
async fn a_send_waits_for_the_disk_and_nothing_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let queue = queue(&dir);
    let synchronous = || -> i64 {
        let connection = queue.database.lock();
        connection
            .pragma_query_value(None, "synchronous", |row| row.get(0))
            .unwrap()
    };
    let (normal, full) = (1, 2);
    queue.send(&[Outgoing::now(copy_task(1))]).await.unwrap();
    assert_eq!(synchronous(), full);
    queue.receive(1, Duration::from_mins(1)).await.unwrap();
    assert_eq!(synchronous(), normal);
    queue.send(&[Outgoing::now(copy_task(2))]).await.unwrap();
    assert_eq!(synchronous(), full);
}

#[tokio::test]
async fn a_task_is_recorded_with_its_message_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(dir.path()).unwrap();
    let ledger = SqliteLedger::new(database.clone());
    let listed = async || {
        let newest = TaskQuery::new(By::Newest);
        ledger.tasks(&newest, None, 10).await.unwrap().items.len()
    };
    let messages = [Outgoing::now(copy_task(1))];

    let queue = SqliteQueue::new(database.clone()).recording_in(&ledger);
    assert!(queue.send_and_record(&messages, &[task(1)]).await.unwrap());
    assert_eq!((queue.depth().await.unwrap(), listed().await), (1, 1));

    // Without its ledger, the message is sent all the same.
    database
        .lock()
        .execute_batch("ALTER TABLE history_task RENAME TO gone")
        .unwrap();
    assert!(!queue.send_and_record(&messages, &[task(2)]).await.unwrap());
    database
        .lock()
        .execute_batch("ALTER TABLE gone RENAME TO history_task")
        .unwrap();
    assert_eq!((queue.depth().await.unwrap(), listed().await), (2, 1));

    // A ledger elsewhere is for the caller to write.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = SqliteLedger::new(Database::open(elsewhere.path()).unwrap());
    let queue = SqliteQueue::new(database.clone()).recording_in(&other);
    assert!(!queue.send_and_record(&messages, &[task(3)]).await.unwrap());
    assert_eq!((queue.depth().await.unwrap(), listed().await), (3, 1));
}

#[tokio::test]
async fn a_clock_that_was_ahead_hides_no_message_after_it_is_put_right() {
    let dir = tempfile::tempdir().unwrap();
    let clock = transship_testkit::clock::ManualClock::default();
    let queue = SqliteQueue::with_clock(Database::open(dir.path()).unwrap(), Arc::new(clock.clone()));
    let (minute, year) = (Duration::from_mins(1), Duration::from_hours(24 * 365));
    let right = clock.now();
    clock.advance(year);
    queue
        .send(&[
            Outgoing::now(copy_task(1)),
            Outgoing::later(copy_task(2), minute),
            Outgoing::now(copy_task(3)),
        ])
        .await
        .unwrap();
    let [first, second] = &*queue.receive(2, minute).await.unwrap() else {
        panic!("two of three are due")
    };
    queue.retry(&first.receipt, minute).await.unwrap();

    clock.set(right);
    assert_eq!(queue.next_visible_in().await.unwrap(), Some(Duration::ZERO));
    let received = queue.receive(9, minute).await.unwrap();
    assert_eq!(received.len(), 2, "the one that is in flight stays hidden");
    queue.extend(&second.receipt, minute).await.unwrap();
    clock.advance(minute);
    assert_eq!(queue.receive(9, minute).await.unwrap().len(), 3);

    // The same after a restart, where no worker keeps a message hidden.
    clock.advance(year);
    clock.advance(minute);
    assert_eq!(queue.receive(9, year).await.unwrap().len(), 3);
    clock.set(right);
    assert_eq!(queue.release_all().await.unwrap(), 3);
    assert_eq!(queue.receive(9, minute).await.unwrap().len(), 3);
}

/// Messages from `source` to `destination`.
fn between(source: &str, destination: &str, numbers: std::ops::Range<u32>) -> Vec<Outgoing> {
    numbers
        .map(|number| {
            let mut task = copy_task(number);
            let transship_engine::Source::Registry(image) = &mut task.source else {
                panic!("a copy between registries")
            };
            source.clone_into(&mut image.registry);
            destination.clone_into(&mut task.destination.registry);
            Outgoing::now(task)
        })
        .collect()
}

#[tokio::test]
async fn a_silent_source_occupies_a_part_of_the_workers_and_others_are_received_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let queue = queue(&dir).shared_by(16, str::to_owned);
    let hour = Duration::from_hours(1);
    queue.send(&between("silent", "a", 0..50)).await.unwrap();
    queue.send(&between("silent", "b", 50..100)).await.unwrap();
    let mut busy = Vec::new();
    for _ in 0..9 {
        busy.extend(queue.receive(16 - busy.len(), hour).await.unwrap());
    }
    assert!((4..=12).contains(&busy.len()), "{}", busy.len());

    // Nothing can be received, so the worker does not read the queue again and again.
    let minute = Duration::from_mins(1);
    assert_eq!(queue.pause(minute).await.unwrap(), minute);

    // Nor when the backlog grows.
    let _: Option<()> = queue.arrived.notified().now_or_never();
    queue.send(&between("silent", "a", 200..300)).await.unwrap();
    assert!(queue.arrived.notified().now_or_never().is_none());
    assert_eq!(queue.pause(minute).await.unwrap(), minute);

    queue.send(&between("healthy", "c", 100..101)).await.unwrap();
    queue.wait(hour).await.unwrap();
    let received = queue.receive(16 - busy.len(), hour).await.unwrap();
    let [healthy] = &*received else {
        panic!("{}", received.len())
    };
    assert!(healthy.body.contains("\"healthy\""));

    // The end of a message makes place for more of the same source, which has shown that it is quick.
    queue.complete(&busy[0].receipt).await.unwrap();
    queue.wait(hour).await.unwrap();
    assert!((1..=3).contains(&queue.receive(9, hour).await.unwrap().len()));
}

#[tokio::test]
async fn ten_thousand_messages_of_one_host_do_not_hold_up_one_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let queue = queue(&dir).shared_by(64, str::to_owned);
    for begin in (0..10_000).step_by(1000) {
        queue.send(&between("busy", "a", begin..begin + 1000)).await.unwrap();
    }
    let hour = Duration::from_hours(1);
    let mut received = queue.receive(64, hour).await.unwrap();
    queue.send(&between("other", "b", 10_000..10_001)).await.unwrap();
    received.extend(queue.receive(64 - received.len(), hour).await.unwrap());
    let of_other = received
        .iter()
        .filter(|message| message.body.contains("\"other\""))
        .count();
    assert_eq!(of_other, 1, "among {}", received.len());
    assert!(
        received.len() > 16,
        "the others are not held up either: {}",
        received.len()
    );
}

#[tokio::test]
async fn the_messages_of_an_older_release_are_received() {
    let dir = tempfile::tempdir().unwrap();
    let queue = queue(&dir).shared_by(4, str::to_owned);
    queue.send(&between("s", "d", 0..1)).await.unwrap();
    queue
        .database
        .lock()
        .execute("UPDATE message SET source = ''", [])
        .unwrap();
    assert_eq!(queue.receive(4, Duration::from_mins(1)).await.unwrap().len(), 1);
}
