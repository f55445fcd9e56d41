//! Checks of replicas and of the leases to write them.

use std::sync::Arc;
use std::time::Duration;

use transship_copy::Selected;
use transship_engine::Replica;
use transship_engine::ledger::{Claim, EARLIER_MAX, Replicas};
use transship_oci::{Digest, Target};

use super::samples::{digest, replica, repository};
use crate::suites::at;
use crate::suites::samples::place;

const TEN_SECONDS: Duration = Duration::from_secs(10);

async fn settle(replicas: &dyn Replicas, replica: &Replica) {
    replicas
        .settle(std::slice::from_ref(replica), "a", at(0))
        .await
        .unwrap();
}

/// What became of an image of which two platforms are copied.
fn selected(text: &str) -> Selected {
    Selected {
        source: digest("source"),
        platforms: "linux/amd64,linux/arm64 sparse".to_owned(),
        digest: digest(text),
    }
}

async fn claim(replicas: &dyn Replicas, replica: &Replica, holder: &str, now: i64) -> Claim {
    replicas.claim(replica, holder, at(now), TEN_SECONDS).await.unwrap()
}

async fn is_granted(replicas: &dyn Replicas, holder: &str, now: i64) -> bool {
    matches!(
        claim(replicas, &replica(1, &["x"]), holder, now).await,
        Claim::Granted { .. }
    )
}

/// True if the manifest is at `destination` of `zhangjiakou` from `source` of `hangzhou`.
async fn is_held(replicas: &dyn Replicas, source: &str, destination: &str, manifest: &str) -> bool {
    let (source, destination, manifest) = (repository(source), repository(destination), digest(manifest));
    let found = replicas.holds(("zhangjiakou", &destination), ("hangzhou", &source), &manifest);
    found.await.unwrap()
}

pub(super) async fn a_replica_is_remembered_whole_and_replaced(replicas: Arc<dyn Replicas>) {
    let destination = replica(1, &["x"]).destination;
    let find = async || replicas.get(&destination).await.unwrap();
    assert_eq!(find().await, None);
    settle(&*replicas, &replica(1, &["index", "amd64"])).await;
    settle(&*replicas, &replica(2, &["other"])).await;
    assert_eq!(find().await, Some(replica(1, &["index", "amd64"])));
    let mut newer = replica(1, &["newer", "arm64"]);
    newer.source = Some(place("beijing", "core/app", 1));
    newer.earlier = vec![digest("index"), digest("before")];
    newer.selected = Some(selected("newer"));
    settle(&*replicas, &newer).await;
    assert_eq!(find().await, Some(newer));
    assert_eq!(replicas.get(&place("hangzhou", "copy/app", 1)).await.unwrap(), None);
}

pub(super) async fn a_claim_keeps_what_was_before_it(replicas: Arc<dyn Replicas>) {
    let destination = replica(1, &["x"]).destination;
    let find = async || replicas.get(&destination).await.unwrap().unwrap();
    let intend = async |text: &str| {
        let mut intended = replica(1, &[text]);
        intended.earlier = vec![digest("ignored")];
        match claim(&*replicas, &intended, "a", 0).await {
            Claim::Granted { earlier, .. } => Some(earlier),
            Claim::Held { .. } | Claim::Superseded => None,
        }
        .unwrap()
    };
    assert_eq!(intend("first").await, []);
    let found = find().await;
    assert_eq!(
        (found.digest, found.earlier, found.manifests),
        (digest("first"), vec![], vec![])
    );
    assert!(
        !is_held(&*replicas, "core/app", "copy/app", "first").await,
        "an intent is not a replica"
    );
    let mut first = replica(1, &["first", "amd64"]);
    first.selected = Some(selected("first"));
    settle(&*replicas, &first).await;
    assert_eq!(intend("second").await, ["first"].map(digest));
    assert_eq!(intend("third").await, ["second", "first"].map(digest));
    assert_eq!(intend("third").await, ["second", "first"].map(digest));
    let found = find().await;
    assert_eq!(found.digest, digest("third"));
    assert_eq!(found.earlier, ["second", "first"].map(digest));
    assert_eq!(found.manifests, ["first", "amd64"].map(digest));
    assert_eq!(
        found.selected,
        Some(selected("first")),
        "it does not depend on what the tag names"
    );
    assert!(is_held(&*replicas, "core/app", "copy/app", "amd64").await);
    let earlier = intend("first").await;
    assert_eq!(earlier, ["third", "second"].map(digest), "each is named once");
    for number in 0..20 {
        intend(&format!("more {number}")).await;
    }
    let found = find().await;
    assert_eq!((found.digest, found.earlier.len()), (digest("more 19"), EARLIER_MAX));
    assert_eq!(found.earlier[0], digest("more 18"));
    for _ in 0..80 {
        intend("again").await;
    }
    assert_eq!(find().await.digest, digest("again"));
    settle(&*replicas, &replica(1, &["last"])).await;
    assert_eq!(find().await, replica(1, &["last"]));
}

