//! The operator of an operation: the person, and the process among those of all machines.

use std::sync::Arc;
use std::time::Duration;

use transship_copy::SystemClock;
use transship_engine::failover::{Assess, Switchover};
use transship_engine::names::Patience;

use super::group::OpenedGroup;
use crate::failure::Failure;
use transship_oci::Result;

/// Writes that began before the fence are waited for as long as a slot counts, and a minute more.
const DRAIN: Patience = Patience {
    times: 16 * 60 * 5,
    pause: Duration::from_millis(200),
};

/// What makes operations on the group. The slots of processes that have ended are removed if no process works in the data folder.
pub(super) async fn switchover(opened: &OpenedGroup, assess: Arc<dyn Assess>) -> Result<Switchover, Failure> {
    let failovers = opened.opened.ledger.failovers.clone();
    if let Some(_idle) = opened.opened.idle()? {
        failovers.end_slots(&opened.group.name).await?;
    }
    Ok(Switchover {
        failovers,
        zones: Arc::new(opened.zones.clone()),
        assess,
        clock: Arc::new(SystemClock),
        by: operator(),
        process: process(),
        has_ended,
        patience: Patience::default(),
        drain: DRAIN,
    })
}

/// The person or program at this machine, for the records: `user@host`.
fn operator() -> String {
    let user = std::env::var("USER").ok().filter(|user| !user.is_empty());
    format!("{}@{}", user.as_deref().unwrap_or("unknown"), host())
}

/// This process among those of all machines.
fn process() -> String {
    format!("{} {}", host(), std::process::id())
}

/// True if `process` was one of this machine and has ended.
fn has_ended(process: &str) -> bool {
    let Some((there, id)) = process.rsplit_once(' ') else {
        return false;
    };
    let id = id.parse().ok().and_then(rustix::process::Pid::from_raw);
    let is_gone = |id| rustix::process::test_kill_process(id) == Err(rustix::io::Errno::SRCH);
    there == host() && id.is_some_and(is_gone)
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_of_this_machine_is_known_to_have_ended() {
        assert!(!has_ended(&process()));
        assert!(has_ended(&format!("{} {}", host(), i32::MAX)));
        assert!(!has_ended(&format!("{}x {}", host(), i32::MAX)));
        assert!(!has_ended("nothing"));
    }
}
