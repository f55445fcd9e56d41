//! Random changes to archives and to the files that say what a layout, an archive or a storage tree contains: see
//! `transship_testkit::mutation`.
//!
//! What must hold: nothing panics, every error has a code, and the content that can be read has the digest that names it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use transship_layout::{Archive, Images, Limits, MemoryStore, SourceRef, discover, inspect, open};
use transship_oci::Digest;
use transship_testkit::layouts::{Files, Tar, digest_of, gzip, read_image};
use transship_testkit::mutation::fuzz;

use futures_util::TryStreamExt;

/// What an archive of a few kilobytes may expand to.
const SMALL: Limits = Limits {
    free_bytes: 1 << 20,
    ratio: 10,
    most_bytes: 8 << 20,
};

/// Bytes of a block of a tar.
const BLOCK_BYTES: usize = 512;
/// Offset in bytes of the checksum in a header.
const CHECKSUM_OFFSET: usize = 148;
/// Offset in bytes of the magic in a header.
const MAGIC_OFFSET: usize = 257;

/// A layout with two tags, an index and a referrer.
fn layout() -> HashMap<String, Bytes> {
    let mut files = Files::default();
    let (one, two) = (files.image("one", None), files.image("two", None));
    let index = files.index(&[one.clone(), two.clone()]);
    let signature = files.image("signature", Some(&index));
    files.list(&index, Some("v1"));
    files.list(&two, Some("registry.example.com/core/app:v2"));
    files.list(&signature, None);
    files.finished("")
}

/// What `docker save` writes.
fn saved() -> HashMap<String, Bytes> {
    let layer = Tar::new().file("etc/motd", b"hello").end();
    let config = json!({"architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [Digest::sha256(&layer)]}})
    .to_string();
    let name = format!("{}.json", Digest::sha256(config.as_bytes()).hex());
    let manifest = json!([{"Config": name, "RepoTags": ["r.example/app:v1", "app:v2"], "Layers": ["a/layer.tar"]}]);
    HashMap::from([
        ("manifest.json".to_owned(), Bytes::from(manifest.to_string())),
        (name, Bytes::from(config)),
        ("a/layer.tar".to_owned(), Bytes::from(layer)),
    ])
}

/// What CNCF Distribution writes, with one tag.
fn tree() -> HashMap<String, Bytes> {
    const ROOT: &str = "docker/registry/v2/";
    let mut files = Files::default();
    let digest = digest_of(&files.image("one", None));
    let blob = |(key, bytes): (&String, &Bytes)| {
        let hex = key.rsplit('/').next().unwrap();
        (format!("{ROOT}blobs/sha256/{}/{hex}/data", &hex[..2]), bytes.clone())
    };
    let mut all: HashMap<String, Bytes> = files.all.iter().map(blob).collect();
    for path in [
        "tags/v1/current".to_owned(),
        format!("tags/v1/index/sha256/{}", digest.hex()),
        format!("revisions/sha256/{}", digest.hex()),
    ] {
        let key = format!("{ROOT}repositories/core/app/_manifests/{path}/link");
        all.insert(key, Bytes::from(digest.to_string()));
    }
    all
}

/// The files in a fixed order.
fn sorted(files: &HashMap<String, Bytes>) -> Vec<(&String, &Bytes)> {
    let mut sorted: Vec<_> = files.iter().collect();
    sorted.sort_unstable();
    sorted
}

fn tar(files: &HashMap<String, Bytes>) -> Vec<u8> {
    let files = sorted(files).into_iter();
    files.fold(Tar::new(), |tar, (name, bytes)| tar.file(name, bytes)).end()
}

/// Corrects the checksums of what looks like a header, so that a change gets past the first check.
fn repaired(mut tar: Vec<u8>) -> Vec<u8> {
    for block in tar.chunks_exact_mut(BLOCK_BYTES) {
        if &block[MAGIC_OFFSET..MAGIC_OFFSET + 5] != b"ustar" {
            continue;
        }
        block[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 8].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[CHECKSUM_OFFSET..CHECKSUM_OFFSET + 8].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    tar
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Reads what a source lists.
async fn read_all(images: &dyn Images) {
    let Ok(listing) = images.images().await else { return };
    for refused in &listing.refused {
        assert!(!refused.error.code().is_empty());
    }
    for image in &listing.images {
        // Verifies everything that it reads.
        if let Ok((digest, _)) = read_image(images, &image.target).await {
            assert_eq!(digest, image.descriptor.digest, "{image:?}");
        }
    }
    for reference in [None, Some("v1"), Some("registry.example.com/core/app:v2")] {
        let _ = images.target_of(reference).await;
    }
}

async fn read_archive(bytes: Vec<u8>) {
    let store = Arc::new(MemoryStore::new([("a.tar".to_owned(), Bytes::from(bytes))].into()));
    match Archive::open_with(store, "a.tar", SMALL).await {
        Ok(archive) => read_all(&archive).await,
        Err(error) => assert!(error.is_permanent(), "{error}"),
    }
}

#[test]
fn no_change_to_an_archive_panics_or_yields_other_content() {
    let plain = [tar(&layout()), tar(&saved()), tar(&tree())];
    let packed = plain
        .iter()
        .flat_map(|tar| [gzip(tar), zstd::encode_all(tar.as_slice(), 1).unwrap()]);
    let inputs: Vec<Vec<u8>> = plain.iter().cloned().chain(packed).collect();
    let runtime = runtime();
    fuzz("archives", &inputs, |index, bytes| {
        runtime.block_on(async {
            read_archive(bytes.to_vec()).await;
            if index < plain.len() {
                let repaired = repaired(bytes.to_vec());
                read_archive(gzip(&repaired)).await;
                read_archive(repaired).await;
            }
        });
    });
}

#[test]
fn no_change_to_a_file_of_a_source_panics_or_yields_other_content() {
    let sources = [layout(), tree(), saved()];
    // The files of all sources, each with its source.
    let files: Vec<(usize, String)> = sources
        .iter()
        .enumerate()
        .flat_map(|(index, files)| sorted(files).into_iter().map(move |(key, _)| (index, key.clone())))
        .collect();
    let inputs: Vec<Vec<u8>> = files
        .iter()
        .map(|(source, key)| sources[*source][key].to_vec())
        .collect();
    let runtime = runtime();
    fuzz("layouts", &inputs, |index, bytes| {
        let (source, key) = &files[index];
        let mut objects = sources[*source].clone();
        objects.insert(key.clone(), Bytes::copy_from_slice(bytes));
        runtime.block_on(async {
            if *source == 2 {
                return read_archive(tar(&objects)).await;
            }
            let store = Arc::new(MemoryStore::new(objects));
            let found: Vec<SourceRef> = discover(Arc::clone(&store) as _, "").try_collect().await.unwrap();
            for found in &found {
                let _ = inspect(Arc::clone(&store) as _, found, None).await;
                if let Ok(images) = open(Arc::clone(&store) as _, found).await {
                    read_all(images.as_ref()).await;
                }
            }
        });
    });
}
