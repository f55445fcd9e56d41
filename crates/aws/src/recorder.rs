//! The dead-letter side: writes the end of tasks whose worker could not.
//!
//! Here because a worker that crashes leaves no code to say so. Its message comes a few times more and then into the
//! dead-letter queue, which this empties. What must hold: every task ends in a recorded state; and what is none of ours
//! stays in the dead-letter queue, where an alarm shows it to an operator.

use std::sync::Arc;

use jiff::Timestamp;
use metrics::counter;
use transship_copy::Clock;
use transship_engine::{Bytes, Execution, Ledger, Message, Outcome, Task, TaskState};

use crate::batch::{Received, tell_invalid};
use transship_oci::Result;

/// Records dead letters.
#[derive(Clone)]
pub struct Recorder {
    /// Where tasks are remembered.
    pub ledger: Arc<dyn Ledger>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Recorder {
    /// Records each of `received`. Returns the ids of those that stay in the dead-letter queue.
    pub async fn run(&self, received: Vec<Received>) -> Vec<String> {
        let mut left = Vec::new();
        for message in received {
            if !self.is_recorded(&message).await {
                left.push(message.id);
            }
        }
        left
    }

    async fn is_recorded(&self, message: &Received) -> bool {
        let parsed = match Message::parse(&message.body) {
            Ok(parsed) => parsed,
            Err(error) => {
                tell_invalid(message, error.message());
                return false;
            }
        };
        let Some(task) = parsed.recorded() else {
            tracing::error!(
                code = "WORKER_CRASHED",
                message_id = message.id,
                "a step of a sweep could not be worked on and is given up; the next sweep takes it up"
            );
            return true;
        };
        let advice = match parsed {
            Message::Search(_) => "see what they logged, then order the import again",
            _ => "see what they logged, then redrive it",
        };
        match self.end(&task, message.receive_count, advice).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(
                    code = error.code(),
                    task = task.id,
                    message_id = message.id,
                    "the end of a task could not be recorded; it stays in the dead-letter queue: {error}"
                );
                false
            }
        }
    }

    async fn end(&self, task: &Task, receive_count: u32, advice: &str) -> Result<()> {
        let execution = Execution {
            id: task.execution.clone(),
            rule: task.rule.clone(),
            trigger: task.trigger,
            created: task.created,
        };
        self.ledger.record(&execution, std::slice::from_ref(task)).await?;
        let outcome = Outcome {
            state: TaskState::Failed,
            digest: None,
            code: Some("WORKER_CRASHED".into()),
            message: Some(format!(
                "its workers ended without an outcome, and its message became a dead letter; it was received {receive_count} \
                 times; {advice}"
            )),
            bytes: Bytes::default(),
            finished: Timestamp::try_from(self.clock.now()).unwrap_or(Timestamp::UNIX_EPOCH),
        };
        if self.ledger.finish(task, &outcome, &[]).await? {
            counter!("Tasks", "State" => TaskState::Failed.as_str()).increment(1);
            tracing::error!(
                code = "WORKER_CRASHED",
                execution = task.execution,
                task = task.id,
                rule = task.rule,
                source = %task.source,
                destination = %task.destination,
                "the task ended: its worker crashed"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use transship_copy::SystemClock;
    use transship_engine::{Begin, Import, Look, Search, Sweep, TaskFilter};
    use transship_layout::Search as Cursor;
    use transship_oci::{Existing, Referrers};
    use transship_testkit::memory::MemoryLedger;
    use transship_testkit::suites::{at, task};

    use super::*;

    fn received(id: &str, body: String) -> Received {
        Received {
            id: id.into(),
            body,
            receive_count: 6,
            sent: None,
        }
    }

    async fn run(ledger: &Arc<MemoryLedger>, messages: Vec<Received>) -> Vec<String> {
        let recorder = Recorder {
            ledger: Arc::clone(ledger) as _,
            clock: Arc::new(SystemClock),
        };
        recorder.run(messages).await
    }

    #[tokio::test]
    async fn a_task_whose_worker_crashed_ends_failed_known_or_not() {
        let ledger = Arc::new(MemoryLedger::default());
        assert_eq!(ledger.begin(&task(1), at(5)).await.unwrap(), Begin::Attempt(1));
        let messages = [1, 2].map(|number| received("m", Message::Task(task(number)).to_json().unwrap()));
        assert!(run(&ledger, messages.into()).await.is_empty());
        let tasks = ledger.tasks(&TaskFilter::default()).await.unwrap();
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
    async fn an_end_that_was_recorded_stays() {
        let ledger = Arc::new(MemoryLedger::default());
        let ended = Outcome {
            state: TaskState::Succeeded,
            digest: None,
            code: None,
            message: None,
            bytes: Bytes::default(),
            finished: at(9),
        };
        ledger.begin(&task(1), at(5)).await.unwrap();
        assert!(ledger.finish(&task(1), &ended, &[]).await.unwrap());
        let letter = received("m", Message::Task(task(1)).to_json().unwrap());
        assert!(run(&ledger, vec![letter]).await.is_empty());
        assert_eq!(
            ledger.tasks(&TaskFilter::default()).await.unwrap()[0].state,
            TaskState::Succeeded
        );
    }

    #[tokio::test]
    async fn a_search_and_a_look_whose_workers_crashed_are_recorded_too() {
        let import = Import {
            name: "seed".into(),
            registry: "zhangjiakou".into(),
            path: Some("core".parse().unwrap()),
            existing: Existing::Keep,
            referrers: Referrers::Include,
        };
        let search = Search {
            import: import.clone(),
            store: "s3://layouts".into(),
            execution: import.execution("order", at(5)),
            at: Cursor::new("to/"),
            stuck: 0,
        };
        let look = Task {
            look: Some(Box::new(Look {
                import,
                done: 0,
                is_single: false,
                is_upload: true,
                is_recorded: false,
            })),
            ..task(1)
        };
        let ledger = Arc::new(MemoryLedger::default());
        let letters = [Message::Search(search.clone()), Message::Task(look)];
        let letters = letters.map(|letter| received("m", letter.to_json().unwrap()));
        for _ in 0..2 {
            assert!(run(&ledger, letters.to_vec()).await.is_empty());
        }
        let tasks = ledger.tasks(&TaskFilter::default()).await.unwrap();
        assert_eq!(tasks.len(), 2);
        let advice = |execution: &str| {
            let recorded = tasks.iter().find(|task| task.execution == execution).unwrap();
            assert_eq!(
                (recorded.state, recorded.code.as_deref()),
                (TaskState::Failed, Some("WORKER_CRASHED"))
            );
            recorded.message.clone().unwrap()
        };
        assert!(advice(&search.execution.id).contains("order the import again"));
        assert!(advice("execution-1").contains("redrive it"));
    }

    #[tokio::test]
    async fn what_is_none_of_ours_stays_where_an_operator_sees_it() {
        let ledger = Arc::new(MemoryLedger::default());
        let sweep = Message::Sweep(Sweep::default()).to_json().unwrap();
        let messages = vec![
            received("1", "{}".into()),
            received("2", sweep),
            received("3", r#"{"version":9,"id":"t-1"}"#.into()),
        ];
        assert_eq!(run(&ledger, messages).await, ["1", "3"]);
    }
}
