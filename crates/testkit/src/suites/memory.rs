//! Checks of what the fleet agrees on through the ledger: replicas, leases, blob locations, pauses.

use std::sync::Arc;
use std::time::Duration;

use transship_copy::Continuation;
use transship_engine::{Ledger, Replica, TaskState};
use transship_oci::{Digest, Repository, Target};

use super::samples::{at, place, task};
use super::task::outcome;

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
        source: Some(place("hangzhou", "core/app", number)),
        digest: digest(manifests[0]),
        earlier: Vec::new(),
        manifests: manifests.iter().map(|text| digest(text)).collect(),
        rule: "core-images".to_owned(),
        written: at(i64::from(number)),
    }
}

/// What a task that ends with it leaves behind.
async fn remember(ledger: &dyn Ledger, replica: &Replica) {
    let ended = outcome(TaskState::Succeeded, 1);
    ledger
        .finish(&task(99), &ended, std::slice::from_ref(replica))
        .await
        .unwrap();
}

/// True if the manifest is at `destination` of `zhangjiakou` from `source` of `hangzhou`.
async fn is_held(ledger: &dyn Ledger, source: &str, destination: &str, manifest: &str) -> bool {
    let source = place("hangzhou", source, 50);
    let destination = place("zhangjiakou", destination, 50);
    let manifest = digest(manifest);
    ledger.is_replicated(&source, &destination, &manifest).await.unwrap()
}

pub(super) async fn a_replica_is_remembered_whole_and_replaced(ledger: Arc<dyn Ledger>) {
    let destination = repository("copy/app");
    let tag = "v1".parse().unwrap();
    let find = async || ledger.replica("zhangjiakou", &destination, &tag).await.unwrap();
    assert_eq!(find().await, None);
    remember(&*ledger, &replica(1, &["index", "amd64"])).await;
    remember(&*ledger, &replica(2, &["other"])).await;
    assert_eq!(find().await, Some(replica(1, &["index", "amd64"])));
    let mut newer = replica(1, &["newer", "arm64"]);
    newer.source = Some(place("beijing", "core/app", 1));
    newer.earlier = vec![digest("index"), digest("before")];
    remember(&*ledger, &newer).await;
    assert_eq!(find().await, Some(newer));
    assert_eq!(ledger.replica("hangzhou", &destination, &tag).await.unwrap(), None);
}

pub(super) async fn replicas_are_remembered_though_the_task_had_ended(ledger: Arc<dyn Ledger>) {
    let tag = "v1".parse().unwrap();
    ledger.begin(&task(1), at(2)).await.unwrap();
    let end = outcome(TaskState::Succeeded, 3);
    assert!(ledger.finish(&task(1), &end, &[replica(1, &["first"])]).await.unwrap());
    let (newer, other) = (replica(1, &["newer"]), replica(2, &["other"]));
    assert!(
        !ledger
            .finish(&task(1), &end, &[newer.clone(), other.clone()])
            .await
            .unwrap()
    );
    let destination = repository("copy/app");
    let found = ledger.replica("zhangjiakou", &destination, &tag).await.unwrap();
    assert_eq!(found, Some(newer));
    let found = ledger
        .replica("zhangjiakou", &destination, &"v2".parse().unwrap())
        .await;
    assert_eq!(found.unwrap(), Some(other));
}

pub(super) async fn an_intent_keeps_what_was_before_it(ledger: Arc<dyn Ledger>) {
    let (destination, tag) = (repository("copy/app"), "v1".parse().unwrap());
    let find = async || {
        ledger
            .replica("zhangjiakou", &destination, &tag)
            .await
            .unwrap()
            .unwrap()
    };
    let intend = async |text: &str| {
        let mut intended = replica(1, &[text]);
        intended.earlier = vec![digest("not looked at")];
        ledger.replica_intend(&intended).await.unwrap();
    };
    intend("first").await;
    let found = find().await;
    assert_eq!(
        (found.digest, found.earlier, found.manifests),
        (digest("first"), vec![], vec![])
    );
    assert!(
        !is_held(&*ledger, "core/app", "copy/app", "first").await,
        "an intent is not a replica"
    );
    remember(&*ledger, &replica(1, &["first", "amd64"])).await;
    intend("second").await;
    intend("third").await;
    intend("third").await;
    let found = find().await;
    assert_eq!(found.digest, digest("third"));
    assert_eq!(found.earlier, ["second", "first"].map(digest));
    assert_eq!(found.manifests, ["first", "amd64"].map(digest));
    assert!(is_held(&*ledger, "core/app", "copy/app", "amd64").await);
    intend("first").await;
    assert_eq!(
        find().await.earlier,
        ["third", "second"].map(digest),
        "each is named once"
    );
    for number in 0..20 {
        intend(&format!("more {number}")).await;
    }
    let found = find().await;
    assert_eq!((found.digest, found.earlier.len()), (digest("more 19"), 8));
    assert_eq!(found.earlier[0], digest("more 18"));
    remember(&*ledger, &replica(1, &["last"])).await;
    assert_eq!(find().await, replica(1, &["last"]));
}

