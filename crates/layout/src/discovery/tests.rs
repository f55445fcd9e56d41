//! Behaviours of [`Discovery`]: broken off and taken up again, it finds what one that is not finds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use proptest::prelude::*;
use transship_copy::ByteStream;

use super::*;
use crate::unreadable;
use crate::{MemoryStore, Object, Page, Part, Put, SourceKind};
use transship_oci::Result;

const HEX: &str = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";

fn store_of(keys: &BTreeSet<String>) -> MemoryStore {
    let objects: HashMap<String, Bytes> = keys.iter().map(|key| (key.clone(), Bytes::new())).collect();
    MemoryStore::new(objects)
}

/// Everything found, going on from JSON after every page.
async fn found(store: &dyn ObjectStore, prefix: &str, max: usize) -> std::result::Result<Vec<SourceRef>, &'static str> {
    let (mut search, mut all, mut pages) = (Discovery::new(prefix), Vec::new(), 0);
    loop {
        match search.next_of(store, max).await {
            Ok(Some(page)) => all.extend(page),
            Ok(None) => return Ok(all),
            Err(error) if error.is_permanent() => return Err(error.code()),
            Err(_) => {}
        }
        let json = serde_json::to_string(&search).unwrap();
        let parsed: Discovery = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed, search, "{json}");
        search = parsed;
        pages += 1;
        assert!(pages < 10_000, "it comes to an end");
    }
}

/// The same by looking at all keys at once.
fn expected(keys: &BTreeSet<String>, prefix: &str) -> BTreeSet<(SourceKind, String)> {
    let mut seen: BTreeMap<String, [bool; 3]> = BTreeMap::new();
    let mut all = BTreeSet::new();
    for below in keys.iter().filter_map(|key| key.strip_prefix(prefix)) {
        if let Some((before, rest)) = below.split_once("docker/registry/v2/") {
            if let Some((name, _)) = rest
                .strip_prefix("repositories/")
                .unwrap_or_default()
                .split_once("/_manifests/")
            {
                all.insert((SourceKind::Repository, format!("{before}{name}")));
            }
        } else if let Some(path) = below.strip_suffix(".tar").or_else(|| below.strip_suffix(".tgz")) {
            all.insert((SourceKind::Archive, path.to_owned()));
        } else {
            for (at, file) in [
                "oci-layout".to_owned(),
                "index.json".to_owned(),
                format!("blobs/sha256/{HEX}"),
            ]
            .iter()
            .enumerate()
            {
                if let Some(folder) = below
                    .strip_suffix(file.as_str())
                    .filter(|folder| folder.is_empty() || folder.ends_with('/'))
                {
                    seen.entry(folder.to_owned()).or_default()[at] = true;
                }
            }
        }
    }
    let layouts = seen
        .into_iter()
        .filter(|(_, [marker, index, blobs])| *marker || (*index && *blobs));
    all.extend(layouts.map(|(folder, _)| (SourceKind::Layout, folder.trim_end_matches('/').to_owned())));
    all
}

/// A listing that breaks off every second time.
struct Flaky(MemoryStore, AtomicBool);

#[async_trait]
impl ObjectStore for Flaky {
    fn name(&self) -> String {
        self.0.name()
    }

    async fn head(&self, key: &str) -> Result<Option<Object>> {
        self.0.head(key).await
    }

