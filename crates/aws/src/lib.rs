//! AWS as the platform: SQS is the queue, one DynamoDB table is the ledger, S3 is the object store, Secrets Manager and
//! Systems Manager keep secrets, ECR issues tokens, and Route 53 has DNS zones. S3 and `EventBridge` report uploads.
//!
//! This crate contains adapters only; what does not depend on AWS is in `transship-runtime`. No type of an SDK crosses a
//! port. Only this crate, the functions, and builds with the feature `aws` compile the AWS SDK.

mod clients;
mod credentials;
mod document;
mod ecr;
pub mod emf;
mod error;
mod ledger;
mod names;
mod platform;
mod secrets;
mod sqs;
mod store;
mod stores;
mod transport;
mod uploads;

pub use clients::Aws;
pub use credentials::credentials_of;
pub use document::{ActiveVersion, DOCUMENT_OPTIONS, DocumentLocation};
pub use ledger::DynamoLedger;
pub use names::HostedZone;
pub use platform::{LOG_VARIABLES, Parts, Platform};
pub use secrets::secrets;
pub use sqs::{Letter, Letters, SqsQueue};
pub use store::S3Store;
pub use stores::BucketStores;
pub use uploads::Invocation;
