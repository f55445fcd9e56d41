//! Waiting for something that another process does: the only place in these tests that sleeps.

use std::time::{Duration, Instant};

/// How often a condition is looked at again.
const STEP: Duration = Duration::from_millis(50);

/// Calls `attempt` until it is `Ok`, or until `timeout` has passed; then the last reason.
pub fn until<T>(timeout: Duration, mut attempt: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let end = Instant::now() + timeout;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(reason) if Instant::now() >= end => {
                return Err(format!("not within {} s: {reason}", timeout.as_secs()));
            }
            Err(_) => pause(),
        }
    }
}

/// [`until`] for a condition that is only true or false.
pub fn until_true(timeout: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Result<(), String> {
    until(timeout, || if condition() { Ok(()) } else { Err(what.to_owned()) })
}

/// One step between two looks.
pub fn pause() {
    std::thread::sleep(STEP);
}
