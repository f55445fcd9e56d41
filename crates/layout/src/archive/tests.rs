//! Behaviours of [`super::Archive`].

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use transship_copy::ByteStream;
use transship_oci::{Descriptor, Digest, Result, Target};

use super::{Archive, ArchiveFiles, Limits};
use crate::counting_store::{Counting, store_of};
use crate::{Images, MemoryStore, Object, ObjectStore, Page, Part, Put};
use transship_testkit::layouts::{Files, digest_of, read_image};
use transship_testkit::layouts::{Tar, gzip};

/// A tar of these files, in the order of their names, below `prefix`.
fn tar_of(files: &HashMap<String, Bytes>, prefix: &str) -> Tar {
    let mut names: Vec<&String> = files.keys().collect();
    names.sort();
    names.into_iter().fold(Tar::new(), |tar, name| {
        tar.file(&format!("{prefix}{name}"), &files[name])
    })
}

fn two_images() -> Files {
    let mut files = Files::default();
    let (one, two) = (files.image("one", None), files.image("two", None));
    let about = files.image("about one", Some(&one));
    let index = files.index(&[one.clone(), two]);
    files.list(&one, Some("v1"));
    files.list(&index, Some("v2"));
    files.list(&about, None);
    files
}

async fn open(bytes: Vec<u8>) -> std::result::Result<Archive, &'static str> {
    let store = store_of([("a.tar".to_owned(), Bytes::from(bytes))]);
    Archive::open(store, "a.tar").await.map_err(|error| error.code())
}

fn tag(text: &str) -> Target {
    Target::Tag(text.parse().unwrap())
}

#[tokio::test]
async fn a_layout_is_read_from_a_tar_however_it_is_packed() {
    let files = two_images();
    let finished = files.finished("");
    for prefix in ["", "./", "app/"] {
        let tar = tar_of(&finished, prefix).end();
        let frames = zstd::encode_all(&*tar, 3).unwrap();
        for packed in [gzip(&tar), frames, tar] {
            let archive = open(packed).await.unwrap();
            let listing = archive.images().await.unwrap();
            assert!(listing.refused.is_empty(), "{:?}", listing.refused);
            let targets: Vec<&Target> = listing.images.iter().map(|image| &image.target).collect();
            assert_eq!(targets, [&tag("v1"), &tag("v2")]);
            assert_eq!(read_image(&archive, &tag("v2")).await.map(|read| read.1), Ok(4));
            let one = digest_of(&files.entries[0]);
            let referrers = transship_copy::Source::referrers(&archive, &one).await.unwrap();
            assert_eq!(referrers.len(), 1);
        }
    }
}

#[tokio::test]
async fn a_cut_archive_gives_what_is_whole() {
    let mut files = two_images().finished("");
    let index = files.remove("index.json").unwrap();
    let marker = files.remove("oci-layout").unwrap();
    let head = || Tar::new().file("oci-layout", &marker).file("index.json", &index);
    let mut names: Vec<&String> = files.keys().collect();
    names.sort();
    let tar = names
        .iter()
        .fold(head(), |tar, name| tar.file(name, &files[*name]))
        .unended();
    let archive = open(tar.clone()).await.unwrap();
    assert!(
        read_image(&archive, &tag("v2")).await.is_ok(),
        "the end may be left out"
    );
    for packed in [tar[..tar.len() - 700].to_vec(), tar[..tar.len() / 2 + 100].to_vec()] {
        for packed in [
            packed.clone(),
            gzip(&packed),
            gzip(&tar)[..gzip(&tar).len() / 2].to_vec(),
        ] {
            let archive = open(packed).await.unwrap();
            let read = [tag("v1"), tag("v2")].map(|target| {
                let archive = archive.clone();
                async move { read_image(&archive, &target).await }
            });
            let read = futures_util::future::join_all(read).await;
            assert!(read.contains(&Err("ARCHIVE_TRUNCATED")), "{read:?}");
        }
    }
    assert_eq!(
        open(head().unended()[..700].to_vec()).await.err(),
        Some("ARCHIVE_TRUNCATED")
    );
    assert_eq!(open(Vec::new()).await.err(), Some("ARCHIVE_TRUNCATED"));
}

