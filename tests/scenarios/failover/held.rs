//! A worker in the middle of its write.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

use std::sync::atomic::{AtomicBool, Ordering};

use transship_embedded_registry::faults::{Action, Faults, RequestHead};
use transship_tests::failover::stage::PATIENCE;
use transship_tests::wait;

/// Holds the manifest up that is put under the tag `v1`, and reports that it is held.
#[derive(Debug, Default)]
pub(crate) struct HoldTag(AtomicBool);

impl Faults for HoldTag {
    fn action(&self, request: &RequestHead<'_>) -> Option<Action> {
        if request.method != "PUT" || !request.path.ends_with("/manifests/v1") {
            return None;
        }
        self.0.store(true, Ordering::SeqCst);
        Some(Action::Delay { delay_ms: 600_000 })
    }
}

impl HoldTag {
    /// Waits until the tag is held up.
    pub(crate) fn await_held(&self) {
        let is_held = || self.0.load(Ordering::SeqCst);
        wait::until_true(PATIENCE, "the tag is not put", is_held).unwrap();
    }
}
