//! Checks of what incomplete sources wait for.

use std::sync::Arc;

use transship_engine::{Awaited, PendingScan};
use transship_oci::{Algorithm, Digest};

use super::samples::at;

const HERE: &str = "s3://layouts/to b/a+ü%2B/";
const THERE: &str = "s3://layouts/to b/";

fn blob(number: u32) -> Digest {
    Digest::sha256(&number.to_be_bytes())
}

fn blobs(numbers: std::ops::Range<u32>) -> Vec<Digest> {
    numbers.map(blob).collect()
}

/// The job of scan `number`.
fn job(number: u32) -> String {
    format!("job-{number}")
}

/// Scan `task-{number}`, waiting since second `number`.
fn waiting(number: u32, blobs: &[Digest]) -> PendingScan {
    PendingScan {
        id: format!("task-{number}"),
        job: job(number),
        since: at(i64::from(number)),
        blobs: blobs.len(),
    }
}

/// Waits until the thousandth second.
async fn wait_for(awaited: &dyn Awaited, number: u32, place: &str, blobs: &[Digest]) {
    let waiting = waiting(number, blobs);
    awaited.wait_for(&waiting, place, blobs, at(1000)).await.unwrap();
}

/// The jobs that are returned when the blob arrives in the hundredth second.
async fn arrived(awaited: &dyn Awaited, place: &str, blob: &Digest) -> Vec<String> {
    let mut told = awaited.arrived(place, blob, at(100)).await.unwrap();
    told.sort();
    told
}

pub(super) async fn what_nobody_waits_for_tells_nobody(awaited: Arc<dyn Awaited>) {
    assert!(arrived(&*awaited, HERE, &blob(0)).await.is_empty());
    wait_for(&*awaited, 1, HERE, &blobs(0..1)).await;
    assert!(arrived(&*awaited, HERE, &blob(1)).await.is_empty());
    assert!(arrived(&*awaited, THERE, &blob(0)).await.is_empty(), "another place");
    let other = Digest::of(Algorithm::Sha512, &0_u32.to_be_bytes());
    assert!(arrived(&*awaited, HERE, &other).await.is_empty(), "another algorithm");
    assert_eq!(arrived(&*awaited, HERE, &blob(0)).await, [job(1)]);
}

pub(super) async fn the_last_arrival_tells(awaited: Arc<dyn Awaited>) {
    let all = blobs(0..60);
    wait_for(&*awaited, 1, HERE, &all).await;
    for blob in &all[1..] {
        assert!(arrived(&*awaited, HERE, blob).await.is_empty());
        assert!(arrived(&*awaited, HERE, blob).await.is_empty(), "it counts once");
    }
    assert_eq!(arrived(&*awaited, HERE, &all[0]).await, [job(1)]);
}

pub(super) async fn a_blob_named_twice_is_one(awaited: Arc<dyn Awaited>) {
    wait_for(&*awaited, 1, HERE, &[blob(0), blob(1), blob(0)]).await;
    assert!(arrived(&*awaited, HERE, &blob(0)).await.is_empty());
    assert_eq!(arrived(&*awaited, HERE, &blob(1)).await, [job(1)]);
}

pub(super) async fn simultaneous_arrivals_tell_at_least_once(awaited: Arc<dyn Awaited>) {
    for round in 0..5 {
        let all = blobs(round * 10..round * 10 + 8);
        wait_for(&*awaited, round, HERE, &all).await;
        let arrivals: Vec<_> = all
            .into_iter()
            .map(|blob| {
                let awaited = Arc::clone(&awaited);
                tokio::spawn(async move { arrived(&*awaited, HERE, &blob).await })
            })
            .collect();
        let mut told = Vec::new();
        for arrival in arrivals {
            told.extend(arrival.await.unwrap());
        }
        assert!(told.contains(&job(round)), "round {round}");
    }
}

pub(super) async fn it_is_told_again_until_it_is_settled(awaited: Arc<dyn Awaited>) {
    let all = blobs(0..2);
    wait_for(&*awaited, 1, HERE, &all).await;
    assert!(arrived(&*awaited, HERE, &all[0]).await.is_empty());
    for _ in 0..2 {
        assert_eq!(arrived(&*awaited, HERE, &all[1]).await, [job(1)]);
    }
    assert_eq!(arrived(&*awaited, HERE, &all[0]).await, [job(1)]);
    awaited.settle("task-1", HERE).await.unwrap();
    for _ in 0..2 {
        assert!(arrived(&*awaited, HERE, &all[1]).await.is_empty());
    }
}

