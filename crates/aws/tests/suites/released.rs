//! A table that the previous release wrote: its tasks are listed, finished and counted as before.

use std::sync::Arc;

use transship_engine::ledger::{By, ExecutionQuery, Hints, History, Locations, Replicas, TaskQuery};
use transship_engine::{Begin, ExecutionState, Ledger, TaskState};
use transship_testkit::suites::{at, ending, execution, task};

use crate::calls::{outcome, replica};
use crate::stack::Stack;

#[tokio::test]
async fn what_the_previous_release_wrote_is_understood() {
    let stack = Stack::start().await;
    let ledger = Arc::new(stack.ledger().await);
    let released: Arc<dyn Ledger> = Arc::clone(&ledger) as _;
    let history: Arc<dyn History> = Arc::clone(&ledger) as _;

    released
        .record(&execution(1), &[task(1), task(2), task(3)])
        .await
        .unwrap();
    for number in 1..=2 {
        released.begin(&task(number), at(5)).await.unwrap();
    }
    let left = [replica(1)];
    released
        .finish(&task(1), &outcome(TaskState::Succeeded), &left)
        .await
        .unwrap();
    let layer = [left[0].digest.clone()];
    released
        .locations_add("r.example", &layer, &"copy/app".parse().unwrap())
        .await
        .unwrap();

    let tasks = history
        .tasks(&TaskQuery::new(By::Newest), None, 10)
        .await
        .unwrap()
        .items;
    assert_eq!(tasks.len(), 3);
    assert!(tasks.iter().all(|task| task.source.starts_with("hangzhou/core/app:v")));
    let execution = async || history.execution("execution-1").await.unwrap().unwrap();
    let found = execution().await;
    assert_eq!((found.state, found.repositories), (ExecutionState::Running, 1));
    assert!((found.success_ratio - 1.0 / 3.0).abs() < 1e-9);

    // Work goes on. The execution is not counted, so its totals stay those of its tasks.
    let untouched = history.untouched("hangzhou", at(100), 10).await.unwrap();
    assert_eq!(untouched.len(), 2);
    for entry in &untouched {
        let job = entry.envelope().unwrap().job;
        assert_eq!(job.task().unwrap().id, entry.id);
        assert!(matches!(history.begin(entry, at(6)).await.unwrap(), Begin::Attempt(_)));
        let end = ending(TaskState::Succeeded, 10);
        assert!(history.finish(entry, &end, &[], "worker").await.unwrap());
    }
    let found = execution().await;
    assert_eq!(
        (found.state, found.bytes, found.duration_ms),
        (ExecutionState::Succeeded, 2400, Some(9000))
    );
    let page = history.executions(&ExecutionQuery::default(), None, 10).await.unwrap();
    assert_eq!(page.items, [found]);

    // A task that joins an execution of the previous release.
    let mut late = untouched[0].clone();
    late.id = "late".to_owned();
    history.record(std::slice::from_ref(&late)).await.unwrap();
    assert_eq!(execution().await.state, ExecutionState::Running);
    late.id = "later".to_owned();
    history.begin(&late, at(20)).await.unwrap();
    assert!((execution().await.success_ratio - 3.0 / 5.0).abs() < 1e-9);

    let replicas: Arc<dyn Replicas> = Arc::clone(&ledger) as _;
    let known = replicas.get(&left[0].destination).await.unwrap().unwrap();
    assert_eq!(known.digest, left[0].digest);
    let locations = Locations::new(ledger as Arc<dyn Hints>);
    let found = locations.find("r.example", &layer, at(0)).await.unwrap();
    assert_eq!(found[&layer[0]], ["copy/app".parse().unwrap()]);
}
