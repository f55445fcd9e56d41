//! Checks of comparisons, drills and checks of failover groups, which stand on records.

use std::collections::BTreeSet;
use std::sync::Arc;

use transship_engine::Finding;
use transship_engine::failover::DrillReport;
use transship_engine::ledger::{
    Comparisons, DIFFERENCES_MAX, DRILLS_KEPT, Difference, Drills, Failed, Found, LastCheck, Leg, Records, Unfinished,
    Verified, Whole,
};

use super::samples::digest;
use crate::suites::at;

fn leg() -> Leg {
    Leg {
        rule: "core".to_owned(),
        from: "a".to_owned(),
        to: "b".to_owned(),
    }
}

fn whole(second: i64) -> Whole {
    Whole {
        began: at(second),
        ended: at(second + 1),
        images: 3,
        replicated: 2,
        verified: 1,
        verified_since: at(0),
        missing: 1,
        different: 0,
        extra: 0,
        conflicts: 0,
        unknown: 0,
        oldest_unreplicated: Some(at(5)),
        sample: None,
        generation: second.to_string(),
        named: 0,
    }
}

fn differences(count: usize) -> Vec<Difference> {
    let difference = |number: usize| Difference {
        state: Finding::Missing,
        repository: format!("core/app-{number:05}").parse().unwrap(),
        tag: "v1".parse().unwrap(),
        source_digest: Some(digest("1")),
        destination_digest: None,
        code: Some("NEVER_REPLICATED".to_owned()),
        reason: Some("x".repeat(300)),
        since: at(5),
        is_conflict: false,
    };
    (0..count).map(difference).collect()
}

pub(super) async fn a_comparison_is_kept_whole_with_its_names(records: Arc<dyn Records>) {
    let comparisons = Comparisons::new(records);
    assert_eq!(comparisons.get(&leg()).await.unwrap(), None);
    let names = differences(450);
    comparisons.put(&leg(), whole(10), &names).await.unwrap();
    let known = comparisons.get(&leg()).await.unwrap().unwrap();
    let kept = known.whole.clone().unwrap();
    assert_eq!((kept.named, known.tried, known.failure.is_none()), (450, at(11), true));
    let first = comparisons.differences(&leg(), &kept, None).await.unwrap();
    assert!(first.next.is_some() && first.items.len() < 450, "names come in pages");
    assert_eq!(comparisons.all_differences(&leg(), &kept).await.unwrap(), names);

    // Another leg, and a comparison that is older, change nothing.
    let other = Leg {
        to: "c".to_owned(),
        ..leg()
    };
    comparisons.put(&other, whole(20), &[]).await.unwrap();
    comparisons.put(&leg(), whole(9), &differences(1)).await.unwrap();
    assert_eq!(comparisons.all_differences(&leg(), &kept).await.unwrap(), names);
    assert_eq!(comparisons.get(&leg()).await.unwrap().unwrap().whole, Some(kept));

    comparisons.put(&leg(), whole(30), &differences(2)).await.unwrap();
    let later = comparisons.get(&leg()).await.unwrap().unwrap().whole.unwrap();
    assert_eq!(comparisons.all_differences(&leg(), &later).await.unwrap().len(), 2);
    assert_eq!(
        comparisons.all_differences(&leg(), &whole(10)).await.unwrap().len(),
        0,
        "the names of the one before are removed"
    );
}

pub(super) async fn a_failed_comparison_leaves_the_last_whole_one(records: Arc<dyn Records>) {
    let comparisons = Comparisons::new(records);
    let failure = || Failed {
        code: "CONNECT_FAILED".to_owned(),
        text: "down".to_owned(),
    };
    comparisons.put(&leg(), whole(10), &differences(1)).await.unwrap();
    comparisons.fail(&leg(), at(20), failure(), true).await.unwrap();
    comparisons.fail(&leg(), at(30), failure(), true).await.unwrap();
    let known = comparisons.get(&leg()).await.unwrap().unwrap();
    assert_eq!((known.tried, known.unreachable_since), (at(30), Some(at(20))));
    assert!(known.whole.is_some() && known.failure == Some(failure()));
    // It answers again, though not completely.
    comparisons.fail(&leg(), at(40), failure(), false).await.unwrap();
    assert_eq!(comparisons.get(&leg()).await.unwrap().unwrap().unreachable_since, None);
    comparisons.put(&leg(), whole(50), &[]).await.unwrap();
    assert_eq!(comparisons.get(&leg()).await.unwrap().unwrap().failure, None);
}

