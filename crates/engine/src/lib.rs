//! The use cases: *accept* a delivery, *copy* an image, *import* what is in a store, *sweep* for what was missed. Ports:
//! [`TaskQueue`], [`TaskReceiver`], [`Secrets`], [`Stores`], [`names::Names`], and the four of [`ledger`].
//!
//! A message carries the whole job, so the queue alone is enough: send, then record; the worker upserts.

mod accept;
mod authenticity;
mod configuration;
mod copy_image;
mod dead_letters;
mod delete_tag;
mod delivery_log;
mod execution;
pub mod failover;
mod image_ref;
mod import;
mod inspect;
mod job;
mod jobs;
mod latest;
pub mod ledger;
pub mod names;
pub mod operations;
mod plan;
mod ports;
mod recent_pushes;
mod retry_policy;
mod run_rule;
mod secrets;
mod send;
mod store_name;
mod sweep;
mod task;
mod walk;

pub use accept::{Accepted, Admission, Intake};
pub use configuration::{Configuration, CredentialsOf, Snapshot};
pub use dead_letters::DeadLetters;
pub use execution::{Execution, ExecutionRecord, ExecutionState, TaskCounts, Trigger};
pub use image_ref::ImageRef;
pub use import::{Import, ImportIntake, Order, SharedBlobs, SharingDestination, SourceCache, Uploaded, store_unknown};
pub use inspect::{
    Checked, CheckedImage, Depth, Finding, ImageEnds, PlanRule, Planned, SeenNames, VerifyPlace, VerifyRule,
    check_image,
};
pub use job::{
    CompareSites, CopyTask, Cursor, DeleteTask, Due, ENVELOPE_VERSION, Envelope, Ids, Job, ListPrefix,
    MESSAGE_BYTES_MAX, Next, Outgoing, Policy, RunRule, Scan, Source, Sweep, SweepStep,
};
pub use jobs::Jobs;
pub use ledger::{PendingScan, Replica, TaskEntry};
pub use ports::{Begin, ReceivedMessage, Secrets, SigningKeys, Stores, TaskQueue, TaskReceiver};
pub use recent_pushes::RecentPushes;
pub use retry_policy::RetryPolicy;
pub use secrets::SecretTable;
pub use store_name::StoreName;
pub use task::{Action, Counts, Outcome, TaskRecord, TaskState};
pub use walk::Narrow;

use transship_oci::Result;
