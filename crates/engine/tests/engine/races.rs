//! Two runs, a cancel and a redrive at the same moment as the workers: in any order, each task and execution ends once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use transship_engine::ledger::{Cancels, DeleteGrants};
use transship_engine::operations::{Cancel, Redrive};
use transship_engine::{ExecutionState, Narrow, TaskState};
use transship_testkit::images;

use crate::fixture::{Fixture, name, tag};
use crate::runs::{tags_written, try_start};

const SEEDS: u64 = 40;
const TAGS: usize = 6;

/// The next number of a sequence (splitmix64).
fn next(state: &AtomicU64) -> u64 {
    let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

async fn pause(random: &AtomicU64, turns_max: u64) {
    for _ in 0..next(random) % turns_max {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn runs_a_cancel_and_a_redrive_at_once_end_once_each() {
    for seed in 0..SEEDS {
        race(seed).await;
    }
}

async fn race(seed: u64) {
    let fixture = Fixture::new().await;
    for number in 0..TAGS {
        let sample = images::image(number as u64, &[100]);
        sample.seed_into(&fixture.a, &name("core/app"), &tag(&format!("v{number}")));
    }
    let random = Arc::new(AtomicU64::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d)));
    let turns = Arc::clone(&random);
    // Every call of the ledger waits for a number of turns of its own.
    fixture.ledger.before(move |_, _| {
        let turns = Arc::clone(&turns);
        Box::pin(async move {
            pause(&turns, 6).await;
            Ok(())
        })
    });
    let cancel = Cancel {
        history: Arc::clone(&fixture.ledger) as _,
        cancels: Cancels::new(Arc::clone(&fixture.ledger) as _),
        clock: Arc::new(fixture.clock.clone()),
        is_idle: false,
    };
    let redrive = Redrive {
        history: Arc::clone(&fixture.ledger) as _,
        cancels: Cancels::new(Arc::clone(&fixture.ledger) as _),
        grants: DeleteGrants::new(Arc::clone(&fixture.ledger) as _),
        queue: Arc::clone(&fixture.queue) as _,
        clock: Arc::new(fixture.clock.clone()),
    };
    let first = try_start(&fixture, Narrow::default()).await.unwrap().execution;
    let second = async {
        pause(&random, 300).await;
        // It joins the active run, or begins one of its own if that has ended.
        try_start(&fixture, Narrow::default()).await.unwrap();
    };
    let stop = async {
        pause(&random, 300).await;
        cancel.run(&first).await.unwrap().unwrap();
    };
    let again = async {
        pause(&random, 300).await;
        redrive.run(Some(&first), 0).await.unwrap();
        pause(&random, 100).await;
        redrive.run(Some(&first), 0).await.unwrap();
    };
    tokio::join!(second, stop, again, fixture.drain());
    fixture.drain().await;
    assert_at_rest(&fixture, seed).await;
    // What was cancelled is continued, and everything arrives once.
    fixture.clock.advance(Duration::from_secs(1));
    redrive.run(None, 0).await.unwrap();
    fixture.drain().await;
    fixture.clock.advance(Duration::from_secs(1));
    let last = try_start(&fixture, Narrow::default()).await.unwrap();
    assert!(!last.is_joined, "no run is active (seed {seed})");
    fixture.drain().await;
    assert_at_rest(&fixture, seed).await;
    for number in 0..TAGS {
        let reference = tag(&format!("v{number}"));
        let found = fixture.b.digest(&name("copy/app"), &reference);
        assert_eq!(found, fixture.a.digest(&name("core/app"), &reference), "seed {seed}");
    }
    assert_eq!(tags_written(&fixture.b), TAGS, "seed {seed}");
}

/// Every task and every execution has ended, with sums that agree, and no lease is held.
async fn assert_at_rest(fixture: &Fixture, seed: u64) {
    let tasks = fixture.tasks().await;
    let is_terminal = |state: TaskState| !matches!(state, TaskState::Queued | TaskState::Running | TaskState::Waiting);
    let open: Vec<_> = tasks.iter().filter(|task| !is_terminal(task.state)).collect();
    assert!(open.is_empty(), "seed {seed}: {open:?}");
    for execution in fixture.executions().await {
        let is_open = matches!(execution.state, ExecutionState::Running | ExecutionState::Waiting);
        assert!(!is_open, "seed {seed}: {execution:?}");
        let own = |states: &[TaskState]| {
            let of_it = tasks.iter().filter(|task| task.execution == execution.id);
            of_it.filter(|task| states.contains(&task.state)).count() as u64
        };
        let well = [
            TaskState::Succeeded,
            TaskState::Unchanged,
            TaskState::Kept,
            TaskState::Skipped,
        ];
        let counts = &execution.tasks;
        assert_eq!(
            (counts.succeeded, counts.cancelled, counts.failed),
            (own(&well), own(&[TaskState::Cancelled]), own(&[TaskState::Failed])),
            "seed {seed}: each end is counted once: {execution:?}"
        );
    }
    for walk in tasks.iter().filter(|task| task.destination == "b") {
        let lease = format!("run {}", walk.id);
        assert!(fixture.take_lease(&lease, Duration::from_secs(1)).await, "seed {seed}");
    }
}
