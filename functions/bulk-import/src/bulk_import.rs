//! One invocation: uploads become scans in the queue, and an order becomes a job that lists a prefix.
//!
//! An invocation must succeed only after its jobs are in the queue. AWS repeats a failed invocation and then sends it to the
//! failure destination; a direct invocation receives the code and message. A repeated order is the same order, because it has
//! the same request id.

use std::time::{Duration, SystemTime};

use lambda_runtime::{Diagnostic, LambdaEvent};
use metrics::counter;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use transship_aws::emf::Emf;
use transship_aws::{EventInvalid, Invocation, Platform};
use transship_engine::{ImportIntake, Order, Uploaded};
use transship_oci::{Error, Result};

/// Maximum share of the invocation's time for reading the document.
const DOCUMENT_TIME_SHARE: u32 = 4;

/// The Lambda function.
pub(crate) struct BulkImport {
    platform: Platform,
    emf: Emf,
    intake: OnceCell<ImportIntake>,
}

/// Why an invocation failed.
#[derive(Debug)]
pub(crate) struct Failed {
    code: &'static str,
    message: String,
}

impl From<Failed> for Diagnostic {
    fn from(failed: Failed) -> Self {
        Self {
            error_type: failed.code.to_owned(),
            error_message: failed.message,
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self {
            code: error.code(),
            message: error.to_string(),
        }
    }
}

impl From<EventInvalid> for Failed {
    fn from(error: EventInvalid) -> Self {
        Self {
            code: error.code(),
            message: error.to_string(),
        }
    }
}

impl BulkImport {
    pub(crate) fn new(platform: Platform, emf: Emf) -> Self {
        Self {
            platform,
            emf,
            intake: OnceCell::new(),
        }
    }

    pub(crate) async fn answer(&self, event: LambdaEvent<Value>) -> Result<Value, Failed> {
        let answered = self.invoked(event).await;
        if let Err(failed) = &answered {
            tracing::error!(code = failed.code, "the invocation failed: {}", failed.message);
        }
        self.emf.flush();
        answered
    }

    async fn invoked(&self, event: LambdaEvent<Value>) -> Result<Value, Failed> {
        let left = event.context.deadline().duration_since(SystemTime::now());
        let patience = left.unwrap_or_default() / DOCUMENT_TIME_SHARE;
        match Invocation::read(&event.payload) {
            Ok(Invocation::Nothing) => Ok(json!({ "looks": 0 })),
            Ok(Invocation::Uploads(uploads)) => self.uploaded(&uploads, patience).await,
            Ok(Invocation::Order(order)) => self.ordered(&order, &event.context.request_id, patience).await,
            Err(invalid) => {
                if !invalid.uploads.is_empty() {
                    self.uploaded(&invalid.uploads, patience).await?;
                }
                Err(invalid.into())
            }
        }
    }

    async fn uploaded(&self, uploads: &[Uploaded], patience: Duration) -> Result<Value, Failed> {
        let looks = self.intake(patience).await?.uploaded(uploads).await?;
        counter!("Uploads").increment(count(uploads.len()));
        counter!("Looks").increment(count(looks));
        tracing::info!(uploads = uploads.len(), looks, "accepted uploads");
        Ok(json!({ "looks": looks }))
    }

    async fn ordered(&self, order: &Order, occurrence: &str, patience: Duration) -> Result<Value, Failed> {
        let execution = self.intake(patience).await?.ordered(order, occurrence).await?;
        tracing::info!(execution = execution.id, rule = execution.rule, "accepted an order");
        Ok(json!({ "execution": execution.id }))
    }

    /// Creates the engine with the document in force.
    async fn intake(&self, patience: Duration) -> Result<&ImportIntake> {
        let configuration = self.platform.configuration(patience).await?;
        let make = || self.platform.import_intake(configuration);
        Ok(self.intake.get_or_init(make).await)
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