#[tokio::test]
async fn a_link_or_a_second_content_costs_its_image_and_no_other() {
    let mut files = Files::default();
    let (good, bad) = (files.image("good", None), files.image("bad", None));
    files.list(&good, Some("good"));
    files.list(&bad, Some("bad"));
    let finished = files.finished("");
    let key = format!("blobs/sha256/{}", digest_of(&bad).hex());
    let rest: HashMap<String, Bytes> = finished
        .iter()
        .filter(|(name, _)| **name != key)
        .map(|(name, bytes)| (name.clone(), bytes.clone()))
        .collect();
    let linked = |kind| tar_of(&rest, "").special(kind, &key, b"").end();
    let twice = tar_of(&finished, "").file(&key, b"other").end();
    let flipped = finished[&key].iter().map(|byte| byte ^ 1).collect::<Vec<u8>>();
    let same_size = tar_of(&finished, "").file(&key, &flipped).end();
    for (tar, code) in [
        (linked(b'1'), "ARCHIVE_ENTRY_UNSAFE"),
        (linked(b'2'), "ARCHIVE_ENTRY_UNSAFE"),
        (linked(b'3'), "ARCHIVE_ENTRY_UNSAFE"),
        (twice, "ARCHIVE_ENTRY_AMBIGUOUS"),
        (same_size, "ARCHIVE_ENTRY_AMBIGUOUS"),
        (tar_of(&rest, "").end(), "SOURCE_NOT_FOUND"),
        (tar_of(&rest, "").file(&key, &flipped).end(), "MANIFEST_DIGEST_MISMATCH"),
    ] {
        for packed in [gzip(&tar), tar] {
            let archive = open(packed).await.unwrap();
            assert_eq!(read_image(&archive, &tag("bad")).await, Err(code));
            assert!(read_image(&archive, &tag("good")).await.is_ok());
        }
    }
    let again = tar_of(&finished, "").file(&key, &finished[&key]).end();
    for packed in [gzip(&again), again] {
        let archive = open(packed).await.unwrap();
        assert!(
            read_image(&archive, &tag("bad")).await.is_ok(),
            "the same content twice is one content"
        );
    }
}

#[tokio::test]
async fn a_link_is_the_file_it_leads_to() {
    let mut files = Files::default();
    let image = files.image("one", None);
    files.list(&image, Some("v1"));
    let mut finished = files.finished("");
    let key = format!("blobs/sha256/{}", digest_of(&image).hex());
    let manifest = finished.remove(&key).unwrap();
    let hex = digest_of(&image).hex().to_owned();
    let index = finished.remove("index.json").unwrap();
    let rest = || tar_of(&finished, "./");
    let linked = [
        // A target may come after its link, and a hard link names an entry from the root.
        rest()
            .link(b'2', &key, "../../kept/manifest")
            .file("kept/manifest", &manifest),
        rest()
            .file("kept/manifest", &manifest)
            .link(b'1', &key, "./kept/manifest"),
        rest()
            .link(b'1', &key, "kept/link")
            .link(b'2', "kept/link", "manifest")
            .file("kept/manifest", &manifest),
        // A folder of its own: the layout shares its blobs.
        rest()
            .file("shared/blob", &manifest)
            .link(b'2', "folder", "shared")
            .link(b'2', &key, "../../folder/blob"),
        rest()
            .file(&format!("blobs/sha256/{}", "0".repeat(64)), &manifest)
            .link(b'2', &key, &"0".repeat(64)),
    ];
    for tar in linked {
        let tar = tar
            .file("kept/index.json", &index)
            .link(b'2', "index.json", "kept/index.json")
            .end();
        for packed in [gzip(&tar), tar] {
            let archive = open(packed).await.unwrap();
            assert!(archive.images().await.unwrap().refused.is_empty());
            let (digest, blobs) = read_image(&archive, &tag("v1")).await.unwrap();
            assert_eq!((digest.hex(), blobs), (hex.as_str(), 2));
        }
    }
    let nine = (0..9).fold(rest(), |tar, at| {
        tar.link(b'2', &format!("{at}"), &format!("{}", at + 1))
    });
    let refused = [
        rest()
            .link(b'2', &key, "/kept/manifest")
            .file("kept/manifest", &manifest),
        rest()
            .link(b'2', &key, "../../../kept/manifest")
            .file("kept/manifest", &manifest),
        rest()
            .link(b'1', &key, "../kept/manifest")
            .file("kept/manifest", &manifest),
        rest().link(b'2', &key, &hex),
        nine.link(b'2', &key, "../../0").file("9", &manifest),
        rest()
            .file("kept/device", b"")
            .link(b'2', &key, "../../device")
            .special(b'3', "device", b""),
        rest()
            .link(b'2', &key, "../../a")
            .link(b'2', &key, "../../b")
            .file("a", &manifest)
            .file("b", &manifest),
    ];
    for (at, tar) in refused.into_iter().enumerate() {
        let archive = open(tar.file("index.json", &index).end()).await.unwrap();
        assert_eq!(
            read_image(&archive, &tag("v1")).await,
            Err("ARCHIVE_ENTRY_UNSAFE"),
            "{at}"
        );
    }
    let dangling = rest().link(b'2', &key, "../../gone").file("index.json", &index).end();
    let archive = open(dangling).await.unwrap();
    assert_eq!(read_image(&archive, &tag("v1")).await, Err("ARCHIVE_ENTRY_UNSAFE"));
}

