//! Where the commands about a rule work: a data folder with a document, or a deployed stack.
//!
//! What must hold: one process at a time works on the queue of a data folder, so a command that waits works on it itself only
//! while it holds the lock of the folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use transship_copy::NoProgress;
use transship_engine::failover::observe;
use transship_engine::ledger::{By, History, Ledger, TaskQuery};
use transship_engine::operations::{find_execution, list_tasks};
use transship_engine::{Configuration, ExecutionRecord, Secrets, Snapshot, TaskQueue, TaskRecord, TaskState};
use transship_local::{DataLock, Database};
use transship_oci::{Code, Result};
use transship_registry::Retries;
use transship_rules::{Document, Writers};
use transship_runtime::{Environment, process_secrets};

use super::dr::Zones;
use super::ledger::{Queue, Store};
use crate::credentials::credentials_of_document;
use crate::document;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::service::{CONCURRENCY, Configured, Service, Settings};

/// An execution is read after this part of the time that it has taken, so that the end of a short one is seen soon, and a long one is
/// read seldom; at least and at most after these times.
const POLL_PART: u32 = 100;
const POLL_INTERVALS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));
/// The same in a stack, where each read is a call.
const STACK_POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Time limit for a worker of a stack to begin a run, or to read a document that is as new as the order.
const BEGIN_TIMEOUT: Duration = Duration::from_mins(2);

/// Options that select the document, the ledger and the queue.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Configuration document, YAML or JSON; a deployed stack knows its own
    #[arg(long, value_name = "FILE", env = "TRANSSHIP_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    store: Store,
    #[command(flatten)]
    queue: Queue,
    /// Folder below which the files of `file:` secrets must be
    #[arg(long, value_name = "DIR", env = "TRANSSHIP_SECRETS_DIR", hide_env_values = true)]
    secrets_dir: Option<PathBuf>,
}

/// What the options select.
pub(crate) struct Opened {
    /// The ledger.
    pub(crate) ledger: Ledger,
    /// The queue.
    pub(crate) queue: Arc<dyn TaskQueue>,
    /// The document, with the rules of the writers of its failover groups; [`None`]: that of the stack.
    pub(crate) document: Option<Document>,
    /// The document as it is written.
    pub(crate) written: Option<Document>,
    /// The writers of its failover groups.
    writers: Writers,
    /// The data folder; [`None`]: a stack.
    data: Option<PathBuf>,
    /// The document of the data folder with the clients of this command, if it probably works on the queue itself.
    configured: Option<Configured>,
    secrets_dir: Option<PathBuf>,
    /// The commands that zones with `exec` name.
    dns_commands: BTreeMap<String, PathBuf>,
}

impl Place {
    /// The document of `--config` with its clients, without a ledger; [`None`] if there is none.
    pub(crate) fn snapshot(&self) -> Result<Option<Arc<Snapshot>>, Failure> {
        let config = self.config.as_ref().filter(|config| config.is_file());
        let document = config.map(|config| document::load(config)).transpose()?;
        Ok(document.map(|(_, parsed)| snapshot_of(parsed.document, Writers::default(), self.secrets_dir.clone())))
    }

    /// Opens the ledger and the queue for writing; other processes may write to them at the same time.
    pub(crate) async fn open(&self) -> Result<Opened, Failure> {
        self.open_for(None).await
    }

    /// The same for a command that works on a run of the rule `expected`: connections are opened meanwhile.
    pub(crate) async fn open_for(&self, expected: Option<&str>) -> Result<Opened, Failure> {
        let data = self.store.folder()?;
        let config = self.config.as_ref().filter(|config| data.is_some() || config.is_file());
        let document = match config {
            Some(config) => Some(document::load(config)?.1.document),
            None if data.is_some() => {
                return Err(Failure::usage(
                    "the document is missing: set --config FILE or TRANSSHIP_CONFIG",
                ));
            }
            None => None,
        };
        let configured = match (&document, expected) {
            (Some(document), Some(rule)) if data.is_some() => {
                let secrets_dir = self.secrets_dir.clone();
                let configured = Configured::new(document.clone(), Environment::process(), secrets_dir);
                configured.expect_run(rule);
                Some(configured)
            }
            _ => None,
        };
        let (ledger, queue) = self.store.ledger_and_queue(&self.queue).await?;
        let written = document;
        let (mut document, mut writers) = (written.clone(), Writers::default());
        if let Some(written) = written.as_ref().filter(|written| !written.failover.is_empty()) {
            let states = ledger.failovers.all().await?;
            writers = states.into_iter().map(|(group, state)| (group, state.writer)).collect();
            document = Some(written.with_writers(&writers));
        }
        Ok(Opened {
            ledger,
            queue,
            document,
            written,
            writers,
            data,
            configured,
            secrets_dir: self.secrets_dir.clone(),
            dns_commands: BTreeMap::new(),
        })
    }
}

