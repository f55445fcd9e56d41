//! Hostile sources: each attack fails only the images it touches, with a code.
//!
//! Attacks by tar headers are in `archive/tar_index/tests.rs`, by names in `upload/tests.rs`, by links in the folder's own tests.

#![expect(clippy::unwrap_used, reason = "tests")]

mod fuzz;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt;
use serde_json::json;
use transship_copy::ByteStream;
use transship_oci::media_type::{OCI_CONFIG, OCI_MANIFEST};
use transship_oci::{Digest, Result, Target};

use transship_layout::{
    Archive, Inspection, Layout, MemoryStore, Missing, Object, ObjectStore, Page, Part, Put, SourceRef, discover,
    inspect, open,
};
use transship_testkit::layouts::{Files, LAYER, Tar, digest_of, gzip, read_image};

fn store_of(files: impl IntoIterator<Item = (String, Bytes)>) -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(files.into_iter().collect()))
}

fn tag(text: &str) -> Target {
    Target::Tag(text.parse().unwrap())
}

/// Two images, `good` and `bad`.
fn two_images() -> (Files, Digest) {
    let mut files = Files::default();
    let (good, bad) = (files.image("good", None), files.image("bad", None));
    files.list(&good, Some("good"));
    files.list(&bad, Some("bad"));
    (files, digest_of(&bad))
}

fn tar_of(files: &HashMap<String, Bytes>) -> Tar {
    files
        .iter()
        .fold(Tar::new(), |tar, (name, bytes)| tar.file(name, bytes))
}

#[tokio::test]
async fn a_blob_replaced_after_its_layout_was_opened_costs_its_image() {
    let (files, manifest) = two_images();
    let layer = Digest::sha256("layer of bad".repeat(500).as_bytes());
    for (digest, bytes, code) in [
        (&layer, "x".repeat("layer of bad".len() * 500), "BLOB_DIGEST_MISMATCH"),
        (&layer, String::new(), "BLOB_SIZE_MISMATCH"),
        (&layer, "layer of bad".repeat(501), "BLOB_SIZE_MISMATCH"),
        (&manifest, "{}".to_owned(), "MANIFEST_DIGEST_MISMATCH"),
        (&manifest, String::new(), "MANIFEST_DIGEST_MISMATCH"),
        (&manifest, "[".repeat(5 << 20), "LAYOUT_INVALID"),
    ] {
        let store = store_of(files.finished(""));
        let layout = Layout::open(Arc::clone(&store) as _, "").await.unwrap();
        let key = format!("blobs/sha256/{}", digest.hex());
        let etag = store.head(&key).await.unwrap().unwrap().etag.unwrap();
        store.put_if_match(&key, bytes.into(), &etag).await.unwrap();
        assert_eq!(read_image(&layout, &tag("bad")).await, Err(code), "{digest}");
        assert!(read_image(&layout, &tag("good")).await.is_ok());
    }
}

#[tokio::test]
async fn sizes_that_are_declared_and_never_arrive_are_waited_for() {
    let mut files = Files::default();
    let (config, size) = files.put(b"{}");
    let (layer, _) = files.put(b"");
    let declared = 5_u64 << 40;
    let manifest = files.manifest(&json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": config, "size": size},
        "layers": [{"mediaType": LAYER, "digest": layer, "size": declared}]}));
    files.list(&manifest, Some("v1"));
    let found = SourceRef::of_key("", "index.json").unwrap();
    let Inspection::Incomplete { missing } = inspect(store_of(files.finished("")), &found, None).await.unwrap() else {
        panic!("expected the missing five terabytes to fail");
    };
    let expected = Missing::Blob {
        digest: layer,
        size_bytes: declared,
        found_bytes: Some(0),
    };
    assert_eq!(missing, [expected]);
}

#[tokio::test]
async fn an_index_that_is_empty_huge_or_something_else_is_no_layout() {
    let huge = format!(r#"{{"manifests":[], "x": "{}"}}"#, "x".repeat(17 << 20));
    for index in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"manifests": 7}"#,
        r#"{"manifests": [], "layers": []}"#,
        &huge,
    ] {
        let mut files = two_images().0.finished("");
        files.insert("index.json".into(), Bytes::copy_from_slice(index.as_bytes()));
        let error = Layout::open(store_of(files), "").await.err().unwrap();
        assert_eq!(error.code(), "LAYOUT_INVALID", "{}", &index[..index.len().min(40)]);
        assert!(error.is_permanent());
    }
}

#[tokio::test]
async fn more_missing_than_can_be_told_is_told_in_part() {
    let mut files = Files::default();
    for number in 0..1500 {
        let absent = Digest::sha256(format!("{number}").as_bytes());
        files.list(&json!({"mediaType": OCI_MANIFEST, "digest": absent, "size": 7}), None);
    }
    let found = SourceRef::of_key("", "index.json").unwrap();
    let Inspection::Incomplete { missing } = inspect(store_of(files.finished("")), &found, None).await.unwrap() else {
        panic!("all of it is missing");
    };
    assert_eq!(missing.len(), 1000);
}

