//! The shared parts of the functions, created from the environment of the deployed stack.
//!
//! No network request may be sent before the first event. The document is kept after it was loaded once, even if its source
//! fails or is deleted. A function that never loaded it must report so.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use transship_copy::SystemClock;
use transship_engine::ledger::{Failovers, Ledger, PendingBlobs};
use transship_engine::{Configuration, ImportIntake, Intake, Jobs, RetryPolicy, Secrets, SourceCache};
use transship_registry::Retries;
use transship_runtime::{DocumentSource, PublishedKeys};

use crate::{
    ActiveVersion, Aws, BucketStores, DOCUMENT_OPTIONS, DocumentLocation, DynamoLedger, SqsQueue, credentials_of,
    secrets,
};
use transship_oci::{Code, Error, Operation, Result};

/// Longest wait for a registry within a task. For a longer wait, the task returns to the queue.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// Environment variable with the location of the document: `s3://bucket/key`, or a path in the function's package.
const CONFIG: &str = "TRANSSHIP_CONFIG";
/// Where a function finds its log filter: in `RUST_LOG`, else in the level that is set on the function.
pub const LOG_VARIABLES: [&str; 2] = ["RUST_LOG", "AWS_LAMBDA_LOG_LEVEL"];
/// The URL of the task queue.
const QUEUE_URL: &str = "TRANSSHIP_QUEUE_URL";
/// The URL of the queue that only operators read.
const UNDELIVERED_URL: &str = "TRANSSHIP_UNDELIVERED_URL";
/// The name of the ledger's table.
const TABLE: &str = "TRANSSHIP_TABLE";

/// The shared parts of the functions of a stack.
pub struct Platform {
    location: DocumentLocation,
    document: OnceCell<DocumentSource>,
    queue_url: String,
    undelivered_url: Option<String>,
    table: String,
    parts: OnceCell<Parts>,
    configuration: OnceCell<Configuration>,
    records_document: bool,
}

/// The adapters.
#[derive(Clone)]
pub struct Parts {
    /// The account.
    pub aws: Aws,
    /// The task queue.
    pub queue: Arc<SqsQueue>,
    /// The memory.
    pub ledger: Arc<DynamoLedger>,
    /// The secrets.
    pub secrets: Arc<dyn Secrets>,
}

impl Platform {
    /// The platform of the environment. No request is sent.
    pub fn from_environment() -> Result<Self> {
        let location =
            DocumentLocation::parse(&variable(CONFIG)?).map_err(|error| environment(&format!("{CONFIG}: {error}")))?;
        Ok(Self {
            location,
            document: OnceCell::new(),
            queue_url: variable(QUEUE_URL)?,
            undelivered_url: variable(UNDELIVERED_URL).ok(),
            table: variable(TABLE)?,
            parts: OnceCell::new(),
            configuration: OnceCell::new(),
            records_document: false,
        })
    }

    /// The same for the function that records which version of the document is in force.
    #[must_use]
    pub const fn recording_the_document(mut self) -> Self {
        self.records_document = true;
        self
    }

    /// The adapters; made when they are first asked for.
    pub async fn parts(&self) -> &Parts {
        let make = || async {
            let aws = Aws::load().await;
            Parts {
                queue: Arc::new(SqsQueue::new(&aws, self.queue_url.clone())),
                ledger: Arc::new(DynamoLedger::new(&aws, self.table.clone())),
                secrets: Arc::new(secrets(&aws, Arc::new(SystemClock))),
                aws,
            }
        };
        self.parts.get_or_init(make).await
    }

