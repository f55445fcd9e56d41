//! Messages that no function works off: they wait for an operator in the queues behind the task queue.
//!
//! SQS has no list: a message is read by receiving it, which hides it from others for a while. What must hold: a list
//! changes nothing, so every message that was received is visible again afterwards; and a removal deletes the one message
//! that was named.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_oci::{Code, Error, Result, Verb};

use super::SqsQueue;
use super::entry::whole_seconds;
use crate::Aws;
use crate::error::AwsError;

/// Messages are hidden for this long while a list is made. If the process ends, they are visible again after it.
const HIDDEN: Duration = Duration::from_mins(1);
/// Maximum number of messages in a request. Source: `ReceiveMessage`.
const RECEIVE_MESSAGES_MAX: i32 = 10;
/// SQS may return nothing although a short queue has messages, so an empty answer is asked for again, with a wait.
const EMPTY_ANSWERS_MAX: usize = 2;
const EMPTY_WAIT_SECONDS: i32 = 1;
/// Queues behind the task queue: more than a template has.
const QUEUES_MAX: usize = 4;

/// A message that waits for an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Letter {
    /// Identifies the message.
    pub id: String,
    /// The name of its queue.
    pub queue: String,
    /// When it was sent.
    pub sent: Option<Timestamp>,
    /// How often it was received from this queue.
    pub receive_count: u32,
    /// Its content.
    pub body: String,
}

/// The queues behind a task queue.
#[derive(Debug, Clone)]
pub struct Letters {
    client: Client,
    urls: Vec<String>,
}

/// The policy of a queue that moves messages to another one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RedrivePolicy {
    dead_letter_target_arn: String,
}

impl Letters {
    /// The dead-letter queue of `url`, the one behind that, and so on; `url` itself if there is none behind it.
    pub async fn behind(aws: &Aws, url: &str) -> Result<Self> {
        let client = aws.sqs();
        let mut urls = Vec::new();
        let mut last = url.to_owned();
        while urls.len() < QUEUES_MAX
            && let Some(next) = next_of(&client, &last).await?
        {
            urls.push(next.clone());
            last = next;
        }
        if urls.is_empty() {
            urls.push(last);
        }
        Ok(Self { client, urls })
    }

    /// The messages that no worker has at this moment, at most `max`, which is not 0.
    pub async fn list(&self, max: usize) -> Result<Vec<Letter>> {
        let mut letters = Vec::new();
        for url in &self.urls {
            let received = self.receive(url, max - letters.len(), |_| false).await;
            letters.extend(received?.into_values().map(|message| letter(url, message)));
            if letters.len() >= max {
                break;
            }
        }
        Ok(letters)
    }

    /// Deletes the message `id`. [`None`] if no queue has it, or a worker has it at this moment.
    pub async fn remove(&self, id: &str) -> Result<Option<Letter>> {
        for url in &self.urls {
            let is_it = |message: &Message| message.message_id.as_deref() == Some(id);
            let mut received = self.receive(url, usize::MAX, is_it).await?;
            if let Some(message) = received.remove(id) {
                let deletion = self.client.delete_message().queue_url(url);
                deletion
                    .set_receipt_handle(message.receipt_handle.clone())
                    .send()
                    .await
                    .map_err(|error| AwsError::of(&error).of_queue(url, "complete"))?;
                return Ok(Some(letter(url, message)));
            }
        }
        Ok(None)
    }

    /// Receives up to `max` messages, or until one is `wanted`, by id. All but that one are visible again afterwards.
    async fn receive(
        &self,
        url: &str,
        max: usize,
        wanted: impl Fn(&Message) -> bool,
    ) -> Result<BTreeMap<String, Message>> {
        let (mut messages, mut empty) = (BTreeMap::new(), 0);
        let mut result = Ok(());
        while messages.len() < max && empty < EMPTY_ANSWERS_MAX && !messages.values().any(&wanted) {
            match self.receive_once(url).await {
                Ok(received) if received.is_empty() => empty += 1,
                Ok(received) => {
                    let identified = |message: Message| Some((message.message_id.clone()?, message));
                    messages.extend(received.into_iter().filter_map(identified));
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        for message in messages.values().filter(|message| !wanted(message)) {
            self.show(url, message).await;
        }
        result.map(|()| messages.into_iter().take(max).collect())
    }

    async fn receive_once(&self, url: &str) -> Result<Vec<Message>> {
        let request = self.client.receive_message().queue_url(url);
        let received = request
            .max_number_of_messages(RECEIVE_MESSAGES_MAX)
            .visibility_timeout(whole_seconds(HIDDEN))
            .wait_time_seconds(EMPTY_WAIT_SECONDS)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .send()
            .await
            .map_err(|error| AwsError::of(&error).of_queue(url, "receive"))?;
        Ok(received.messages.unwrap_or_default())
    }

    /// Makes a message visible again. If that fails, it is visible after [`HIDDEN`].
    async fn show(&self, url: &str, message: &Message) {
        let request = self.client.change_message_visibility().queue_url(url);
        let request = request.set_receipt_handle(message.receipt_handle.clone());
        if let Err(error) = request.visibility_timeout(0).send().await {
            let error = AwsError::of(&error).of_queue(url, "retry");
            tracing::debug!(code = error.code(), "{error}");
        }
    }
}

impl SqsQueue {
    /// Sends a message as it is, for an operator.
    pub async fn set_aside(&self, body: &str) -> Result<()> {
        let request = self.client.send_message().queue_url(&self.url);
        let sent = request.message_body(body).send().await;
        sent.map(drop)
            .map_err(|error| AwsError::of(&error).of_queue(&self.url, super::SEND))
    }
}

/// The URL of the queue to which the messages of `url` are moved; [`None`] if there is none.
async fn next_of(client: &Client, url: &str) -> Result<Option<String>> {
    let request = client.get_queue_attributes().queue_url(url);
    let answered = request
        .attribute_names(QueueAttributeName::RedrivePolicy)
        .send()
        .await
        .map_err(|error| AwsError::of(&error).of_queue(url, "attributes"))?;
    let attributes = answered.attributes.unwrap_or_default();
    let Some(policy) = attributes
        .get(&QueueAttributeName::RedrivePolicy)
        .filter(|text| !text.is_empty())
    else {
        return Ok(None);
    };
    let policy: RedrivePolicy = serde_json::from_str(policy)
        .map_err(|error| Error::of(Code::QueueUnavailable, Verb::Queue.on("attributes")).because(error))?;
    let name = policy.dead_letter_target_arn.rsplit(':').next().unwrap_or_default();
    let request = client.get_queue_url().queue_name(name).send().await;
    let found = request.map_err(|error| AwsError::of(&error).of_queue(name, "attributes"))?;
    Ok(found.queue_url)
}

fn letter(url: &str, message: Message) -> Letter {
    let attributes = message.attributes.unwrap_or_default();
    let number = |name| attributes.get(&name).and_then(|text: &String| text.parse::<i64>().ok());
    let sent = number(MessageSystemAttributeName::SentTimestamp);
    let receive_count = number(MessageSystemAttributeName::ApproximateReceiveCount);
    Letter {
        id: message.message_id.unwrap_or_default(),
        queue: url.rsplit('/').next().unwrap_or(url).to_owned(),
        sent: sent.and_then(|sent| Timestamp::from_millisecond(sent).ok()),
        receive_count: receive_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
        body: message.body.unwrap_or_default(),
    }
}
