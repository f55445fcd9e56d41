//! Sending again what the SDK leaves to its user: parts that were not processed, and what met a transaction.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use transship_oci::{Backoff, Result};

use crate::error::AwsError;

/// How often what was not processed, or was in another's way, is sent again.
const RETRIES_MAX: u32 = 8;
/// The longest waits before that; each is shortened by chance.
const BACKOFF: Backoff = Backoff::doubling(Duration::from_millis(25), Duration::from_secs(10));
/// What a request is answered that met a transaction, or a throttle within one. The SDK leaves it to its user.
const PASSING: [&str; 5] = [
    "TransactionConflictException",
    "TransactionConflict",
    "ThrottlingError",
    "ProvisionedThroughputExceeded",
    "Unprocessed",
];

/// True if it passes when it is sent again.
pub(super) fn is_passing(error: &AwsError) -> bool {
    PASSING.contains(&error.code.as_str())
}

/// How often something was sent again.
#[derive(Default)]
pub(super) struct Repeats(u32);

impl Repeats {
    /// Waits, or says that it was often enough.
    pub(super) async fn next(&mut self, table: &str, operation: &str, error: AwsError) -> Result<()> {
        if self.0 >= RETRIES_MAX {
            return Err(error.of_table(table, operation));
        }
        let longest = u64::try_from(BACKOFF.wait(self.0).as_millis()).unwrap_or(u64::MAX);
        // Requests that were in conflict must not be in conflict again.
        tokio::time::sleep(Duration::from_millis(chance() % longest + 1)).await;
        self.0 += 1;
        Ok(())
    }
}

/// A random number. `RandomState` is the standard library's only source of randomness.
pub(super) fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}
