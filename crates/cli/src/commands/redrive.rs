//! `transship redrive`: retries failed or cancelled tasks.

use std::sync::Arc;

use clap::Args;
use transship_copy::SystemClock;
use transship_engine::operations::{Redrive, Redriven, find_execution};

use super::ledger::{Queue, Store};
use crate::failure::{Exit, Failure};
use crate::output::Form;
use transship_oci::Result;

/// Arguments of `transship redrive`.
#[derive(Debug, Args)]
#[command(
    after_help = "Each failed task gets a new task in a new execution. A task is redriven only once.\nA delete that waits for an operator goes on in its own execution, and only if --code names its code.\nA running serve starts the new tasks within seconds.\n\nExamples:\n  transship redrive --data /var/lib/transship\n  transship redrive e-3f0a9c1d2b4e5f60718a --data /var/lib/transship --json\n  transship redrive --code DELETE_LIMIT --data /var/lib/transship"
)]
pub(crate) struct Arguments {
    /// Limit to this execution
    execution: Option<String>,
    /// Limit to tasks with this code, and release the deletes that wait with it
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    #[command(flatten)]
    store: Store,
    #[command(flatten)]
    queue: Queue,
    /// Maximum number of tasks to redrive, newest first; 0 redrives all
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    limit: usize,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    let parts = arguments.store.parts(&arguments.queue).await?;
    let execution = arguments.execution.as_deref();
    if let Some(execution) = execution
        && find_execution(parts.history.as_ref(), execution).await?.is_none()
    {
        return Err(unknown_execution(execution));
    }
    let redrive = Redrive {
        cancels: parts.cancels(),
        grants: parts.grants(),
        history: parts.history,
        queue: parts.queue,
        clock: Arc::new(SystemClock),
    };
    let code = arguments.code.as_ref().map(|code| code.to_ascii_uppercase());
    let redriven = redrive
        .run_with_code(execution, code.as_deref(), arguments.limit)
        .await?;
    form.print(&redriven, text)
}

/// The ledger has no execution with this id.
pub(super) fn unknown_execution(execution: &str) -> Failure {
    let sentence = format!("the ledger has no execution {execution:?}: run `transship executions` to list them");
    Failure::new(Exit::Input, "UNKNOWN_EXECUTION", sentence)
}

fn text(redriven: &Redriven) -> String {
    if redriven.redriven == 0 {
        return "nothing to redrive: every failed task has been redriven before".to_owned();
    }
    let tasks = if redriven.redriven == 1 { "task" } else { "tasks" };
    format!(
        "{} {tasks} redriven in {}",
        redriven.redriven,
        redriven.executions.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redrive_is_told_in_both_forms() {
        let redriven = Redriven {
            redriven: 2,
            executions: vec!["e-1".into(), "e-2".into()],
        };
        assert_eq!(text(&redriven), "2 tasks redriven in e-1, e-2");
        assert!(text(&Redriven::default()).starts_with("nothing to redrive"));
        let json = serde_json::to_string(&redriven).unwrap();
        assert_eq!(json, r#"{"redriven":2,"executions":["e-1","e-2"]}"#);
    }
}
