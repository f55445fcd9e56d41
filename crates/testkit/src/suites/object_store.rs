//! What every [`ObjectStore`] promises: whole objects by any key, ranges, listings in order, and writes of which one wins.

#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "a check fails by panicking, as every test does"
)]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use transship_layout::{ObjectStore, Part, Put};

/// Keys that some layer between us and the object might take apart, decode twice or sort otherwise.
const KEYS: [&str; 12] = [
    "plain",
    "a/b/c.json",
    "with space/and  two",
    "plus+and+plus",
    "percent%2Fencoded%20",
    "question?mark=1&and#hash",
    "quote'double\"<xml>&amp;",
    "tilde~dollar$colon:semi;comma,",
    "ünïcode/日本語/🚢",
    "dots.../.hidden/..name",
    "UPPER/lower",
    "a=b/*[]{}|^`\\",
];

async fn read(store: &dyn ObjectStore, key: &str, part: Part<'_>) -> Option<Vec<u8>> {
    let stream = store.get(key, part).await.unwrap()?;
    let chunks: Vec<Bytes> = stream.try_collect().await.unwrap();
    Some(chunks.concat())
}

async fn write(store: &dyn ObjectStore, key: &str, bytes: &'static [u8]) -> Option<String> {
    match store.put_if_absent(key, Bytes::from_static(bytes)).await.unwrap() {
        Put::Written(etag) => etag,
        Put::Lost => panic!("{key} was there already"),
    }
}

async fn keys(store: &dyn ObjectStore, prefix: &str, max: usize) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    loop {
        let page = store.list(prefix, found.last().map(String::as_str), max).await.unwrap();
        assert!(page.objects.len() <= max, "a page holds more than was asked for");
        assert!(
            page.is_last || !page.objects.is_empty(),
            "an empty page that is not the last leads nowhere"
        );
        found.extend(page.objects.into_iter().map(|object| object.key));
        if page.is_last {
            return found;
        }
    }
}

pub(super) async fn what_is_not_there_is_nothing(store: Arc<dyn ObjectStore>) {
    assert_eq!(store.head("a/b").await.unwrap(), None);
    assert!(store.get("a/b", Part::from(0)).await.unwrap().is_none());
    let page = store.list("", None, 10).await.unwrap();
    assert!(page.objects.is_empty() && page.is_last);
    write(store.as_ref(), "a/b/c", b"x").await;
    assert_eq!(store.head("a/b").await.unwrap(), None, "a part of a key is not a key");
    assert!(store.get("a/b", Part::from(0)).await.unwrap().is_none());
}

pub(super) async fn any_key_keeps_its_bytes(store: Arc<dyn ObjectStore>) {
    let store = store.as_ref();
    for key in KEYS {
        let content: &'static [u8] = key.as_bytes();
        let etag = write(store, key, content).await;
        assert_eq!(read(store, key, Part::from(0)).await.unwrap(), content, "{key}");
        let object = store.head(key).await.unwrap().unwrap();
        assert_eq!((object.key.as_str(), object.size), (key, content.len() as u64));
        assert_eq!(object.etag, etag, "{key}");
    }
    let listed: HashSet<String> = keys(store, "", 1000).await.into_iter().collect();
    assert_eq!(listed, KEYS.map(str::to_owned).into());
    for key in KEYS {
        assert_eq!(keys(store, key, 1000).await, [key], "{key} as a prefix");
    }
}

pub(super) async fn parts_are_read_and_nothing_lies_beyond_the_end(store: Arc<dyn ObjectStore>) {
    let store = store.as_ref();
    let etag = write(store, "object", b"0123456789").await;
    let part = |offset, length| Part {
        offset,
        length,
        etag: etag.as_deref(),
    };
    for (offset, length, wanted) in [
        (0, None, "0123456789"),
        (3, None, "3456789"),
        (3, Some(4), "3456"),
        (3, Some(1), "3"),
        (0, Some(10), "0123456789"),
        (8, Some(100), "89"),
        (8, Some(u64::MAX), "89"),
        (3, Some(0), ""),
        (10, None, ""),
        (11, None, ""),
        (u64::MAX / 2, Some(1), ""),
    ] {
        let found = read(store, "object", part(offset, length)).await.unwrap();
        assert_eq!(found, wanted.as_bytes(), "{length:?} from {offset}");
    }
    write(store, "empty", b"").await;
    for offset in [0, 1] {
        assert_eq!(read(store, "empty", Part::from(offset)).await.unwrap(), b"");
    }
    assert_eq!(store.head("empty").await.unwrap().unwrap().size, 0);
}

pub(super) async fn an_object_that_was_replaced_is_noticed(store: Arc<dyn ObjectStore>) {
    let store = store.as_ref();
    let old = write(store, "object", b"old")
        .await
        .expect("a store that writes names contents");
    let Put::Written(Some(new)) = store
        .put_if_match("object", Bytes::from_static(b"new"), &old)
        .await
        .unwrap()
    else {
        panic!("nobody else wrote")
    };
    assert_ne!(new, old);
    let part = |etag| Part {
        offset: 1,
        length: None,
        etag: Some(etag),
    };
    assert_eq!(read(store, "object", part(&new)).await.unwrap(), b"ew");
    let error = store.get("object", part(&old)).await.err().expect("it was replaced");
    assert_eq!(error.code(), "OBJECT_CHANGED");
    assert!(!error.persistence().is_permanent());
}