    async fn get(&self, key: &str, part: Part<'_>) -> Result<Option<ByteStream>> {
        self.0.get(key, part).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Page> {
        if self.1.fetch_xor(true, Ordering::Relaxed) {
            return Err(unreadable(prefix, std::io::ErrorKind::TimedOut.into()));
        }
        self.0.list(prefix, after, max).await
    }

    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<Put> {
        self.0.put_if_absent(key, bytes).await
    }

    async fn put_if_match(&self, key: &str, bytes: Bytes, etag: &str) -> Result<Put> {
        self.0.put_if_match(key, bytes, etag).await
    }
}

/// Keys as they lie in buckets, in folders within folders.
fn keys() -> impl Strategy<Value = BTreeSet<String>> {
    let part = prop::sample::select(vec!["a", "a+b", "b", "ü%2B", "0", "~", "indexes"]);
    let folder = prop::collection::vec(part, 0..4);
    let file = prop::sample::select(vec![
        "oci-layout".to_owned(),
        "index.json".to_owned(),
        format!("blobs/sha256/{HEX}"),
        "x.tar".to_owned(),
        "a.tgz".to_owned(),
        "page.html".to_owned(),
        format!("docker/registry/v2/blobs/sha256/0f/{HEX}/data"),
        format!("docker/registry/v2/repositories/a/_layers/sha256/{HEX}/link"),
        "docker/registry/v2/repositories/a/_manifests/tags/v1/current/link".to_owned(),
        format!("docker/registry/v2/repositories/a/_manifests/revisions/sha256/{HEX}/link"),
        format!("docker/registry/v2/repositories/a/b/_manifests/revisions/sha256/{HEX}/link"),
        "docker/registry/v2/repositories/b/_uploads/1/startedat".to_owned(),
    ]);
    let key = (folder, file).prop_map(|(folder, file)| {
        let folder: String = folder.iter().flat_map(|part| [*part, "/"]).collect();
        format!("{folder}{file}")
    });
    prop::collection::btree_set(key, 0..40)
}

proptest! {
    #[test]
    fn broken_off_after_every_page_it_finds_the_same(keys in keys(), max in 1usize..8, prefix in prop::sample::select(vec!["", "a/", "a", "b"])) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (at_once, by_pages, flaky) = runtime.block_on(async {
            let store = store_of(&keys);
            let flaky = Flaky(store_of(&keys), AtomicBool::new(true));
            (found(&store, prefix, 1000).await, found(&store, prefix, max).await, found(&flaky, prefix, max).await)
        });
        prop_assert_eq!(&at_once, &by_pages);
        prop_assert_eq!(&at_once, &flaky);
        let folder = if prefix.is_empty() { String::new() } else { format!("{}/", prefix.trim_end_matches('/')) };
        let expected = expected(&keys, &folder);
        match at_once {
            Err(code) => {
                prop_assert_eq!(code, "SOURCE_EMPTY");
                prop_assert!(expected.is_empty());
            }
            Ok(found) => {
                let set: BTreeSet<(SourceKind, String)> = found.iter().map(|found| (found.kind, found.path.clone())).collect();
                prop_assert_eq!(set.len(), found.len(), "nothing is reported twice");
                prop_assert_eq!(set, expected);
            }
        }
    }
}

#[tokio::test]
async fn a_search_stays_small_however_deep_layouts_lie_in_each_other() {
    let mut keys = BTreeSet::new();
    let mut folder = String::new();
    while folder.len() < 1000 {
        keys.insert(format!("{folder}oci-layout"));
        folder.push_str("a/");
    }
    let store = store_of(&keys);
    let (mut search, mut largest, mut count) = (Discovery::new(""), 0, 0);
    while let Some(found) = search.next_of(&store, 10).await.unwrap() {
        largest = largest.max(serde_json::to_string(&search).unwrap().len());
        count += found.len();
    }
    assert_eq!(count, keys.len());
    assert!(largest < 64 * 1024, "{largest} bytes");
}

#[tokio::test]
async fn the_key_of_an_archive_is_found_and_the_end_is_told_again() {
    let store = store_of(&["p/a.tar".to_owned(), "p/a.tar/x.tgz".to_owned()].into());
    let paths = async |prefix| {
        let found = found(&store, prefix, 1).await.unwrap();
        found
            .into_iter()
            .map(|found| (found.key, found.path))
            .collect::<Vec<_>>()
    };
    assert_eq!(paths("p/a.tar").await, [("p/a.tar".to_owned(), String::new())]);
    assert_eq!(paths("p/a.tar/").await, [("p/a.tar/x.tgz".to_owned(), "x".to_owned())]);
    let mut search = Discovery::new("nothing");
    while search.next(&store).await.is_ok() {}
    let error = search.next(&store).await.unwrap_err();
    assert_eq!(error.code(), "SOURCE_EMPTY");
    assert!(error.to_string().contains("memory/nothing/"), "{error}");
}
