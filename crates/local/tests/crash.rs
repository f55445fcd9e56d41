//! kill -9 in the middle of sends: what was acknowledged is there when the data folder is opened again.
//!
//! The child is this same test binary, told by an environment variable to be the one that is killed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use transship_engine::{Envelope, Job, Outgoing, TaskQueue as _, TaskReceiver as _};
use transship_local::{DataLock, Database, SqliteQueue};
use transship_testkit::suites::copy_task;

const FOLDER: &str = "TRANSSHIP_CRASH_TEST_FOLDER";
const FIRST: &str = "TRANSSHIP_CRASH_TEST_FIRST";

/// How many acknowledgements the parent waits for before it kills.
const ACKNOWLEDGED: usize = 15;

#[tokio::test]
#[ignore = "the child of acknowledged_sends_survive_kill_9"]
async fn child_that_sends_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let first: u32 = std::env::var(FIRST).unwrap().parse().unwrap();
    let _lock = DataLock::acquire(Path::new(&folder)).unwrap();
    let queue = SqliteQueue::new(Database::open(Path::new(&folder)).unwrap());
    for number in (first..).step_by(2) {
        queue
            .send(&[Outgoing::now(copy_task(number)), Outgoing::now(copy_task(number + 1))])
            .await
            .unwrap();
        // A message under way when the process dies is not lost either.
        queue.receive(1, Duration::from_hours(1)).await.unwrap();
        let mut output = std::io::stdout().lock();
        writeln!(output, "sent {number}").unwrap();
        output.flush().unwrap();
    }
}

/// Runs a child until it has acknowledged enough, kills it, and returns what it acknowledged.
fn run_and_kill(folder: &Path, first: u32) -> Vec<u32> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "child_that_sends_until_it_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let sent = |line: std::io::Result<String>| line.ok()?.strip_prefix("sent ")?.parse().ok();
    let mut acknowledged: Vec<u32> = lines.by_ref().filter_map(sent).take(ACKNOWLEDGED).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    acknowledged.extend(lines.filter_map(sent));
    assert!(acknowledged.len() >= ACKNOWLEDGED, "the child died by itself");
    acknowledged
}

#[tokio::test]
async fn acknowledged_sends_survive_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = BTreeSet::new();
    for round in 0..5 {
        for number in run_and_kill(folder.path(), round * 1_000_000) {
            expected.insert(copy_task(number).id);
            expected.insert(copy_task(number + 1).id);
        }
    }
    let _lock = DataLock::acquire(folder.path()).unwrap();
    let queue = SqliteQueue::new(Database::open(folder.path()).unwrap());
    assert!(queue.release_all().await.unwrap() > 0);
    let mut found = BTreeSet::new();
    loop {
        let received = queue.receive(100, Duration::from_hours(1)).await.unwrap();
        if received.is_empty() {
            break;
        }
        for delivery in received {
            let Job::Copy(task) = Envelope::parse(&delivery.body).unwrap().job else {
                panic!("not a copy")
            };
            assert!(found.insert(task.id), "a message is there twice");
            queue.complete(&delivery.receipt).await.unwrap();
        }
    }
    assert!(found.is_superset(&expected), "an acknowledged send is lost");
    assert_eq!(queue.depth().await.unwrap(), 0);
}
