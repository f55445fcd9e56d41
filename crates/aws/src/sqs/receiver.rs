//! The receiving end of an SQS queue. SQS may return fewer messages than it has, and may deliver a message twice.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName};
use transship_engine::{ReceivedMessage, TaskReceiver};

use super::SqsQueue;
use super::entry::whole_seconds;
use crate::error::AwsError;
use transship_oci::Result;

/// Maximum number of messages in a request. Source: `ReceiveMessage`.
const RECEIVE_MESSAGES_MAX: usize = 10;
/// The longest visibility counts from when the message was received, at most so long ago. Source:
/// `ChangeMessageVisibility` (12 hours), the longest run of a function (15 minutes).
const VISIBILITY_MAX: Duration = Duration::from_mins(12 * 60 - 15);
/// SQS's error codes for an outdated receipt.
const OVER: [&str; 4] = [
    "ReceiptHandleIsInvalid",
    "MessageNotInflight",
    "AWS.SimpleQueueService.MessageNotInflight",
    "InvalidParameterValue",
];
/// All of them together are the depth.
const COUNTS: [QueueAttributeName; 3] = [
    QueueAttributeName::ApproximateNumberOfMessages,
    QueueAttributeName::ApproximateNumberOfMessagesDelayed,
    QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
];

impl SqsQueue {
    async fn visibility_change(&self, receipt: &str, visibility: Duration, operation: &'static str) -> Result<()> {
        let request = self.client.change_message_visibility().queue_url(&self.url);
        let changed = request
            .receipt_handle(receipt)
            .visibility_timeout(whole_seconds(visibility.min(VISIBILITY_MAX)))
            .send()
            .await;
        self.unless_over(changed, operation)
    }

    /// An outdated receipt has no effect and is not an error.
    fn unless_over<T, E, R>(&self, answered: std::result::Result<T, SdkError<E, R>>, operation: &str) -> Result<()>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: Debug + 'static,
    {
        let Err(error) = answered else {
            return Ok(());
        };
        let error = AwsError::of(&error);
        if is_over(&error) {
            return Ok(());
        }
        Err(error.of_queue(&self.url, operation))
    }
}

/// `InvalidParameterValue` has several meanings; for a receipt it means that it expired or that its message was deleted.
fn is_over(error: &AwsError) -> bool {
    OVER.contains(&error.code.as_str())
        && (error.code != "InvalidParameterValue" || error.message.contains("ReceiptHandle"))
}

#[async_trait]
impl TaskReceiver for SqsQueue {
    async fn receive(&self, max: usize, visibility: Duration) -> Result<Vec<ReceivedMessage>> {
        let Some(count) = i32::try_from(max.min(RECEIVE_MESSAGES_MAX))
            .ok()
            .filter(|count| *count > 0)
        else {
            return Ok(Vec::new());
        };
        let received = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(count)
            .visibility_timeout(whole_seconds(visibility.min(VISIBILITY_MAX)))
            .wait_time_seconds(0)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .send()
            .await
            .map_err(|error| AwsError::of(&error).of_queue(&self.url, "receive"))?;
        Ok(received
            .messages
            .unwrap_or_default()
            .into_iter()
            .map(delivery)
            .collect())
    }

    async fn extend(&self, receipt: &str, visibility: Duration) -> Result<()> {
        self.visibility_change(receipt, visibility, "extend").await
    }

    async fn complete(&self, receipt: &str) -> Result<()> {
        let request = self.client.delete_message().queue_url(&self.url);
        let deleted = request.receipt_handle(receipt).send().await;
        self.unless_over(deleted, "complete")
    }

    async fn retry(&self, receipt: &str, delay: Duration) -> Result<()> {
        self.visibility_change(receipt, delay, "retry").await
    }

    async fn depth(&self) -> Result<usize> {
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let answered = request
            .set_attribute_names(Some(COUNTS.to_vec()))
            .send()
            .await
            .map_err(|error| AwsError::of(&error).of_queue(&self.url, "depth"))?;
        let attributes = answered.attributes.unwrap_or_default();
        let count = |name| attributes.get(name)?.parse::<usize>().ok();
        Ok(COUNTS.iter().filter_map(count).sum())
    }
}

fn delivery(message: Message) -> ReceivedMessage {
    let attributes = message.attributes.unwrap_or_default();
    let receive_count = attributes
        .get(&MessageSystemAttributeName::ApproximateReceiveCount)
        .and_then(|count| count.parse().ok());
    ReceivedMessage {
        body: message.body.unwrap_or_default(),
        receipt: message.receipt_handle.unwrap_or_default(),
        receive_count: receive_count.unwrap_or(1),
        ended_alone: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_receipt_that_is_over_is_no_error() {
        let is_over = |code: &str, message: &str| {
            let (code, message) = (code.into(), message.into());
            is_over(&AwsError { code, message })
        };
        assert!(is_over(
            "ReceiptHandleIsInvalid",
            "The input receipt handle is invalid."
        ));
        assert!(is_over("MessageNotInflight", ""));
        assert!(is_over(
            "InvalidParameterValue",
            "Value AQEB for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."
        ));
        assert!(!is_over(
            "InvalidParameterValue",
            "Value 99999 for parameter VisibilityTimeout is invalid."
        ));
        assert!(!is_over("QueueDoesNotExist", "ReceiptHandle"));
    }
}