pub(super) async fn a_replica_by_digest_is_found_by_its_manifests(replicas: Arc<dyn Replicas>) {
    let mut referrer = replica(1, &["signature"]);
    referrer.destination.target = Target::Digest(digest("signature"));
    referrer.source.as_mut().unwrap().target = Target::Digest(digest("signature"));
    settle(&*replicas, &referrer).await;
    assert!(is_held(&*replicas, "core/app", "copy/app", "signature").await);
    assert_eq!(replicas.get(&referrer.destination).await.unwrap(), Some(referrer));
}

pub(super) async fn replicas_are_found_by_any_manifest_they_hold(replicas: Arc<dyn Replicas>) {
    settle(&*replicas, &replica(1, &["index-1", "amd64"])).await;
    settle(&*replicas, &replica(2, &["index-2", "amd64", "arm64"])).await;
    let mut elsewhere = replica(3, &["index-3"]);
    elsewhere.source = Some(place("hangzhou", "core/other", 3));
    settle(&*replicas, &elsewhere).await;
    let holds = async |manifest: &str| is_held(&*replicas, "core/app", "copy/app", manifest).await;
    assert!(holds("amd64").await && holds("index-1").await && holds("arm64").await);
    assert!(!holds("nothing").await);
    assert!(!holds("index-3").await, "it came from elsewhere");
    assert!(is_held(&*replicas, "core/other", "copy/app", "index-3").await);
    assert!(
        !is_held(&*replicas, "core/app", "copy/app/sub", "amd64").await,
        "it went elsewhere"
    );
    let mut newer = replica(2, &["index-4"]);
    newer.earlier = vec![digest("arm64")];
    settle(&*replicas, &newer).await;
    assert!(
        !holds("arm64").await,
        "what was replaced, or may be there still, is not held"
    );
    assert!(holds("amd64").await && holds("index-4").await);
}

pub(super) async fn replicas_are_found_by_the_digest_they_were_made_of(replicas: Arc<dyn Replicas>) {
    settle(&*replicas, &replica(1, &["image", "child"])).await;
    settle(&*replicas, &replica(2, &["image"])).await;
    let mut moved = replica(3, &["newer"]);
    moved.earlier = vec![digest("image")];
    settle(&*replicas, &moved).await;
    settle(&*replicas, &replica(4, &["another", "image"])).await;
    let mut elsewhere = replica(5, &["image"]);
    elsewhere.source = Some(place("hangzhou", "core/other", 5));
    settle(&*replicas, &elsewhere).await;
    let mut stored = replica(6, &["image"]);
    stored.source = None;
    settle(&*replicas, &stored).await;
    let made_of = async |source: &str, destination: &str, of: &str| {
        let (source, destination, of) = (repository(source), repository(destination), digest(of));
        let found = replicas.made_of(("zhangjiakou", &destination), ("hangzhou", &source), &of);
        let mut found = found.await.unwrap();
        found.sort_by_key(|replica| replica.destination.to_string());
        found
    };
    let found = made_of("core/app", "copy/app", "image").await;
    assert_eq!(found, [replica(1, &["image", "child"]), replica(2, &["image"]), moved]);
    assert_eq!(made_of("core/other", "copy/app", "image").await, [elsewhere]);
    assert_eq!(made_of("core/app", "copy/app/sub", "image").await, []);
    assert_eq!(
        made_of("core/app", "copy/app", "child").await,
        [],
        "a part is not the image"
    );
    // Of some platforms, the digest at the source counts.
    let mut derived = replica(7, &["derived"]);
    derived.selected = Some(Selected {
        source: digest("original"),
        ..selected("derived")
    });
    settle(&*replicas, &derived).await;
    assert_eq!(made_of("core/app", "copy/app", "original").await, [derived]);
    // What was withdrawn is not found any more.
    let first = replica(1, &["image"]);
    assert!(matches!(claim(&*replicas, &first, "a", 0).await, Claim::Granted { .. }));
    replicas.withdraw(&first.destination, &first.digest, "a").await.unwrap();
    assert_eq!(made_of("core/app", "copy/app", "image").await.len(), 2);
}

pub(super) async fn a_lease_has_one_holder(replicas: Arc<dyn Replicas>) {
    assert!(is_granted(&*replicas, "a", 0).await);
    let held = claim(&*replicas, &replica(1, &["y"]), "b", 9).await;
    assert_eq!(held, Claim::Held { until: at(10) });
    let other = claim(&*replicas, &replica(2, &["y"]), "b", 9).await;
    assert!(matches!(other, Claim::Granted { .. }), "another destination is free");
}

