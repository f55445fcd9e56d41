//! Checks of versioned values.

use std::sync::Arc;

use transship_engine::ledger::{Cursor, FirstSweep, Key, Record, Records};

use crate::suites::at;

fn key(name: &str) -> Key {
    Key::new("family", name)
}

async fn put(records: &dyn Records, name: &str, expected: Option<u64>, value: &str) -> Option<u64> {
    records.put_if(&key(name), expected, value).await.unwrap()
}

pub(super) async fn a_record_changes_by_compare_and_set(records: Arc<dyn Records>) {
    assert_eq!(records.get(&key("a")).await.unwrap(), None);
    assert_eq!(put(&*records, "a", Some(1), "0").await, None, "there is none");
    let first = put(&*records, "a", None, "1 ü").await.unwrap();
    assert_eq!(put(&*records, "a", None, "2").await, None, "there is one");
    let second = put(&*records, "a", Some(first), "2").await.unwrap();
    assert_ne!(first, second);
    assert_eq!(put(&*records, "a", Some(first), "3").await, None, "it changed");
    let expected = Record {
        key: key("a"),
        value: "2".to_owned(),
        version: second,
    };
    assert_eq!(records.get(&key("a")).await.unwrap(), Some(expected));
    assert_eq!(records.get(&Key::new("another", "a")).await.unwrap(), None);
}

pub(super) async fn of_simultaneous_writers_one_wins(records: Arc<dyn Records>) {
    let mut expected = None;
    for round in 0..5 {
        let writers: Vec<_> = (0..8)
            .map(|number| {
                let records = Arc::clone(&records);
                tokio::spawn(async move { put(&*records, "a", expected, &format!("{round} {number}")).await })
            })
            .collect();
        let mut versions = Vec::new();
        for writer in writers {
            versions.extend(writer.await.unwrap());
        }
        assert_eq!(versions.len(), 1);
        expected = versions.pop();
        assert_eq!(
            records.get(&key("a")).await.unwrap().map(|record| record.version),
            expected
        );
    }
}

pub(super) async fn a_record_is_removed_by_its_version(records: Arc<dyn Records>) {
    assert!(!records.remove_if(&key("a"), 1).await.unwrap());
    let first = put(&*records, "a", None, "1").await.unwrap();
    let second = put(&*records, "a", Some(first), "2").await.unwrap();
    assert!(!records.remove_if(&key("a"), first).await.unwrap());
    assert!(records.remove_if(&key("a"), second).await.unwrap());
    assert_eq!(records.get(&key("a")).await.unwrap(), None);
}

pub(super) async fn a_removed_record_has_no_earlier_version(records: Arc<dyn Records>) {
    let mut seen = Vec::new();
    for _ in 0..5 {
        let version = put(&*records, "a", None, "1").await.unwrap();
        assert!(!seen.contains(&version));
        seen.push(version);
        assert!(records.remove_if(&key("a"), version).await.unwrap());
    }
}

pub(super) async fn records_are_listed_by_prefix_in_pages(records: Arc<dyn Records>) {
    for name in ["run/b", "run/a", "run/c", "run", "runs/a", "other", "run/A"] {
        put(&*records, name, None, name).await.unwrap();
    }
    assert!(
        records
            .put_if(&Key::new("family2", "run/z"), None, "z")
            .await
            .unwrap()
            .is_some()
    );
    let all = async |prefix: &str, limit: usize| {
        let (mut names, mut after) = (Vec::new(), None::<Cursor>);
        loop {
            let page = records.list("family", prefix, after.as_ref(), limit).await.unwrap();
            assert!(page.items.len() <= limit.max(1));
            assert!(page.items.iter().all(|record| record.value == record.key.name));
            names.extend(page.items.into_iter().map(|record| record.key.name));
            after = page.next;
            if after.is_none() {
                return names;
            }
        }
    };
    let expected = ["run/A", "run/a", "run/b", "run/c"];
    for limit in [0, 1, 2, 4, 100] {
        assert_eq!(all("run/", limit).await, expected, "by {limit}");
    }
    assert_eq!(all("", 100).await.len(), 7);
    assert!(all("nothing", 100).await.is_empty());
    let first = records.list("family", "run/", None, 2).await.unwrap();
    put(&*records, "run/B", None, "run/B").await.unwrap();
    put(&*records, "run/aa", None, "run/aa").await.unwrap();
    let rest = records.list("family", "run/", first.next.as_ref(), 10).await.unwrap();
    let rest: Vec<String> = rest.items.into_iter().map(|record| record.key.name).collect();
    assert_eq!(rest, ["run/aa", "run/b", "run/c"], "inserts do not move the cursor");
}

pub(super) async fn one_sweep_is_the_first_and_one_caller_reports(records: Arc<dyn Records>) {
    let first = FirstSweep::new(records);
    assert!(!first.is_first(at(1)).await.unwrap(), "none began");
    for started in [1, 2, 1] {
        first.begin(at(started)).await.unwrap();
    }
    assert!(first.is_first(at(1)).await.unwrap());
    assert!(!first.is_first(at(2)).await.unwrap());
    assert!(first.report(at(3)).await.unwrap());
    assert!(!first.report(at(4)).await.unwrap());
}
