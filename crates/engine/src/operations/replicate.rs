//! Replicate: one image as a recorded task, for an operator.

use std::collections::BTreeMap;
use std::sync::Arc;

use transship_copy::Clock;
use transship_oci::{Existing, Platforms, Referrers, Result};

use crate::job::{Policy, Source};
use crate::ledger::History;
use crate::plan::id;
use crate::send::now;
use crate::{CopyTask, Execution, ImageRef, Outgoing, TaskQueue, Trigger};

/// The rule of images that an operator replicates one by one.
pub(crate) const REPLICATED: &str = "replicate";

/// Replicates single images.
pub struct Replicate {
    /// The history of tasks.
    pub history: Arc<dyn History>,
    /// The queue.
    pub queue: Arc<dyn TaskQueue>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

impl Replicate {
    /// Records the task that copies `source` to `destination`, and sends it. Each call is a task of its own.
    pub async fn run(&self, source: ImageRef, destination: ImageRef, existing: Existing) -> Result<CopyTask> {
        let created = now(self.clock.as_ref());
        let parts = [source.to_string(), destination.to_string(), created.to_string()];
        let parts = parts.each_ref().map(String::as_str);
        let task = CopyTask {
            id: id("t", &parts),
            execution: Execution {
                id: id("e", &parts),
                rule: REPLICATED.to_owned(),
                trigger: Trigger::Manual,
                created,
            },
            source: Source::Registry(source),
            destination,
            policy: Policy {
                existing,
                referrers: Referrers::Include,
                kinds: Vec::new(),
                labels: BTreeMap::new(),
                is_by_hand: true,
                platforms: Platforms::default(),
            },
            is_attachment: false,
            expected: None,
            absent_at: None,
            own: None,
        };
        self.history.record(&[task.entry()]).await?;
        self.queue.send(&[Outgoing::now(task.clone())]).await?;
        Ok(task)
    }
}
