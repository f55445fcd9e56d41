//! `transship redrive`: tasks that failed or were cancelled, begun anew.

use std::sync::Arc;

use clap::Args;
use transship_copy::SystemClock;
use transship_engine::{Redrive, Redriven, TaskFilter};

use super::ledger::{Queue, Store};
use crate::failure::{Exit, Failure};
use crate::output::Form;

/// The arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Each gets a new task in a new execution; what was redriven once is left out, so a second time changes nothing.\nA serve that is at work takes them up within seconds.\n\nExamples:\n  transship redrive --data /var/lib/transship\n  transship redrive e-3f0a9c1d2b4e5f60718a --data /var/lib/transship --json"
)]
pub(crate) struct Arguments {
    /// Only those of this execution
    execution: Option<String>,
    #[command(flatten)]
    store: Store,
    #[command(flatten)]
    queue: Queue,
    /// At most so many, the newest; 0 is all
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    limit: usize,
}

/// Begins them anew.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    let (ledger, queue) = arguments.store.ledger_and_queue(&arguments.queue).await?;
    let execution = arguments.execution.as_deref();
    if let Some(execution) = execution {
        let any = TaskFilter {
            execution: Some(execution.to_owned()),
            state: None,
            limit: 1,
        };
        if ledger.tasks(&any).await?.is_empty() {
            let sentence = format!("there is no execution {execution:?} here: `transship executions` lists them");
            return Err(Failure::new(Exit::Input, "UNKNOWN_EXECUTION", sentence));
        }
    }
    let redrive = Redrive {
        ledger,
        queue,
        clock: Arc::new(SystemClock),
    };
    let redriven = redrive.run(execution, arguments.limit).await?;
    form.print(&redriven, text)
}

fn text(redriven: &Redriven) -> String {
    if redriven.redriven == 0 {
        return "nothing to redrive: no task failed that was not redriven before".to_owned();
    }
    let tasks = if redriven.redriven == 1 { "task" } else { "tasks" };
    format!(
        "{} {tasks} begun anew in {}",
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
        assert_eq!(text(&redriven), "2 tasks begun anew in e-1, e-2");
        assert!(text(&Redriven::default()).starts_with("nothing to redrive"));
        let json = serde_json::to_string(&redriven).unwrap();
        assert_eq!(json, r#"{"redriven":2,"executions":["e-1","e-2"]}"#);
    }
}
