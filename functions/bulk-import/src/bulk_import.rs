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
use transship_aws::{Invocation, Platform};
use transship_engine::{ImportIntake, Order, Uploaded};
use transship_oci::Result;

/// Maximum share of the invocation's time for reading the document.
const DOCUMENT_TIME_SHARE: u32 = 4;

/// The Lambda function.
pub(crate) struct BulkImport {
    platform: Platform,
    emf: Emf,
    intake: OnceCell<ImportIntake>,
}

impl BulkImport {
    pub(crate) fn new(platform: Platform, emf: Emf) -> Self {
        Self {
            platform,
            emf,
            intake: OnceCell::new(),
        }
    }

    pub(crate) async fn answer(&self, event: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
        let answered = self.invoked(event).await;
        if let Err(error) = &answered {
            tracing::error!(code = error.code(), "the invocation failed: {error}");
        }
        self.emf.flush();
        answered.map_err(|error| Diagnostic {
            error_type: error.code().to_owned(),
            error_message: error.to_string(),
        })
    }

    async fn invoked(&self, event: LambdaEvent<Value>) -> Result<Value> {
        let left = event.context.deadline().duration_since(SystemTime::now());
        let timeout = left.unwrap_or_default() / DOCUMENT_TIME_SHARE;
        match Invocation::read(&event.payload)? {
            Invocation::Nothing => Ok(json!({ "looks": 0 })),
            Invocation::Order(order) => self.ordered(&order, &event.context.request_id, timeout).await,
            Invocation::Uploads(uploads, invalid) => {
                let accepted = self.uploaded(&uploads, timeout).await?;
                invalid.map_or(Ok(accepted), Err)
            }
        }
    }

    async fn uploaded(&self, uploads: &[Uploaded], timeout: Duration) -> Result<Value> {
        let looks = self.intake(timeout).await?.uploaded(uploads).await?;
        counter!("Uploads").increment(count(uploads.len()));
        counter!("Looks").increment(count(looks));
        for upload in uploads {
            let (bucket, key, looks) = (upload.bucket.as_str(), upload.key.as_str(), looks);
            tracing::info!(bucket, key, looks, "accepted an upload");
        }
        Ok(json!({ "looks": looks }))
    }

    async fn ordered(&self, order: &Order, occurrence: &str, timeout: Duration) -> Result<Value> {
        let execution = self.intake(timeout).await?.ordered(order, occurrence).await?;
        tracing::info!(execution = execution.id, rule = execution.rule, "accepted an order");
        Ok(json!({ "execution": execution.id }))
    }

    /// Creates the engine with the document in force.
    async fn intake(&self, timeout: Duration) -> Result<&ImportIntake> {
        let configuration = self.platform.configuration(timeout).await?;
        let make = || self.platform.import_intake(configuration);
        Ok(self.intake.get_or_init(make).await)
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
