//! The queue in SQS: a standard queue with message groups, which make it fair. The sending end is here, the receiving end
//! (for the command line and tests; in Lambda the event source mapping receives) in `receiver`.
//!
//! [`TaskQueue::send`] must succeed only after SQS has acknowledged every message. The response to a batch is 200 with a list of
//! failed messages.

mod entry;
mod letters;
mod receiver;

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{BatchResultErrorEntry, SendMessageBatchRequestEntry};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use transship_engine::{Outgoing, TaskQueue};
use transship_oci::{Backoff, Code, Error, Result, Verb};

pub use letters::{Letter, Letters};

use crate::Aws;
use crate::error::AwsError;
use entry::{Entry, batches};

/// Number of retries of the failed part of a batch. The SDK does not retry it, because the status is 200.
const RESENDS_MAX: u32 = 5;
/// The waits before them.
const BACKOFF: Backoff = Backoff::doubling(Duration::from_millis(100), Duration::from_secs(10));
/// Maximum number of concurrent batches.
const PARALLEL_BATCHES: usize = 4;

const SEND: &str = "send";

/// A standard SQS queue. Clones share it.
#[derive(Debug, Clone)]
pub struct SqsQueue {
    client: Client,
    url: String,
}

impl SqsQueue {
    /// The queue at `queue_url`.
    pub fn new(aws: &Aws, queue_url: String) -> Self {
        Self {
            client: aws.sqs(),
            url: queue_url,
        }
    }

    /// The URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a batch until all of it is in the queue.
    async fn batch_send(&self, mut entries: Vec<Entry>) -> Result<()> {
        for resend in 0..RESENDS_MAX {
            let failed = self.batch_send_once(&mut entries).await?;
            if entries.is_empty() {
                return Ok(());
            }
            if let Some(refused) = failed.iter().find(|failed| is_final(failed)) {
                let why = format!("the queue rejected it: {}", aws_error(refused));
                return Err(Error::of(Code::MessageInvalid, Verb::Queue.on(SEND)).because(why));
            }
            tracing::warn!(
                failed = entries.len(),
                code = failed.first().map(BatchResultErrorEntry::code),
                "the queue did not accept a part of a batch, which is sent again"
            );
            tokio::time::sleep(BACKOFF.wait(resend)).await;
        }
        let code = "PartialBatch".to_owned();
        let message = format!("{} messages of a batch failed {RESENDS_MAX} times", entries.len());
        Err(AwsError { code, message }.of_queue(&self.url, SEND))
    }

    /// Sends one request. Accepted messages are removed from `entries`; the errors of the others are returned.
    async fn batch_send_once(&self, entries: &mut Vec<Entry>) -> Result<Vec<BatchResultErrorEntry>> {
        let requested = entries.iter().map(Entry::request).collect::<Result<Vec<_>>>()?;
        let request = self.client.send_message_batch().queue_url(&self.url);
        let sent = request
            .set_entries(Some(requested))
            .send()
            .await
            .map_err(|error| AwsError::of(&error).of_queue(&self.url, SEND))?;
        // A message in neither list counts as not sent.
        entries.retain(|entry| !sent.successful().iter().any(|taken| taken.id() == entry.id));
        Ok(sent.failed)
    }
}

#[async_trait]
impl TaskQueue for SqsQueue {
    async fn send(&self, messages: &[Outgoing]) -> Result<()> {
        let now = Timestamp::now();
        let entries = messages
            .iter()
            .map(|outgoing| Entry::of(outgoing, now))
            .collect::<Result<Vec<_>>>()?;
        stream::iter(batches(entries))
            .map(|batch| self.batch_send(batch))
            .buffer_unordered(PARALLEL_BATCHES)
            .try_collect()
            .await
    }
}

/// True if the message would be rejected again. AWS also reports a throttle as the sender's fault.
fn is_final(failed: &BatchResultErrorEntry) -> bool {
    failed.sender_fault() && !aws_error(failed).is_throttled()
}

fn aws_error(failed: &BatchResultErrorEntry) -> AwsError {
    AwsError {
        code: failed.code().to_owned(),
        message: failed.message().unwrap_or("no reason given").to_owned(),
    }
}

impl Entry {
    fn request(&self) -> Result<SendMessageBatchRequestEntry> {
        SendMessageBatchRequestEntry::builder()
            .id(&self.id)
            .message_body(&self.body)
            .set_message_group_id(self.group.clone())
            .set_delay_seconds((self.delay_seconds > 0).then_some(self.delay_seconds))
            .build()
            .map_err(|error| Error::of(Code::MessageInvalid, Verb::Queue.on(SEND)).because(error))
    }
}
