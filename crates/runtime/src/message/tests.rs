//! What becomes of the messages of a batch.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use transship_copy::TimeBudget;

use transship_engine::{CopyTask, Envelope, Import, Job, ListPrefix, Next, Outgoing, StoreName, Sweep, TaskQueue};
use transship_oci::{Code, Error, Existing, Referrers, Result, Verb};
use transship_testkit::suites::{copy_task, execution};

use super::{ERROR_BACKOFF, MessageHandler, MessageProcessor, Received, Undecided, beginning};
use crate::run_batch;

/// Does with a task what its rule's name says.
struct Scripted;

#[async_trait]
impl MessageHandler for Scripted {
    async fn handle(&self, envelope: &Envelope, _: Option<TimeBudget>) -> Result<Next> {
        let undecided = Error::of(Code::LedgerUnavailable, Verb::Ledger);
        match &envelope.job {
            Job::Copy(task) => match task.execution.rule.as_str() {
                "again" => Ok(Next::Again(Duration::from_secs(30))),
                "send" => Ok(Next::Send(vec![Outgoing::now(Sweep::default())])),
                "undecided" => Err(undecided),
                "hang" => std::future::pending().await,
                "panic" => panic!("a defect"),
                _ => Ok(Next::Done),
            },
            _ => Err(undecided),
        }
    }
}

#[derive(Default)]
struct Sent {
    messages: Mutex<Vec<Outgoing>>,
    refuses: bool,
}

#[async_trait]
impl TaskQueue for Sent {
    async fn send(&self, messages: &[Outgoing]) -> Result<()> {
        if self.refuses {
            return Err(Error::of(Code::QueueUnavailable, Verb::Queue.on("send")));
        }
        self.messages.lock().unwrap().extend_from_slice(messages);
        Ok(())
    }
}

fn envelope(rule: &str, tries: u32) -> Envelope {
    let mut task = copy_task(1);
    task.execution.rule = rule.into();
    Envelope {
        tries,
        not_before: Some(Timestamp::UNIX_EPOCH),
        ..Envelope::new(task)
    }
}

fn body(rule: &str, tries: u32) -> String {
    envelope(rule, tries).to_json().unwrap()
}

fn rule_of(envelope: &Envelope) -> String {
    let Job::Copy(CopyTask { execution, .. }) = &envelope.job else {
        panic!("{envelope:?}")
    };
    execution.rule.clone()
}

fn received(id: &str, body: impl Into<String>) -> Received {
    Received {
        id: id.into(),
        body: body.into(),
        receive_count: 1,
        ended_alone: true,
        sent: None,
    }
}

async fn run(queue: &Arc<Sent>, received: Vec<Received>, time: Duration) -> Vec<String> {
    let processor = MessageProcessor {
        handler: Arc::new(Scripted),
        queue: Arc::clone(queue) as _,
    };
    run_batch(&processor, received, Instant::now() + time).await
}

