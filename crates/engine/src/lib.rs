//! The use cases: *accept* a delivery, *replicate* a task. Ports: [`TaskQueue`], [`TaskReceiver`], [`Ledger`],
//! [`Secrets`].
//!
//! A message carries the whole task, so the queue alone is enough: send, then record; the worker upserts.

mod accept;
mod configuration;
mod dispatch;
mod error;
mod follow;
mod import;
mod import_arrivals;
mod memory;
mod message;
mod outcome;
mod patience;
mod plan;
mod ports;
mod redrive;
mod replicate;
mod sweep;
mod sweep_compare;
mod sweep_rule;
mod task;
mod turn;

pub use accept::{Accepted, Hook, Intake, Refusal};
pub use configuration::{Configuration, CredentialsOf, Snapshot};
pub use error::{Error, ErrorKind, Result};
pub use import::Import;
pub use import_arrivals::{Arrivals, Arriving};
pub use message::{Cursor, MESSAGE_BYTES_MAX, Message, Outgoing, Sweep, SweepStep};
pub use patience::Patience;
pub use ports::{Begin, Delivery, Ledger, Secrets, TaskFilter, TaskQueue, TaskReceiver};
pub use redrive::{Redrive, Redriven};
pub use replicate::{Disposition, HOPS_MAX, Replicator};
pub use task::{
    Action, Bytes, Execution, ExecutionRecord, ExecutionState, Outcome, Place, Replica, TASK_VERSION, Task, TaskRecord,
    TaskState, Trigger,
};
