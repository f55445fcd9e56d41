//! The worker loop over a queue in memory: what ends its process, what panics, and what waits.

use std::sync::Mutex;
use std::time::SystemTime;

use async_trait::async_trait;
use transship_copy::{SystemClock, TimeBudget};
use transship_engine::ledger::{By, Failures, TaskQuery};
use transship_engine::operations::list_tasks;
use transship_engine::{Envelope, Job, Next, Outgoing, TaskQueue as _, TaskRecord, TaskState};
use transship_oci::Result;
use transship_testkit::clock::ManualClock;
use transship_testkit::memory::{MemoryLedger, MemoryQueue};
use transship_testkit::suites::copy_task;

use super::*;
use crate::MessageHandler;

/// Does what the rule of a task says, and notes the rules of the tasks.
#[derive(Default)]
struct Scripted(Mutex<Vec<String>>);

#[async_trait]
impl MessageHandler for Scripted {
    async fn handle(&self, envelope: &Envelope, _: Option<TimeBudget>) -> Result<Next> {
        let Job::Copy(task) = &envelope.job else {
            return Ok(Next::Done);
        };
        let rule = task.execution.rule.clone();
        self.0.lock().unwrap().push(rule.clone());
        match rule.as_str() {
            "again" if envelope.tries < 20 => Ok(Next::Again(Duration::ZERO)),
            "panic" => panic!("a defect"),
            "endless" => std::future::pending().await,
            _ => Ok(Next::Done),
        }
    }
}

struct Fixture {
    queue: Arc<MemoryQueue>,
    ledger: Arc<MemoryLedger>,
    handler: Arc<Scripted>,
    clock: ManualClock,
}

impl Fixture {
    fn new() -> Self {
        let clock = ManualClock::new(SystemTime::now());
        Self {
            queue: Arc::new(MemoryQueue::calm(Arc::new(clock.clone()))),
            ledger: Arc::default(),
            handler: Arc::default(),
            clock,
        }
    }

    async fn send(&self, number: u32, rule: &str) {
        let mut task = copy_task(number);
        task.execution.rule = rule.into();
        self.queue.send(&[Outgoing::now(task)]).await.unwrap();
    }

    /// A process that receives the messages and ends before it did anything with them.
    async fn crash(&self) {
        self.queue.receive(10, VISIBILITY).await.unwrap();
        self.clock.advance(VISIBILITY);
    }

    fn worker(&self) -> Worker {
        Worker {
            receiver: Arc::clone(&self.queue) as _,
            processor: MessageProcessor {
                handler: Arc::clone(&self.handler) as _,
                queue: Arc::clone(&self.queue) as _,
            },
            dead_letters: DeadLetterRecorder {
                history: Arc::clone(&self.ledger) as _,
                failures: Failures::new(Arc::clone(&self.ledger) as _),
                clock: Arc::new(SystemClock),
            },
            concurrency: 4,
            halt: watch::Sender::new(false),
        }
    }

    /// Begins to work on what the queue has.
    async fn begin(&self, running: &mut JoinSet<()>) -> Option<Duration> {
        let worker = self.worker();
        let received = worker.receive(10).await;
        worker.begin(received, running).await
    }

    /// Works on what the queue has until it is done.
    async fn work(&self) {
        let mut running = JoinSet::new();
        self.begin(&mut running).await;
        while running.join_next().await.is_some() {}
    }

    async fn tasks(&self) -> Vec<TaskRecord> {
        list_tasks(self.ledger.as_ref(), &TaskQuery::new(By::Newest), 0)
            .await
            .unwrap()
    }

    fn worked(&self) -> Vec<String> {
        let mut rules = std::mem::take(&mut *self.handler.0.lock().unwrap());
        rules.sort();
        rules
    }
}

