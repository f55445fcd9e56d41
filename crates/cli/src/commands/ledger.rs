//! Options and access of the commands that read a ledger: a data folder, or the table of a deployed stack.
//!
//! A build without AWS must report that it cannot reach a stack, and say what to do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use transship_engine::TaskQueue;
use transship_engine::ledger::{Cancels, DeleteGrants, Hints, History, Ledger, Pauses};
use transship_local::{DataLock, Database, SqliteLedger, SqliteQueue};

use crate::failure::{Exit, Failure};
use transship_oci::Result;

/// Options that select the ledger.
#[derive(Debug, Args)]
pub(crate) struct Store {
    /// Data folder of `serve` [env: `TRANSSHIP_DATA`]
    #[arg(long, value_name = "DIR", conflicts_with = "table")]
    data: Option<PathBuf>,
    /// DynamoDB table of a deployed stack [env: `TRANSSHIP_TABLE`]
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
}

/// Option that selects the queue of a deployed stack.
#[derive(Debug, Args)]
pub(crate) struct Queue {
    /// URL of the SQS queue of a deployed stack [env: `TRANSSHIP_QUEUE_URL`]
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    queue: Option<String>,
}

/// The URL of the stack's task queue: the argument, else the environment.
pub(crate) fn queue_url(argument: Option<&String>) -> Result<String, Failure> {
    let url = argument.cloned().or_else(|| variable("TRANSSHIP_QUEUE_URL"));
    url.ok_or_else(|| Failure::usage("the stack's queue is missing: set --queue URL or TRANSSHIP_QUEUE_URL"))
}

/// The ledger that arguments and environment select.
#[derive(Debug, PartialEq, Eq)]
enum Chosen {
    Folder(PathBuf),
    Stack(String),
}

/// The history and the queue of a deployed stack.
pub(crate) async fn of_stack(table: String, queue_url: String) -> Result<Pair, Failure> {
    let parts = stack::parts(table, queue_url).await?;
    Ok((parts.history, parts.queue))
}

/// The parts of a ledger and its queue, open for writing.
pub(crate) struct Parts {
    pub(crate) history: Arc<dyn History>,
    hints: Arc<dyn Hints>,
    pub(crate) queue: Arc<dyn TaskQueue>,
}

impl Parts {
    /// The deletes that may begin.
    pub(crate) fn grants(&self) -> DeleteGrants {
        DeleteGrants::new(Arc::clone(&self.hints))
    }

    /// The marks of cancelled executions.
    pub(crate) fn cancels(&self) -> Cancels {
        Cancels::new(Arc::clone(&self.hints))
    }
}

/// The history and the marks of cancelled executions, open for writing.
pub(crate) struct Cancellable {
    pub(crate) history: Arc<dyn History>,
    pub(crate) cancels: Cancels,
    /// The right to work in the data folder; [`None`]: workers may be at work.
    pub(crate) idle: Option<DataLock>,
}

impl Store {
    /// Opens the history for reading; other processes may write to it at the same time.
    pub(crate) async fn history(&self) -> Result<Arc<dyn History>, Failure> {
        match self.chosen(variable)? {
            Chosen::Folder(data) => {
                let database = Database::open_read_only(&data).map_err(|error| Failure::of(Exit::Input, &error))?;
                Ok(Arc::new(SqliteLedger::new(database)))
            }
            Chosen::Stack(table) => stack::history(table).await,
        }
    }

    /// The ledger that arguments of another form select; [`None`]: none.
    pub(crate) fn of(data: Option<PathBuf>, table: Option<String>) -> Option<Self> {
        (data.is_some() || table.is_some()).then_some(Self { data, table })
    }

    /// Opens the history and the hints for reading; other processes may write to them at the same time.
    pub(crate) async fn history_and_hints(&self) -> Result<(Arc<dyn History>, Arc<dyn Hints>), Failure> {
        match self.chosen(variable)? {
            Chosen::Folder(data) => {
                let database = Database::open_read_only(&data).map_err(|error| Failure::of(Exit::Input, &error))?;
                let ledger = Arc::new(SqliteLedger::new(database));
                Ok((Arc::clone(&ledger) as _, ledger))
            }
            Chosen::Stack(table) => Ok((stack::history(table.clone()).await?, stack::hints(table).await?)),
        }
    }

