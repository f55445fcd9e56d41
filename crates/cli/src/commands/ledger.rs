//! What the commands share that look at a ledger: the data folder, opened to read.

use std::path::PathBuf;

use clap::Args;
use transship_local::{Database, SqliteLedger};

use crate::failure::{Exit, Failure};

/// Where the ledger is.
#[derive(Debug, Args)]
pub(crate) struct Data {
    /// The data folder that `serve` works in
    #[arg(long, value_name = "DIR", env = "TRANSSHIP_DATA", hide_env_values = true)]
    data: PathBuf,
}

impl Data {
    /// Its ledger, also while `serve` writes it.
    pub(crate) fn ledger(&self) -> Result<SqliteLedger, Failure> {
        let database = Database::open_read_only(&self.data).map_err(|error| Failure::of(Exit::Input, &error))?;
        Ok(SqliteLedger::new(database))
    }
}

/// A time as people read it, to the second.
pub(crate) fn shown_time(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}
