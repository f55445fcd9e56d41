//! `transship resume`: ends the pause of a host.

use std::sync::Arc;

use clap::Args;
use transship_copy::SystemClock;
use transship_engine::operations::{Resume, Resumed};

use super::ledger::{Store, shown_time};
use crate::failure::Failure;
use crate::output::Form;
use transship_oci::Result;

/// Arguments of `transship resume`.
#[derive(Debug, Args)]
#[command(
    after_help = "A registry that answers 429 or 503 with Retry-After pauses its host for all workers, up to a day. `transship tasks --state waiting` names the host and the time.\nA running serve begins the waiting tasks within seconds, a deployed stack within 15 minutes.\n\nExamples:\n  transship resume registry-1.docker.io --data /var/lib/transship\n  transship resume registry.example:5000 --table transship-Table-1ABC --json"
)]
pub(crate) struct Arguments {
    /// The host as tasks and logs name it, with its port if it has one
    host: String,
    #[command(flatten)]
    store: Store,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    let (pauses, queue) = arguments.store.pauses_and_queue().await?;
    let resume = Resume {
        pauses,
        queue,
        clock: Arc::new(SystemClock),
    };
    let resumed = resume.run(&arguments.host.to_ascii_lowercase()).await?;
    form.print(&resumed, text)
}

fn text(resumed: &Resumed) -> String {
    let host = &resumed.host;
    let state = match resumed.paused_until {
        Some(until) => format!("{host} is no longer paused (it was until {})", shown_time(until)),
        None => format!("{host} is not paused"),
    };
    match resumed.woken {
        Some(1) => format!("{state}; 1 waiting task begins now"),
        Some(woken) if woken > 0 => format!("{state}; {woken} waiting tasks begin now"),
        None if resumed.paused_until.is_some() => format!("{state}; waiting tasks begin within 15 minutes"),
        _ => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resume_is_reported_in_both_forms() {
        let mut resumed = Resumed {
            host: "r.example".into(),
            paused_until: Some(jiff::Timestamp::UNIX_EPOCH),
            woken: Some(2),
        };
        let until = "r.example is no longer paused (it was until 1970-01-01 00:00:00Z)";
        assert_eq!(text(&resumed), format!("{until}; 2 waiting tasks begin now"));
        let json = serde_json::to_string(&resumed).unwrap();
        assert_eq!(
            json,
            r#"{"host":"r.example","paused_until":"1970-01-01T00:00:00Z","woken":2}"#
        );
        resumed.woken = None;
        assert_eq!(
            text(&resumed),
            format!("{until}; waiting tasks begin within 15 minutes")
        );
        resumed.paused_until = None;
        assert_eq!(text(&resumed), "r.example is not paused");
    }
}