    /// Opens the ledger and the queue for writing; other processes may write to them at the same time.
    pub(crate) async fn parts(&self, queue: &Queue) -> Result<Parts, Failure> {
        match self.chosen(variable)? {
            Chosen::Folder(data) => {
                let database = existing(&data)?;
                let ledger = Arc::new(SqliteLedger::new(database.clone()));
                Ok(Parts {
                    history: Arc::clone(&ledger) as _,
                    hints: ledger,
                    queue: Arc::new(SqliteQueue::new(database)),
                })
            }
            Chosen::Stack(table) => stack::parts(table, queue_url(queue.queue.as_ref())?).await,
        }
    }

    /// Opens what a cancel writes; other processes may write to it at the same time. A data folder that no worker has is
    /// kept from others.
    pub(crate) async fn cancellable(&self) -> Result<Cancellable, Failure> {
        match self.chosen(variable)? {
            Chosen::Folder(data) => {
                let ledger = Arc::new(SqliteLedger::new(existing(&data)?));
                Ok(Cancellable {
                    cancels: Cancels::new(Arc::clone(&ledger) as _),
                    history: ledger,
                    idle: DataLock::acquire(&data).ok(),
                })
            }
            Chosen::Stack(table) => stack::cancellable(table).await,
        }
    }

    /// The data folder; [`None`]: a stack is selected.
    pub(crate) fn folder(&self) -> Result<Option<PathBuf>, Failure> {
        Ok(match self.chosen(variable)? {
            Chosen::Folder(data) => Some(data),
            Chosen::Stack(_) => None,
        })
    }

    /// Opens the whole ledger for reading; other processes may write to it at the same time.
    pub(crate) async fn ledger(&self) -> Result<Ledger, Failure> {
        match self.chosen(variable)? {
            Chosen::Folder(data) => {
                let database = Database::open_read_only(&data).map_err(|error| Failure::of(Exit::Input, &error))?;
                Ok(Ledger::new(&Arc::new(SqliteLedger::new(database))))
            }
            Chosen::Stack(table) => stack::ledger(table).await,
        }
    }

    /// Opens the whole ledger and the queue for writing; other processes may write to them at the same time. A data folder that
    /// is not there is created, because the command has a document and can work by itself.
    pub(crate) async fn ledger_and_queue(&self, queue: &Queue) -> Result<(Ledger, Arc<dyn TaskQueue>), Failure> {
        match self.chosen(variable)? {
            Chosen::Folder(data) => {
                let database = Database::open(&data).map_err(|error| Failure::of(Exit::Input, &error))?;
                let ledger = Arc::new(SqliteLedger::new(database.clone()));
                Ok((Ledger::new(&ledger), Arc::new(SqliteQueue::new(database))))
            }
            Chosen::Stack(table) => stack::ledger_and_queue(table, queue_url(queue.queue.as_ref())?).await,
        }
    }

    /// Opens the pauses and the queue in which tasks wait; other processes may use them at the same time. There is
    /// no queue for a stack, whose messages cannot be woken.
    pub(crate) async fn pauses_and_queue(&self) -> Result<(Pauses, Option<Arc<dyn TaskQueue>>), Failure> {
        match self.chosen(variable)? {
            Chosen::Folder(data) => {
                let database = existing(&data)?;
                let hints = Arc::new(SqliteLedger::new(database.clone()));
                Ok((Pauses::new(hints), Some(Arc::new(SqliteQueue::new(database)))))
            }
            Chosen::Stack(table) => Ok((Pauses::new(stack::hints(table).await?), None)),
        }
    }

    /// An argument has precedence over every variable, and a folder over a stack.
    fn chosen(&self, variable: impl Fn(&str) -> Option<String>) -> Result<Chosen, Failure> {
        match (&self.data, &self.table) {
            (Some(data), _) => Ok(Chosen::Folder(data.clone())),
            (None, Some(table)) => Ok(Chosen::Stack(table.clone())),
            (None, None) => variable("TRANSSHIP_DATA")
                .map(|data| Chosen::Folder(data.into()))
                .or_else(|| variable("TRANSSHIP_TABLE").map(Chosen::Stack))
                .ok_or_else(|| {
                    Failure::usage(
                        "no ledger is selected: set --data DIR for the folder of a serve, or --table NAME for a deployed stack",
                    )
                }),
        }
    }
}

