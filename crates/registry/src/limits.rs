//! Limits of this process for a registry: requests per second, concurrent uploads, bytes per second.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use transship_oci::Limits;

/// Size in bytes of one cell of the bandwidth limiter.
const CELL_BYTES: u64 = 1024;

/// The limiters of a registry, shared by all of its repositories.
pub(crate) struct Limiter {
    requests: Option<DefaultDirectRateLimiter>,
    uploads: Option<Arc<Semaphore>>,
    bandwidth: Option<Bandwidth>,
}

impl Limiter {
    pub(crate) fn new(limits: Limits) -> Self {
        let requests = limits.requests_per_second.filter(|rate| *rate > 0.0).and_then(|rate| {
            let quota = Quota::with_period(Duration::try_from_secs_f64(1.0 / rate).ok()?)?;
            let burst = NonZeroU32::new(clamped(rate.ceil()))?;
            Some(RateLimiter::direct(quota.allow_burst(burst)))
        });
        let bandwidth = limits.bandwidth.map(Bandwidth::new);
        let uploads = limits
            .uploads
            .map(|uploads| Arc::new(Semaphore::new(uploads.max(1) as usize)));
        Self {
            requests,
            uploads,
            bandwidth,
        }
    }

    /// True if requests per second are limited.
    pub(crate) const fn has_rate(&self) -> bool {
        self.requests.is_some()
    }

    /// Waits until the rate limit allows one request.
    pub(crate) async fn request(&self) {
        if let Some(limiter) = &self.requests {
            limiter.until_ready().await;
        }
    }

    /// Waits until the limit allows one more upload, which ends when the permit is dropped.
    pub(crate) async fn upload(&self) -> Option<OwnedSemaphorePermit> {
        match &self.uploads {
            Some(semaphore) => Arc::clone(semaphore).acquire_owned().await.ok(),
            None => None,
        }
    }

    /// The bandwidth limiter, if there is one.
    pub(crate) fn bandwidth(&self) -> Option<Bandwidth> {
        self.bandwidth.clone()
    }
}

/// A limit of bytes per second that any number of transfers share. Cheap to clone.
#[derive(Clone)]
pub struct Bandwidth(Arc<DefaultDirectRateLimiter>);

impl Bandwidth {
    /// A limit of `bytes_per_second`, in steps of 1 KiB.
    pub fn new(bytes_per_second: u64) -> Self {
        let cells = u32::try_from(bytes_per_second.div_ceil(CELL_BYTES)).unwrap_or(u32::MAX);
        let cells = NonZeroU32::new(cells).unwrap_or(NonZeroU32::MIN);
        Self(Arc::new(RateLimiter::direct(Quota::per_second(cells))))
    }

    /// Waits until `bytes` more may pass. A piece that is larger than the limit of one second waits in parts.
    pub async fn pass(&self, bytes: usize) {
        let mut cells = u32::try_from((bytes as u64).div_ceil(CELL_BYTES)).unwrap_or(u32::MAX);
        while let Some(ask) = NonZeroU32::new(cells) {
            match self.0.until_n_ready(ask).await {
                Ok(()) => return,
                Err(too_many) => {
                    let part = NonZeroU32::new(too_many.0.min(cells)).unwrap_or(NonZeroU32::MIN);
                    // The burst is at least `part`, so this cannot fail.
                    let _ = self.0.until_n_ready(part).await;
                    cells -= part.get();
                }
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped first")]
fn clamped(rate: f64) -> u32 {
    rate.clamp(1.0, 1_000_000.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_chunk_larger_than_a_second_of_bandwidth_passes_in_the_end() {
        let limiter = Limiter::new(Limits {
            bandwidth: Some(64 * 1024 * 1024),
            ..Limits::default()
        });
        let bandwidth = limiter.bandwidth().unwrap();
        let begin = std::time::Instant::now();
        bandwidth.pass(80 * 1024 * 1024).await;
        assert!(begin.elapsed() >= Duration::from_millis(200));
    }

    #[tokio::test]
    async fn uploads_beyond_the_limit_wait() {
        let limiter = Limiter::new(Limits {
            uploads: Some(1),
            ..Limits::default()
        });
        let first = limiter.upload().await;
        assert!(first.is_some());
        assert!(futures_util::FutureExt::now_or_never(limiter.upload()).is_none());
        drop(first);
        assert!(futures_util::FutureExt::now_or_never(limiter.upload()).is_some());
    }

    #[tokio::test]
    async fn no_limit_is_no_wait() {
        let limiter = Limiter::new(Limits::default());
        limiter.request().await;
        assert!(limiter.bandwidth().is_none() && limiter.upload().await.is_none());
    }
}
