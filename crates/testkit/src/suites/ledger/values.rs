//! Checks of what stands on hints: leases, blob locations, pauses of hosts, uploads under way.

use std::sync::Arc;
use std::time::Duration;

use transship_copy::{Arrival, Continuation};
use transship_engine::ledger::{Failure, Failures, Hints, Leases, Locations, Pauses, Uploads};
use transship_oci::Digest;

use super::samples::{digest, repository};
use crate::suites::at;
use crate::suites::samples::place;

const TEN_SECONDS: Duration = Duration::from_secs(10);

pub(super) async fn a_lease_has_one_holder(hints: Arc<dyn Hints>) {
    let leases = Leases::new(hints);
    assert!(leases.take("key", "a", at(0), TEN_SECONDS).await.unwrap());
    assert!(!leases.take("key", "b", at(9), TEN_SECONDS).await.unwrap());
    assert!(
        leases.take("other", "b", at(9), TEN_SECONDS).await.unwrap(),
        "another key is free"
    );
}

pub(super) async fn a_lease_expires_and_is_taken_over(hints: Arc<dyn Hints>) {
    let leases = Leases::new(hints);
    assert!(leases.take("key", "a", at(0), TEN_SECONDS).await.unwrap());
    assert!(leases.take("key", "b", at(11), TEN_SECONDS).await.unwrap());
    assert!(
        !leases.take("key", "a", at(12), TEN_SECONDS).await.unwrap(),
        "the first holder lost it"
    );
}

pub(super) async fn a_lease_is_extended_by_its_holder(hints: Arc<dyn Hints>) {
    let leases = Leases::new(hints);
    assert!(leases.take("key", "a", at(0), TEN_SECONDS).await.unwrap());
    assert!(leases.take("key", "a", at(8), TEN_SECONDS).await.unwrap());
    assert!(!leases.take("key", "b", at(17), TEN_SECONDS).await.unwrap());
    assert!(leases.take("key", "b", at(19), TEN_SECONDS).await.unwrap());
}

pub(super) async fn a_lease_of_a_clock_that_was_ahead_is_taken_over(hints: Arc<dyn Hints>) {
    const YEAR: i64 = 365 * 86400;
    let leases = Leases::new(hints);
    assert!(leases.take("key", "a", at(YEAR), TEN_SECONDS).await.unwrap());
    assert!(leases.take("key", "b", at(0), TEN_SECONDS).await.unwrap());
    assert!(!leases.take("key", "c", at(1), TEN_SECONDS).await.unwrap());
    leases.release("key", "a").await.unwrap();
    assert!(
        !leases.take("key", "c", at(1), TEN_SECONDS).await.unwrap(),
        "it is not the holder any more"
    );
}

pub(super) async fn only_the_holder_releases_a_lease(hints: Arc<dyn Hints>) {
    let leases = Leases::new(hints);
    assert!(leases.take("key", "a", at(0), TEN_SECONDS).await.unwrap());
    leases.release("key", "b").await.unwrap();
    assert!(!leases.take("key", "b", at(1), TEN_SECONDS).await.unwrap());
    leases.release("key", "a").await.unwrap();
    assert!(leases.take("key", "b", at(1), TEN_SECONDS).await.unwrap());
    leases.release("unknown", "a").await.unwrap();
}

