//! One invocation of a worker: the event of a batch, and a kill in the middle of it if one is due.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use transship_testkit::lambda_runtime::{Ended, Lambda};

use crate::aws::{REGION, Received, queue_arn};

/// The event of a batch, as Lambda's poller makes it.
pub(super) fn event(queue: &str, batch: &[&Received]) -> Value {
    let record = |message: &&Received| {
        json!({
            "messageId": message.id,
            "receiptHandle": message.receipt,
            "body": message.body,
            "attributes": {
                "ApproximateReceiveCount": message.receive_count.to_string(),
                "SentTimestamp": message.sent,
                "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                "ApproximateFirstReceiveTimestamp": message.sent,
            },
            "messageAttributes": {},
            "md5OfBody": "",
            "eventSource": "aws:sqs",
            "eventSourceARN": queue_arn(queue),
            "awsRegion": REGION,
        })
    };
    json!({ "Records": batch.iter().map(record).collect::<Vec<_>>() })
}

/// Invokes `lambda` (of one environment); if `doom` passes first, its process is killed and the invocation ends with it.
pub(super) async fn invoke(lambda: &Lambda, event: &Value, doom: Option<Duration>) -> Ended {
    let invocation = lambda.invoke(event);
    tokio::pin!(invocation);
    let ended = match doom {
        None => invocation.await,
        Some(after) => tokio::select! {
            ended = &mut invocation => ended,
            () = tokio::time::sleep(after) => {
                kill(&lambda.processes());
                invocation.await
            }
        },
    };
    ended.unwrap_or_else(|error| panic!("{error}"))
}

/// SIGKILL: nothing is finished, nothing is flushed.
fn kill(processes: &[u32]) {
    for process in processes {
        // It may have ended by itself meanwhile.
        let _ = Command::new("kill").args(["-9", &process.to_string()]).status();
    }
}

/// True if the function said of this message that it is done.
pub(super) fn is_done(ended: &Ended, message: &str) -> bool {
    let Ended::Answered(answer) = ended else {
        return false;
    };
    let failures = answer["batchItemFailures"].as_array().into_iter().flatten();
    !failures.into_iter().any(|failure| failure["itemIdentifier"] == message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_reported_as_failed_is_done() {
        let answer = Ended::Answered(json!({ "batchItemFailures": [{ "itemIdentifier": "b" }] }));
        assert!(is_done(&answer, "a") && !is_done(&answer, "b"));
        assert!(is_done(&Ended::Answered(json!({ "batchItemFailures": [] })), "a"));
        for ended in [Ended::TimedOut, Ended::Crashed(String::new()), Ended::Failed(json!({}))] {
            assert!(!is_done(&ended, "a"));
        }
    }
}
