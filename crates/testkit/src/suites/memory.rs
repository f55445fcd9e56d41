//! Checks of what the fleet agrees on through the ledger: replicas, leases, blob locations, pauses.

use std::sync::Arc;
use std::time::Duration;

use transship_engine::{Ledger, Replica};
use transship_oci::{Digest, Repository, Target};

use super::samples::{at, place};

const TEN_SECONDS: Duration = Duration::from_secs(10);

fn digest(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

fn repository(text: &str) -> Repository {
    text.parse().unwrap()
}

fn replica(number: u32, manifests: &[&str]) -> Replica {
    Replica {
        destination: place("zhangjiakou", "copy/app", number),
        source: place("hangzhou", "core/app", number),
        digest: digest(manifests[0]),
        earlier: Vec::new(),
        manifests: manifests.iter().map(|text| digest(text)).collect(),
        rule: "core-images".to_owned(),
        written: at(i64::from(number)),
    }
}

/// Which of `v1`, `v2`, … of the destination hold the manifest.
async fn holding(ledger: &dyn Ledger, manifest: &str) -> Vec<String> {
    let found = ledger
        .replicas_holding("hangzhou", &repository("core/app"), &digest(manifest))
        .await
        .unwrap();
    let mut names: Vec<_> = found
        .iter()
        .map(|replica| replica.destination.target.to_string())
        .collect();
    names.sort();
    names
}

pub(super) async fn a_replica_is_remembered_whole_and_replaced(ledger: Arc<dyn Ledger>) {
    let destination = repository("copy/app");
    let tag = "v1".parse().unwrap();
    let find = async || ledger.replica("zhangjiakou", &destination, &tag).await.unwrap();
    assert_eq!(find().await, None);
    ledger.replica_put(&replica(1, &["index", "amd64"])).await.unwrap();
    ledger.replica_put(&replica(2, &["other"])).await.unwrap();
    assert_eq!(find().await, Some(replica(1, &["index", "amd64"])));
    let mut newer = replica(1, &["newer", "arm64"]);
    newer.source = place("beijing", "core/app", 1);
    newer.earlier = vec![digest("index"), digest("before")];
    ledger.replica_put(&newer).await.unwrap();
    assert_eq!(find().await, Some(newer));
    assert_eq!(ledger.replica("hangzhou", &destination, &tag).await.unwrap(), None);
}

pub(super) async fn a_replica_by_digest_is_found_by_its_manifests(ledger: Arc<dyn Ledger>) {
    let mut referrer = replica(1, &["signature"]);
    referrer.destination.target = Target::Digest(digest("signature"));
    referrer.source.target = Target::Digest(digest("signature"));
    ledger.replica_put(&referrer).await.unwrap();
    let found = ledger
        .replicas_holding("hangzhou", &repository("core/app"), &digest("signature"))
        .await
        .unwrap();
    assert_eq!(found, [referrer]);
}

pub(super) async fn replicas_are_found_by_any_manifest_they_hold(ledger: Arc<dyn Ledger>) {
    ledger.replica_put(&replica(1, &["index-1", "amd64"])).await.unwrap();
    ledger
        .replica_put(&replica(2, &["index-2", "amd64", "arm64"]))
        .await
        .unwrap();
    let mut elsewhere = replica(3, &["index-1", "amd64"]);
    elsewhere.source = place("hangzhou", "core/other", 3);
    ledger.replica_put(&elsewhere).await.unwrap();
    assert_eq!(holding(&*ledger, "amd64").await, ["v1", "v2"]);
    assert_eq!(holding(&*ledger, "index-1").await, ["v1"]);
    assert!(holding(&*ledger, "nothing").await.is_empty());
    let mut newer = replica(2, &["index-3", "arm64"]);
    newer.earlier = vec![digest("amd64")];
    ledger.replica_put(&newer).await.unwrap();
    assert_eq!(
        holding(&*ledger, "amd64").await,
        ["v1"],
        "what was replaced, or may be there still, is not held"
    );
    assert_eq!(holding(&*ledger, "arm64").await, ["v2"]);
}

pub(super) async fn a_lease_has_one_holder(ledger: Arc<dyn Ledger>) {
    assert!(ledger.lease_take("key", "a", at(0), TEN_SECONDS).await.unwrap());
    assert!(!ledger.lease_take("key", "b", at(9), TEN_SECONDS).await.unwrap());
    assert!(
        ledger.lease_take("other", "b", at(9), TEN_SECONDS).await.unwrap(),
        "another key is free"
    );
}

pub(super) async fn a_lease_expires_and_is_taken_over(ledger: Arc<dyn Ledger>) {
    assert!(ledger.lease_take("key", "a", at(0), TEN_SECONDS).await.unwrap());
    assert!(ledger.lease_take("key", "b", at(11), TEN_SECONDS).await.unwrap());
    assert!(
        !ledger.lease_take("key", "a", at(12), TEN_SECONDS).await.unwrap(),
        "the first holder lost it"
    );
}

pub(super) async fn a_lease_is_extended_by_its_holder(ledger: Arc<dyn Ledger>) {
    assert!(ledger.lease_take("key", "a", at(0), TEN_SECONDS).await.unwrap());
    assert!(ledger.lease_take("key", "a", at(8), TEN_SECONDS).await.unwrap());
    assert!(!ledger.lease_take("key", "b", at(17), TEN_SECONDS).await.unwrap());
    assert!(ledger.lease_take("key", "b", at(19), TEN_SECONDS).await.unwrap());
}

pub(super) async fn only_the_holder_releases_a_lease(ledger: Arc<dyn Ledger>) {
    assert!(ledger.lease_take("key", "a", at(0), TEN_SECONDS).await.unwrap());
    ledger.lease_release("key", "b").await.unwrap();
    assert!(!ledger.lease_take("key", "b", at(1), TEN_SECONDS).await.unwrap());
    ledger.lease_release("key", "a").await.unwrap();
    assert!(ledger.lease_take("key", "b", at(1), TEN_SECONDS).await.unwrap());
    ledger.lease_release("unknown", "a").await.unwrap();
}

pub(super) async fn simultaneous_takers_get_one_lease(ledger: Arc<dyn Ledger>) {
    let takers: Vec<_> = (0..8)
        .map(|number| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move {
                ledger
                    .lease_take("key", &format!("holder-{number}"), at(0), TEN_SECONDS)
                    .await
                    .unwrap()
            })
        })
        .collect();
    let mut taken = 0;
    for taker in takers {
        taken += u32::from(taker.await.unwrap());
    }
    assert_eq!(taken, 1);
}

