//! The chunks of comparisons, after a process was killed between two calls or an answer of the ledger was lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use transship_engine::Finding;
use transship_engine::ledger::{
    Comparisons, Cursor, Difference, Found, Key, Leg, Page, Record, Records, Unfinished, Whole,
};
use transship_oci::Result;
use transship_testkit::memory::MemoryLedger;

use crate::fixture::{name, tag};

/// Records of which one write of the family `comparing` is made and repeated, because its answer was lost.
#[derive(Default)]
struct Repeating {
    inner: MemoryLedger,
    loses_next: AtomicBool,
}

#[async_trait]
impl Records for Repeating {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        Records::get(&self.inner, key).await
    }

    async fn put_if(&self, key: &Key, expected: Option<u64>, value: &str) -> Result<Option<u64>> {
        if key.family == "comparing" && self.loses_next.swap(false, Ordering::SeqCst) {
            Records::put_if(&self.inner, key, expected, value).await?;
        }
        Records::put_if(&self.inner, key, expected, value).await
    }

    async fn remove_if(&self, key: &Key, expected: u64) -> Result<bool> {
        self.inner.remove_if(key, expected).await
    }

    async fn list(&self, family: &str, prefix: &str, after: Option<&Cursor>, limit: usize) -> Result<Page<Record>> {
        Records::list(&self.inner, family, prefix, after, limit).await
    }
}

fn leg() -> Leg {
    let [rule, from, to] = ["core", "a", "b"].map(str::to_owned);
    Leg { rule, from, to }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn begun(seconds: u64) -> Unfinished {
    Unfinished::new(&leg(), "basis".to_owned(), at(seconds), at(seconds), None)
}

fn hash(hash: u64) -> Found {
    Found {
        verified: BTreeSet::from([hash]),
        ..Found::default()
    }
}

#[tokio::test]
async fn a_lost_answer_keeps_what_a_comparison_found() {
    let records = Arc::new(Repeating::default());
    let comparisons = Comparisons::new(Arc::clone(&records) as Arc<dyn Records>);
    let mut own = begun(1);
    for number in [7, 8] {
        records.loses_next.store(true, Ordering::SeqCst);
        assert!(comparisons.keep(&mut own, hash(number)).await.unwrap(), "{number}");
    }
    assert!(comparisons.keep(&mut own, hash(9)).await.unwrap());
    let stored = comparisons.unfinished(&leg()).await.unwrap().unwrap();
    let found = comparisons.found(&stored).await.unwrap().unwrap();
    assert_eq!(found.verified, BTreeSet::from([7, 8, 9]));

    // Another worker that began at the same place is refused, and what it wrote is removed.
    assert!(!comparisons.keep(&mut begun(2), hash(10)).await.unwrap());
    assert_eq!(chunks(&records).await.len(), 1);
}

async fn chunks(records: &Repeating) -> Vec<String> {
    let page = Records::list(records, "comparing-found#core:a>b", "", None, 100).await;
    page.unwrap().items.into_iter().map(|record| record.key.name).collect()
}

#[tokio::test]
async fn chunks_that_a_killed_worker_left_are_removed_by_the_next_comparison() {
    let records = Arc::new(Repeating::default());
    let comparisons = Comparisons::new(Arc::clone(&records) as Arc<dyn Records>);
    assert!(comparisons.keep(&mut begun(1), hash(7)).await.unwrap());
    // The worker was killed after it had removed the record, and before it removed the chunks.
    let key = Key::new("comparing", "core:a>b");
    let record = Records::get(&*records, &key).await.unwrap().unwrap();
    assert!(Records::remove_if(&*records, &key, record.version).await.unwrap());
    assert_eq!(chunks(&records).await.len(), 1);

    let mut next = begun(2);
    assert!(comparisons.keep(&mut next, hash(8)).await.unwrap());
    let left = chunks(&records).await;
    assert!(
        left.len() == 1 && left[0].starts_with(&next.generation()),
        "{left:?} of {}",
        next.generation()
    );
    let found = comparisons.found(&next).await.unwrap().unwrap();
    assert_eq!(found.verified, BTreeSet::from([8]));
}

#[tokio::test]
async fn an_end_that_is_repeated_leaves_no_names_of_the_first_one() {
    let comparisons = Comparisons::new(Arc::new(MemoryLedger::default()));
    let whole = Whole {
        began: at(1),
        ended: at(2),
        images: 450,
        replicated: 0,
        verified: 0,
        verified_since: at(1),
        missing: 450,
        different: 0,
        extra: 0,
        conflicts: 0,
        unknown: 0,
        oldest_unreplicated: None,
        sample: None,
        generation: "1".to_owned(),
        named: 0,
    };
    let missing = |number: u64| Difference {
        state: Finding::Missing,
        repository: name("core/app"),
        tag: tag(&format!("v{number}")),
        source_digest: None,
        destination_digest: None,
        code: None,
        reason: None,
        since: at(1),
        is_conflict: false,
    };
    let all: Vec<Difference> = (0..450).map(missing).collect();
    for count in [450, 201, 1, 0] {
        comparisons.put(&leg(), whole.clone(), &all[..count]).await.unwrap();
        let kept = comparisons.get(&leg()).await.unwrap().unwrap().whole.unwrap();
        let names = comparisons.all_differences(&leg(), &kept).await.unwrap();
        assert_eq!(names, all[..count]);
    }
}
