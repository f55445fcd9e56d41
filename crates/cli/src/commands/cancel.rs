//! `transship cancel`: stops an execution.

use std::sync::Arc;

use clap::Args;
use transship_copy::SystemClock;
use transship_engine::operations::{Cancel, Cancelled};

use super::ledger::{Queue, Store};
use super::redrive::unknown_execution;
use crate::failure::Failure;
use crate::output::Form;
use transship_oci::Result;

/// Arguments of `transship cancel`.
#[derive(Debug, Args)]
#[command(
    after_help = "Tasks that have not begun end as cancelled at once. Tasks that are being worked on stop within seconds, and write no tag.\nA cancelled execution is continued by `transship redrive EXECUTION`. An execution that has ended is not changed.\n\nExamples:\n  transship cancel e-3f0a9c1d2b4e5f60718a --data /var/lib/transship\n  transship cancel e-3f0a9c1d2b4e5f60718a --table transship-Table-1ABC --json"
)]
pub(crate) struct Arguments {
    /// The execution to stop
    execution: String,
    #[command(flatten)]
    store: Store,
    /// Not needed: accepted so that the options of a stack are the same for every command
    #[command(flatten)]
    queue: Queue,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    let _ = &arguments.queue;
    let opened = arguments.store.cancellable().await?;
    let cancel = Cancel {
        history: opened.history,
        cancels: opened.cancels,
        clock: Arc::new(SystemClock),
        is_idle: opened.idle.is_some(),
    };
    match cancel.run(&arguments.execution).await? {
        Some(cancelled) => form.print(&cancelled, text),
        None => Err(unknown_execution(&arguments.execution)),
    }
}

fn text(cancelled: &Cancelled) -> String {
    let Cancelled {
        execution,
        state,
        cancelled,
        running,
    } = cancelled;
    match (cancelled, running) {
        (0, 0) => format!("{execution} has ended: {state}"),
        (ended, 0) => format!("{execution} is {state}: {} cancelled", tasks(*ended)),
        (ended, running) => format!(
            "{} of {execution} cancelled; still to stop, within seconds: {}",
            tasks(*ended),
            tasks(*running)
        ),
    }
}

fn tasks(number: usize) -> String {
    match number {
        1 => "1 task".to_owned(),
        number => format!("{number} tasks"),
    }
}

#[cfg(test)]
mod tests {
    use transship_engine::ExecutionState;

    use super::*;

    #[test]
    fn a_cancel_is_reported_in_both_forms() {
        let mut cancelled = Cancelled {
            execution: "e-1".into(),
            state: ExecutionState::Running,
            cancelled: 2,
            running: 1,
        };
        assert_eq!(
            text(&cancelled),
            "2 tasks of e-1 cancelled; still to stop, within seconds: 1 task"
        );
        let json = serde_json::to_string(&cancelled).unwrap();
        assert_eq!(
            json,
            r#"{"execution":"e-1","state":"running","cancelled":2,"running":1}"#
        );
        cancelled.running = 0;
        cancelled.state = ExecutionState::Cancelled;
        assert_eq!(text(&cancelled), "e-1 is cancelled: 2 tasks cancelled");
        cancelled.cancelled = 0;
        assert_eq!(text(&cancelled), "e-1 has ended: cancelled");
    }
}
