//! How long a task is tried, and how long it waits between.

use std::time::Duration;

use transship_copy::Slot;

use crate::{Replicator, Task, Trigger};

/// How long after its event a source tag may still not be what the event said. Distribution tells of a manifest before
/// it writes the tag (2.8.2, `PutManifest`), Harbor has been seen to (goharbor/harbor 14245).
const SETTLING: Duration = Duration::from_secs(10);

/// So many looks are always too early: the age of an event is told by two clocks, and the sender's may be minutes behind.
const LOOKS_EARLY: u32 = 3;
/// Later ones never are: it may be minutes ahead, too.
const LOOKS_LATE: u32 = 12;

/// No task comes again sooner.
pub(crate) const SHORTEST: Duration = Duration::from_secs(1);

/// How long a task that may still succeed is tried.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// A task older than this, that has been tried at least `attempts` times, ends with the code of its last attempt.
    pub age: Duration,
    /// See `age`.
    pub attempts: u32,
    /// The longest wait between two attempts.
    pub max_delay: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            age: Duration::from_hours(24),
            attempts: 10,
            max_delay: Duration::from_mins(5),
        }
    }
}

impl Patience {
    /// The wait after try number `tries`. Who is told how long to wait waits so long, not longer for having been told
    /// before.
    pub(crate) fn delay(&self, tries: u32, id: &str, told: Option<Duration>) -> Duration {
        match told {
            Some(Duration::ZERO) => Duration::ZERO,
            Some(told) => told.max(SHORTEST),
            None => backoff(tries, id).min(self.max_delay),
        }
    }
}

impl Replicator {
    /// True for an event so young that the source may be behind it.
    pub(crate) fn is_settling(&self, task: &Task, tries: u32) -> bool {
        task.trigger == Trigger::Event && self.is_early(task, tries, SETTLING)
    }

    /// True if what may be `behind` its event by so long may be so now.
    pub(crate) fn is_early(&self, task: &Task, tries: u32, behind: Duration) -> bool {
        tries <= LOOKS_EARLY || tries <= LOOKS_LATE && self.age(task) < behind
    }

    pub(crate) fn is_out_of_patience(&self, task: &Task, attempt: u32) -> bool {
        attempt >= self.patience.attempts && self.age(task) >= self.patience.age
    }

    fn age(&self, task: &Task) -> Duration {
        Duration::try_from(self.now().duration_since(task.created)).unwrap_or_default()
    }
}

/// How often the way of this message was tried, which is what its waits grow with. Where there are slots a wait is a new
/// message, and one that came twice goes two ways: their attempts count together, and each alone would wait too long.
pub(crate) fn tries(task: &Task, attempt: u32, slot: Option<Slot>) -> u32 {
    slot.map_or(attempt, |_| attempt.min(task.hops.saturating_add(1)))
}

/// 1, 2, 4 … seconds, up to a quarter more by the task's own id, so that tasks that failed together do not come together.
fn backoff(attempt: u32, id: &str) -> Duration {
    let base = Duration::from_secs(1 << attempt.saturating_sub(1).min(12));
    let spread = u32::from(
        id.bytes()
            .fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)),
    );
    base + base * spread / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_differ_by_task() {
        assert!(backoff(1, "a") >= Duration::from_secs(1) && backoff(1, "a") < Duration::from_millis(1300));
        assert!(backoff(5, "a") > backoff(4, "a"));
        assert_ne!(backoff(3, "t-1"), backoff(3, "t-2"));
        assert!(backoff(u32::MAX, "a") < Duration::from_hours(2));
    }
}
