//! Large blobs give way to small images: while a copy begins that has no large blob, the transfers of large blobs to the same
//! registry pause, so that it has the processor and the line for itself.
//!
//! What must hold: large blobs pause for a quarter of their time at most, however many small images come.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use tokio::sync::Notify;
use transship_oci::{Descriptor, Result};

use crate::{BlobSource, ByteStream, Source};

/// From this size on a blob gives way.
const LARGE_BLOB_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// Large blobs give way to a small image for this long. One that takes longer waits for something else than them.
const GIVE_WAY_MAX: Duration = Duration::from_millis(100);
/// A transfer pauses for this part of its time: one in so many.
const PAUSED_ONE_IN: u32 = 4;
/// The shortest pause. Timers are exact to a millisecond or two.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// The copies to one registry in this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Precedence(Arc<Copies>);

#[derive(Debug, Default)]
struct Copies {
    small: Mutex<Small>,
    /// Notifies those that wait when the last small copy ends.
    none_left: Notify,
}

#[derive(Debug, Default)]
struct Small {
    count: usize,
    /// When the last of them began.
    began: Option<Instant>,
    /// How long large blobs gave way, in all.
    gave_way: Duration,
}

/// A copy that large blobs give way to, until it is dropped.
#[derive(Debug)]
pub(crate) struct SmallCopy(Precedence);

impl Precedence {
    /// A copy begins, and has no large blob as far as is known.
    pub(crate) fn begin(&self) -> SmallCopy {
        let mut small = self.small();
        small.count += 1;
        small.began = Some(Instant::now());
        SmallCopy(self.clone())
    }

    /// True if `blob` gives way to small images.
    pub(crate) const fn is_large(blob: &Descriptor) -> bool {
        blob.size >= LARGE_BLOB_BYTES_MIN
    }

    /// How long large blobs gave way, in all.
    pub(crate) fn gave_way(&self) -> Duration {
        self.small().gave_way
    }

    /// Waits while small images are copied, `longest` at most. Returns how long it waited.
    async fn give_way(&self, longest: Duration) -> Duration {
        let (began, mut waited) = (Instant::now(), Duration::ZERO);
        loop {
            // Created before the look, so that no end is missed.
            let none_left = self.0.none_left.notified();
            let left = self.time_to_give().min(longest.saturating_sub(waited));
            if left.is_zero() {
                self.small().gave_way += waited;
                return waited;
            }
            let _ = tokio::time::timeout(left, none_left).await;
            waited = began.elapsed();
        }
    }

    /// For how long the small images that are copied now have precedence.
    fn time_to_give(&self) -> Duration {
        let small = self.small();
        match small.began {
            Some(began) if small.count > 0 => GIVE_WAY_MAX.saturating_sub(began.elapsed()),
            _ => Duration::ZERO,
        }
    }

    fn small(&self) -> MutexGuard<'_, Small> {
        self.0.small.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SmallCopy {
    fn drop(&mut self) {
        let Self(precedence) = self;
        let mut small = precedence.small();
        small.count -= 1;
        if small.count == 0 {
            precedence.0.none_left.notify_waiters();
        }
    }
}

/// A source whose blobs give way to small images.
pub(crate) struct GivesWay<'a> {
    source: &'a dyn Source,
    precedence: Precedence,
}

impl<'a> GivesWay<'a> {
    pub(crate) fn new(source: &'a dyn Source, precedence: &Precedence) -> Self {
        Self {
            source,
            precedence: precedence.clone(),
        }
    }
}

#[async_trait]
impl BlobSource for GivesWay<'_> {
    async fn blob_get(&self, blob: &Descriptor, offset: u64) -> Result<ByteStream> {
        let bytes = self.source.blob_get(blob, offset).await?;
        Ok(giving_way(bytes, self.precedence.clone()))
    }

    async fn has_blob(&self, blob: &Descriptor) -> bool {
        BlobSource::has_blob(self.source, blob).await
    }

    fn identity(&self) -> Option<String> {
        self.source.identity()
    }
}