fn snapshot_of(document: Document, writers: Writers, secrets_dir: Option<PathBuf>) -> Arc<Snapshot> {
    let secrets: Arc<dyn Secrets> = Arc::new(process_secrets(Environment::process(), secrets_dir));
    let credentials = credentials_of_document(Arc::clone(&secrets));
    let configuration = Configuration::new(document, credentials, secrets, Retries::default());
    configuration.put_writers(writers);
    configuration.current()
}

impl Opened {
    /// True if another process works on the queue; [`None`]: not known, because it is that of a stack.
    pub(crate) fn has_worker(&self) -> Result<Option<bool>, Failure> {
        Ok(match &self.data {
            Some(data) => Some(lock(data)?.is_none()),
            None => None,
        })
    }

    /// The right to work in the data folder; [`None`]: another process works there, or it is a stack.
    pub(crate) fn idle(&self) -> Result<Option<DataLock>, Failure> {
        self.data.as_deref().map_or(Ok(None), lock)
    }

    /// The document with its clients. A failure without a document.
    pub(crate) fn snapshot(&self) -> Result<Arc<Snapshot>, Failure> {
        let document = self.written.clone().ok_or_else(|| {
            Failure::usage("the registries are asked from here, so the document is needed: set --config FILE")
        })?;
        Ok(snapshot_of(document, self.writers.clone(), self.secrets_dir.clone()))
    }

    /// Reads the secrets of the document from this machine.
    pub(crate) fn secrets(&self) -> Arc<dyn Secrets> {
        Arc::new(process_secrets(Environment::process(), self.secrets_dir.clone()))
    }

    /// Registers commands for zones with `exec`, also for the worker of this command.
    pub(crate) fn with_dns_commands(self, dns_commands: BTreeMap<String, PathBuf>) -> Self {
        Self { dns_commands, ..self }
    }

    /// The DNS services of this process.
    pub(crate) fn zones(&self) -> Zones {
        Zones::new(self.secrets(), self.dns_commands.clone())
    }

    /// Writes the state of the group that holds both registries if the ledger has none, and this command is the worker: without a
    /// state, nothing is written between the sites, and the command would not end.
    pub(crate) async fn settle_group(&self, from: &str, to: &str) -> Result<(), Failure> {
        let group = self
            .written
            .as_ref()
            .and_then(|document| document.failover_between(from, to));
        let Some(group) = group.filter(|_| self.data.is_some()) else {
            return Ok(());
        };
        if self.has_worker()? == Some(true) {
            return Ok(());
        }
        let failovers = &self.ledger.failovers;
        if failovers.get(&group.name).await?.is_none() {
            observe(failovers, group, &self.zones())
                .await?
                .settle(failovers, group)
                .await?;
        }
        Ok(())
    }

    /// A failure if a write of the execution was refused because another site is the writer of its group.
    pub(crate) async fn refuse_fenced(&self, execution: &ExecutionRecord) -> Result<(), Failure> {
        if self
            .written
            .as_ref()
            .is_some_and(|document| document.failover.is_empty())
        {
            return Ok(());
        }
        let Some((first, has_more)) = fenced(self.ledger.history.as_ref(), &execution.id).await? else {
            return Ok(());
        };
        let others = if has_more { " and others" } else { "" };
        let sentence = format!(
            "{}{others} not written: {}; `transship dr status` shows where the clients of the group are led",
            first.destination,
            first
                .message
                .as_deref()
                .unwrap_or_else(|| Code::FailoverFenced.meaning()),
        );
        Err(Failure::new(Exit::Failed, Code::FailoverFenced.as_str(), sentence))
    }

    /// Notes that no process works on the queue.
    pub(crate) fn note_no_worker(&self) -> Result<(), Failure> {
        if self.has_worker()? == Some(false) {
            output::note(
                "no process works on the queue of this data folder: start `transship serve`, or repeat the command with --wait",
            );
        }
        Ok(())
    }

    /// Waits until the execution has ended, and works on the queue itself while no other process does.
    pub(crate) async fn follow(&self, execution: &str) -> Result<ExecutionRecord, Failure> {
        let mut working = None;
        let record = self.until_ended(execution, &mut working).await?;
        Working::end(working).await;
        Ok(record)
    }

    /// The same for several, which one worker works on side by side. Their records are in the order of `executions`.
    pub(crate) async fn follow_all(&self, executions: &[String]) -> Result<Vec<ExecutionRecord>, Failure> {
        let mut working = None;
        let mut records = Vec::new();
        for execution in executions {
            records.push(self.until_ended(execution, &mut working).await?);
        }
        Working::end(working).await;
        Ok(records)
    }