pub(super) async fn when_an_object_was_written_is_told(store: Arc<dyn ObjectStore>) {
    let store = store.as_ref();
    // The store's own clock, which may be another than ours, in whole seconds.
    let tolerance = Duration::from_mins(10);
    write(store, "object", b"x").await;
    let object = store.head("object").await.unwrap().unwrap();
    let written = object.written.expect("every store we have says when");
    let now = SystemTime::now();
    assert!(
        written > now - tolerance && written < now + tolerance,
        "{written:?} is not {now:?}"
    );
    assert_eq!(
        store.head("object").await.unwrap(),
        Some(object.clone()),
        "it stays the same"
    );
    let page = store.list("object", None, 1).await.unwrap();
    assert_eq!(page.objects, [object], "a listing tells the same");
}

pub(super) async fn what_is_there_is_not_written_again(store: Arc<dyn ObjectStore>) {
    let store = store.as_ref();
    write(store, "object", b"first").await;
    let put = store
        .put_if_absent("object", Bytes::from_static(b"second"))
        .await
        .unwrap();
    assert_eq!(put, Put::Lost);
    assert_eq!(read(store, "object", Part::from(0)).await.unwrap(), b"first");
}

pub(super) async fn only_what_was_seen_is_replaced(store: Arc<dyn ObjectStore>) {
    let store = store.as_ref();
    let bytes = || Bytes::from_static(b"other");
    let first = write(store, "object", b"first").await.unwrap();
    let elsewhere = write(store, "elsewhere", b"elsewhere").await.unwrap();
    assert_eq!(store.put_if_match("absent", bytes(), &first).await.unwrap(), Put::Lost);
    assert_eq!(store.head("absent").await.unwrap(), None);
    assert_eq!(
        store.put_if_match("object", bytes(), &elsewhere).await.unwrap(),
        Put::Lost
    );
    assert_eq!(read(store, "object", Part::from(0)).await.unwrap(), b"first");
    assert!(matches!(
        store.put_if_match("object", bytes(), &first).await.unwrap(),
        Put::Written(_)
    ));
    assert_eq!(store.put_if_match("object", bytes(), &first).await.unwrap(), Put::Lost);
}

pub(super) async fn of_simultaneous_writers_one_wins(store: Arc<dyn ObjectStore>) {
    // No writer writes what is there: a store may call equal contents by one name.
    let race = async |seen: Option<String>, first: u8| {
        let mut writers = tokio::task::JoinSet::new();
        for writer in first..first + 8 {
            let (store, seen) = (Arc::clone(&store), seen.clone());
            writers.spawn(async move {
                let bytes = Bytes::from(vec![writer; 100]);
                let put = match seen {
                    None => store.put_if_absent("race", bytes).await,
                    Some(etag) => store.put_if_match("race", bytes, &etag).await,
                };
                (writer, put.unwrap())
            });
        }
        let done = writers.join_all().await;
        let winners: Vec<_> = done
            .into_iter()
            .filter_map(|(writer, put)| match put {
                Put::Written(etag) => Some((writer, etag)),
                Put::Lost => None,
            })
            .collect();
        let [(winner, etag)] = winners.as_slice() else {
            panic!("{} writers think that they were first", winners.len())
        };
        assert_eq!(
            read(store.as_ref(), "race", Part::from(0)).await.unwrap(),
            [*winner; 100]
        );
        etag.clone()
    };
    let etag = race(None, 0).await;
    race(etag, 8).await;
}

pub(super) async fn listings_are_in_order_and_complete(store: Arc<dyn ObjectStore>) {
    let store = store.as_ref();
    // Not the order of folders: `-` and `.` come before `/`, and `ab` is not below `a/`.
    let sorted = ["a", "a-b", "a.b", "a/b", "a/b/c", "a/b0", "a/c", "ab", "b/a"];
    for key in sorted.iter().rev().filter(|key| !["a", "a/b"].contains(key)) {
        write(store, key, b"x").await;
    }
    let all: Vec<&str> = sorted
        .iter()
        .copied()
        .filter(|key| !["a", "a/b"].contains(key))
        .collect();
    for max in [1, 2, 3, 1000] {
        assert_eq!(keys(store, "", max).await, all, "{max} a page");
        assert_eq!(keys(store, "a/", max).await, ["a/b/c", "a/b0", "a/c"]);
        assert_eq!(keys(store, "a/b", max).await, ["a/b/c", "a/b0"]);
        assert_eq!(keys(store, "a", max).await, &all[..6]);
        assert!(keys(store, "c", max).await.is_empty());
    }
    let page = store.list("a/", Some("a/b/zzz"), 1000).await.unwrap();
    let listed: Vec<&str> = page.objects.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(listed, ["a/b0", "a/c"], "after a key that is not there");
    assert_eq!((page.objects[0].size, page.is_last), (1, true));
    let told = store.head("a/c").await.unwrap().unwrap();
    assert_eq!(page.objects[1], told, "a listing tells the same as a look");
}