pub(super) async fn many_names_and_verifications_are_bounded(records: Arc<dyn Records>) {
    let comparisons = Comparisons::new(records);
    comparisons
        .put(&leg(), whole(10), &differences(DIFFERENCES_MAX + 1))
        .await
        .unwrap();
    let kept = comparisons.get(&leg()).await.unwrap().unwrap().whole.unwrap();
    assert_eq!(kept.named, DIFFERENCES_MAX as u64);

    assert_eq!(comparisons.verified(&leg()).await.unwrap(), None);
    for (generation, count) in [("1", 25_000_u64), ("2", 3)] {
        let verified = Verified {
            since: at(7),
            generation: generation.to_owned(),
            hashes: (0..count).map(|number| u64::MAX - number).collect::<BTreeSet<_>>(),
        };
        comparisons.put_verified(&leg(), &verified).await.unwrap();
        assert_eq!(comparisons.verified(&leg()).await.unwrap(), Some(verified));
    }
}

fn begun(second: i64, earlier: Option<&Unfinished>) -> Unfinished {
    Unfinished::new(&leg(), "basis".to_owned(), at(second), at(0), earlier)
}

/// What a slice found: differences and hashes from `from` on.
fn found(from: usize, count: usize) -> Found {
    let mut found = Found::default();
    let names = differences(from + count).split_off(from);
    found.differences = names.into_iter().map(|one| (at(7), one)).collect();
    found.verified = (from as u64..(from + count) as u64)
        .map(|number| u64::MAX - number)
        .collect();
    found.seen.named = found.verified.clone();
    found.seen.repositories = found
        .differences
        .iter()
        .map(|(_, one)| one.repository.clone())
        .collect();
    found
}

fn together(found: &[Found]) -> Found {
    let mut all = Found::default();
    for one in found {
        all.extend(one.clone());
    }
    all
}

pub(super) async fn an_unfinished_comparison_grows_beside_the_last_whole_one(records: Arc<dyn Records>) {
    let comparisons = Comparisons::new(records);
    assert_eq!(comparisons.unfinished(&leg()).await.unwrap(), None);
    comparisons.put(&leg(), whole(10), &differences(2)).await.unwrap();
    let slices = [found(0, 3), found(3, 400), found(403, 0), found(403, 20)];
    let mut unfinished = begun(20, None);
    for (number, slice) in slices.iter().enumerate() {
        unfinished.images += slice.verified.len() as u64;
        unfinished.advanced = at(21 + i64::try_from(number).unwrap());
        assert!(comparisons.keep(&mut unfinished, slice.clone()).await.unwrap());
        let known = comparisons.unfinished(&leg()).await.unwrap().unwrap();
        assert_eq!(known, unfinished);
        let all = comparisons.found(&known).await.unwrap().unwrap();
        assert_eq!(all, together(&slices[..=number]));
    }
    assert_eq!(comparisons.all_unfinished().await.unwrap(), [unfinished.clone()]);
    let kept = comparisons.get(&leg()).await.unwrap().unwrap().whole.unwrap();
    assert_eq!(
        comparisons.all_differences(&leg(), &kept).await.unwrap(),
        differences(2)
    );

    comparisons.drop_unfinished(&unfinished).await.unwrap();
    assert_eq!(comparisons.unfinished(&leg()).await.unwrap(), None);
    assert_eq!(
        comparisons.found(&unfinished).await.unwrap(),
        None,
        "its parts are removed"
    );
    assert!(comparisons.get(&leg()).await.unwrap().unwrap().whole.is_some());
}

pub(super) async fn of_two_workers_at_one_place_of_a_comparison_one_is_refused(records: Arc<dyn Records>) {
    let comparisons = Comparisons::new(records);
    let mut first = begun(20, None);
    assert!(comparisons.keep(&mut first, found(0, 3)).await.unwrap());
    let mut second = comparisons.unfinished(&leg()).await.unwrap().unwrap();
    assert!(comparisons.keep(&mut first, found(3, 3)).await.unwrap());
    assert!(!comparisons.keep(&mut second, found(3, 5)).await.unwrap());
    let known = comparisons.unfinished(&leg()).await.unwrap().unwrap();
    assert_eq!(comparisons.found(&known).await.unwrap().unwrap(), found(0, 6));
    // It may not remove what the other one has, either.
    comparisons.drop_unfinished(&second).await.unwrap();
    assert_eq!(comparisons.unfinished(&leg()).await.unwrap(), Some(first.clone()));

    // Another one begins in its place. The first cannot go on, and its parts can be removed.
    let mut other = begun(30, Some(&first));
    assert!(comparisons.keep(&mut other, found(0, 1)).await.unwrap());
    assert!(!comparisons.keep(&mut first, found(6, 1)).await.unwrap());
    comparisons.forget(&first).await.unwrap();
    assert_eq!(comparisons.found(&first).await.unwrap(), None);
    assert_eq!(comparisons.found(&other).await.unwrap(), Some(found(0, 1)));
    // A new one is not the place of one that is there.
    assert!(!comparisons.keep(&mut begun(40, None), found(0, 1)).await.unwrap());
}

