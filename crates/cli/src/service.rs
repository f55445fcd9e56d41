//! Webhook, queue, ledger and worker with one data folder, for `serve` and the demo.
//!
//! A stop must end the webhook, let running tasks finish for a limited time, and leave the rest in the queue.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use transship_copy::{Progress, SystemClock};
use transship_engine::ledger::Ledger;
use transship_engine::{Configuration, Intake, Jobs, RetryPolicy, Secrets, SourceCache};
use transship_local::{Database, SqliteLedger, SqliteQueue};
use transship_registry::Retries;
use transship_rules::Document;
use transship_runtime::{DeadLetterRecorder, Environment, JobHandler, MessageProcessor, Worker, process_secrets};

use crate::credentials::credentials_of_document;
use crate::failure::{Exit, Failure, sentence};
use transship_oci::{Code, Result};

/// Maximum number of tasks at the same time; each sends several blobs in parallel.
const PARALLEL_MESSAGES: usize = 4;
/// Longest wait for a registry within a task. For a longer wait, the task returns to the queue.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// Time limit after a stop for deliveries that are being read.
const INTAKE_GRACE: Duration = Duration::from_secs(5);

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
    worker: Worker,
}

impl Service {
    /// Assembles the service of `document` on `database`, with secrets from `environment` and from files.
    pub(crate) fn build(
        document: Document,
        database: Database,
        environment: Environment,
        progress: Arc<dyn Progress>,
    ) -> Self {
        let secrets: Arc<dyn Secrets> = Arc::new(process_secrets(environment));
        let retries = Retries {
            max_wait: MAX_WAIT,
            ..Retries::default()
        };
        let configuration = Configuration::new(
            document,
            credentials_of_document(Arc::clone(&secrets)),
            Arc::clone(&secrets),
            retries,
        );
        let ledger = Arc::new(SqliteLedger::new(database.clone()));
        let queue = SqliteQueue::new(database);
        let intake = Intake {
            configuration: configuration.clone(),
            queue: Arc::new(queue.clone()),
            history: Arc::clone(&ledger) as _,
            secrets,
            clock: Arc::new(SystemClock),
        };
        let jobs = Jobs {
            configuration: configuration.clone(),
            ledger: Ledger::new(&ledger),
            queue: Arc::new(queue.clone()),
            sources: Arc::new(SourceCache::none()),
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
                clock: Arc::new(SystemClock),
            },
            concurrency: PARALLEL_MESSAGES,
        };
        Self {
            router: transship_http::router(Arc::new(intake)),
            queue,
            ledger,
            configuration,
            worker,
        }
    }

    /// Runs until `told_to_stop` completes.
    pub(crate) async fn run(
        self,
        listener: TcpListener,
        told_to_stop: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        let (stop, stopped) = watch::channel(false);
        let intake = axum::serve(listener, self.router).with_graceful_shutdown(until(stopped.clone()));
        let mut intake = tokio::spawn(intake.into_future());
        let worker = self.worker;
        let worker = tokio::spawn(async move { worker.run(stopped).await });
        let ended = tokio::select! {
            told = told_to_stop => told,
            ended = &mut intake => Err(stopped_by_itself(ended.map_err(std::io::Error::other).flatten())),
        };
        tracing::info!("stopping: no more deliveries are accepted, running tasks may finish");
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

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which also means stop.
    let _ = stopped.wait_for(|stop| *stop).await.map(drop);
}

fn stopped_by_itself(result: std::io::Result<()>) -> Failure {
    let why = result.err().map_or_else(String::new, |error| sentence(&error));
    Failure::new(Exit::Failed, "LISTEN_FAILED", format!("the intake stopped: {why}"))
}
