//! The operator of an operation: the person, and the process among those of all machines.

use std::sync::Arc;
use std::time::Duration;

use transship_copy::SystemClock;
use transship_engine::failover::{Assess, Switchover};
use transship_engine::names::Patience;

use super::group::OpenedGroup;
use crate::failure::Failure;
use transship_oci::Result;

/// Where a Unix system names its users.
const USERS: &str = "/etc/passwd";
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
pub(super) fn operator() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|user| !user.is_empty());
    // Timers and containers often set neither.
    let user = variable("USER").or_else(|| variable("LOGNAME")).unwrap_or_else(|| {
        let users = std::fs::read_to_string(USERS).unwrap_or_default();
        user_of(&users, rustix::process::getuid().as_raw())
    });
    format!("{user}@{}", host())
}

/// The name of a user id in a file such as `/etc/passwd`, or the number if it has none. Source: passwd(5).
fn user_of(users: &str, id: u32) -> String {
    let id = id.to_string();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, found) = (fields.next()?, fields.next()?, fields.next()?);
        (found == id && !name.is_empty()).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("uid-{id}"))
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
    fn a_user_without_a_variable_is_known_by_the_system() {
        let users = "root:x:0:0:root:/root:/bin/bash\n:x:7::\nops:x:1000:1000::/home/ops:/bin/sh\n";
        assert_eq!(user_of(users, 0), "root");
        assert_eq!(user_of(users, 1000), "ops");
        assert_eq!(user_of(users, 7), "uid-7");
        assert_eq!(user_of("", 65_532), "uid-65532");
    }

    #[test]
    fn only_a_process_of_this_machine_is_known_to_have_ended() {
        assert!(!has_ended(&process()));
        assert!(has_ended(&format!("{} {}", host(), i32::MAX)));
        assert!(!has_ended(&format!("{}x {}", host(), i32::MAX)));
        assert!(!has_ended("nothing"));
    }
}
