//! Queues, and what they hand out.

use serde_json::{Map, Value, json};

use super::{ACCOUNT, Aws, REGION, text};

/// A message as a queue hands it out.
#[derive(Debug, Clone)]
pub struct Received {
    /// The same however often it is received.
    pub id: String,
    /// What this receipt is deleted or given back by.
    pub receipt: String,
    /// The body.
    pub body: String,
    /// How often it was received, this time included.
    pub receive_count: u32,
    /// When it was sent: milliseconds since 1970, as text.
    pub sent: String,
}

impl Aws {
    /// Makes a standard queue; what is received `receives_max` times goes to `dead` (a name), if one is named. Its URL.
    pub fn queue_create(&self, name: &str, dead: Option<(&str, u32)>) -> String {
        let mut attributes = Map::new();
        if let Some((dead, receives_max)) = dead {
            let policy = json!({ "deadLetterTargetArn": queue_arn(dead), "maxReceiveCount": receives_max });
            attributes.insert("RedrivePolicy".into(), policy.to_string().into());
        }
        let made = self.ask(
            "AmazonSQS.CreateQueue",
            &json!({ "QueueName": name, "Attributes": attributes }),
        );
        text(&made["QueueUrl"])
    }

    /// Sends one message.
    pub fn queue_send(&self, url: &str, body: &str) {
        self.ask(
            "AmazonSQS.SendMessage",
            &json!({ "QueueUrl": url, "MessageBody": body }),
        );
    }

    /// Receives at most 10 messages, hidden for `visibility_s` seconds. Does not wait for any.
    pub fn queue_receive(&self, url: &str, max: usize, visibility_s: u32) -> Vec<Received> {
        let request = json!({
            "QueueUrl": url,
            "MaxNumberOfMessages": max.clamp(1, 10),
            "VisibilityTimeout": visibility_s,
            "WaitTimeSeconds": 0,
            "AttributeNames": ["All"],
        });
        let answer = self.ask("AmazonSQS.ReceiveMessage", &request);
        let messages = answer["Messages"].as_array().into_iter().flatten();
        messages
            .map(|message| Received {
                id: text(&message["MessageId"]),
                receipt: text(&message["ReceiptHandle"]),
                body: text(&message["Body"]),
                receive_count: text(&message["Attributes"]["ApproximateReceiveCount"])
                    .parse()
                    .unwrap_or(1),
                sent: text(&message["Attributes"]["SentTimestamp"]),
            })
            .collect()
    }

    /// Deletes a received message. A message that is already deleted is not an error.
    pub fn queue_delete(&self, url: &str, receipt: &str) {
        self.ask_of_receipt(
            "AmazonSQS.DeleteMessage",
            &json!({ "QueueUrl": url, "ReceiptHandle": receipt }),
        );
    }

    /// Gives a received message back, at once. A message that is already deleted is not an error.
    pub fn queue_give_back(&self, url: &str, receipt: &str) {
        self.ask_of_receipt(
            "AmazonSQS.ChangeMessageVisibility",
            &json!({ "QueueUrl": url, "ReceiptHandle": receipt, "VisibilityTimeout": 0 }),
        );
    }

    /// [`Aws::ask`] about a message that may be deleted already.
    fn ask_of_receipt(&self, target: &str, body: &Value) {
        let answer = self.try_ask(target, body);
        let is_done = answer.status == 200 || answer.text().contains("ReceiptHandleIsInvalid");
        assert!(is_done, "{target} {body}: {} {}", answer.status, answer.text());
    }

    /// All messages of a queue: visible, hidden and delayed ones.
    pub fn queue_depth(&self, url: &str) -> usize {
        self.queue_counters(url).iter().map(|(_, count)| count).sum()
    }

    /// The number of visible, of hidden and of delayed messages of a queue.
    pub fn queue_counters(&self, url: &str) -> [(&'static str, usize); 3] {
        let names = [
            ("visible", "ApproximateNumberOfMessages"),
            ("hidden", "ApproximateNumberOfMessagesNotVisible"),
            ("delayed", "ApproximateNumberOfMessagesDelayed"),
        ];
        let answer = self.ask(
            "AmazonSQS.GetQueueAttributes",
            &json!({ "QueueUrl": url, "AttributeNames": names.map(|(_, name)| name) }),
        );
        let count = |name| text(&answer["Attributes"][name]).parse::<usize>().unwrap_or(0);
        names.map(|(kind, name)| (kind, count(name)))
    }
}

/// The ARN of a queue.
pub fn queue_arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}