pub(super) async fn waiting_anew_forgets_what_was_waited_for(awaited: Arc<dyn Awaited>) {
    wait_for(&*awaited, 1, HERE, &blobs(0..3)).await;
    assert!(arrived(&*awaited, HERE, &blob(1)).await.is_empty());
    wait_for(&*awaited, 1, HERE, &blobs(1..2)).await;
    assert!(
        arrived(&*awaited, HERE, &blob(0)).await.is_empty(),
        "it is not waited for any more"
    );
    assert_eq!(
        arrived(&*awaited, HERE, &blob(1)).await,
        [job(1)],
        "what had arrived is missing again, and then there"
    );
    awaited.settle("task-1", HERE).await.unwrap();
    wait_for(&*awaited, 1, HERE, &blobs(0..2)).await;
    assert!(arrived(&*awaited, HERE, &blob(0)).await.is_empty());
    assert_eq!(arrived(&*awaited, HERE, &blob(1)).await, [job(1)], "after its end too");
}

pub(super) async fn simultaneous_waits_of_one_look_lose_no_arrival(awaited: Arc<dyn Awaited>) {
    for round in 0..5 {
        let all = blobs(round * 10..round * 10 + 4);
        let waits: Vec<_> = (0..4)
            .map(|_| {
                let (awaited, all) = (Arc::clone(&awaited), all.clone());
                tokio::spawn(async move { wait_for(&*awaited, 1, HERE, &all).await })
            })
            .collect();
        for wait in waits {
            wait.await.unwrap();
        }
        let mut told = Vec::new();
        for blob in &all {
            told.extend(arrived(&*awaited, HERE, blob).await);
        }
        assert_eq!(told, [job(1)], "round {round}");
        awaited.settle("task-1", HERE).await.unwrap();
    }
}

pub(super) async fn one_blob_completes_several_looks(awaited: Arc<dyn Awaited>) {
    for number in 1..20 {
        wait_for(&*awaited, number, HERE, &blobs(0..1)).await;
    }
    wait_for(&*awaited, 20, HERE, &blobs(0..2)).await;
    wait_for(&*awaited, 21, THERE, &blobs(0..1)).await;
    let mut all: Vec<String> = (1..20).map(job).collect();
    all.sort();
    assert_eq!(arrived(&*awaited, HERE, &blob(0)).await, all);
    assert_eq!(arrived(&*awaited, THERE, &blob(0)).await, [job(21)]);
    assert_eq!(arrived(&*awaited, HERE, &blob(1)).await, [job(20)]);
}

pub(super) async fn settling_what_never_waited_is_nothing(awaited: Arc<dyn Awaited>) {
    awaited.settle("task-1", HERE).await.unwrap();
    wait_for(&*awaited, 2, HERE, &blobs(0..1)).await;
    awaited.settle("task-1", HERE).await.unwrap();
    assert_eq!(arrived(&*awaited, HERE, &blob(0)).await, [job(2)]);
}

pub(super) async fn what_expired_is_forgotten(awaited: Arc<dyn Awaited>) {
    let all = blobs(0..1);
    awaited.wait_for(&waiting(1, &all), HERE, &all, at(50)).await.unwrap();
    awaited.wait_for(&waiting(2, &all), HERE, &all, at(101)).await.unwrap();
    assert_eq!(arrived(&*awaited, HERE, &blob(0)).await, [job(2)]);
    assert_eq!(awaited.waiting(10, at(49)).await.unwrap().len(), 2);
    assert_eq!(awaited.waiting(10, at(50)).await.unwrap(), [waiting(2, &all)]);
    awaited.wait_for(&waiting(1, &all), HERE, &all, at(200)).await.unwrap();
    assert_eq!(
        arrived(&*awaited, HERE, &blob(0)).await,
        [job(1), job(2)],
        "it waits again"
    );
}

pub(super) async fn those_that_wait_are_listed_the_longest_first(awaited: Arc<dyn Awaited>) {
    assert!(awaited.waiting(10, at(0)).await.unwrap().is_empty());
    for number in [3, 1, 2] {
        wait_for(&*awaited, number, HERE, &blobs(0..number)).await;
    }
    let expected = |numbers: &[u32]| -> Vec<PendingScan> {
        let each = numbers.iter();
        each.map(|number| waiting(*number, &blobs(0..*number))).collect()
    };
    assert_eq!(awaited.waiting(10, at(100)).await.unwrap(), expected(&[1, 2, 3]));
    assert_eq!(awaited.waiting(2, at(100)).await.unwrap(), expected(&[1, 2]));
    assert!(awaited.waiting(0, at(100)).await.unwrap().is_empty());
    arrived(&*awaited, HERE, &blob(0)).await;
    assert_eq!(
        awaited.waiting(10, at(100)).await.unwrap(),
        expected(&[1, 2, 3]),
        "a returned scan waits until it is settled"
    );
    awaited.settle("task-1", HERE).await.unwrap();
    assert_eq!(awaited.waiting(10, at(100)).await.unwrap(), expected(&[2, 3]));
}