    /// `working` is begun if no other process works on the queue.
    async fn until_ended(&self, execution: &str, working: &mut Option<Working>) -> Result<ExecutionRecord, Failure> {
        let mut ended: Option<ExecutionRecord> = None;
        let (least, most) = POLL_INTERVALS;
        let began = Instant::now();
        loop {
            if working.is_none() {
                *working = self.work().await?;
            }
            if self.has_ended(execution).await?
                && let Some(record) = self
                    .find(execution)
                    .await?
                    .filter(|record| record.duration_ms.is_some())
            {
                // The counters of a large execution are several items, which are not read at one moment.
                if ended.as_ref() == Some(&record) || self.data.is_some() {
                    return Ok(record);
                }
                ended = Some(record);
            } else {
                ended = None;
            }
            let interval = match &self.data {
                Some(_) => (began.elapsed() / POLL_PART).clamp(least, most),
                None => STACK_POLL_INTERVAL,
            };
            tokio::time::sleep(interval).await;
        }
    }

    /// True if the execution has ended. It costs one read of the ledger, unlike what [`Opened::find`] finds out of its tasks.
    async fn has_ended(&self, execution: &str) -> Result<bool, Failure> {
        let record = self.ledger.history.execution(execution).await?;
        Ok(record.is_some_and(|record| record.duration_ms.is_some()))
    }

    /// Waits until a worker of the stack has begun the run; false if none does within [`BEGIN_TIMEOUT`].
    pub(crate) async fn until_begun(&self, execution: &str) -> Result<bool, Failure> {
        let end = Instant::now() + BEGIN_TIMEOUT;
        loop {
            let record = self.find(execution).await?;
            if record.is_some_and(|record| record.run.is_some() || record.duration_ms.is_some()) {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            tokio::time::sleep(STACK_POLL_INTERVAL).await;
        }
    }

    /// True if a task of the execution failed because the document of the worker does not have the rule.
    pub(crate) async fn has_unknown_rule(&self, execution: &str) -> Result<bool, Failure> {
        let mut query = TaskQuery::new(By::Execution(execution.to_owned())).in_state(TaskState::Failed);
        query.filter.code = Some(Code::UnknownRule.as_str().to_owned());
        Ok(!list_tasks(self.ledger.history.as_ref(), &query, 1).await?.is_empty())
    }

    /// The execution with what a run found so far.
    pub(crate) async fn find(&self, execution: &str) -> Result<Option<ExecutionRecord>, Failure> {
        let Some(mut record) = find_execution(self.ledger.history.as_ref(), execution).await? else {
            return Ok(None);
        };
        record.run = self.ledger.runs.progress(execution, Timestamp::now()).await?;
        Ok(Some(record))
    }

    /// Begins to work on the queue; [`None`] if another process does, or if it is that of a stack.
    async fn work(&self) -> Result<Option<Working>, Failure> {
        let (Some(data), Some(document)) = (&self.data, &self.written) else {
            return Ok(None);
        };
        let Some(lock) = lock(data)? else { return Ok(None) };
        let configured = self.configured.clone().unwrap_or_else(|| {
            let secrets_dir = self.secrets_dir.clone();
            Configured::new(document.clone(), Environment::process(), secrets_dir)
        });
        let service = Service::build(
            configured,
            Database::open(data)?,
            Arc::new(NoProgress),
            Settings {
                concurrency: CONCURRENCY.into(),
                sweeps: false,
                dns_commands: self.dns_commands.clone(),
            },
        );
        service.release_ended().await?;
        let (stop, stopped) = watch::channel(false);
        let worker = tokio::spawn(service.work(stopped));
        Ok(Some(Working {
            stop,
            worker,
            _lock: lock,
        }))
    }
}

/// A task of the execution that ended because another site is the writer, and whether there are more of them.
async fn fenced(history: &dyn History, execution: &str) -> Result<Option<(TaskRecord, bool)>> {
    let mut query = TaskQuery::new(By::Execution(execution.to_owned()));
    query.filter.code = Some(Code::FailoverFenced.as_str().to_owned());
    let mut found = list_tasks(history, &query, 2).await?.into_iter();
    Ok(found.next().map(|first| (first, found.next().is_some())))
}

/// A worker of this process.
struct Working {
    stop: watch::Sender<bool>,
    worker: JoinHandle<()>,
    _lock: DataLock,
}

impl Working {
    /// Lets running tasks end for a limited time.
    async fn end(working: Option<Self>) {
        let Some(working) = working else { return };
        working.stop.send_replace(true);
        // A panic of the worker was logged, and the queue has what it did not end.
        let _ = working.worker.await;
    }
}

/// The lock of the data folder; [`None`] if another process has it.
fn lock(data: &std::path::Path) -> Result<Option<DataLock>, Failure> {
    match DataLock::acquire(data) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.is(Code::DataLocked) => Ok(None),
        Err(error) => Err(Failure::of(Exit::Input, &error)),
    }
}