#[tokio::test]
async fn a_task_that_ends_its_process_again_and_again_ends_failed() {
    let fixture = Fixture::new();
    fixture.send(1, "fine").await;
    for _ in 0..CRASHES_MAX {
        fixture.crash().await;
    }
    fixture.work().await;
    assert!(fixture.worked().is_empty());
    assert_eq!(fixture.queue.depth().await.unwrap(), 0);
    let tasks = fixture.tasks().await;
    assert_eq!(tasks.len(), 1);
    assert_eq!(
        (tasks[0].state, tasks[0].code.as_deref()),
        (TaskState::Failed, Some("WORKER_CRASHED"))
    );
}

#[tokio::test]
async fn a_task_that_panics_ends_failed_too() {
    let fixture = Fixture::new();
    fixture.send(1, "panic").await;
    for _ in 0..=CRASHES_MAX {
        fixture.work().await;
        fixture.clock.advance(ERROR_BACKOFF * CRASHES_MAX);
    }
    assert_eq!(fixture.worked().len(), CRASHES_MAX as usize);
    assert_eq!(fixture.queue.depth().await.unwrap(), 0);
    let tasks = fixture.tasks().await;
    assert_eq!(tasks[0].state, TaskState::Failed);
}

#[tokio::test]
async fn a_task_that_waits_more_often_than_that_is_not_suspect() {
    let fixture = Fixture::new();
    fixture.send(1, "again").await;
    for _ in 0..=20 {
        let mut running = JoinSet::new();
        assert_eq!(fixture.begin(&mut running).await, None);
        while running.join_next().await.is_some() {}
    }
    assert_eq!(fixture.worked().len(), 21);
    assert_eq!(fixture.queue.depth().await.unwrap(), 0);
    assert!(fixture.tasks().await.is_empty());
}

#[tokio::test]
async fn a_suspect_is_worked_on_alone_and_its_neighbours_follow() {
    let fixture = Fixture::new();
    fixture.send(1, "suspect").await;
    fixture.crash().await;
    fixture.crash().await;
    fixture.send(2, "neighbour").await;
    let mut running = JoinSet::new();
    assert_eq!(fixture.begin(&mut running).await, Some(Duration::from_mins(1)));
    while running.join_next().await.is_some() {}
    assert_eq!(fixture.worked(), ["suspect"]);
    fixture.clock.advance(Duration::from_secs(1));
    fixture.work().await;
    assert_eq!(fixture.worked(), ["neighbour"]);
    assert_eq!(fixture.queue.depth().await.unwrap(), 0);
}

#[tokio::test]
async fn a_message_that_is_not_valid_is_kept_for_an_hour() {
    let fixture = Fixture::new();
    fixture.queue.inject("{}");
    for _ in 1..INVALID_RECEIVES_MAX {
        fixture.work().await;
        assert_eq!(fixture.queue.depth().await.unwrap(), 1);
        fixture.clock.advance(INVALID_BACKOFF);
    }
    fixture.work().await;
    assert_eq!(fixture.queue.depth().await.unwrap(), 0);
}

#[tokio::test]
async fn a_worker_works_until_it_is_asked_to_stop() {
    let fixture = Fixture::new();
    fixture.send(1, "fine").await;
    let (stop, stopped) = watch::channel(false);
    let worker = fixture.worker();
    let running = tokio::spawn(async move { worker.run(stopped).await });
    while fixture.queue.depth().await.unwrap() > 0 {
        tokio::task::yield_now().await;
    }
    stop.send_replace(true);
    running.await.unwrap();
    assert_eq!(fixture.worked(), ["fine"]);
}

#[tokio::test]
async fn a_worker_that_stops_puts_back_what_does_not_end() {
    let fixture = Fixture::new();
    fixture.send(1, "endless").await;
    let (stop, stopped) = watch::channel(false);
    let worker = fixture.worker();
    let running = tokio::spawn(async move { worker.run_until(stopped, Duration::ZERO).await });
    while fixture.handler.0.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    stop.send_replace(true);
    running.await.unwrap();
    let again = fixture.queue.receive(1, VISIBILITY).await.unwrap();
    assert_eq!(again.len(), 1, "it is visible at once");
}
