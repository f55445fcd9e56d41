//! Webhook, queue, ledger and worker with one data folder, for `serve` and the demo.
//!
//! A stop must end the webhook, let running tasks finish for a limited time, and leave the rest in the queue.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinError;
use transship_copy::{Progress, SystemClock};
use transship_engine::ledger::{Failures, Ledger};
use transship_engine::operations::{NewRules, StartDue, WatchSites};
use transship_engine::{Configuration, Intake, Jobs, RetryPolicy, Secrets, SourceCache};
use transship_http::Server;
use transship_local::{Database, SqliteLedger, SqliteQueue};
use transship_registry::Retries;
use transship_rules::Document;
use transship_runtime::{
    DeadLetterRecorder, Environment, JobHandler, MessageProcessor, PublishedKeys, Worker, process_secrets,
};

use crate::commands::dr::Zones;
use crate::credentials::credentials_of_document;
use crate::failure::{Exit, Failure, sentence};
use transship_oci::{Code, Result};

/// Maximum number of connections of senders, if the process may open enough files.
const CONNECTIONS_MAX: u64 = 2048;
/// Connections to each registry that are opened while a run is prepared.
const FIRST_REQUESTS: usize = 8;
/// Longest wait for a registry within a task. For a longer wait, the task returns to the queue.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// How late a schedule may start its run.
const TIMER_INTERVAL: Duration = Duration::from_secs(5);
/// How often failover groups that are not ready are reported in the log.
const REPORT_INTERVAL: Duration = Duration::from_mins(5);
/// Time limit after a stop for deliveries that are being read.
const INTAKE_GRACE: Duration = Duration::from_secs(5);

/// Tasks at the same time, unless an operator says how many. One pair of registries gets at most half. A task waits for answers for
/// most of its time if a registry is distant.
pub(crate) const CONCURRENCY: u16 = 64;

/// Settings of the service that are not in its document.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// Maximum number of tasks at the same time; each sends several blobs in parallel.
    pub(crate) concurrency: usize,
    /// New rules are swept at once, because the service sweeps.
    pub(crate) sweeps: bool,
    /// The commands that change zones, by name.
    pub(crate) dns_commands: BTreeMap<String, PathBuf>,
}

/// A document with its clients, and the secrets that they use. Clones share the clients.
#[derive(Clone)]
pub(crate) struct Configured {
    configuration: Configuration,
    secrets: Arc<dyn Secrets>,
}

impl Configured {
    /// `document` with secrets from `environment`, and from files below `secrets_dir`.
    pub(crate) fn new(document: Document, environment: Environment, secrets_dir: Option<PathBuf>) -> Self {
        let secrets: Arc<dyn Secrets> = Arc::new(process_secrets(environment, secrets_dir));
        let retries = Retries {
            max_wait: MAX_WAIT,
            ..Retries::default()
        };
        let credentials = credentials_of_document(Arc::clone(&secrets));
        Self {
            configuration: Configuration::new(document, credentials, Arc::clone(&secrets), retries),
            secrets,
        }
    }

    /// Opens connections for the first requests of a run of `rule`, without waiting for them.
    pub(crate) fn expect_run(&self, rule: &str) {
        let current = self.configuration.current();
        let Some(rule) = current.document.rule(rule) else {
            return;
        };
        for registry in [&rule.source.registry, &rule.destination.registry] {
            if let Ok(registry) = current.registry(registry) {
                registry.expect_requests(FIRST_REQUESTS);
            }
        }
    }
}

/// Starts runs of rules whose schedules are due, and the first sweeps of new rules.
struct Timer {
    due: StartDue,
    new_rules: Option<NewRules>,
    sites: WatchSites,
}

impl Timer {
    /// Looks at every [`TIMER_INTERVAL`] what there is to start, and never returns.
    async fn run(self) {
        let mut reported: Option<Instant> = None;
        loop {
            self.due.configuration.refresh_writers(jiff::Timestamp::now()).await;
            if let Err(error) = self.due.run().await {
                tracing::error!(code = error.code(), "a schedule could not be followed: {error}");
            }
            if let Some(new_rules) = &self.new_rules
                && let Err(error) = new_rules.order().await
            {
                tracing::error!(code = error.code(), "new rules could not be swept: {error}");
            }
            if let Err(error) = self.sites.order().await {
                tracing::error!(code = error.code(), "sites could not be compared: {error}");
            }
            if reported.is_none_or(|reported| reported.elapsed() >= REPORT_INTERVAL) {
                reported = Some(Instant::now());
                if let Err(error) = self.sites.report().await {
                    tracing::error!(code = error.code(), "failover groups could not be reported: {error}");
                }
            }
            tokio::time::sleep(TIMER_INTERVAL).await;
        }
    }
}

/// The assembled service, ready to run.
pub(crate) struct Service {
    /// The webhook's router.
    pub(crate) router: Router,
    /// The queue.
    pub(crate) queue: SqliteQueue,
    /// The ledger.
    pub(crate) ledger: Arc<SqliteLedger>,
    /// The document in force.
    pub(crate) configuration: Configuration,
    timer: Timer,
    worker: Worker,
}