/// Opens the database of an existing folder for writing, so that a mistyped name does not create one.
fn existing(data: &Path) -> Result<Database, Failure> {
    let refuse = |error| Failure::of(Exit::Input, &error);
    Database::open_read_only(data).map_err(refuse)?;
    Database::open(data).map_err(refuse)
}

/// A history and a queue, open for writing.
pub(crate) type Pair = (Arc<dyn History>, Arc<dyn TaskQueue>);

#[cfg(not(feature = "aws"))]
pub(crate) use stack::refused as not_built;

/// The value of an environment variable, unless it is empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A time in human-readable form, to the second.
pub(crate) fn shown_time(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

#[cfg(feature = "aws")]
mod stack {
    use std::sync::Arc;

    use transship_aws::{Aws, DynamoLedger, SqsQueue};
    use transship_engine::TaskQueue;
    use transship_engine::ledger::{Cancels, Hints, History, Ledger};

    use super::{Cancellable, Parts};
    use crate::failure::Failure;

    pub(super) async fn ledger(table: String) -> Result<Ledger, Failure> {
        let aws = Aws::load().await;
        Ok(Ledger::new(&Arc::new(DynamoLedger::new(&aws, table))))
    }

    pub(super) async fn ledger_and_queue(
        table: String,
        queue_url: String,
    ) -> Result<(Ledger, Arc<dyn TaskQueue>), Failure> {
        let aws = Aws::load().await;
        let ledger = Arc::new(DynamoLedger::new(&aws, table));
        Ok((Ledger::new(&ledger), Arc::new(SqsQueue::new(&aws, queue_url))))
    }

    pub(super) async fn hints(table: String) -> Result<Arc<dyn Hints>, Failure> {
        let aws = Aws::load().await;
        Ok(Arc::new(DynamoLedger::new(&aws, table)))
    }

    pub(super) async fn history(table: String) -> Result<Arc<dyn History>, Failure> {
        let aws = Aws::load().await;
        Ok(Arc::new(DynamoLedger::new(&aws, table)))
    }

    pub(super) async fn parts(table: String, queue_url: String) -> Result<Parts, Failure> {
        let aws = Aws::load().await;
        let ledger = Arc::new(DynamoLedger::new(&aws, table));
        Ok(Parts {
            history: Arc::clone(&ledger) as _,
            hints: ledger,
            queue: Arc::new(SqsQueue::new(&aws, queue_url)),
        })
    }

    pub(super) async fn cancellable(table: String) -> Result<Cancellable, Failure> {
        let aws = Aws::load().await;
        let ledger = Arc::new(DynamoLedger::new(&aws, table));
        Ok(Cancellable {
            cancels: Cancels::new(Arc::clone(&ledger) as _),
            history: ledger,
            idle: None,
        })
    }
}

#[cfg(not(feature = "aws"))]
mod stack {
    use std::sync::Arc;

    use transship_engine::TaskQueue;
    use transship_engine::ledger::{Hints, History, Ledger};

    use super::{Cancellable, Parts};
    use crate::failure::{Exit, Failure};

    pub(super) fn ledger(_: String) -> std::future::Ready<Result<Ledger, Failure>> {
        std::future::ready(Err(refused()))
    }

    type LedgerAndQueue = (Ledger, Arc<dyn TaskQueue>);

    pub(super) fn ledger_and_queue(_: String, _: String) -> std::future::Ready<Result<LedgerAndQueue, Failure>> {
        std::future::ready(Err(refused()))
    }

    pub(super) fn hints(_: String) -> std::future::Ready<Result<Arc<dyn Hints>, Failure>> {
        std::future::ready(Err(refused()))
    }

    pub(super) fn history(_: String) -> std::future::Ready<Result<Arc<dyn History>, Failure>> {
        std::future::ready(Err(refused()))
    }

    pub(super) fn parts(_: String, _: String) -> std::future::Ready<Result<Parts, Failure>> {
        std::future::ready(Err(refused()))
    }

    pub(super) fn cancellable(_: String) -> std::future::Ready<Result<Cancellable, Failure>> {
        std::future::ready(Err(refused()))
    }

    pub(crate) fn refused() -> Failure {
        Failure::new(
            Exit::Input,
            "AWS_NOT_BUILT",
            "this build cannot reach a deployed stack: install one that can with `cargo install --path crates/cli --features aws`, or select a data folder with --data",
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
