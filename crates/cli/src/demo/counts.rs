//! Counts what a step of the demo transferred, from the progress of its copies, and shows it as bars on a terminal.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use transship_copy::{BlobEnd, Progress};

use crate::output::Form;
use crate::progress::Shown;
use crate::units;

/// What was transferred.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Moved {
    /// Number of blobs that were sent.
    pub(super) blobs_sent: u64,
    /// Bytes of these blobs.
    pub(super) bytes_sent: u64,
    /// Number of blobs that were already there or were mounted.
    pub(super) blobs_there: u64,
    /// Number of manifests written.
    pub(super) manifests: u64,
}

impl Moved {
    /// The counts as text.
    pub(super) fn told(self) -> String {
        if self == Self::default() {
            return "nothing sent".to_owned();
        }
        let there = match self.blobs_there {
            0 => String::new(),
            there => format!(", {} there already", units::count(there, "blob")),
        };
        let (blobs, manifests) = (
            units::count(self.blobs_sent, "blob"),
            units::count(self.manifests, "manifest"),
        );
        format!(
            "sent {blobs} and {manifests}, {}{there},",
            units::bytes(self.bytes_sent)
        )
    }
}

/// Counts progress and passes it on to the progress output.
pub(super) struct Counts {
    form: Form,
    state: Mutex<State>,
}

struct State {
    moved: Moved,
    shown: Arc<Shown>,
}

impl Counts {
    /// Counts of zero.
    pub(super) fn new(form: Form) -> Self {
        Self {
            form,
            state: Mutex::new(State {
                moved: Moved::default(),
                shown: Arc::new(Shown::suitable(form)),
            }),
        }
    }

    /// Returns what was transferred since the last call, and removes its bars.
    pub(super) fn take(&self) -> Moved {
        let mut state = self.state();
        state.shown.end();
        state.shown = Arc::new(Shown::suitable(self.form));
        std::mem::take(&mut state.moved)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Counts {
    fn step(&self, step: transship_copy::Step<'_>) {
        let mut state = self.state();
        match step {
            transship_copy::Step::BlobEnd {
                size,
                how: BlobEnd::Copied,
                ..
            } => {
                state.moved.blobs_sent += 1;
                state.moved.bytes_sent += size;
            }
            transship_copy::Step::BlobEnd { .. } => state.moved.blobs_there += 1,
            transship_copy::Step::ManifestPut { .. } => state.moved.manifests += 1,
            _ => {}
        }
        let shown = Arc::clone(&state.shown);
        drop(state);
        shown.listener().step(step);
    }
}
