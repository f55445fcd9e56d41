//! AWS as the platform: SQS is the queue, one DynamoDB table the ledger, S3 the object store, Secrets Manager and Systems
//! Manager keep secrets, ECR gives tokens; S3 and `EventBridge` tell of uploads.
//!
//! No type of an SDK crosses a port. Only this crate, the functions, and who asks for them compile the AWS SDK.

mod aws;
mod credentials;
mod document;
mod ecr;
pub mod emf;
mod error;
mod ledger;
mod platform;
mod secrets;
mod sqs;
mod store;
mod stores;
mod transport;
mod uploads;

pub use aws::Aws;
pub use credentials::credentials_of;
pub use document::{DOCUMENT_OPTIONS, DocumentLocation};
pub use ledger::DynamoLedger;
pub use platform::{LOG_VARIABLES, Parts, Platform};
pub use secrets::AwsSecrets;
pub use sqs::SqsQueue;
pub use store::S3Store;
pub use stores::BucketStores;
pub use uploads::{EventInvalid, Invocation};