#[tokio::test]
async fn names_of_a_tar_that_climb_or_are_absolute_name_nothing() {
    let (files, bad) = two_images();
    let mut finished = files.finished("");
    let key = format!("blobs/sha256/{}", bad.hex());
    let bytes = finished.remove(&key).unwrap();
    for name in [
        format!("../{key}"),
        format!("/{key}"),
        format!("x/../{key}"),
        format!("{key}/../../sha256/x"),
    ] {
        let tar = tar_of(&finished)
            .file(&name, &bytes)
            .file("../../etc/cron.d/x", b"* * * * *")
            .end();
        for packed in [gzip(&tar), tar] {
            let archive = Archive::open(store_of([("a.tar".to_owned(), packed.into())]), "a.tar")
                .await
                .unwrap();
            assert_eq!(
                read_image(&archive, &tag("bad")).await,
                Err("SOURCE_NOT_FOUND"),
                "{name}"
            );
            assert!(read_image(&archive, &tag("good")).await.is_ok());
        }
    }
    for marker in ["../oci-layout", "/oci-layout"] {
        let tar = Tar::new().file(marker, br#"{"imageLayoutVersion":"1.0.0"}"#).end();
        let error = Archive::open(store_of([("a.tar".to_owned(), tar.into())]), "a.tar")
            .await
            .err();
        assert_eq!(error.unwrap().code(), "ARCHIVE_INVALID", "{marker}");
    }
}

/// A store whose object is replaced just before one of its requests.
struct Replaced {
    store: MemoryStore,
    by: Bytes,
    /// Number of requests before the object is replaced.
    left: AtomicUsize,
}

impl Replaced {
    async fn turn(&self, key: &str) -> Result<()> {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.wrapping_sub(1), Ordering::Relaxed);
        if left == 0 {
            let etag = self.store.head(key).await?.unwrap().etag.unwrap();
            self.store.put_if_match(key, self.by.clone(), &etag).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl ObjectStore for Replaced {
    fn name(&self) -> String {
        self.store.name()
    }

    async fn head(&self, key: &str) -> Result<Option<Object>> {
        self.turn(key).await?;
        self.store.head(key).await
    }

    async fn get(&self, key: &str, part: Part<'_>) -> Result<Option<ByteStream>> {
        self.turn(key).await?;
        self.store.get(key, part).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Page> {
        self.store.list(prefix, after, max).await
    }

    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<Put> {
        self.store.put_if_absent(key, bytes).await
    }

    async fn put_if_match(&self, key: &str, bytes: Bytes, etag: &str) -> Result<Put> {
        self.store.put_if_match(key, bytes, etag).await
    }
}

/// Opens the archive and reads its one image, or the code it failed with.
async fn opened_and_read(store: Arc<dyn ObjectStore>) -> std::result::Result<Digest, &'static str> {
    let archive = Archive::open(store, "a.tar").await.map_err(|error| error.code())?;
    read_image(&archive, &tag("v1")).await.map(|read| read.0)
}

#[tokio::test]
async fn an_archive_replaced_before_any_of_its_requests_is_the_one_the_other_or_told() {
    let made = |text: &str| {
        let mut files = Files::default();
        let image = files.image(text, None);
        // Large enough that nothing is read ahead.
        files.put(&vec![7; 200_000]);
        files.list(&image, Some("v1"));
        (tar_of(&files.finished("")).end(), digest_of(&image))
    };
    let ((one, digest_of_one), (two, digest_of_two)) = (made("one"), made("two"));
    for pack in [|tar: &[u8]| tar.to_vec(), gzip] {
        let mut told = 0;
        for requests in 0.. {
            let store = Arc::new(Replaced {
                store: MemoryStore::new([("a.tar".to_owned(), Bytes::from(pack(&one)))].into()),
                by: pack(&two).into(),
                left: AtomicUsize::new(requests),
            });
            let read = opened_and_read(Arc::clone(&store) as _).await;
            let is_never = store.left.load(Ordering::Relaxed) < usize::MAX / 2;
            match read {
                Ok(digest) if requests == 0 => assert_eq!(digest, digest_of_two),
                Ok(digest) => {
                    assert!(is_never, "replaced before request {requests} without an error");
                    assert_eq!(digest, digest_of_one);
                    break;
                }
                Err(code) => {
                    assert_eq!(code, "OBJECT_CHANGED", "before request {requests}");
                    told += 1;
                }
            }
        }
        assert!(told >= 2, "{told}");
    }
}

#[tokio::test]
async fn keys_that_look_encoded_are_taken_as_they_are() {
    let (files, _) = two_images();
    let mut objects = files.finished("p/a+b %2Bü%2e%2e/");
    objects.insert("p/c+d%2F%00ü.tar".into(), tar_of(&files.finished("")).end().into());
    let store = store_of(objects);
    let found: Vec<SourceRef> = discover(Arc::clone(&store) as _, "p/").try_collect().await.unwrap();
    let paths: Vec<&str> = found.iter().map(|found| found.path.as_str()).collect();
    assert_eq!(paths, ["a+b %2Bü%2e%2e", "c+d%2F%00ü"]);
    for found in &found {
        let source = open(Arc::clone(&store) as _, found).await.unwrap();
        assert!(read_image(source.as_ref(), &tag("good")).await.is_ok(), "{}", found.key);
        assert_eq!(
            found.repository().unwrap_err().code(),
            "INVALID_REFERENCE",
            "not a valid repository name"
        );
    }
}
