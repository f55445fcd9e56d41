//! One invocation: processes the messages of the task queue, records dead letters, and reports the messages that failed.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent};
use tokio::sync::OnceCell;
use transship_aws::Platform;
use transship_aws::emf::Emf;
use transship_copy::SystemClock;
use transship_engine::Jobs;
use transship_runtime::DeadLetterRecorder;
use transship_runtime::batch::{Batch, Received, Undecided, Work};

/// Maximum share of the invocation's time for reading the document.
const FOR_THE_DOCUMENT: u32 = 4;

/// The Lambda function.
pub(crate) struct Worker {
    platform: Platform,
    emf: Emf,
    jobs: OnceCell<Arc<Jobs>>,
}

impl Worker {
    pub(crate) fn new(platform: Platform, emf: Emf) -> Self {
        Self {
            platform,
            emf,
            jobs: OnceCell::new(),
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
        let batch = Batch {
            work: self.engine(left / FOR_THE_DOCUMENT).await,
            queue: Arc::clone(&self.platform.parts().await.queue) as _,
        };
        batch.run(messages.into_iter().map(received).collect(), deadline).await
    }

    /// Creates the engine with the document in force, or returns the error.
    async fn engine(&self, patience: Duration) -> Arc<dyn Work> {
        let configuration = match self.platform.configuration(patience).await {
            Ok(configuration) => configuration,
            Err(unavailable) => {
                return Arc::new(Undecided {
                    code: unavailable.code(),
                    why: unavailable.to_string(),
                });
            }
        };
        let make = || async { Arc::new(self.platform.jobs(configuration, name()).await) };
        let jobs = self.jobs.get_or_init(make).await;
        Arc::clone(jobs) as _
    }

    async fn record(&self, messages: Vec<SqsMessage>) -> Vec<String> {
        let recorder = DeadLetterRecorder {
            ledger: Arc::clone(&self.platform.parts().await.ledger) as _,
            clock: Arc::new(SystemClock),
        };
        recorder.run(messages.into_iter().map(received).collect()).await
    }
}

fn received(message: SqsMessage) -> Received {
    let attribute = |name: &str| message.attributes.get(name).map(String::as_str);
    let sent = attribute("SentTimestamp").and_then(|text| Timestamp::from_millisecond(text.parse().ok()?).ok());
    Received {
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