pub(super) async fn a_replica_by_digest_is_found_by_its_manifests(ledger: Arc<dyn Ledger>) {
    let mut referrer = replica(1, &["signature"]);
    referrer.destination.target = Target::Digest(digest("signature"));
    referrer.source.as_mut().unwrap().target = Target::Digest(digest("signature"));
    remember(&*ledger, &referrer).await;
    assert!(is_held(&*ledger, "core/app", "copy/app", "signature").await);
}

pub(super) async fn replicas_are_found_by_any_manifest_they_hold(ledger: Arc<dyn Ledger>) {
    remember(&*ledger, &replica(1, &["index-1", "amd64"])).await;
    remember(&*ledger, &replica(2, &["index-2", "amd64", "arm64"])).await;
    let mut elsewhere = replica(3, &["index-3"]);
    elsewhere.source = Some(place("hangzhou", "core/other", 3));
    remember(&*ledger, &elsewhere).await;
    let holds = async |manifest: &str| is_held(&*ledger, "core/app", "copy/app", manifest).await;
    assert!(holds("amd64").await && holds("index-1").await && holds("arm64").await);
    assert!(!holds("nothing").await);
    assert!(!holds("index-3").await, "it came from elsewhere");
    assert!(is_held(&*ledger, "core/other", "copy/app", "index-3").await);
    assert!(
        !is_held(&*ledger, "core/app", "copy/app/sub", "amd64").await,
        "it went elsewhere"
    );
    let mut newer = replica(2, &["index-4"]);
    newer.earlier = vec![digest("arm64")];
    remember(&*ledger, &newer).await;
    assert!(
        !holds("arm64").await,
        "what was replaced, or may be there still, is not held"
    );
    assert!(holds("amd64").await && holds("index-4").await);
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
    let paused = async |now| {
        let found = ledger.paused_until(&["r.example"], at(now)).await.unwrap();
        found.map(|(_, until)| until)
    };
    assert_eq!(paused(0).await, None);
    ledger.pause("r.example", at(10)).await.unwrap();
    assert_eq!(paused(0).await, Some(at(10)));
    ledger.pause("r.example", at(5)).await.unwrap();
    assert_eq!(paused(0).await, Some(at(10)), "an earlier time changes nothing");
    ledger.pause("r.example", at(20)).await.unwrap();
    assert_eq!(paused(15).await, Some(at(20)));
    assert_eq!(paused(20).await, None, "it is over when its time has come");
    assert_eq!(ledger.paused_until(&["other.example"], at(0)).await.unwrap(), None);
}

pub(super) async fn the_longest_pause_is_told(ledger: Arc<dyn Ledger>) {
    let paused = async |hosts: &[&str], now| ledger.paused_until(hosts, at(now)).await.unwrap();
    ledger.pause("a.example", at(10)).await.unwrap();
    ledger.pause("b.example", at(20)).await.unwrap();
    let b = Some(("b.example".to_owned(), at(20)));
    assert_eq!(paused(&["a.example", "b.example"], 0).await, b);
    assert_eq!(
        paused(&["b.example", "b.example"], 15).await,
        b,
        "a host may be both sides"
    );
    assert_eq!(
        paused(&["c.example", "a.example"], 0).await,
        Some(("a.example".to_owned(), at(10)))
    );
    assert_eq!(paused(&["a.example", "c.example"], 10).await, None);
    assert_eq!(paused(&[], 0).await, None);
}

pub(super) async fn an_upload_is_taken_up_until_it_expires(ledger: Arc<dyn Ledger>) {
    let upload = |blob: &str, offset| Continuation {
        digest: digest(blob),
        location: format!("https://r.example/v2/a/blobs/uploads/{blob}?_state=a%2Bb"),
        offset,
        hash: (0..=255).collect(),
        hops: 3,
    };
    let find = async |task: &str, blob: &str, now| {
        let found = ledger.continuation(task, &digest(blob), at(now)).await;
        found.unwrap()
    };
    assert_eq!(find("task-1", "layer", 0).await, None);
    for (task, continuation) in [
        ("task-1", upload("layer", 1 << 40)),
        ("task-1", upload("other", 7)),
        ("task-2", upload("layer", 9)),
    ] {
        ledger.continuation_put(task, &continuation, at(10)).await.unwrap();
    }
    assert_eq!(find("task-1", "layer", 9).await, Some(upload("layer", 1 << 40)));
    assert_eq!(find("task-2", "layer", 9).await, Some(upload("layer", 9)));
    assert_eq!(find("task-1", "layer", 10).await, None, "it expired");
    ledger
        .continuation_put("task-1", &upload("layer", 5), at(20))
        .await
        .unwrap();
    assert_eq!(find("task-1", "layer", 10).await, Some(upload("layer", 5)));
    ledger.continuation_remove("task-1", &digest("layer")).await.unwrap();
    ledger.continuation_remove("task-1", &digest("layer")).await.unwrap();
    assert_eq!(find("task-1", "layer", 0).await, None);
    assert_eq!(find("task-1", "other", 0).await, Some(upload("other", 7)));
    assert_eq!(find("task-2", "layer", 0).await, Some(upload("layer", 9)));
}
