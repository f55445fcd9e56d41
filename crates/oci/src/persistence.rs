//! Persistence of errors: whether a retry can succeed.

use std::time::Duration;

/// How long the cause of an error lasts. It determines whether a worker ends a task or requeues it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// The same request always fails in the same way: the task ends at once.
    Permanent,
    /// The cause may disappear by itself; wait at least this long, if the other side asked for it.
    Temporary(Option<Duration>),
    /// The error was temporary and remained after all retries of this owner, or an operator must act. The next owner of retries
    /// decides.
    Persistent,
}

impl Persistence {
    /// True for [`Persistence::Permanent`].
    pub const fn is_permanent(self) -> bool {
        matches!(self, Self::Permanent)
    }

    /// True for [`Persistence::Temporary`], after which the same caller may retry.
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::Temporary(_))
    }

    /// The wait that the other side asked for, if any.
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Temporary(after) => after,
            Self::Permanent | Self::Persistent => None,
        }
    }
}