pub(super) async fn a_claim_that_is_refused_changes_nothing(replicas: Arc<dyn Replicas>) {
    settle(&*replicas, &replica(1, &["first"])).await;
    claim(&*replicas, &replica(1, &["second"]), "a", 0).await;
    let before = replicas.get(&replica(1, &["x"]).destination).await.unwrap();
    let mut refused = replica(1, &["third"]);
    "other".clone_into(&mut refused.rule);
    assert_eq!(claim(&*replicas, &refused, "b", 5).await, Claim::Held { until: at(10) });
    assert_eq!(replicas.get(&refused.destination).await.unwrap(), before);
}

pub(super) async fn a_lease_expires_and_is_taken_over(replicas: Arc<dyn Replicas>) {
    claim(&*replicas, &replica(1, &["first"]), "a", 0).await;
    let earlier = vec![digest("first")];
    assert_eq!(
        claim(&*replicas, &replica(1, &["second"]), "b", 10).await,
        Claim::Granted {
            earlier,
            accepted: at(0)
        },
        "it is over when its time has come"
    );
    assert!(!is_granted(&*replicas, "a", 12).await, "the first holder lost it");
}

pub(super) async fn a_lease_is_extended_by_its_holder(replicas: Arc<dyn Replicas>) {
    assert!(is_granted(&*replicas, "a", 0).await);
    assert!(is_granted(&*replicas, "a", 8).await);
    assert!(!is_granted(&*replicas, "b", 17).await);
    assert!(is_granted(&*replicas, "b", 19).await);
}

pub(super) async fn only_the_holder_releases_a_lease(replicas: Arc<dyn Replicas>) {
    let destination = replica(1, &["x"]).destination;
    replicas.release(&destination, "a").await.unwrap();
    assert_eq!(replicas.get(&destination).await.unwrap(), None);
    assert!(is_granted(&*replicas, "a", 0).await);
    replicas.release(&destination, "b").await.unwrap();
    assert!(!is_granted(&*replicas, "b", 1).await);
    replicas.release(&destination, "a").await.unwrap();
    let found = replicas.get(&destination).await.unwrap().unwrap();
    assert_eq!(found.digest, digest("x"), "the intent stays");
    assert!(is_granted(&*replicas, "b", 1).await);
}

pub(super) async fn an_intent_that_was_not_written_is_forgotten(replicas: Arc<dyn Replicas>) {
    let destination = replica(1, &["x"]).destination;
    let find = async || replicas.get(&destination).await.unwrap();
    let withdraw = async |text: &str, holder: &str| {
        replicas.withdraw(&destination, &digest(text), holder).await.unwrap();
    };
    withdraw("first", "a").await;
    claim(&*replicas, &replica(1, &["first"]), "a", 0).await;
    withdraw("first", "b").await;
    assert!(find().await.is_some(), "only the holder of the lease");
    withdraw("first", "a").await;
    assert_eq!(find().await, None, "nothing was ever written");

    settle(&*replicas, &replica(1, &["old", "amd64"])).await;
    for text in ["second", "third", "second"] {
        claim(&*replicas, &replica(1, &[text]), "a", 0).await;
    }
    withdraw("second", "a").await;
    let found = find().await.unwrap();
    assert_eq!((found.digest, found.earlier), (digest("third"), vec![digest("old")]));
    assert_eq!(found.manifests, ["old", "amd64"].map(digest));
    assert!(!is_granted(&*replicas, "b", 5).await, "the lease stays");
    withdraw("third", "a").await;
    assert!(find().await.unwrap().is_ours(&digest("old")));
}

pub(super) async fn simultaneous_claims_grant_one(replicas: Arc<dyn Replicas>) {
    let claims: Vec<_> = (0..8)
        .map(|number| {
            let replicas = Arc::clone(&replicas);
            tokio::spawn(async move {
                let holder = format!("holder-{number}");
                let wanted = replica(1, &[holder.as_str()]);
                let granted = matches!(claim(&*replicas, &wanted, &holder, 0).await, Claim::Granted { .. });
                granted.then_some(wanted.digest)
            })
        })
        .collect();
    let mut granted: Vec<Digest> = Vec::new();
    for claim in claims {
        granted.extend(claim.await.unwrap());
    }
    assert_eq!(granted.len(), 1);
    let found = replicas.get(&replica(1, &["x"]).destination).await.unwrap().unwrap();
    assert_eq!((found.digest, found.earlier), (granted.remove(0), vec![]));
}

