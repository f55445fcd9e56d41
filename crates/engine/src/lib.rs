//! The use cases: *accept* a delivery, *replicate* a task. Ports: [`TaskQueue`], [`TaskReceiver`], [`Ledger`],
//! [`Secrets`].
//!
//! A message carries the whole task, so the queue alone is enough: send, then record; the worker upserts.

mod error;
mod ports;
mod task;

pub use error::{Error, ErrorKind, Result};
pub use ports::{Begin, Delivery, Ledger, Outgoing, Secrets, TaskFilter, TaskQueue, TaskReceiver};
pub use task::{
    Action, Bytes, Execution, ExecutionRecord, ExecutionState, Outcome, Place, Replica, TASK_VERSION, Task, TaskRecord,
    TaskState, Trigger,
};
