//! Whether trying again can help: the one question every error of every crate answers.

use std::time::Duration;

/// How an error behaves over time. A worker needs nothing else to choose between ending a task and requeuing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// The same request fails the same way for ever: end the task at once.
    Permanent,
    /// May pass by itself; wait at least this long if the other side said so.
    Temporary(Option<Duration>),
    /// Was temporary, and stayed, or passes when a person acts: everything this owner of retries may try was tried. The next
    /// owner decides.
    Persistent,
}

impl Persistence {
    /// True for [`Persistence::Permanent`].
    pub const fn is_permanent(self) -> bool {
        matches!(self, Self::Permanent)
    }

    /// True for [`Persistence::Temporary`]: who asked may ask again by itself.
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::Temporary(_))
    }

    /// The wait the other side asked for, if any.
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Temporary(after) => after,
            Self::Permanent | Self::Persistent => None,
        }
    }
}
