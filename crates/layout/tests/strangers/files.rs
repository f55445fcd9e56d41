//! What strangers left in a folder, as a store; and a reader that proves every byte.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use transship_copy::{Source, verify_stream};
use transship_layout::MemoryStore;
use transship_oci::{Digest, Target};

/// Every file below `folder`.
pub fn store_of(folder: &Path) -> Arc<MemoryStore> {
    let mut files = HashMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                let key = entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                files.insert(key, Bytes::from(std::fs::read(entry.path()).unwrap()));
            }
        }
    }
    Arc::new(MemoryStore::new(files))
}

/// Reads an image and all below it; its digest and the digests of its blobs, by our own hash.
pub async fn read(source: &dyn Source, target: Target) -> (Digest, Vec<Digest>) {
    let (mut targets, mut blobs, mut root) = (vec![target], Vec::new(), None);
    while let Some(target) = targets.pop() {
        let manifest = source.manifest_get(&target).await.unwrap().unwrap();
        for blob in manifest.blobs().filter(|blob| !blob.media_type.is_non_distributable()) {
            let stream = source.blob_get(blob, 0).await.unwrap();
            let read = verify_stream(stream, blob).try_for_each(|_| std::future::ready(Ok(())));
            read.await.unwrap_or_else(|error| panic!("{}: {error}", source.name()));
            blobs.push(blob.digest.clone());
        }
        targets.extend(
            manifest
                .children()
                .iter()
                .map(|child| Target::Digest(child.digest.clone())),
        );
        root.get_or_insert_with(|| manifest.digest().clone());
    }
    (root.unwrap(), blobs)
}
