//! What the tests of this crate share: layouts in the making, a store that counts, a reader that proves.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use serde_json::{Value, json};
use transship_copy::{ByteStream, Source, source_manifest, verify_stream};
use transship_oci::media_type::{OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use transship_oci::{Digest, Result, Target};

use crate::{MemoryStore, Object, ObjectStore, Page, Part, Put};

pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The files of a layout.
#[derive(Default, Clone)]
pub(crate) struct Files {
    pub(crate) all: HashMap<String, Bytes>,
    pub(crate) entries: Vec<Value>,
}

impl Files {
    pub(crate) fn put(&mut self, bytes: &[u8]) -> (Digest, usize) {
        let digest = Digest::sha256(bytes);
        let key = format!("blobs/sha256/{}", digest.hex());
        self.all.insert(key, Bytes::copy_from_slice(bytes));
        (digest, bytes.len())
    }

    pub(crate) fn manifest(&mut self, manifest: &Value) -> Value {
        let (digest, size) = self.put(manifest.to_string().as_bytes());
        json!({"mediaType": manifest["mediaType"], "digest": digest, "size": size})
    }

    /// An image with a configuration and one layer, perhaps about another.
    pub(crate) fn image(&mut self, text: &str, subject: Option<&Value>) -> Value {
        let (config, config_size) = self.put(format!("{{\"text\":{text:?}}}").as_bytes());
        let (layer, layer_size) = self.put(format!("layer of {text}").repeat(500).as_bytes());
        let mut manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": config, "size": config_size},
            "layers": [{"mediaType": LAYER, "digest": layer, "size": layer_size}]});
        if let Some(subject) = subject {
            manifest["subject"] = subject.clone();
        }
        self.manifest(&manifest)
    }

    pub(crate) fn index(&mut self, children: &[Value]) -> Value {
        self.manifest(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}))
    }

    pub(crate) fn list(&mut self, descriptor: &Value, name: Option<&str>) {
        let mut entry = descriptor.clone();
        if let Some(name) = name {
            entry["annotations"] = json!({REF_NAME: name});
        }
        self.entries.push(entry);
    }

    /// All files with marker and index, below `prefix`.
    pub(crate) fn finished(&self, prefix: &str) -> HashMap<String, Bytes> {
        let index = json!({"schemaVersion": 2, "manifests": self.entries}).to_string();
        let mut all = self.all.clone();
        all.entry("oci-layout".into())
            .or_insert_with(|| r#"{"imageLayoutVersion":"1.0.0"}"#.into());
        all.entry("index.json".into()).or_insert_with(|| index.into());
        all.into_iter()
            .map(|(key, bytes)| (format!("{prefix}{key}"), bytes))
            .collect()
    }
}

pub(crate) fn digest_of(descriptor: &Value) -> Digest {
    descriptor["digest"].as_str().unwrap().parse().unwrap()
}

pub(crate) fn store_of(files: impl IntoIterator<Item = (String, Bytes)>) -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(files.into_iter().collect()))
}

/// Reads an image whole and proves every byte of it: its digest and how many blobs it has, or a code.
pub(crate) async fn read_image(
    source: &dyn Source,
    target: &Target,
) -> std::result::Result<(Digest, usize), &'static str> {
    let manifest = source_manifest(source, target).await.map_err(|error| error.code())?;
    let mut count = 0;
    for blob in manifest.blobs() {
        let stream = source.blob_get(blob, 0).await.map_err(|error| error.code())?;
        let read = verify_stream(stream, blob)
            .try_for_each(|_| std::future::ready(Ok(())))
            .await;
        read.map_err(|error| error.code())?;
        count += 1;
    }
    for child in manifest.children() {
        let target = Target::Digest(child.digest.clone());
        count += read_image(source, &target).boxed_local().await?.1;
    }
    Ok((manifest.digest().clone(), count))
}

/// Counts what is asked of the store beneath.
pub(crate) struct Counting<S> {
    pub(crate) store: S,
    pub(crate) requests: AtomicU64,
    pub(crate) bytes: Arc<AtomicU64>,
}

impl<S> Counting<S> {
    pub(crate) fn new(store: S) -> Self {
        Self {
            store,
            requests: AtomicU64::new(0),
            bytes: Arc::default(),
        }
    }

    /// Requests and bytes since the last time.
    pub(crate) fn taken(&self) -> (u64, u64) {
        (
            self.requests.swap(0, Ordering::Relaxed),
            self.bytes.swap(0, Ordering::Relaxed),
        )
    }

    fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for Counting<S> {
    fn name(&self) -> String {
        self.store.name()
    }

    async fn head(&self, key: &str) -> Result<Option<Object>> {
        self.count();
        self.store.head(key).await
    }

    async fn get(&self, key: &str, part: Part<'_>) -> Result<Option<ByteStream>> {
        self.count();
        let bytes = Arc::clone(&self.bytes);
        let counted = move |chunk: &Bytes| {
            bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        };
        Ok(self
            .store
            .get(key, part)
            .await?
            .map(|stream| stream.inspect_ok(counted).boxed()))
    }

    async fn list(&self, prefix: &str, after: Option<&str>, max: usize) -> Result<Page> {
        self.count();
        self.store.list(prefix, after, max).await
    }

    async fn put_if_absent(&self, key: &str, bytes: Bytes) -> Result<Put> {
        self.store.put_if_absent(key, bytes).await
    }

    async fn put_if_match(&self, key: &str, bytes: Bytes, etag: &str) -> Result<Put> {
        self.store.put_if_match(key, bytes, etag).await
    }
}