#[tokio::test]
async fn what_is_no_archive_is_refused_whole() {
    let marker = br#"{"imageLayoutVersion":"1.0.0"}"#;
    let two = Tar::new()
        .file("a/oci-layout", marker)
        .file("b/oci-layout", marker)
        .end();
    for (bytes, code) in [
        (b"hello".to_vec(), "ARCHIVE_TRUNCATED"),
        (vec![b'x'; 2048], "ARCHIVE_INVALID"),
        (b"\xfd7zXZ\0rest".to_vec(), "ARCHIVE_UNSUPPORTED"),
        (two, "ARCHIVE_INVALID"),
        (Tar::new().file("readme", b"x").end(), "ARCHIVE_WITHOUT_IMAGES"),
        (Tar::new().file("oci-layout", b"{}").end(), "LAYOUT_INVALID"),
        (Tar::new().file("oci-layout", marker).end(), "LAYOUT_INVALID"),
        (gzip(&vec![0; 1024]), "ARCHIVE_WITHOUT_IMAGES"),
    ] {
        assert_eq!(open(bytes.clone()).await.err(), Some(code), "{:?}", &bytes[..5]);
    }
    let bomb = gzip(&Tar::new().file("x", &vec![0; 8 << 20]).end());
    let limits = Limits {
        free_bytes: 1 << 20,
        ratio: 100,
        most_bytes: 1 << 30,
    };
    let store = store_of([("a".to_owned(), Bytes::from(bomb))]);
    let error = Archive::open_with(store, "a", limits).await.err().unwrap();
    assert_eq!((error.code(), error.is_permanent()), ("ARCHIVE_BOMB", true));
}

#[tokio::test]
async fn an_archive_replaced_while_it_is_read_is_told() {
    let mut files = two_images();
    let large = vec![7; 300_000];
    files.put(&large);
    let tar = tar_of(&files.finished(""), "").end();
    for packed in [gzip(&tar), tar] {
        let mut other = packed.clone();
        other.push(0);
        let store = Arc::new(MemoryStore::default());
        let Put::Written(Some(etag)) = store.put_if_absent("a", packed.into()).await.unwrap() else {
            panic!("it is there already");
        };
        let archive = Archive::open(Arc::clone(&store) as _, "a").await.unwrap();
        store.put_if_match("a", other.into(), &etag).await.unwrap();
        let layer = Descriptor::new("a/b".into(), Digest::sha256(&large), large.len() as u64);
        let read = match transship_copy::BlobSource::blob_get(&archive, &layer, 0).await {
            Ok(stream) => {
                transship_copy::verify_stream(stream, &layer)
                    .try_for_each(|_| std::future::ready(Ok(())))
                    .await
            }
            Err(error) => Err(error),
        };
        assert_eq!(read.unwrap_err().code(), "OBJECT_CHANGED");
    }
}

/// A tar of `count` files of `size` bytes that is nowhere: headers are made when they are asked for.
struct Made {
    count: u64,
    size: u64,
}

impl Made {
    const fn stride(&self) -> u64 {
        512 + self.size.next_multiple_of(512)
    }

    fn object(&self, key: &str) -> Object {
        Object {
            key: key.to_owned(),
            size: self.count * self.stride() + 1024,
            etag: Some("made".into()),
            written: None,
        }
    }

    fn bytes(&self, from: u64, to: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        for number in from / self.stride()..=(to / self.stride()).min(self.count - 1) {
            let start = number * self.stride();
            let tar = Tar::new()
                .entry(b'0', &format!("blobs/{number}"), self.size, b"")
                .unended();
            for (offset, byte) in (start..).zip(tar).filter(|(offset, _)| (from..to).contains(offset)) {
                bytes[usize::try_from(offset - from).unwrap()] = byte;
            }
        }
        bytes
    }
}

#[async_trait]
impl ObjectStore for Made {
    fn name(&self) -> String {
        "made".into()
    }

    async fn head(&self, key: &str) -> Result<Option<Object>> {
        Ok(Some(self.object(key)))
    }

