//! The use cases: *accept* a delivery, *replicate* a task, *import* what lies in a store. Ports: [`TaskQueue`],
//! [`TaskReceiver`], [`Ledger`], [`Secrets`], [`Stores`], [`Awaited`].
//!
//! A message carries the whole task, so the queue alone is enough: send, then record; the worker upserts.

mod accept;
mod attempt;
mod configuration;
mod dispatch;
mod follow;
mod import;
mod import_arrivals;
mod import_intake;
mod import_look;
mod import_open;
mod import_search;
pub mod ledger;
mod memory;
mod message;
mod outcome;
mod patience;
mod plan;
mod ports;
mod redrive;
mod replicate;
mod secrets;
mod sweep;
mod sweep_compare;
mod sweep_rule;
mod task;
mod turn;

pub use accept::{Accepted, Intake, Refusal};
pub use configuration::{Configuration, CredentialsOf, Snapshot};

pub use import::Import;
pub use import_arrivals::{Arrivals, Arriving};
pub use import_intake::{ImportIntake, Order, Uploaded};
pub use import_open::{Imports, store_unknown};
pub use import_search::Search;
pub use message::{Cursor, MESSAGE_BYTES_MAX, Message, Outgoing, Sweep, SweepStep};
pub use patience::Patience;
pub use ports::{Awaited, Begin, Delivery, Ledger, Secrets, Stores, TaskFilter, TaskQueue, TaskReceiver, Waiting};
pub use redrive::{Redrive, Redriven};
pub use replicate::{Disposition, HOPS_MAX, Replicator};
pub use secrets::SecretTable;
pub use task::{
    Action, Bytes, Execution, ExecutionRecord, ExecutionState, Look, Outcome, Place, Replica, TASK_VERSION, Task,
    TaskRecord, TaskState, Trigger,
};
pub use transship_oci::{Error, Result};