pub(super) async fn simultaneous_takers_get_one_lease(hints: Arc<dyn Hints>) {
    let leases = Leases::new(hints);
    let takers: Vec<_> = (0..8)
        .map(|number| {
            let leases = leases.clone();
            tokio::spawn(async move {
                leases
                    .take("key", &format!("holder-{number}"), at(0), TEN_SECONDS)
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

pub(super) async fn locations_come_latest_first_and_three_at_most(hints: Arc<dyn Hints>) {
    let locations = Locations::new(hints);
    let layer = digest("layer");
    let find = async || {
        let found = locations
            .find("r.example", std::slice::from_ref(&layer), at(0))
            .await
            .unwrap();
        found.get(&layer).cloned().unwrap_or_default().repositories
    };
    assert!(find().await.is_empty());
    for name in ["a", "b", "c"] {
        locations
            .add("r.example", std::slice::from_ref(&layer), &repository(name), at(0))
            .await
            .unwrap();
    }
    assert_eq!(find().await, ["c", "b", "a"].map(repository));
    locations
        .add("r.example", std::slice::from_ref(&layer), &repository("a"), at(0))
        .await
        .unwrap();
    assert_eq!(
        find().await,
        ["a", "c", "b"].map(repository),
        "seen again is the latest"
    );
    locations
        .add("r.example", std::slice::from_ref(&layer), &repository("d"), at(0))
        .await
        .unwrap();
    assert_eq!(find().await, ["d", "a", "c"].map(repository));
}

pub(super) async fn a_location_is_forgotten_alone(hints: Arc<dyn Hints>) {
    let locations = Locations::new(hints);
    let digests = [digest("one"), digest("two")];
    for name in ["a", "b"] {
        locations
            .add("r.example", &digests, &repository(name), at(0))
            .await
            .unwrap();
    }
    locations
        .remove("r.example", &digests[0], &repository("b"), at(0))
        .await
        .unwrap();
    locations
        .remove("r.example", &digests[0], &repository("never"), at(0))
        .await
        .unwrap();
    let found = locations.find("r.example", &digests, at(0)).await.unwrap();
    assert_eq!(found[&digests[0]].repositories, ["a"].map(repository));
    assert_eq!(found[&digests[1]].repositories, ["b", "a"].map(repository));
    locations
        .remove("r.example", &digests[0], &repository("a"), at(0))
        .await
        .unwrap();
    let found = locations.find("r.example", &digests, at(0)).await.unwrap();
    assert!(
        !found.contains_key(&digests[0]),
        "what nothing is known of is not listed"
    );
}

pub(super) async fn sources_are_remembered_with_a_location(hints: Arc<dyn Hints>) {
    let (one, other) = (Locations::new(Arc::clone(&hints)), Locations::new(hints));
    let layer = [digest("layer")];
    let from = |source: &str| Arrival {
        digest: digest("layer"),
        source: Some(source.to_owned()),
    };
    let sources = async |locations: &Locations| {
        let found = locations.find("r.example", &layer, at(0)).await.unwrap();
        found[&layer[0]].sources.clone()
    };
    one.add("r.example", &layer, &repository("a"), at(0)).await.unwrap();
    assert!(
        sources(&one).await.is_empty(),
        "that it is there proves nothing of a source"
    );
    for source in ["s.example/x", "s.example/y"] {
        one.add("r.example", &[from(source)], &repository("a"), at(0))
            .await
            .unwrap();
    }
    assert_eq!(sources(&other).await, ["s.example/y", "s.example/x"]);
    other.add("r.example", &layer, &repository("b"), at(0)).await.unwrap();
    other
        .remove("r.example", &layer[0], &repository("a"), at(0))
        .await
        .unwrap();
    let found = one.find("r.example", &layer, at(0)).await.unwrap();
    assert_eq!(found[&layer[0]].repositories, ["b"].map(repository));
    assert_eq!(
        found[&layer[0]].sources.len(),
        2,
        "a wrong location says nothing of the sources"
    );
    for number in 0..20 {
        let source = format!("s.example/{number}");
        one.add("r.example", &[from(&source)], &repository("b"), at(0))
            .await
            .unwrap();
    }
    let kept = sources(&other).await;
    assert_eq!((kept.len(), kept[0].as_str()), (8, "s.example/19"));
}

pub(super) async fn what_another_process_added_is_found(hints: Arc<dyn Hints>) {
    let (one, other) = (Locations::new(Arc::clone(&hints)), Locations::new(hints));
    let layer = [digest("layer")];
    assert!(one.find("r.example", &layer, at(0)).await.unwrap().is_empty());
    other.add("r.example", &layer, &repository("a"), at(0)).await.unwrap();
    let found = one.find("r.example", &layer, at(0)).await.unwrap();
    assert_eq!(found[&layer[0]].repositories, ["a"].map(repository));
    other.add("r.example", &layer, &repository("b"), at(0)).await.unwrap();
    // What the first one remembers is behind now.
    one.remove("r.example", &layer[0], &repository("a"), at(0))
        .await
        .unwrap();
    let found = other.find("r.example", &layer, at(0)).await.unwrap();
    assert_eq!(found[&layer[0]].repositories, ["b"].map(repository));
}

pub(super) async fn locations_of_hosts_do_not_mix(hints: Arc<dyn Hints>) {
    let locations = Locations::new(hints);
    let layer = [digest("layer")];
    locations
        .add("r.example", &layer, &repository("a"), at(0))
        .await
        .unwrap();
    assert!(
        locations
            .find("r.example:5000", &layer, at(0))
            .await
            .unwrap()
            .is_empty()
    );
    locations
        .remove("r.example:5000", &layer[0], &repository("a"), at(0))
        .await
        .unwrap();
    assert_eq!(locations.find("r.example", &layer, at(0)).await.unwrap().len(), 1);
}

pub(super) async fn many_digests_are_found_at_once(hints: Arc<dyn Hints>) {
    let locations = Locations::new(hints);
    let digests: Vec<_> = (0..250).map(|number| digest(&format!("layer {number}"))).collect();
    locations
        .add("r.example", &digests[..240], &repository("a"), at(0))
        .await
        .unwrap();
    let found = locations.find("r.example", &digests, at(0)).await.unwrap();
    assert_eq!(found.len(), 240);
    assert!(digests[..240].iter().all(|digest| found.contains_key(digest)));
    assert!(locations.find("r.example", &[], at(0)).await.unwrap().is_empty());
    let nothing: [Arrival; 0] = [];
    locations
        .add("r.example", &nothing, &repository("a"), at(0))
        .await
        .unwrap();
}

pub(super) async fn a_pause_of_a_clock_that_was_ahead_is_over(hints: Arc<dyn Hints>) {
    const YEAR: i64 = 365 * 86400;
    let pauses = Pauses::new(hints);
    let until = async |now| pauses.until(&["r.example"], at(now)).await.unwrap();
    pauses.pause("r.example", at(YEAR + 10), at(YEAR)).await.unwrap();
    assert!(until(YEAR).await.is_some());
    assert_eq!(until(0).await, None);
    pauses.pause("r.example", at(10), at(0)).await.unwrap();
    assert_eq!(until(0).await, Some(("r.example".to_owned(), at(10))));
}

pub(super) async fn a_pause_is_never_shortened(hints: Arc<dyn Hints>) {
    let pauses = Pauses::new(hints);
    let paused = async |now| {
        let found = pauses.until(&["r.example"], at(now)).await.unwrap();
        found.map(|(_, until)| until)
    };
    assert_eq!(paused(0).await, None);
    pauses.pause("r.example", at(10), at(0)).await.unwrap();
    assert_eq!(paused(0).await, Some(at(10)));
    pauses.pause("r.example", at(5), at(0)).await.unwrap();
    assert_eq!(paused(0).await, Some(at(10)), "an earlier time changes nothing");
    pauses.pause("r.example", at(20), at(0)).await.unwrap();
    assert_eq!(paused(15).await, Some(at(20)));
    assert_eq!(paused(20).await, None, "it is over when its time has come");
    assert_eq!(pauses.until(&["other.example"], at(0)).await.unwrap(), None);
}

pub(super) async fn the_longest_pause_is_reported(hints: Arc<dyn Hints>) {
    let pauses = Pauses::new(hints);
    let paused = async |hosts: &[&str], now| pauses.until(hosts, at(now)).await.unwrap();
    pauses.pause("a.example", at(10), at(0)).await.unwrap();
    pauses.pause("b.example", at(20), at(0)).await.unwrap();
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

pub(super) async fn a_pause_is_ended(hints: Arc<dyn Hints>) {
    let pauses = Pauses::new(hints);
    pauses.pause("r.example", at(10), at(0)).await.unwrap();
    pauses.pause("other.example", at(10), at(0)).await.unwrap();
    pauses.resume("r.example").await.unwrap();
    pauses.resume("never.example").await.unwrap();
    assert_eq!(pauses.until(&["r.example"], at(1)).await.unwrap(), None);
    assert!(pauses.until(&["other.example"], at(1)).await.unwrap().is_some());
    pauses.pause("r.example", at(5), at(1)).await.unwrap();
    let until = pauses.until(&["r.example"], at(1)).await.unwrap();
    assert_eq!(until, Some(("r.example".to_owned(), at(5))));
}

pub(super) async fn simultaneous_pauses_leave_the_longest(hints: Arc<dyn Hints>) {
    let pauses = Pauses::new(hints);
    let pausing: Vec<_> = (1..=6)
        .map(|seconds| {
            let pauses = pauses.clone();
            tokio::spawn(async move { pauses.pause("r.example", at(seconds * 10), at(0)).await.unwrap() })
        })
        .collect();
    for pause in pausing {
        pause.await.unwrap();
    }
    let until = pauses.until(&["r.example"], at(1)).await.unwrap();
    assert_eq!(until, Some(("r.example".to_owned(), at(60))));
}

pub(super) async fn an_upload_is_found_until_it_expires(hints: Arc<dyn Hints>) {
    let uploads = Uploads::new(hints);
    let upload = |blob: &str, offset| Continuation {
        digest: digest(blob),
        location: format!("https://r.example/v2/a/blobs/uploads/{blob}?_state=a%2Bb"),
        offset,
        hash: (0..=255).collect(),
        hops: 3,
    };
    let find = async |task: &str, blob: &str, now| {
        let found = uploads.find(task, &digest(blob), at(now)).await;
        found.unwrap()
    };
    assert_eq!(find("task-1", "layer", 0).await, None);
    for (task, continuation) in [
        ("task-1", upload("layer", 1 << 40)),
        ("task-1", upload("other", 7)),
        ("task-2", upload("layer", 9)),
    ] {
        uploads.put(task, &continuation, at(10)).await.unwrap();
    }
    assert_eq!(find("task-1", "layer", 9).await, Some(upload("layer", 1 << 40)));
    assert_eq!(find("task-2", "layer", 9).await, Some(upload("layer", 9)));
    assert_eq!(find("task-1", "layer", 10).await, None, "it expired");
    uploads.put("task-1", &upload("layer", 5), at(20)).await.unwrap();
    assert_eq!(find("task-1", "layer", 10).await, Some(upload("layer", 5)));
    uploads.remove("task-1", &digest("layer")).await.unwrap();
    uploads.remove("task-1", &digest("layer")).await.unwrap();
    assert_eq!(find("task-1", "layer", 0).await, None);
    assert_eq!(find("task-1", "other", 0).await, Some(upload("other", 7)));
    assert_eq!(find("task-2", "layer", 0).await, Some(upload("layer", 9)));
}

pub(super) async fn the_last_failure_of_each_tag_is_found_until_it_expires(hints: Arc<dyn Hints>) {
    let failures = Failures::new(hints);
    let [one, two] = [1, 2].map(|number| place("zhangjiakou", "copy/app", number));
    let failure = |text: &[u8], rule: Option<&str>| Failure {
        digest: Digest::sha256(text),
        rule_version: rule.map(str::to_owned),
        at_ms: at(1).as_millisecond(),
    };
    let find = async |rule: &str, now| failures.find(rule, &[&one, &two], now).await.unwrap();
    assert!(find("core", at(1)).await.is_empty());
    for (text, rule) in [(b"old", None), (b"new", Some("v1"))] {
        failures.add("core", &one, &failure(text, rule)).await.unwrap();
    }
    let found = find("core", at(2)).await;
    assert_eq!(found.get(&one), Some(&failure(b"new", Some("v1"))));
    assert_eq!(found.len(), 1);
    assert!(find("other", at(2)).await.is_empty(), "failures are those of a rule");
    assert!(find("core", at(91 * 86_400)).await.is_empty());
}
