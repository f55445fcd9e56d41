//! Attempts of a command at one image, and the waits between them. They are short, because a user waits at a terminal.
//!
//! Each request has its own retries. After they are used up, the whole image is copied again; blobs that an earlier attempt
//! copied are already there.

use std::time::Duration;

use transship_oci::{Backoff, Persistence};

/// Maximum number of attempts.
const ATTEMPTS_MAX: u32 = 3;
/// The waits between them. A registry that asks for more than the longest ends the attempts: the user repeats the command.
const BACKOFF: Backoff = Backoff::doubling(Duration::from_millis(500), Duration::from_mins(1));

/// The waits between the attempts at one image.
#[derive(Debug)]
pub(crate) struct Waits {
    made: u32,
}

impl Waits {
    /// The waits of an image before its first attempt.
    pub(crate) const fn new() -> Self {
        Self { made: 1 }
    }

    /// The wait after an attempt that ended with an error of this persistence; [`None`] after the last attempt.
    pub(crate) fn next(&mut self, persistence: Persistence) -> Option<Duration> {
        let Persistence::Temporary(told) = persistence else {
            return None;
        };
        if self.made == ATTEMPTS_MAX {
            return None;
        }
        let wait = BACKOFF.wait(self.made - 1);
        self.made += 1;
        Some(wait.max(told.unwrap_or_default())).filter(|wait| *wait <= BACKOFF.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(persistence: Persistence) -> Vec<u128> {
        let mut waits = Waits::new();
        std::iter::from_fn(|| waits.next(persistence).map(|wait| wait.as_millis())).collect()
    }

    #[test]
    fn what_may_pass_is_tried_three_times_with_growing_waits() {
        assert_eq!(waits(Persistence::Temporary(None)), [500, 1000]);
    }

    #[test]
    fn who_says_how_long_is_believed_within_reason() {
        let told = |seconds| waits(Persistence::Temporary(Some(Duration::from_secs(seconds))));
        assert_eq!(told(0), [500, 1000]);
        assert_eq!(told(7), [7000, 7000]);
        assert_eq!(told(3600), [0; 0]);
    }

    #[test]
    fn what_does_not_pass_is_tried_once() {
        assert_eq!(waits(Persistence::Permanent), [0; 0]);
        assert_eq!(waits(Persistence::Persistent), [0; 0]);
    }
}
