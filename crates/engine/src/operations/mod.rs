//! Operations of operators, called by the command line.

mod cancel;
mod due;
mod lists;
mod new_rules;
mod redrive;
mod replicate;
mod resume;
mod run;
mod watch_sites;

pub use cancel::{Cancel, Cancelled};
pub use due::StartDue;
pub use lists::{
    find_execution, list_entries, list_executions, list_executions_of_repository, list_tasks, list_unresolved,
};
pub use new_rules::NewRules;
pub use redrive::{Redrive, Redriven};
pub(crate) use replicate::REPLICATED;
pub use replicate::Replicate;
pub use resume::{Resume, Resumed};
pub use run::{StartRun, Started};
pub use watch_sites::WatchSites;