    async fn get(&self, key: &str, part: Part<'_>) -> Result<Option<ByteStream>> {
        let end = self.object(key).size;
        let to = part.offset.saturating_add(part.length.unwrap_or(u64::MAX)).min(end);
        let bytes = self.bytes(part.offset, to);
        Ok(Some(stream::iter([Ok(Bytes::from(bytes))]).boxed()))
    }

    async fn list(&self, _: &str, _: Option<&str>, _: usize) -> Result<Page> {
        unreachable!()
    }

    async fn put_if_absent(&self, _: &str, _: Bytes) -> Result<Put> {
        unreachable!()
    }

    async fn put_if_match(&self, _: &str, _: Bytes, _: &str) -> Result<Put> {
        unreachable!()
    }
}

async fn cost(count: u64, size: u64) -> (u64, f64) {
    let made = Made { count, size };
    let total = made.object("").size;
    let store = Arc::new(Counting::new(made));
    let files = ArchiveFiles::read(Arc::clone(&store) as _, "a", Limits::default())
        .await
        .unwrap();
    assert_eq!(files.keys().count() as u64, count);
    let (requests, bytes) = store.taken();
    (requests, bytes as f64 / total as f64)
}

#[tokio::test]
async fn an_index_costs_few_bytes_where_files_are_large_and_few_requests_where_they_are_small() {
    for size in [64 * 1024, 1_000_000] {
        let (requests, share) = cost(20_000, size).await;
        println!(
            "20000 files of {size} bytes: {requests} requests, {:.3} % of the bytes",
            share * 100.0
        );
        assert!(share <= 0.01, "{share} of the bytes at {size}");
        assert!(requests <= 20_010, "{requests} requests");
    }
    for size in [0, 500, 4000] {
        let (requests, share) = cost(20_000, size).await;
        println!(
            "20000 files of {size} bytes: {requests} requests, {:.3} % of the bytes",
            share * 100.0
        );
        assert!(
            requests * 128 * 1024 <= 20_000 * (size + 1024) + 4 * 1024 * 1024,
            "{requests} requests at {size}"
        );
    }
}

#[tokio::test]
async fn more_entries_than_are_held_are_refused() {
    let made = Arc::new(Made {
        count: 100_001,
        size: 0,
    });
    let read = ArchiveFiles::read(made, "a", Limits::default()).await;
    assert_eq!(read.err().unwrap().code(), "ARCHIVE_TOO_LARGE");
}

#[tokio::test]
async fn blobs_of_a_plain_tar_are_read_where_they_lie() {
    let tar = tar_of(&two_images().finished(""), "").end();
    let store = Arc::new(Counting::new(MemoryStore::new(
        [("a".to_owned(), Bytes::from(tar))].into(),
    )));
    let archive = Archive::open(Arc::clone(&store) as _, "a").await.unwrap();
    store.taken();
    let manifest = transship_copy::source_manifest(&archive, &tag("v1")).await.unwrap();
    assert_eq!(store.taken(), (1, manifest.size()));
    let layer = manifest.blobs().last().unwrap();
    let stream = transship_copy::BlobSource::blob_get(&archive, layer, 100)
        .await
        .unwrap();
    stream.collect::<Vec<_>>().await;
    assert_eq!(store.taken(), (1, layer.size - 100));
}

#[tokio::test]
async fn small_files_of_a_packed_archive_are_read_once_and_blobs_in_order_cost_one_pass() {
    let mut files = Files::default();
    let large: Vec<u8> = (0..400_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let (one, two) = (files.put(&large), files.put(&large[4..]));
    let image = files.image("x", None);
    files.list(&image, Some("v1"));
    let tar = gzip(&tar_of(&files.finished(""), "").end());
    let size = tar.len() as u64;
    let store = Arc::new(Counting::new(MemoryStore::new(
        [("a".to_owned(), Bytes::from(tar))].into(),
    )));
    let archive = Archive::open(Arc::clone(&store) as _, "a").await.unwrap();
    let (_, bytes) = store.taken();
    assert!(bytes <= size + 512, "one pass and a look at the start");
    read_image(&archive, &tag("v1")).await.unwrap();
    assert_eq!(store.taken(), (0, 0), "what is small was kept");
    let mut blobs = [one, two];
    blobs.sort();
    for (digest, size) in blobs {
        let blob = Descriptor::new("a/b".into(), digest, size as u64);
        let stream = transship_copy::BlobSource::blob_get(&archive, &blob, 0).await.unwrap();
        let bytes: Vec<_> = transship_copy::verify_stream(stream, &blob).collect().await;
        assert!(bytes.iter().all(std::result::Result::is_ok));
    }
    assert_eq!(store.taken().0, 1, "the second blob goes on where the first ended");
}
