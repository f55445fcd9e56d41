//! The memory of content that is read whole: manifests and lists. Its limits are those of the process.
//!
//! A manifest is small, but it may have 4 MiB, a list 16 MiB, and many are read at the same time. Two budgets limit their sum:
//!
//! - *Reading*: [`reserve`] waits until there is room for a large body. The room is free again when the last copy of the bytes is
//!   dropped. What must hold: a caller that holds a large body does not wait for room for another, otherwise two of them could
//!   wait for each other. A wait that takes too long ends, so that a mistake costs time and nothing else.
//! - *Keeping*: a graph keeps what it read until it is written, if there is room ([`Keeper`]). No caller waits for that: what is
//!   not kept is read again.
//!
//! A parsed manifest takes up to three bytes more for each byte, because its descriptors are short texts.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Bodies of at most this size in bytes are read without a reservation. A manifest of 100 layers has 20 KB.
pub const SMALL_BODY_BYTES: usize = 64 * 1024;
/// All larger bodies that are held at the same time, in bytes. A page of names may be as large.
pub const READING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What one graph keeps, in bytes: manifests with their descriptors.
pub(crate) const GRAPH_KEEPS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What all graphs keep together, in bytes, beside what each may always keep.
const KEEPING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What each graph may always keep, in bytes, so that an ordinary image is never read twice because of others.
const GRAPH_KEEPS_BYTES_MIN: usize = SMALL_BODY_BYTES;
/// The longest wait for room.
const RESERVE_TIMEOUT: Duration = Duration::from_mins(1);

static READING: Semaphore = Semaphore::const_new(READING_BYTES_MAX);
static KEEPING: Semaphore = Semaphore::const_new(KEEPING_BYTES_MAX);

/// Room for a large body.
#[derive(Debug)]
pub struct Reservation(SemaphorePermit<'static>);

/// Waits for room for a body of `bytes` bytes, at most [`READING_BYTES_MAX`]. [`None`] if there is none within a minute.
pub async fn reserve(bytes: usize) -> Option<Reservation> {
    let permits = u32::try_from(bytes.min(READING_BYTES_MAX)).ok()?;
    let permit = tokio::time::timeout(RESERVE_TIMEOUT, READING.acquire_many(permits)).await;
    permit.ok()?.ok().map(Reservation)
}

impl Reservation {
    /// `body` with its room: it is free again when the last copy is dropped. What `body` does not need is free at once.
    #[must_use]
    pub fn holding(mut self, body: Bytes) -> Bytes {
        let excess = self.0.num_permits().saturating_sub(body.len());
        drop(self.0.split(excess));
        Bytes::from_owner(Held { body, _room: self })
    }
}

struct Held {
    body: Bytes,
    _room: Reservation,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// What one graph keeps. Its room is free again when it is dropped.
pub(crate) struct Keeper {
    shared: &'static Semaphore,
    kept_bytes: usize,
    room: Option<SemaphorePermit<'static>>,
}

impl Default for Keeper {
    fn default() -> Self {
        Self::of(&KEEPING)
    }
}

impl Keeper {
    const fn of(shared: &'static Semaphore) -> Self {
        Self {
            shared,
            kept_bytes: 0,
            room: None,
        }
    }

    /// True if the graph may keep `bytes` bytes more. Then they count.
    pub(crate) fn keep(&mut self, bytes: usize) -> bool {
        let kept_bytes = self.kept_bytes.saturating_add(bytes);
        if kept_bytes > GRAPH_KEEPS_BYTES_MAX {
            return false;
        }
        if kept_bytes > GRAPH_KEEPS_BYTES_MIN {
            let room = u32::try_from(bytes)
                .ok()
                .map(|bytes| self.shared.try_acquire_many(bytes));
            let Some(Ok(room)) = room else { return false };
            match &mut self.room {
                Some(own) => own.merge(room),
                own @ None => *own = Some(room),
            }
        }
        self.kept_bytes = kept_bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A budget of a test.
    fn budget(bytes: usize) -> &'static Semaphore {
        Box::leak(Box::new(Semaphore::new(bytes)))
    }

    #[test]
    fn a_graph_keeps_a_stated_number_of_bytes() {
        let mut keeper = Keeper::of(budget(2 * GRAPH_KEEPS_BYTES_MAX));
        let kept = (0..1000).filter(|_| keeper.keep(GRAPH_KEEPS_BYTES_MAX / 10)).count();
        assert_eq!(kept, 10);
        assert!(!keeper.keep(GRAPH_KEEPS_BYTES_MAX));
    }

    #[test]
    fn a_small_graph_keeps_its_manifests_whatever_others_keep() {
        let shared = budget(1 << 20);
        let mut large = Keeper::of(shared);
        assert!(large.keep(1 << 20));
        let mut small = Keeper::of(shared);
        assert!((0..8).all(|_| small.keep(GRAPH_KEEPS_BYTES_MIN / 8)));
        assert!(!small.keep(1), "the shared room is full");
        drop(large);
        assert!(small.keep(1));
        drop(small);
        assert_eq!(shared.available_permits(), 1 << 20);
    }

    #[tokio::test]
    async fn a_body_has_its_room_until_its_last_copy_is_dropped() {
        let room = reserve(READING_BYTES_MAX).await.unwrap();
        let body = room.holding(Bytes::from(vec![7; 1000]));
        assert_eq!(READING.available_permits(), READING_BYTES_MAX - 1000);
        let part = body.slice(10..20);
        drop(body);
        assert_eq!(READING.available_permits(), READING_BYTES_MAX - 1000);
        drop(part);
        assert_eq!(READING.available_permits(), READING_BYTES_MAX);
    }
}