pub(super) async fn locations_come_latest_first_and_three_at_most(ledger: Arc<dyn Ledger>) {
    let layer = digest("layer");
    let find = async || {
        let found = ledger
            .locations_find("r.example", std::slice::from_ref(&layer))
            .await
            .unwrap();
        found.get(&layer).cloned().unwrap_or_default()
    };
    assert!(find().await.is_empty());
    for name in ["a", "b", "c"] {
        ledger
            .locations_add("r.example", std::slice::from_ref(&layer), &repository(name))
            .await
            .unwrap();
    }
    assert_eq!(find().await, ["c", "b", "a"].map(repository));
    ledger
        .locations_add("r.example", std::slice::from_ref(&layer), &repository("a"))
        .await
        .unwrap();
    assert_eq!(
        find().await,
        ["a", "c", "b"].map(repository),
        "seen again is the latest"
    );
    ledger
        .locations_add("r.example", std::slice::from_ref(&layer), &repository("d"))
        .await
        .unwrap();
    assert_eq!(find().await, ["d", "a", "c"].map(repository));
}

pub(super) async fn a_location_is_forgotten_alone(ledger: Arc<dyn Ledger>) {
    let digests = [digest("one"), digest("two")];
    for name in ["a", "b"] {
        ledger
            .locations_add("r.example", &digests, &repository(name))
            .await
            .unwrap();
    }
    ledger
        .location_remove("r.example", &digests[0], &repository("b"))
        .await
        .unwrap();
    ledger
        .location_remove("r.example", &digests[0], &repository("never"))
        .await
        .unwrap();
    let found = ledger.locations_find("r.example", &digests).await.unwrap();
    assert_eq!(found[&digests[0]], ["a"].map(repository));
    assert_eq!(found[&digests[1]], ["b", "a"].map(repository));
    ledger
        .location_remove("r.example", &digests[0], &repository("a"))
        .await
        .unwrap();
    let found = ledger.locations_find("r.example", &digests).await.unwrap();
    assert!(
        !found.contains_key(&digests[0]),
        "what nothing is known of is not listed"
    );
}

pub(super) async fn locations_of_hosts_do_not_mix(ledger: Arc<dyn Ledger>) {
    let layer = [digest("layer")];
    ledger
        .locations_add("r.example", &layer, &repository("a"))
        .await
        .unwrap();
    assert!(
        ledger
            .locations_find("r.example:5000", &layer)
            .await
            .unwrap()
            .is_empty()
    );
    ledger
        .location_remove("r.example:5000", &layer[0], &repository("a"))
        .await
        .unwrap();
    assert_eq!(ledger.locations_find("r.example", &layer).await.unwrap().len(), 1);
}

pub(super) async fn many_digests_are_found_at_once(ledger: Arc<dyn Ledger>) {
    let digests: Vec<_> = (0..250).map(|number| digest(&format!("layer {number}"))).collect();
    ledger
        .locations_add("r.example", &digests[..240], &repository("a"))
        .await
        .unwrap();
    let found = ledger.locations_find("r.example", &digests).await.unwrap();
    assert_eq!(found.len(), 240);
    assert!(digests[..240].iter().all(|digest| found.contains_key(digest)));
    assert!(ledger.locations_find("r.example", &[]).await.unwrap().is_empty());
    ledger.locations_add("r.example", &[], &repository("a")).await.unwrap();
}

pub(super) async fn a_pause_is_never_shortened(ledger: Arc<dyn Ledger>) {
    let paused = async |now| ledger.paused_until("r.example", at(now)).await.unwrap();
    assert_eq!(paused(0).await, None);
    ledger.pause("r.example", at(10)).await.unwrap();
    assert_eq!(paused(0).await, Some(at(10)));
    ledger.pause("r.example", at(5)).await.unwrap();
    assert_eq!(paused(0).await, Some(at(10)), "an earlier time changes nothing");
    ledger.pause("r.example", at(20)).await.unwrap();
    assert_eq!(paused(15).await, Some(at(20)));
    assert_eq!(paused(20).await, None, "it is over when its time has come");
    assert_eq!(ledger.paused_until("other.example", at(0)).await.unwrap(), None);
}