/// `bytes`, with a pause before each part while small images are copied.
fn giving_way(bytes: ByteStream, precedence: Precedence) -> ByteStream {
    let begun = (bytes, precedence, Instant::now(), Pauses::default());
    stream::unfold(begun, |(mut bytes, precedence, working_since, mut pauses)| async move {
        pauses.earn(working_since.elapsed());
        if let Some(longest) = pauses.next() {
            pauses.spend(precedence.give_way(longest).await);
        }
        let working_since = Instant::now();
        let part = bytes.next().await?;
        Some((part, (bytes, precedence, working_since, pauses)))
    })
    .boxed()
}

/// The pauses that a transfer may make.
#[derive(Debug, Default)]
struct Pauses {
    left: Duration,
    /// How much longer earlier pauses were.
    owed: Duration,
}

impl Pauses {
    /// The transfer worked for `worked`, which allows it further pauses.
    fn earn(&mut self, worked: Duration) {
        let earned = worked / (PAUSED_ONE_IN - 1);
        self.left = (self.left + earned.saturating_sub(self.owed)).min(GIVE_WAY_MAX);
        self.owed = self.owed.saturating_sub(earned);
    }

    /// How long the next pause may be; [`None`]: it would be too short.
    fn next(&self) -> Option<Duration> {
        (self.left >= PAUSE_MIN).then_some(self.left)
    }

    fn spend(&mut self, paused: Duration) {
        self.owed += paused.saturating_sub(self.left);
        self.left = self.left.saturating_sub(paused);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt as _;

    use super::*;

    /// A large blob of which everything is there at once.
    fn large(precedence: &Precedence) -> ByteStream {
        let parts = stream::repeat_with(|| Ok(Bytes::from_static(b"x")));
        giving_way(parts.boxed(), precedence.clone())
    }

    #[tokio::test]
    async fn a_large_blob_waits_until_the_small_images_are_copied() {
        let precedence = Precedence::default();
        let mut bytes = large(&precedence);
        // It earns pauses of 20 ms.
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert!(bytes.next().now_or_never().is_some(), "nothing else is copied");
        assert_eq!(precedence.gave_way(), Duration::ZERO);
        let (first, second) = (precedence.begin(), precedence.begin());
        let mut next = Box::pin(bytes.next());
        assert!(next.as_mut().now_or_never().is_none());
        drop(first);
        assert!(next.as_mut().now_or_never().is_none());
        drop(second);
        assert!(next.now_or_never().is_some());
        assert!(precedence.gave_way() > Duration::ZERO);
    }

    #[test]
    fn a_small_image_that_lasts_holds_no_large_blob_up_for_long() {
        let precedence = Precedence::default();
        let _small = precedence.begin();
        assert!(precedence.time_to_give() > Duration::ZERO);
        precedence.small().began = Instant::now().checked_sub(GIVE_WAY_MAX);
        assert_eq!(precedence.time_to_give(), Duration::ZERO);
        let _next = precedence.begin();
        assert!(precedence.time_to_give() > Duration::ZERO);
    }

    #[test]
    fn large_blobs_pause_for_a_quarter_of_their_time_at_most() {
        let (mut pauses, mut paused) = (Pauses::default(), Duration::ZERO);
        let worked = Duration::from_micros(500);
        for _ in 0..10_000 {
            pauses.earn(worked);
            if let Some(longest) = pauses.next() {
                // The timer is late.
                let pause = longest + Duration::from_millis(2);
                paused += pause;
                pauses.spend(pause);
            }
        }
        let limit = 10_000 * worked / 3 + PAUSE_MIN;
        assert!(paused <= limit && paused > limit * 9 / 10, "{paused:?} of {limit:?}");
        pauses.earn(Duration::from_hours(1));
        assert_eq!(pauses.left, GIVE_WAY_MAX, "time without small images is not saved up");
    }
}