const LONG: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_poisoned_message_or_a_panic_fails_alone() {
    let queue = Arc::new(Sent::default());
    let messages = vec![
        received("1", body("fine", 0)),
        received("2", r#"{"Records":[{"s3":{"object":{"key":"a"}}}]}"#),
        received("3", body("panic", 0)),
        received("4", "x".repeat(1024 * 1024)),
        received("5", body("fine", 0)),
    ];
    assert_eq!(run(&queue, messages, LONG).await, ["2", "3", "4"]);
    assert!(queue.messages.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_message_that_has_to_wait_is_sent_on_as_a_new_one() {
    let queue = Arc::new(Sent::default());
    assert!(
        run(&queue, vec![received("1", body("again", 4))], LONG)
            .await
            .is_empty()
    );
    let sent = queue.messages.lock().unwrap();
    let expected = Outgoing {
        envelope: Envelope {
            not_before: None,
            ..envelope("again", 5)
        },
        delay: Duration::from_secs(30),
    };
    assert_eq!(*sent, [expected]);
}

#[tokio::test]
async fn what_follows_a_message_is_sent_before_it_is_done() {
    let queue = Arc::new(Sent::default());
    assert!(run(&queue, vec![received("1", body("send", 0))], LONG).await.is_empty());
    assert_eq!(*queue.messages.lock().unwrap(), [Outgoing::now(Sweep::default())]);
    let refusing = Arc::new(Sent {
        refuses: true,
        ..Sent::default()
    });
    assert_eq!(run(&refusing, vec![received("1", body("send", 0))], LONG).await, ["1"]);
}

#[tokio::test]
async fn a_message_that_cannot_be_sent_on_comes_again() {
    let queue = Arc::new(Sent {
        refuses: true,
        ..Sent::default()
    });
    let messages = vec![
        received("1", body("again", 0)),
        received("2", body("undecided", 0)),
        received("3", body("fine", 0)),
    ];
    assert_eq!(run(&queue, messages, LONG).await, ["1", "2"]);
}

#[tokio::test]
async fn work_that_hangs_is_sent_on_in_time_for_its_neighbours_answer() {
    let queue = Arc::new(Sent::default());
    let began = Instant::now();
    let messages = vec![received("1", body("hang", 0)), received("2", body("fine", 0))];
    let time = Duration::from_millis(900);
    assert!(run(&queue, messages, time).await.is_empty());
    assert!(began.elapsed() < time);
    assert_eq!(queue.messages.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_sweep_nothing_is_decided_about_is_not_multiplied() {
    let queue = Arc::new(Sent::default());
    let order = Envelope::new(Sweep::default()).to_json().unwrap();
    assert_eq!(run(&queue, vec![received("1", order)], LONG).await, ["1"]);
    assert!(queue.messages.lock().unwrap().is_empty());
}

/// A listing about which nothing could be decided in so many tries.
fn listing(tries: u32) -> Envelope {
    let import = Import {
        name: "seed".into(),
        registry: "zhangjiakou".into(),
        path: None,
        existing: Existing::Keep,
        referrers: Referrers::Include,
    };
    let list = ListPrefix::new(import, StoreName::bucket("layouts"), "to/", execution(1));
    Envelope {
        tries,
        undecided: tries,
        ..Envelope::new(list)
    }
}

#[tokio::test]
async fn a_listing_nothing_is_decided_about_is_sent_on_and_counts_it() {
    let body = |tries| listing(tries).to_json().unwrap();
    let queue = Arc::new(Sent::default());
    let messages = vec![received("1", body(3)), received("2", body(100))];
    assert_eq!(
        run(&queue, messages, LONG).await,
        ["2"],
        "one that is days old and was sent on often becomes a dead letter"
    );
    let next = Outgoing {
        envelope: listing(4),
        delay: Duration::from_secs(40),
    };
    assert_eq!(*queue.messages.lock().unwrap(), [next]);
}

#[tokio::test]
async fn without_a_document_tasks_wait_and_an_invalid_message_still_fails() {
    let queue = Arc::new(Sent::default());
    let processor = MessageProcessor {
        handler: Arc::new(Undecided(Error::of(Code::ConfigUnavailable, Verb::Configuration))),
        queue: Arc::clone(&queue) as _,
    };
    let messages = vec![received("1", body("fine", 0)), received("2", "{}")];
    assert_eq!(run_batch(&processor, messages, Instant::now() + LONG).await, ["2"]);
    let sent = queue.messages.lock().unwrap();
    assert_eq!((sent.len(), sent[0].delay), (1, ERROR_BACKOFF));
}

#[test]
fn of_a_text_from_outside_only_the_beginning_is_logged() {
    assert_eq!(beginning("a\n\u{1b}[31m"), "a\\n\\u{1b}[31m");
    assert_eq!(beginning(&"é".repeat(1000)).chars().count(), 200);
}

/// Tells which messages it was given.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

#[async_trait]
impl MessageHandler for Told {
    async fn handle(&self, envelope: &Envelope, _: Option<TimeBudget>) -> Result<Next> {
        self.0.lock().unwrap().push(rule_of(envelope));
        Ok(Next::Done)
    }
}

/// Rules of the messages that were worked on, and of those that were sent on.
async fn worked_and_sent(counts: &[u32], refuses: bool) -> (Vec<String>, Vec<String>) {
    let (told, queue) = (
        Arc::new(Told::default()),
        Arc::new(Sent {
            refuses,
            ..Sent::default()
        }),
    );
    let processor = MessageProcessor {
        handler: Arc::clone(&told) as _,
        queue: Arc::clone(&queue) as _,
    };
    let messages = counts.iter().enumerate().map(|(number, count)| Received {
        receive_count: *count,
        ..received(&number.to_string(), body(&number.to_string(), 0))
    });
    assert!(
        run_batch(&processor, messages.collect(), Instant::now() + LONG)
            .await
            .is_empty()
    );
    let mut worked = std::mem::take(&mut *told.0.lock().unwrap());
    worked.sort();
    let sent = queue.messages.lock().unwrap();
    assert!(sent.iter().all(|sent| sent.envelope.tries == 0), "it was not tried");
    let mut sent: Vec<String> = sent.iter().map(|sent| rule_of(&sent.envelope)).collect();
    sent.sort();
    (worked, sent)
}

#[tokio::test]
async fn a_message_that_may_have_ended_its_workers_is_worked_on_alone() {
    let rules = |numbers: &[u32]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (counts, worked, sent) in [
        (vec![1, 2, 1], rules(&[0, 1, 2]), rules(&[])),
        (vec![1, 3, 2], rules(&[1]), rules(&[0, 2])),
        (vec![3, 4, 4, 1], rules(&[2]), rules(&[0, 1, 3])),
        (vec![5], rules(&[0]), rules(&[])),
    ] {
        assert_eq!(worked_and_sent(&counts, false).await, (worked, sent), "{counts:?}");
    }
    let all = rules(&[0, 1, 2]);
    assert_eq!(
        worked_and_sent(&[1, 3, 2], true).await,
        (all, rules(&[])),
        "the queue is not available, but the work is done"
    );
}
