//! Checks of what incomplete sources wait for.

use std::sync::Arc;

use transship_engine::ledger::{Hints, PendingBlobs, PendingScan};
use transship_oci::{Algorithm, Digest};

use crate::suites::at;

const HERE: &str = "s3://layouts/to b/a+ü%2B/";
const THERE: &str = "s3://layouts/to b/";

fn blob(number: u32) -> Digest {
    Digest::sha256(&number.to_be_bytes())
}

fn blobs(numbers: std::ops::Range<u32>) -> Vec<Digest> {
    numbers.map(blob).collect()
}

/// Scan `number`, waiting since that second.
fn waiting(number: u32, blobs: &[Digest]) -> PendingScan {
    PendingScan {
        id: format!("scan-{number}"),
        job: format!(r#"{{"kind":"scan","number":{number}}}"#),
        since: at(i64::from(number)),
        blobs: blobs.len(),
    }
}

/// Waits until the thousandth second.
async fn wait_for(pending: &PendingBlobs, number: u32, place: &str, blobs: &[Digest]) {
    let waiting = waiting(number, blobs);
    pending.wait_for(&waiting, place, blobs, at(1000)).await.unwrap();
}

/// The numbers of the scans that are reported when the blob arrives in the hundredth second.
async fn arrived(pending: &PendingBlobs, place: &str, blob: &Digest) -> Vec<u32> {
    let reported = pending.arrived(place, blob, at(100)).await.unwrap();
    let number = |scan: &PendingScan| scan.id.strip_prefix("scan-").unwrap().parse().unwrap();
    let mut numbers: Vec<u32> = reported.iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

pub(super) async fn a_blob_nobody_waits_for_reports_nothing(hints: Arc<dyn Hints>) {
    let pending = PendingBlobs::new(hints);
    assert!(arrived(&pending, HERE, &blob(0)).await.is_empty());
    wait_for(&pending, 1, HERE, &blobs(0..1)).await;
    assert!(arrived(&pending, HERE, &blob(1)).await.is_empty());
    assert!(arrived(&pending, THERE, &blob(0)).await.is_empty(), "another place");
    let other = Digest::of(Algorithm::Sha512, &0_u32.to_be_bytes());
    assert!(arrived(&pending, HERE, &other).await.is_empty(), "another algorithm");
    assert_eq!(arrived(&pending, HERE, &blob(0)).await, [1]);
}

pub(super) async fn the_last_arrival_reports(hints: Arc<dyn Hints>) {
    let pending = PendingBlobs::new(hints);
    let all = blobs(0..60);
    wait_for(&pending, 1, HERE, &all).await;
    for blob in &all[1..] {
        assert!(arrived(&pending, HERE, blob).await.is_empty());
        assert!(arrived(&pending, HERE, blob).await.is_empty(), "it counts once");
    }
    assert_eq!(arrived(&pending, HERE, &all[0]).await, [1]);
}

pub(super) async fn a_blob_named_twice_is_one(hints: Arc<dyn Hints>) {
    let pending = PendingBlobs::new(hints);
    wait_for(&pending, 1, HERE, &[blob(0), blob(1), blob(0)]).await;
    assert!(arrived(&pending, HERE, &blob(0)).await.is_empty());
    assert_eq!(arrived(&pending, HERE, &blob(1)).await, [1]);
}

pub(super) async fn simultaneous_arrivals_report_at_least_once(hints: Arc<dyn Hints>) {
    let pending = PendingBlobs::new(hints);
    for round in 0..5 {
        let all = blobs(round * 10..round * 10 + 8);
        wait_for(&pending, round, HERE, &all).await;
        let arrivals: Vec<_> = all
            .into_iter()
            .map(|blob| {
                let pending = pending.clone();
                tokio::spawn(async move { arrived(&pending, HERE, &blob).await })
            })
            .collect();
        let mut reported = Vec::new();
        for arrival in arrivals {
            reported.extend(arrival.await.unwrap());
        }
        assert!(reported.contains(&round), "round {round}");
    }
}

pub(super) async fn a_scan_is_reported_again_until_it_is_settled(hints: Arc<dyn Hints>) {
    let pending = PendingBlobs::new(hints);
    let all = blobs(0..2);
    wait_for(&pending, 1, HERE, &all).await;
    assert!(arrived(&pending, HERE, &all[0]).await.is_empty());
    for _ in 0..2 {
        assert_eq!(arrived(&pending, HERE, &all[1]).await, [1]);
    }
    assert_eq!(arrived(&pending, HERE, &all[0]).await, [1]);
    pending.settle("scan-1", at(100)).await.unwrap();
    for _ in 0..2 {
        assert!(arrived(&pending, HERE, &all[1]).await.is_empty());
    }
}

pub(super) async fn waiting_again_forgets_what_was_waited_for(hints: Arc<dyn Hints>) {
    let pending = PendingBlobs::new(hints);
    wait_for(&pending, 1, HERE, &blobs(0..3)).await;
    assert!(arrived(&pending, HERE, &blob(1)).await.is_empty());
    wait_for(&pending, 1, HERE, &blobs(1..2)).await;
    assert!(
        arrived(&pending, HERE, &blob(0)).await.is_empty(),
        "it is not waited for any more"
    );
    assert_eq!(
        arrived(&pending, HERE, &blob(1)).await,
        [1],
        "what had arrived is missing again, and then there"
    );
    pending.settle("scan-1", at(100)).await.unwrap();
    wait_for(&pending, 1, HERE, &blobs(0..2)).await;
    assert!(arrived(&pending, HERE, &blob(0)).await.is_empty());
    assert_eq!(arrived(&pending, HERE, &blob(1)).await, [1], "after its end too");
}

pub(super) async fn simultaneous_waits_of_one_scan_lose_no_arrival(hints: Arc<dyn Hints>) {
    let pending = PendingBlobs::new(hints);
    for round in 0..5 {
        let all = blobs(round * 10..round * 10 + 4);
        let waits: Vec<_> = (0..4)
            .map(|_| {
                let (pending, all) = (pending.clone(), all.clone());
                tokio::spawn(async move { wait_for(&pending, 1, HERE, &all).await })
            })
            .collect();
        for wait in waits {
            wait.await.unwrap();
        }
        let mut reported = Vec::new();
        for blob in &all {
            reported.extend(arrived(&pending, HERE, blob).await);
        }
        assert_eq!(reported, [1], "round {round}");
        pending.settle("scan-1", at(100)).await.unwrap();
    }
}

pub(super) async fn one_blob_completes_several_scans(hints: Arc<dyn Hints>) {
    let pending = PendingBlobs::new(hints);
    for number in 1..20 {
        wait_for(&pending, number, HERE, &blobs(0..1)).await;
    }
    wait_for(&pending, 20, HERE, &blobs(0..2)).await;
    wait_for(&pending, 21, THERE, &blobs(0..1)).await;
    let all: Vec<u32> = (1..20).collect();
    assert_eq!(arrived(&pending, HERE, &blob(0)).await, all);
    assert_eq!(arrived(&pending, THERE, &blob(0)).await, [21]);
    assert_eq!(arrived(&pending, HERE, &blob(1)).await, [20]);
}

pub(super) async fn settling_what_never_waited_is_nothing(hints: Arc<dyn Hints>) {
    let pending = PendingBlobs::new(hints);
    pending.settle("scan-1", at(100)).await.unwrap();
    wait_for(&pending, 2, HERE, &blobs(0..1)).await;
    pending.settle("scan-1", at(100)).await.unwrap();
    assert_eq!(arrived(&pending, HERE, &blob(0)).await, [2]);
}

pub(super) async fn what_expired_is_forgotten(hints: Arc<dyn Hints>) {
    let pending = PendingBlobs::new(hints);
    let all = blobs(0..1);
    pending.wait_for(&waiting(1, &all), HERE, &all, at(50)).await.unwrap();
    pending.wait_for(&waiting(2, &all), HERE, &all, at(101)).await.unwrap();
    assert_eq!(arrived(&pending, HERE, &blob(0)).await, [2]);
    assert_eq!(pending.waiting(10, at(49)).await.unwrap().len(), 2);
    assert_eq!(pending.waiting(10, at(50)).await.unwrap(), [waiting(2, &all)]);
    pending.wait_for(&waiting(1, &all), HERE, &all, at(200)).await.unwrap();
    assert_eq!(arrived(&pending, HERE, &blob(0)).await, [1, 2], "it waits again");
}

pub(super) async fn scans_are_listed_the_longest_waiting_first(hints: Arc<dyn Hints>) {
    let pending = PendingBlobs::new(hints);
    assert!(pending.waiting(10, at(0)).await.unwrap().is_empty());
    for number in [3, 1, 2] {
        wait_for(&pending, number, HERE, &blobs(0..number)).await;
    }
    let expected = |numbers: &[u32]| -> Vec<PendingScan> {
        let each = numbers.iter();
        each.map(|number| waiting(*number, &blobs(0..*number))).collect()
    };
    assert_eq!(pending.waiting(10, at(100)).await.unwrap(), expected(&[1, 2, 3]));
    assert_eq!(pending.waiting(2, at(100)).await.unwrap(), expected(&[1, 2]));
    assert!(pending.waiting(0, at(100)).await.unwrap().is_empty());
    arrived(&pending, HERE, &blob(0)).await;
    assert_eq!(
        pending.waiting(10, at(100)).await.unwrap(),
        expected(&[1, 2, 3]),
        "a scan that is reported waits until it is settled"
    );
    pending.settle("scan-1", at(100)).await.unwrap();
    assert_eq!(pending.waiting(10, at(100)).await.unwrap(), expected(&[2, 3]));
}
