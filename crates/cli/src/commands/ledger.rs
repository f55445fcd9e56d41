//! What the commands share that look at a ledger: a data folder, or the table of a deployed stack.
//!
//! What must hold: a build without AWS says so, and what to do, wherever a stack is named.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use transship_engine::{Ledger, TaskQueue};
use transship_local::{Database, SqliteLedger, SqliteQueue};

use crate::failure::{Exit, Failure};

/// Where the ledger is.
#[derive(Debug, Args)]
pub(crate) struct Store {
    /// The data folder that `serve` works in; `TRANSSHIP_DATA` names it too
    #[arg(long, value_name = "DIR", conflicts_with = "table")]
    data: Option<PathBuf>,
    /// The DynamoDB table of a deployed stack; `TRANSSHIP_TABLE` names it too
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
}

/// Where the queue of a deployed stack is.
#[derive(Debug, Args)]
pub(crate) struct Queue {
    /// The URL of the SQS queue of a deployed stack; `TRANSSHIP_QUEUE_URL` names it too
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    queue: Option<String>,
}

/// What the arguments and the environment come to.
#[derive(Debug, PartialEq, Eq)]
enum Chosen {
    Folder(PathBuf),
    Stack(String),
}

/// The ledger and the queue of a deployed stack.
pub(crate) async fn of_stack(table: String, queue_url: String) -> Result<Pair, Failure> {
    stack::ledger_and_queue(table, queue_url).await
}

impl Store {
    /// The ledger, to be looked at, also while others write it.
    pub(crate) async fn ledger(&self) -> Result<Arc<dyn Ledger>, Failure> {
        match self.chosen(variable)? {
            Chosen::Folder(data) => {
                let database = Database::open_read_only(&data).map_err(|error| Failure::of(Exit::Input, &error))?;
                Ok(Arc::new(SqliteLedger::new(database)))
            }
            Chosen::Stack(table) => stack::ledger(table).await,
        }
    }

    /// The ledger and the queue, to be written, also while others do.
    pub(crate) async fn ledger_and_queue(&self, queue: &Queue) -> Result<Pair, Failure> {
        match self.chosen(variable)? {
            Chosen::Folder(data) => {
                let refuse = |error| Failure::of(Exit::Input, &error);
                // Only what is there is opened: a mistyped name must not become a new folder.
                Database::open_read_only(&data).map_err(refuse)?;
                let database = Database::open(&data).map_err(refuse)?;
                let ledger = Arc::new(SqliteLedger::new(database.clone()));
                Ok((ledger, Arc::new(SqliteQueue::new(database))))
            }
            Chosen::Stack(table) => {
                let url = queue
                    .queue
                    .clone()
                    .or_else(|| variable("TRANSSHIP_QUEUE_URL"))
                    .ok_or_else(|| Failure::usage("name the stack's queue too: --queue URL, or TRANSSHIP_QUEUE_URL"))?;
                stack::ledger_and_queue(table, url).await
            }
        }
    }

    /// An argument comes before every variable, a folder before a stack.
    fn chosen(&self, variable: impl Fn(&str) -> Option<String>) -> Result<Chosen, Failure> {
        match (&self.data, &self.table) {
            (Some(data), _) => Ok(Chosen::Folder(data.clone())),
            (None, Some(table)) => Ok(Chosen::Stack(table.clone())),
            (None, None) => variable("TRANSSHIP_DATA")
                .map(|data| Chosen::Folder(data.into()))
                .or_else(|| variable("TRANSSHIP_TABLE").map(Chosen::Stack))
                .ok_or_else(|| {
                    Failure::usage(
                        "name the ledger: --data DIR for the folder of a serve, --table NAME for a deployed stack",
                    )
                }),
        }
    }
}

/// A ledger and a queue, to be written.
pub(crate) type Pair = (Arc<dyn Ledger>, Arc<dyn TaskQueue>);

/// A variable of the environment that says something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A time as people read it, to the second.
pub(crate) fn shown_time(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

#[cfg(feature = "aws")]
mod stack {
    use std::sync::Arc;

    use transship_aws::{Aws, DynamoLedger, SqsQueue};
    use transship_engine::Ledger;

    use super::Pair;
    use crate::failure::Failure;

    pub(super) async fn ledger(table: String) -> Result<Arc<dyn Ledger>, Failure> {
        let aws = Aws::load().await;
        Ok(Arc::new(DynamoLedger::new(&aws, table)))
    }

    pub(super) async fn ledger_and_queue(table: String, queue_url: String) -> Result<Pair, Failure> {
        let aws = Aws::load().await;
        let ledger = Arc::new(DynamoLedger::new(&aws, table));
        Ok((ledger, Arc::new(SqsQueue::new(&aws, queue_url))))
    }
}

#[cfg(not(feature = "aws"))]
mod stack {
    use std::sync::Arc;

    use transship_engine::Ledger;

    use super::Pair;
    use crate::failure::{Exit, Failure};

    pub(super) fn ledger(_: String) -> std::future::Ready<Result<Arc<dyn Ledger>, Failure>> {
        std::future::ready(Err(refused()))
    }

    pub(super) fn ledger_and_queue(_: String, _: String) -> std::future::Ready<Result<Pair, Failure>> {
        std::future::ready(Err(refused()))
    }

    fn refused() -> Failure {
        Failure::new(
            Exit::Input,
            "AWS_NOT_BUILT",
            "this build cannot reach a deployed stack: build one that can with `cargo install --path crates/cli --features aws`, or name a data folder with --data",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_comes_before_the_environment_and_a_folder_before_a_stack() {
        let store = |data: Option<&str>, table: Option<&str>| Store {
            data: data.map(PathBuf::from),
            table: table.map(str::to_owned),
        };
        let both = |name: &str| match name {
            "TRANSSHIP_DATA" => Some("/env".to_owned()),
            "TRANSSHIP_TABLE" => Some("env".to_owned()),
            _ => None,
        };
        let table_only = |name: &str| both(name).filter(|_| name == "TRANSSHIP_TABLE");
        let folder = |name: &str| Chosen::Folder(name.into());
        let stack = |name: &str| Chosen::Stack(name.into());
        assert_eq!(store(Some("/a"), None).chosen(both).unwrap(), folder("/a"));
        assert_eq!(store(None, Some("a")).chosen(both).unwrap(), stack("a"));
        assert_eq!(store(None, None).chosen(both).unwrap(), folder("/env"));
        assert_eq!(store(None, None).chosen(table_only).unwrap(), stack("env"));
        assert_eq!(store(None, None).chosen(|_| None).unwrap_err().code(), "USAGE");
    }
}