    /// The document in force, read again if it is time to. Takes at most `time_limit`, because a source that hangs must not
    /// take the time of the work.
    pub async fn configuration(&self, time_limit: Duration) -> Result<Configuration> {
        let parts = self.parts().await;
        let active = ActiveVersion {
            records: Some(Arc::clone(&parts.ledger) as _),
            is_writer: self.records_document,
        };
        let make = || async { DocumentSource::new(self.location.reader(&parts.aws, active), DOCUMENT_OPTIONS) };
        let source = self.document.get_or_init(make).await;
        if let Some(configuration) = self.configuration.get() {
            if timeout(time_limit, source.refresh(configuration)).await.is_err() {
                tracing::warn!(
                    code = Code::ConfigUnavailable.as_str(),
                    "{} did not respond in time; the last valid document stays in force",
                    source.name()
                );
            }
            return Ok(configuration.clone());
        }
        let load = async {
            let began = Timestamp::now();
            let loaded = source.load().await?;
            let retries = Retries {
                max_wait: MAX_WAIT,
                ..Retries::default()
            };
            let credentials = credentials_of(parts.aws.clone(), Arc::clone(&parts.secrets));
            let secrets = Arc::clone(&parts.secrets);
            let configuration = Configuration::new(loaded.document.clone(), credentials, secrets, retries);
            configuration.follow(Failovers::new(Arc::clone(&parts.ledger) as _));
            configuration.refresh_writers(began).await;
            loaded.put_in_force(&configuration, began);
            Ok(configuration)
        };
        let loaded = Box::pin(self.configuration.get_or_try_init(|| load));
        if let Ok(loaded) = timeout(time_limit, loaded).await {
            return loaded.cloned();
        }
        let message = format!("{} did not respond in time", source.name());
        Err(Error::new(Code::ConfigUnavailable, Operation::default(), message))
    }

    /// The intake of deliveries with `configuration`.
    pub async fn intake(&self, configuration: Configuration) -> Intake {
        let parts = self.parts().await;
        Intake {
            configuration,
            queue: Arc::clone(&parts.queue) as _,
            history: Arc::clone(&parts.ledger) as _,
            secrets: Arc::clone(&parts.secrets),
            keys: Arc::new(PublishedKeys::new(Arc::new(SystemClock))),
            recent: Arc::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// The intake of uploads and orders with `configuration`.
    pub async fn import_intake(&self, configuration: Configuration) -> ImportIntake {
        let parts = self.parts().await;
        ImportIntake {
            configuration,
            queue: Arc::clone(&parts.queue) as _,
            history: Arc::clone(&parts.ledger) as _,
            pending: PendingBlobs::new(Arc::clone(&parts.ledger) as _),
            clock: Arc::new(SystemClock),
        }
    }

    /// The worker on jobs, under `configuration`; `worker` tells it from others.
    pub async fn jobs(&self, configuration: Configuration, worker: String) -> Jobs {
        let parts = self.parts().await;
        let stores = Arc::new(BucketStores::new(parts.aws.clone()));
        Jobs {
            configuration,
            ledger: Ledger::new(&parts.ledger),
            queue: Arc::clone(&parts.queue) as _,
            sources: Arc::new(SourceCache::new(
                stores,
                PendingBlobs::new(Arc::clone(&parts.ledger) as _),
            )),
            // The role of a worker has no right to a zone.
            zones: None,
            clock: Arc::new(SystemClock),
            retry_policy: RetryPolicy::default(),
            worker,
        }
    }

    /// The queue that only operators read, for messages that are not Transship's; [`None`] if the stack has none.
    pub async fn undelivered(&self) -> Option<SqsQueue> {
        let url = self.undelivered_url.clone()?;
        Some(SqsQueue::new(&self.parts().await.aws, url))
    }

    /// True if `arn` is that of the task queue.
    pub fn is_task_queue(&self, arn: &str) -> bool {
        let name = self.queue_url.trim_end_matches('/').rsplit('/').next();
        arn.rsplit(':').next() == name
    }
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name)
        .ok()
        .filter(|value| !value.is_empty())
        .ok_or_else(|| environment(&format!("{name} is not set")))
}

/// `ENVIRONMENT_INVALID`: the function was deployed without what it needs.
fn environment(what: &str) -> Error {
    let message = format!("{what}: see the environment of the function");
    Error::new(Code::EnvironmentInvalid, Operation::default(), message)
}
