//! The sweep: what was missed is found by looking, and becomes tasks. It never deletes.

use transship_copy::Slot;

use crate::{Disposition, Replicator, Result, Sweep};

impl Replicator {
    /// One step of a sweep.
    pub(crate) async fn sweep(&self, _sweep: &Sweep, _slot: Option<Slot>) -> Result<Disposition> {
        Ok(Disposition::Done)
    }
}
