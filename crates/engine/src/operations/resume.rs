//! Resume: ends the pause of a host for an operator, who knows that the registry answers again.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use transship_copy::Clock;

use crate::ledger::Pauses;
use crate::send::now;
use crate::{Result, TaskQueue};

/// Ends pauses.
pub struct Resume {
    /// The pauses of all hosts.
    pub pauses: Pauses,
    /// The queue in which tasks wait, if it can wake them.
    pub queue: Option<Arc<dyn TaskQueue>>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// Result of a resume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resumed {
    /// The host.
    pub host: String,
    /// When the pause would have ended; [`None`] if the host was not paused.
    pub paused_until: Option<Timestamp>,
    /// Number of waiting messages that begin now; [`None`] if the queue cannot wake them, so that each looks within 15 minutes.
    pub woken: Option<usize>,
}

impl Resume {
    /// Ends the pause of `host`, and wakes what waits for it.
    pub async fn run(&self, host: &str) -> Result<Resumed> {
        let paused = self.pauses.until(&[host], now(self.clock.as_ref())).await?;
        self.pauses.resume(host).await?;
        let woken = match &self.queue {
            Some(queue) => queue.wake(host).await?,
            None => None,
        };
        Ok(Resumed {
            host: host.to_owned(),
            paused_until: paused.map(|(_, until)| until),
            woken,
        })
    }
}