pub(super) async fn an_unfinished_comparison_of_another_release_is_replaced(records: Arc<dyn Records>) {
    let comparisons = Comparisons::new(Arc::clone(&records));
    let mut unfinished = begun(20, None);
    assert!(comparisons.keep(&mut unfinished, found(0, 3)).await.unwrap());
    let page = records.list("comparing", "", None, 10).await.unwrap();
    let record = page.items.first().unwrap();
    let written = records
        .put_if(&record.key, Some(record.version), r#"{"place":"elsewhere"}"#)
        .await;
    assert!(written.unwrap().is_some());
    assert_eq!(comparisons.unfinished(&leg()).await.unwrap(), None);
    assert_eq!(
        comparisons.found(&unfinished).await.unwrap(),
        None,
        "its parts are removed"
    );
    assert!(comparisons.keep(&mut begun(30, None), found(0, 1)).await.unwrap());
}

pub(super) async fn an_unfinished_comparison_of_many_images_fits_into_records(records: Arc<dyn Records>) {
    let comparisons = Comparisons::new(records);
    let mut unfinished = begun(20, None);
    let mut hashes = Found::default();
    hashes.seen.named = (0..25_000).map(|number| u64::MAX - number).collect();
    for slice in [found(0, 600), hashes.clone()] {
        assert!(comparisons.keep(&mut unfinished, slice).await.unwrap());
    }
    let known = comparisons.unfinished(&leg()).await.unwrap().unwrap();
    let all = comparisons.found(&known).await.unwrap().unwrap();
    assert_eq!(all, together(&[found(0, 600), hashes]));
}

fn drill(second: i64, ok: bool) -> DrillReport {
    DrillReport {
        group: "main".to_owned(),
        name: "drill-images.example.com".to_owned(),
        started: at(second),
        ended: at(second + 1),
        by: "test".to_owned(),
        from: "a".to_owned(),
        to: "b".to_owned(),
        ok,
        zones: Vec::new(),
        rto_ms: Some(7),
        rpo_seconds: None,
        at_risk: Vec::new(),
        at_risk_count: 0,
        reasons: Vec::new(),
    }
}

pub(super) async fn drills_are_kept_by_time_and_the_last_good_one_is_known(records: Arc<dyn Records>) {
    let drills = Drills::new(records);
    assert_eq!(drills.last("main").await.unwrap().last_good, None);
    for (second, ok) in [(10, true), (20, false)] {
        drills.add(&drill(second, ok)).await.unwrap();
    }
    let last = drills.last("main").await.unwrap();
    assert_eq!((last.last, last.last_good), (Some(at(20)), Some(at(10))));
    assert_eq!(drills.report("main", at(20)).await.unwrap(), Some(drill(20, false)));
    assert_eq!(drills.report("other", at(20)).await.unwrap(), None);
    let page = drills.reports("main", None).await.unwrap();
    assert_eq!(page.items, [drill(10, true), drill(20, false)]);
    for second in 0..i64::try_from(DRILLS_KEPT).unwrap() {
        drills.add(&drill(100 + second, true)).await.unwrap();
    }
    assert_eq!(
        drills.report("main", at(20)).await.unwrap(),
        None,
        "the oldest are removed"
    );
    assert!(drills.report("main", at(100)).await.unwrap().is_some());
}

pub(super) async fn the_last_check_is_the_latest(records: Arc<dyn Records>) {
    let drills = Drills::new(records);
    let check = |second, ready| LastCheck {
        checked: at(second),
        ready,
        codes: vec!["FAILOVER_LAG".to_owned()],
    };
    assert_eq!(drills.last_check("main").await.unwrap(), None);
    drills.note_check("main", &check(20, true)).await.unwrap();
    drills.note_check("main", &check(10, false)).await.unwrap();
    assert_eq!(drills.last_check("main").await.unwrap(), Some(check(20, true)));
}