impl Service {
    /// Assembles the service on `database`.
    pub(crate) fn build(
        Configured { configuration, secrets }: Configured,
        database: Database,
        progress: Arc<dyn Progress>,
        settings: Settings,
    ) -> Self {
        let zones = Zones::new(Arc::clone(&secrets), settings.dns_commands);
        let ledger = Arc::new(SqliteLedger::new(database.clone()));
        let hosts = configuration.clone();
        let queue = SqliteQueue::new(database)
            .shared_by(settings.concurrency, move |name| host_of(&hosts, name))
            .recording_in(&ledger);
        let intake = Intake {
            configuration: configuration.clone(),
            queue: Arc::new(queue.clone()),
            history: Arc::clone(&ledger) as _,
            secrets,
            keys: Arc::new(PublishedKeys::new(Arc::new(SystemClock))),
            recent: Arc::default(),
            clock: Arc::new(SystemClock),
        };
        let shared = Ledger::new(&ledger);
        configuration.follow(shared.failovers.clone());
        let timer = Timer {
            due: StartDue {
                configuration: configuration.clone(),
                schedules: shared.schedules.clone(),
                history: Arc::clone(&ledger) as _,
                queue: Arc::new(queue.clone()),
                clock: Arc::new(SystemClock),
            },
            sites: WatchSites {
                configuration: configuration.clone(),
                ledger: shared.clone(),
                queue: Arc::new(queue.clone()),
                clock: Arc::new(SystemClock),
            },
            new_rules: settings.sweeps.then(|| {
                NewRules::new(
                    configuration.clone(),
                    shared.baselines.clone(),
                    shared.first_sweep.clone(),
                    Arc::new(queue.clone()),
                    Arc::new(SystemClock),
                )
            }),
        };
        let jobs = Jobs {
            configuration: configuration.clone(),
            ledger: shared,
            queue: Arc::new(queue.clone()),
            sources: Arc::new(SourceCache::none()),
            zones: Some(Arc::new(zones)),
            clock: Arc::new(SystemClock),
            retry_policy: RetryPolicy::default(),
            worker: format!("process {}", std::process::id()),
        };
        let worker = Worker {
            receiver: Arc::new(queue.clone()),
            processor: MessageProcessor {
                handler: Arc::new(JobHandler {
                    jobs: Arc::new(jobs),
                    progress,
                }),
                queue: Arc::new(queue.clone()),
            },
            dead_letters: DeadLetterRecorder {
                history: Arc::clone(&ledger) as _,
                failures: Failures::new(Arc::clone(&ledger) as _),
                clock: Arc::new(SystemClock),
            },
            concurrency: settings.concurrency,
            halt: watch::Sender::new(false),
        };
        Self {
            router: transship_http::router(Arc::new(intake)),
            queue,
            ledger,
            configuration,
            timer,
            worker,
        }
    }

    /// Takes back what processes that have ended held: messages, leases, and the slots of writes in failover groups, which a switch
    /// would otherwise wait for until they expire. The caller has the lock of the data folder. Returns the number of messages.
    pub(crate) async fn release_ended(&self) -> Result<usize> {
        let released = self.queue.release_all().await?;
        self.ledger.release_leases().await?;
        let failovers = Ledger::new(&self.ledger).failovers;
        for group in &self.configuration.current().document.failover {
            failovers.end_slots(&group.name).await?;
        }
        Ok(released)
    }

    /// Works on the queue alone until `stopped` is true, then lets running tasks end for a limited time.
    pub(crate) async fn work(self, stopped: watch::Receiver<bool>) {
        self.worker.run(stopped).await;
    }

    /// Runs until `told_to_stop` completes.
    pub(crate) async fn run(
        self,
        listener: TcpListener,
        told_to_stop: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        let (stop, stopped) = watch::channel(false);
        let mut intake = tokio::spawn(Server::new(self.router, connections()).run(listener, stopped.clone()));
        let timer = tokio::spawn(self.timer.run());
        let worker = self.worker;
        let worker = tokio::spawn(async move { worker.run(stopped).await });
        let ended = tokio::select! {
            told = told_to_stop => told,
            ended = &mut intake => Err(stopped_by_itself(ended)),
        };
        tracing::info!("stopping: no more deliveries are accepted, running tasks may finish");
        timer.abort();
        stop.send_replace(true);
        if !intake.is_finished() && tokio::time::timeout(INTAKE_GRACE, intake).await.is_err() {
            tracing::warn!("unfinished deliveries were dropped; their senders repeat them");
        }
        if let Err(error) = worker.await {
            tracing::error!(code = Code::WorkerPanic.as_str(), "the worker stopped: {error}");
        }
        tracing::info!("stopped");
        ended
    }
}

/// The host of the registry that the document calls `name`, with its port; `name` itself for anything else.
fn host_of(configuration: &Configuration, name: &str) -> String {
    let current = configuration.current();
    let registry = current.document.registries.get(name);
    registry.map_or_else(|| name.to_owned(), |registry| registry.endpoint.authority().to_owned())
}

/// Number of connections of senders: at most half of the files that the process may open, so that registries and the data
/// folder have the other half.
fn connections() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(CONNECTIONS_MAX * 2);
    usize::try_from((files / 2).clamp(1, CONNECTIONS_MAX)).unwrap_or(1)
}

/// Raises the limit of open files to the maximum that the system allows this process.
pub(crate) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::debug!("the limit of open files could not be raised: {error}");
    }
}

fn stopped_by_itself(result: std::result::Result<(), JoinError>) -> Failure {
    let why = result.err().map_or_else(String::new, |error| sentence(&error));
    Failure::new(Exit::Failed, "LISTEN_FAILED", format!("the intake stopped: {why}"))
}
