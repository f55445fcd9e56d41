//! What a walk expects of the destination, so that it asks little: where tags are missing, the next one probably is, too.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use transship_copy::Presence;

/// The most points. A missing tag gives two, and one that is there takes one, so that misses are likely where a third of the tags
/// is missing.
const POINTS_MAX: u8 = 16;

/// Whether the destination lacks what the walk comes to.
#[derive(Debug)]
pub(crate) struct Misses {
    /// From half of [`POINTS_MAX`] on the next tag is probably missing.
    points: AtomicU8,
    /// The source was asked about a tag. Its answer says how many pulls are left ([`transship_registry::Quota`]), so it is asked before
    /// anything is copied.
    has_asked: AtomicBool,
}

impl Misses {
    /// `are_likely`: before the first tag is compared.
    pub(crate) const fn new(are_likely: bool) -> Self {
        Self {
            points: AtomicU8::new(if are_likely { POINTS_MAX } else { 0 }),
            has_asked: AtomicBool::new(false),
        }
    }

    /// True if the next tag is probably missing.
    pub(super) fn are_likely(&self) -> bool {
        self.points.load(Ordering::Relaxed) >= POINTS_MAX / 2
    }

    /// What is expected of the next tag.
    pub(super) fn presence(&self, is_destination_empty: bool) -> Presence {
        if !self.has_asked.swap(true, Ordering::Relaxed) {
            Presence::Unknown
        } else if is_destination_empty {
            Presence::Absent
        } else if self.are_likely() {
            Presence::Unlikely
        } else {
            Presence::Unknown
        }
    }

    /// A tag was compared.
    pub(super) fn note(&self, is_missing: bool) {
        let count = |points: u8| {
            Some(if is_missing {
                points.saturating_add(2).min(POINTS_MAX)
            } else {
                points.saturating_sub(1)
            })
        };
        // It never refuses.
        let _ = self.points.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// True if misses are likely after many tags, of which one in `every` is missing.
    fn likely_after(misses: &Misses, every: usize) -> bool {
        for number in 0..1000 {
            misses.note(number % every == 0);
        }
        misses.are_likely()
    }

    #[test]
    fn misses_are_likely_where_many_tags_are_missing() {
        for begun in [true, false] {
            let misses = Misses::new(begun);
            assert_eq!(misses.are_likely(), begun);
            assert!(!likely_after(&misses, 5));
            assert!(likely_after(&misses, 2));
            assert!(likely_after(&misses, 1));
            assert!(!likely_after(&misses, usize::MAX));
        }
    }

    #[test]
    fn the_source_is_asked_once_whatever_is_expected() {
        let misses = Misses::new(true);
        assert_eq!(misses.presence(true), Presence::Unknown);
        assert_eq!(misses.presence(true), Presence::Absent);
        assert_eq!(misses.presence(false), Presence::Unlikely);
        assert_eq!(
            Misses {
                has_asked: AtomicBool::new(true),
                ..Misses::new(false)
            }
            .presence(false),
            Presence::Unknown
        );
    }
}
