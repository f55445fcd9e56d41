//! Records the end of tasks that no worker survived.
//!
//! Here because a worker that crashes leaves no error. Its message is delivered a few times more and then becomes a dead
//! letter. What must hold: every task ends in a recorded state; a message that is not valid stays in the dead-letter queue,
//! where an alarm shows it to an operator.

use std::sync::Arc;

use transship_copy::Clock;
use transship_engine::DeadLetters;
use transship_engine::ledger::{Failures, History};

use super::{Message, Received};

/// Records dead letters.
#[derive(Clone)]
pub struct DeadLetterRecorder {
    /// The history of tasks.
    pub history: Arc<dyn History>,
    /// Tags that failed permanently.
    pub failures: Failures,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl DeadLetterRecorder {
    /// Records each message of a dead-letter queue. Returns the ids of the messages that must stay there.
    pub async fn run(&self, received: Vec<Received>) -> Vec<String> {
        let mut staying = Vec::new();
        for received in received {
            match Message::parse(received) {
                Ok(message) if self.record(&message).await => {}
                Ok(message) => staying.push(message.received.id),
                Err(invalid) => staying.push(invalid.id),
            }
        }
        staying
    }

    /// Records a job whose workers crashed. False if that failed, which is logged.
    pub(crate) async fn record(&self, message: &Message) -> bool {
        let letters = DeadLetters {
            history: Arc::clone(&self.history),
            failures: self.failures.clone(),
            clock: Arc::clone(&self.clock),
        };
        let Message { received, envelope } = message;
        match letters.record(&envelope.job, received.receive_count).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(
                    code = error.code(),
                    message_id = received.id,
                    "the end of a task could not be recorded, so its message stays: {error}"
                );
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use transship_copy::SystemClock;
    use transship_engine::ledger::{By, TaskQuery};
    use transship_engine::operations::list_tasks;
    use transship_engine::{
        Begin, Counts, Envelope, Import, ListPrefix, Outcome, Scan, StoreName, Sweep, TaskRecord, TaskState,
    };
    use transship_layout::{SourceKind, SourceRef};
    use transship_oci::{Existing, Referrers};
    use transship_testkit::memory::MemoryLedger;
    use transship_testkit::suites::{at, copy_task, task};

    use super::*;

    fn body(job: impl Into<transship_engine::Job>) -> String {
        Envelope::new(job).to_json().unwrap()
    }

    fn received(id: &str, body: String) -> Received {
        Received {
            id: id.into(),
            body,
            receive_count: 6,
            ended_alone: true,
            sent: None,
        }
    }

    async fn run(ledger: &Arc<MemoryLedger>, messages: Vec<Received>) -> Vec<String> {
        let recorder = DeadLetterRecorder {
            history: Arc::clone(ledger) as _,
            failures: Failures::new(Arc::clone(ledger) as _),
            clock: Arc::new(SystemClock),
        };
        recorder.run(messages).await
    }

    async fn tasks_of(ledger: &MemoryLedger) -> Vec<TaskRecord> {
        list_tasks(ledger, &TaskQuery::new(By::Newest), 0).await.unwrap()
    }

    #[tokio::test]
    async fn a_task_whose_worker_crashed_ends_failed_known_or_not() {
        let ledger = Arc::new(MemoryLedger::default());
        assert_eq!(ledger.begin(&task(1), at(5)).await.unwrap(), Begin::Attempt(1));
        let messages = [1, 2].map(|number| received("m", body(copy_task(number))));
        assert!(run(&ledger, messages.into()).await.is_empty());
        let tasks = tasks_of(&ledger).await;
        assert_eq!(tasks.len(), 2);
        for task in tasks {
            assert_eq!(
                (task.state, task.code.as_deref()),
                (TaskState::Failed, Some("WORKER_CRASHED"))
            );
            assert!(task.message.unwrap().contains("received 6 times"));
        }
    }

    #[tokio::test]
    async fn a_recorded_end_does_not_change() {
        let ledger = Arc::new(MemoryLedger::default());
        let ended = Outcome {
            state: TaskState::Succeeded,
            digest: None,
            code: None,
            message: None,
            bytes: Counts::default(),
            finished: at(9),
        };
        ledger.begin(&task(1), at(5)).await.unwrap();
        assert!(ledger.finish(&task(1), &ended, &[], "").await.unwrap());
        let letter = received("m", body(copy_task(1)));
        assert!(run(&ledger, vec![letter]).await.is_empty());
        assert_eq!(tasks_of(&ledger).await[0].state, TaskState::Succeeded);
    }

    #[tokio::test]
    async fn a_listing_and_a_scan_whose_workers_crashed_are_recorded_too() {
        let import = Import {
            name: "seed".into(),
            registry: "zhangjiakou".into(),
            path: Some("core".parse().unwrap()),
            existing: Existing::Keep,
            referrers: Referrers::Include,
        };
        let store = StoreName::bucket("layouts");
        let list = ListPrefix::new(import.clone(), store.clone(), "to/", import.execution("order", at(5)));
        let scan = Scan {
            id: "t-scan".into(),
            execution: import.execution("upload", at(5)),
            store,
            source: SourceRef::new(SourceKind::Layout, "to/app/", "app"),
            only: None,
            import,
            is_upload: true,
            done: 0,
        };
        let ledger = Arc::new(MemoryLedger::default());
        let letters = [body(list.clone()), body(scan.clone())].map(|letter| received("m", letter));
        for _ in 0..2 {
            assert!(run(&ledger, letters.to_vec()).await.is_empty());
        }
        let tasks = tasks_of(&ledger).await;
        assert_eq!(tasks.len(), 2);
        let advice = |execution: &str| {
            let recorded = tasks.iter().find(|task| task.execution == execution).unwrap();
            assert_eq!(
                (recorded.state, recorded.code.as_deref()),
                (TaskState::Failed, Some("WORKER_CRASHED"))
            );
            recorded.message.clone().unwrap()
        };
        assert!(advice(&list.execution.id).contains("order the import again"));
        assert!(advice(&scan.execution.id).contains("redrive the task"));
    }

    #[tokio::test]
    async fn a_message_that_is_not_valid_stays_where_an_operator_sees_it() {
        let ledger = Arc::new(MemoryLedger::default());
        let sweep = body(Sweep::default());
        let messages = vec![
            received("1", "{}".into()),
            received("2", sweep),
            received("3", r#"{"version":9,"id":"t-1"}"#.into()),
        ];
        assert_eq!(run(&ledger, messages).await, ["1", "3"]);
    }
}