pub(super) async fn a_late_settlement_leaves_the_claim_of_another_worker(replicas: Arc<dyn Replicas>) {
    claim(&*replicas, &replica(1, &["late"]), "a", 0).await;
    claim(&*replicas, &replica(1, &["next"]), "b", 20).await;
    let late = replica(1, &["late", "amd64"]);
    replicas.settle(std::slice::from_ref(&late), "a", at(25)).await.unwrap();
    let found = replicas.get(&late.destination).await.unwrap().unwrap();
    assert_eq!((found.digest, found.earlier), (digest("next"), vec![digest("late")]));
    assert_eq!(found.manifests, late.manifests);
    assert!(!is_granted(&*replicas, "c", 26).await, "the lease stays");
    let next = replica(1, &["next", "arm64"]);
    replicas.settle(std::slice::from_ref(&next), "b", at(27)).await.unwrap();
    assert_eq!(replicas.get(&late.destination).await.unwrap(), Some(next));
    assert!(is_granted(&*replicas, "c", 28).await);
}

/// The replica of a push of another source to the same tag, accepted at `accepted` seconds.
fn of_source(source: u32, accepted: i64, text: &str) -> Replica {
    let mut pushed = replica(1, &[text]);
    pushed.source = Some(place("hangzhou", "core/app", source));
    pushed.accepted = at(accepted);
    pushed
}

pub(super) async fn of_two_sources_of_one_tag_the_last_push_has_it(replicas: Arc<dyn Replicas>) {
    let granted = |claim| matches!(claim, Claim::Granted { .. });
    let (early, late) = (of_source(1, 5, "early"), of_source(2, 6, "late"));
    assert!(granted(claim(&*replicas, &early, "a", 10).await));
    replicas.release(&early.destination, "a").await.unwrap();
    assert!(granted(claim(&*replicas, &late, "b", 11).await));
    replicas.settle(std::slice::from_ref(&late), "b", at(12)).await.unwrap();

    // The earlier push was delayed by retries.
    assert_eq!(claim(&*replicas, &early, "a", 30).await, Claim::Superseded);
    replicas
        .settle(std::slice::from_ref(&early), "a", at(31))
        .await
        .unwrap();
    assert_eq!(replicas.get(&late.destination).await.unwrap(), Some(late.clone()));
    let mut of_a_store = early;
    of_a_store.source = None;
    assert_eq!(claim(&*replicas, &of_a_store, "a", 32).await, Claim::Superseded);
    assert!(granted(claim(&*replicas, &of_source(1, 7, "again"), "a", 33).await));
}

pub(super) async fn an_earlier_push_of_the_same_source_writes_for_the_last(replicas: Arc<dyn Replicas>) {
    let last = of_source(1, 7, "last");
    claim(&*replicas, &last, "a", 10).await;
    replicas.settle(std::slice::from_ref(&last), "a", at(11)).await.unwrap();
    let claimed = claim(&*replicas, &of_source(1, 5, "newest"), "b", 12).await;
    let (earlier, accepted) = (vec![digest("last")], at(7));
    assert_eq!(claimed, Claim::Granted { earlier, accepted });
    replicas.release(&last.destination, "b").await.unwrap();
    assert_eq!(
        claim(&*replicas, &of_source(2, 6, "other"), "c", 13).await,
        Claim::Superseded
    );
}

pub(super) async fn a_clock_that_was_ahead_decides_nothing(replicas: Arc<dyn Replicas>) {
    const YEAR: i64 = 365 * 86400;
    let (ahead, now) = (of_source(1, YEAR, "ahead"), of_source(2, 5, "now"));
    claim(&*replicas, &ahead, "a", YEAR).await;
    let claimed = claim(&*replicas, &now, "b", 6).await;
    assert!(
        matches!(claimed, Claim::Granted { accepted, .. } if accepted == at(5)),
        "{claimed:?}"
    );
    let settled = now.clone();
    replicas
        .settle(std::slice::from_ref(&settled), "b", at(7))
        .await
        .unwrap();
    assert_eq!(replicas.get(&now.destination).await.unwrap(), Some(now));
}

pub(super) async fn several_replicas_are_found_at_once(replicas: Arc<dyn Replicas>) {
    let known: Vec<Replica> = (1..=120).map(|number| replica(number, &["index", "amd64"])).collect();
    replicas.settle(&known, "a", at(0)).await.unwrap();
    let mut wanted: Vec<_> = known.iter().map(|replica| replica.destination.clone()).collect();
    wanted.push(replica(500, &["x"]).destination);
    let found = replicas.find(&wanted).await.unwrap();
    assert_eq!(found.len(), known.len());
    for replica in known {
        assert_eq!(found.get(&replica.destination), Some(&replica));
    }
    assert!(replicas.find(&[]).await.unwrap().is_empty());
}
