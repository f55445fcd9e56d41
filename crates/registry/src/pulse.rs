//! The heartbeat of an upload.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::registry::COMMIT_PATIENCE;

/// The heartbeat of an upload: it dies of silence, never of age.
pub(crate) struct Pulse {
    begin: Instant,
    last_ms: AtomicU64,
    bytes: AtomicU64,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self {
            begin: Instant::now(),
            last_ms: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn beat(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.last_ms.store(
            u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Resolves when nothing moved for `patience`; once all `size` bytes were handed over, for the longer commit patience.
    pub(crate) async fn watch(&self, size: u64, patience: Duration) -> Duration {
        loop {
            let allowed = if self.bytes() >= size {
                COMMIT_PATIENCE
            } else {
                patience
            };
            let silent = self
                .begin
                .elapsed()
                .saturating_sub(Duration::from_millis(self.last_ms.load(Ordering::Relaxed)));
            match allowed.checked_sub(silent) {
                Some(left) if !left.is_zero() => tokio::time::sleep(left).await,
                _ => return allowed,
            }
        }
    }
}
