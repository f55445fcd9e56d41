//! `transship dead-letters`: shows and removes messages that wait for an operator.

use clap::Args;

use super::ledger::queue_url;
use crate::failure::Failure;
use crate::output::Form;
use transship_oci::Result;

/// Arguments of `transship dead-letters`.
#[derive(Debug, Args)]
#[command(
    after_help = "The queues behind the task queue have messages that Transship did not send, and events that no function accepted. A message that a worker has at this moment is not listed.\n\nExamples:\n  transship dead-letters --queue https://sqs.eu-west-1.amazonaws.com/111122223333/tasks\n  transship dead-letters --remove 5fea7756-0ea4-451a-a703-a558b933e274 --json"
)]
pub(crate) struct Arguments {
    /// URL of the task queue of a deployed stack [env: `TRANSSHIP_QUEUE_URL`]
    #[arg(long, value_name = "URL")]
    queue: Option<String>,
    /// Delete this message, and no other
    #[arg(long, value_name = "ID")]
    remove: Option<String>,
    /// Maximum number of messages to list
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    stack::run(
        queue_url(arguments.queue.as_ref())?,
        arguments.remove,
        arguments.limit,
        form,
    )
    .await
}

#[cfg(feature = "aws")]
mod stack {
    use transship_aws::{Aws, Letter, Letters};

    use super::super::ledger::shown_time;
    use crate::failure::{Exit, Failure};
    use crate::output::Form;
    use crate::table::table;
    use transship_oci::Result;

    /// Characters of a message in the list.
    const BEGINNING_CHARS_MAX: usize = 80;

    pub(super) async fn run(url: String, remove: Option<String>, limit: usize, form: Form) -> Result<(), Failure> {
        let letters = Letters::behind(&Aws::load().await, &url).await?;
        let Some(id) = remove else {
            return form.print(letters.list(limit.max(1)).await?.as_slice(), text);
        };
        let removed = letters.remove(&id).await?.ok_or_else(|| {
            let sentence = format!(
                "no queue has the message {id:?} now: run `transship dead-letters` to list them; a worker may have it for some minutes"
            );
            Failure::new(Exit::Input, "UNKNOWN_MESSAGE", sentence)
        })?;
        form.print(&removed, |removed| {
            format!("removed {} from {}", removed.id, removed.queue)
        })
    }

    fn text(letters: &[Letter]) -> String {
        if letters.is_empty() {
            return "no message waits for an operator".to_owned();
        }
        let rows: Vec<_> = letters
            .iter()
            .map(|letter| {
                [
                    letter.id.clone(),
                    letter.queue.clone(),
                    letter.sent.map(shown_time).unwrap_or_default(),
                    letter.receive_count.to_string(),
                    letter.body.len().to_string(),
                    letter.body.chars().take(BEGINNING_CHARS_MAX).collect(),
                ]
            })
            .collect();
        table(["id", "queue", "sent", "received", "bytes", "begins"], &rows)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn messages_are_listed_with_their_beginning_escaped() {
            let letter = Letter {
                id: "m-1".into(),
                queue: "undelivered".into(),
                sent: Some(jiff::Timestamp::UNIX_EPOCH),
                receive_count: 1,
                body: format!("\u{1b}[31m{}", "x".repeat(200)),
            };
            let shown = text(&[letter]);
            assert!(
                shown.contains("m-1  undelivered  1970-01-01 00:00:00Z  1         205    \\u{1b}[31mxxx"),
                "{shown}"
            );
            assert!(!shown.contains('\u{1b}') && shown.len() < 300, "{shown}");
            assert_eq!(text(&[]), "no message waits for an operator");
        }
    }
}

#[cfg(not(feature = "aws"))]
mod stack {
    use super::super::ledger::not_built;
    use crate::failure::Failure;
    use crate::output::Form;
    use transship_oci::Result;

    pub(super) fn run(_: String, _: Option<String>, _: usize, _: Form) -> std::future::Ready<Result<(), Failure>> {
        std::future::ready(Err(not_built()))
    }
}
