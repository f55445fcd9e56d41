//! Checks of the states of failover groups, of the slots of their writes, and of what operators accepted, which stand on records.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use transship_engine::failover::{GroupState, ImageAtRisk, Phase};
use transship_engine::ledger::{Failovers, Records, Slot};

use super::samples::digest;
use crate::suites::at;

fn state(epoch: u64, writer: &str) -> GroupState {
    GroupState {
        epoch,
        writer: writer.to_owned(),
        phase: Phase::Ready,
        zones: std::iter::empty().collect(),
        operation: None,
        is_rebuilt: false,
        writer_since: None,
    }
}

fn slot(holder: &str, second: i64) -> Slot {
    Slot {
        holder: holder.to_owned(),
        began: at(second),
        expires: at(second) + Duration::from_mins(15),
    }
}

fn images(count: usize) -> Vec<ImageAtRisk> {
    let image = |number: usize| ImageAtRisk {
        repository: format!("core/app-{number:05}").parse().unwrap(),
        tag: "v1".parse().unwrap(),
        source_digest: Some(digest("1")),
        destination_digest: None,
        since: Some(at(5)),
    };
    (0..count).map(image).collect()
}

pub(super) async fn a_group_changes_by_compare_and_set(records: Arc<dyn Records>) {
    let failovers = Failovers::new(records);
    assert_eq!(failovers.get("main").await.unwrap(), None);
    let first = failovers.put("main", None, &state(0, "a")).await.unwrap().unwrap();
    assert_eq!(failovers.put("main", None, &state(9, "c")).await.unwrap(), None);
    let second = failovers.put("main", Some(first), &state(1, "b")).await.unwrap();
    assert!(second.is_some_and(|second| second != first));
    // The operator who read before the other one wrote.
    assert_eq!(failovers.put("main", Some(first), &state(9, "c")).await.unwrap(), None);
    let known = failovers.get("main").await.unwrap().unwrap();
    assert_eq!((known.state, Some(known.version)), (state(1, "b"), second));

    // A group that was never switched follows its document.
    failovers.put("other", None, &state(0, "a")).await.unwrap().unwrap();
    let all = failovers.all().await.unwrap();
    assert_eq!(
        all.into_iter().collect::<Vec<_>>(),
        [("main".to_owned(), state(1, "b"))]
    );
}

pub(super) async fn of_simultaneous_operators_one_wins(records: Arc<dyn Records>) {
    let failovers = Failovers::new(records);
    let version = failovers.put("main", None, &state(0, "a")).await.unwrap();
    let operators = (1..=8).map(|epoch| {
        let failovers = failovers.clone();
        async move { failovers.put("main", version, &state(epoch, "b")).await.unwrap() }
    });
    let written = join_all(operators).await;
    assert_eq!(written.iter().flatten().count(), 1, "{written:?}");
}

pub(super) async fn a_slot_is_seen_until_it_ends(records: Arc<dyn Records>) {
    let failovers = Failovers::new(records);
    let first = failovers.begin_slot("main", &slot("worker-1", 10)).await.unwrap();
    failovers.begin_slot("main", &slot("worker-2", 10)).await.unwrap();
    failovers.begin_slot("other", &slot("worker-1", 10)).await.unwrap();
    // A longer write replaces the slot of its holder, and the end of the replaced one changes nothing.
    let longer = failovers.begin_slot("main", &slot("worker-1", 20)).await.unwrap();
    failovers.end_slot("main", &first).await.unwrap();
    let listed = async |group: &str| {
        let slots = failovers.slots(group).await.unwrap().into_iter();
        slots.map(|slot| slot.slot).collect::<Vec<Slot>>()
    };
    assert_eq!(listed("main").await, [slot("worker-1", 20), slot("worker-2", 10)]);
    failovers.end_slot("main", &longer).await.unwrap();
    assert_eq!(listed("main").await, [slot("worker-2", 10)]);
    assert_eq!(listed("other").await, [slot("worker-1", 10)]);
    failovers.end_slots("main").await.unwrap();
    assert_eq!(listed("main").await, []);
    assert_eq!(listed("other").await, [slot("worker-1", 10)]);
}

/// An operator who overlooks a slot changes DNS during a write.
pub(super) async fn every_slot_is_listed(records: Arc<dyn Records>) {
    let failovers = Failovers::new(records);
    let slots: Vec<Slot> = (0..120)
        .map(|number| slot(&format!("worker-{number:03}"), 10))
        .collect();
    join_all(slots.iter().map(|slot| failovers.begin_slot("main", slot))).await;
    let listed = failovers.slots("main").await.unwrap().into_iter();
    assert_eq!(listed.map(|slot| slot.slot).collect::<Vec<_>>(), slots);
}

pub(super) async fn what_an_operator_accepted_is_kept_by_epoch(records: Arc<dyn Records>) {
    let failovers = Failovers::new(records);
    failovers.accept("main", 1, &images(3)).await.unwrap();
    failovers.accept("main", 2, &images(1200)).await.unwrap();
    assert_eq!(failovers.accepted("main", 2).await.unwrap(), images(1200));
    // The command was repeated, and less is at risk now.
    failovers.accept("main", 2, &images(2)).await.unwrap();
    assert_eq!(failovers.accepted("main", 2).await.unwrap(), images(2));
    assert_eq!(failovers.accepted("main", 1).await.unwrap(), images(3));
    assert_eq!(failovers.accepted("other", 1).await.unwrap(), []);
}
