//! One invocation: processes the messages of the task queue, records dead letters, and reports the messages that failed.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent};
use tokio::sync::OnceCell;
use transship_aws::Platform;
use transship_aws::emf::Emf;
use transship_copy::{NoProgress, SystemClock};
use transship_engine::Envelope;
use transship_engine::ledger::Failures;
use transship_oci::Code;
use transship_runtime::{
    DeadLetterRecorder, JobHandler, MessageHandler, MessageProcessor, Received, Undecided, run_batch,
};

/// Maximum share of the invocation's time for reading the document.
const CONFIG_TIME_SHARE: u32 = 4;

/// The Lambda function.
pub(crate) struct Worker {
    platform: Platform,
    emf: Emf,
    handler: OnceCell<Arc<JobHandler>>,
}

impl Worker {
    pub(crate) fn new(platform: Platform, emf: Emf) -> Self {
        Self {
            platform,
            emf,
            handler: OnceCell::new(),
        }
    }

    /// Returns the messages that failed. The invocation itself never fails, because that would fail all messages.
    pub(crate) async fn work(&self, event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, Error> {
        let left = event.context.deadline().duration_since(SystemTime::now());
        let left = left.unwrap_or_default();
        let deadline = Instant::now() + left;
        let (tasks, letters): (Vec<_>, Vec<_>) = event.payload.records.into_iter().partition(|message| {
            let arn = message.event_source_arn.as_deref();
            arn.is_none_or(|arn| self.platform.is_task_queue(arn))
        });
        let mut failed = Vec::new();
        if !letters.is_empty() {
            failed.extend(self.record(letters).await);
        }
        if !tasks.is_empty() {
            failed.extend(self.work_on(tasks, deadline, left).await);
        }
        self.emf.flush();
        let mut answer = SqsBatchResponse::default();
        answer.set_failures(failed);
        Ok(answer)
    }

    async fn work_on(&self, messages: Vec<SqsMessage>, deadline: Instant, left: Duration) -> Vec<String> {
        let processor = MessageProcessor {
            handler: self.handler(left / CONFIG_TIME_SHARE).await,
            queue: Arc::clone(&self.platform.parts().await.queue) as _,
        };
        run_batch(&processor, messages.into_iter().map(received).collect(), deadline).await
    }

    /// What works on messages: the engine with the document in force, or the reason why there is none.
    async fn handler(&self, timeout: Duration) -> Arc<dyn MessageHandler> {
        let configuration = match self.platform.configuration(timeout).await {
            Ok(configuration) => configuration,
            Err(error) => return Arc::new(Undecided(error)),
        };
        let make = || async {
            let jobs = self.platform.jobs(configuration, name()).await;
            Arc::new(JobHandler {
                jobs: Arc::new(jobs),
                progress: Arc::new(NoProgress),
            })
        };
        let handler = self.handler.get_or_init(make).await;
        Arc::clone(handler) as _
    }

    async fn record(&self, messages: Vec<SqsMessage>) -> Vec<String> {
        let ledger = &self.platform.parts().await.ledger;
        let recorder = DeadLetterRecorder {
            history: Arc::clone(ledger) as _,
            failures: Failures::new(Arc::clone(ledger) as _),
            clock: Arc::new(SystemClock),
        };
        let letters: Vec<Received> = messages.into_iter().map(received).collect();
        let mut staying = recorder.run(letters.clone()).await;
        for letter in letters.iter().filter(|letter| is_foreign(letter)) {
            if self.set_aside(letter).await {
                staying.retain(|id| *id != letter.id);
            }
        }
        staying
    }

    /// Moves a message that is not Transship's to the queue that only operators read. In the dead-letter queue it would be
    /// received again and again, and no operator could see it or delete it.
    async fn set_aside(&self, letter: &Received) -> bool {
        let Some(undelivered) = self.platform.undelivered().await else {
            return false;
        };
        let message_id = letter.id.as_str();
        match undelivered.set_aside(&letter.body).await {
            Ok(()) => {
                tracing::warn!(
                    code = Code::MessageInvalid.as_str(),
                    message_id,
                    "a dead letter is not valid and was set aside: `transship dead-letters` shows and removes it"
                );
                true
            }
            Err(error) => {
                tracing::error!(
                    code = error.code(),
                    message_id,
                    "a dead letter could not be set aside: {error}"
                );
                false
            }
        }
    }
}

/// True for a message that no release of Transship up to this one sent.
fn is_foreign(letter: &Received) -> bool {
    Envelope::parse(&letter.body).is_err()
}

fn received(message: SqsMessage) -> Received {
    let attribute = |name: &str| message.attributes.get(name).map(String::as_str);
    let sent = attribute("SentTimestamp").and_then(|text| Timestamp::from_millisecond(text.parse().ok()?).ok());
    Received {
        ended_alone: true,
        receive_count: attribute("ApproximateReceiveCount")
            .and_then(|text| text.parse().ok())
            .unwrap_or(1),
        sent,
        id: message.message_id.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
    }
}

/// Identifies this execution environment among all others.
fn name() -> String {
    let stream = std::env::var("AWS_LAMBDA_LOG_STREAM_NAME").unwrap_or_default();
    format!("lambda {stream} {}", std::process::id())
}
