//! One OCI image layout.
//!
//! Source: OCI image-spec, image-layout.md. Names stand in `index.json` as `org.opencontainers.image.ref.name` (or
//! `io.containerd.image.name`, which containerd writes with the whole reference); referrers stand there too, without a name.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::sync::OnceCell;
use transship_copy::{BlobSource, ByteStream, Error as CopyError, ErrorKind as CopyKind, Result as CopyResult, Source};
use transship_oci::manifest::MAX_BYTES;
use transship_oci::{Descriptor, Digest, Manifest, Tag, Target};

use crate::{Error, ErrorKind, ObjectStore, Result};

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// One entry of `index.json`.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The name it is found by, if it has one.
    pub name: Option<String>,
    /// Its manifest.
    pub descriptor: Descriptor,
}

impl Entry {
    /// The tag part of the name: all of it, or what follows the last `:` of a whole reference.
    pub fn tag(&self) -> Option<Tag> {
        let name = self.name.as_deref()?;
        let (path, tag) = name.rsplit_once(':').unwrap_or(("", name));
        if path.is_empty() || !tag.contains('/') {
            tag.parse().ok()
        } else {
            None
        }
    }
}

/// One layout, read through a store.
#[derive(Clone)]
pub struct Layout {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    entries: Arc<[Entry]>,
    /// By subject; read once, when first asked for.
    referrers: Arc<OnceCell<HashMap<Digest, Vec<Descriptor>>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl Layout {
    /// Opens the layout below `prefix` (empty, or ending in `/`). `LAYOUT_INVALID` if there is none.
    pub async fn open(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Self> {
        let operation = format!("layout {}/{prefix}", store.name());
        let invalid = |why: String| Error::new(ErrorKind::LayoutInvalid(why), &operation);
        let marker = read(store.as_ref(), &format!("{prefix}oci-layout"), 4096)
            .await?
            .ok_or_else(|| invalid("it has no file oci-layout".into()))?;
        let marker: Marker = serde_json::from_slice(&marker)
            .map_err(|error| invalid(format!("oci-layout is not what it should be, {error}")))?;
        if marker.image_layout_version != "1.0.0" {
            return Err(invalid(format!(
                "its version is {:?}, and 1.0.0 is understood",
                marker.image_layout_version
            )));
        }
        let index = read(store.as_ref(), &format!("{prefix}index.json"), MAX_BYTES)
            .await?
            .ok_or_else(|| invalid("it has no index.json".into()))?;
        let index = Manifest::parse(index, None).map_err(|error| invalid(format!("index.json: {error}")))?;
        if !index.is_index() {
            return Err(invalid("index.json is no index".into()));
        }
        let entries = index.children().iter().map(entry).collect();
        Ok(Self {
            store,
            prefix: prefix.to_owned(),
            entries,
            referrers: Arc::default(),
        })
    }

    /// What `index.json` names, in its order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry `reference` means: a name, the tag part of one, or a digest. Without one: the only image, or `latest`.
    pub fn resolve(&self, reference: Option<&str>) -> Result<&Entry> {
        let operation = || format!("layout {}/{}", self.store.name(), self.prefix);
        let named: Vec<&str> = self.entries.iter().filter_map(|entry| entry.name.as_deref()).collect();
        let listing = || {
            if named.is_empty() {
                "no names".to_owned()
            } else {
                named.join(", ")
            }
        };
        let found = match reference {
            Some(wanted) => self.find(wanted),
            None => match (&*self.entries, named.as_slice()) {
                ([only], _) => Some(only),
                (_, [only]) => self.find(only),
                _ => self.find("latest"),
            },
        };
        match (found, reference) {
            (Some(entry), _) => Ok(entry),
            (None, None) if self.entries.len() > 1 => {
                Err(Error::new(ErrorKind::ReferenceAmbiguous(listing()), operation()))
            }
            (None, wanted) => {
                let wanted = wanted.unwrap_or_default().to_owned();
                Err(Error::new(
                    ErrorKind::ReferenceNotFound { wanted, has: listing() },
                    operation(),
                ))
            }
        }
    }

    fn find(&self, wanted: &str) -> Option<&Entry> {
        let digest = wanted.trim_start_matches('@').parse::<Digest>().ok();
        let by_name = self.entries.iter().find(|entry| entry.name.as_deref() == Some(wanted));
        by_name
            .or_else(|| {
                self.entries
                    .iter()
                    .find(|entry| entry.tag().is_some_and(|tag| tag.as_str() == wanted))
            })
            .or_else(|| {
                self.entries
                    .iter()
                    .find(|entry| Some(&entry.descriptor.digest) == digest.as_ref())
            })
    }

    /// Where the bytes of `digest` lie. Safe: a digest holds nothing but its algorithm and hexadecimal digits.
    fn key(&self, digest: &Digest) -> String {
        format!("{}blobs/{}/{}", self.prefix, digest.algorithm().as_str(), digest.hex())
    }

    async fn manifest_of(&self, digest: &Digest, media_type: Option<&str>) -> CopyResult<Option<Manifest>> {
        let operation = || format!("manifest_get {}@{digest}", self.name());
        let Some(bytes) = read(self.store.as_ref(), &self.key(digest), MAX_BYTES).await? else {
            return Ok(None);
        };
        if Digest::of(digest.algorithm(), &bytes) != *digest {
            return Err(CopyError::new(CopyKind::ManifestDigestMismatch, operation()));
        }
        let manifest = Manifest::parse_with_digest(bytes, media_type, digest.clone());
        manifest
            .map(Some)
            .map_err(|error| CopyError::invalid(&error, operation()))
    }

    fn descriptor_of(&self, target: &Target) -> Option<Descriptor> {
        match target {
            Target::Tag(tag) => self.find(tag.as_str()).map(|entry| entry.descriptor.clone()),
            Target::Digest(digest) => self
                .entries
                .iter()
                .map(|entry| &entry.descriptor)
                .find(|descriptor| descriptor.digest == *digest)
                .cloned(),
        }
    }

    async fn all_referrers(&self) -> CopyResult<HashMap<Digest, Vec<Descriptor>>> {
        let mut by_subject: HashMap<Digest, Vec<Descriptor>> = HashMap::new();
        for entry in self.entries.iter().filter(|entry| entry.name.is_none()) {
            let Some(manifest) = self.manifest_of(&entry.descriptor.digest, None).await? else {
                continue;
            };
            if let Some(subject) = manifest.subject() {
                by_subject
                    .entry(subject.digest.clone())
                    .or_default()
                    .push(manifest.referrer_descriptor());
            }
        }
        Ok(by_subject)
    }
}

fn entry(descriptor: &Descriptor) -> Entry {
    let named = |key: &str| descriptor.annotations.get(key).filter(|name| !name.is_empty()).cloned();
    Entry {
        name: named(REF_NAME).or_else(|| named(CONTAINERD_NAME)),
        descriptor: descriptor.clone(),
    }
}

/// A whole small object, refused beyond `limit` bytes.
async fn read(store: &dyn ObjectStore, key: &str, limit: usize) -> Result<Option<Bytes>> {
    let Some(mut stream) = store.get(key, 0).await? else {
        return Ok(None);
    };
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk =
            chunk.map_err(|error| Error::new(ErrorKind::Unreadable(error.to_string()), format!("read {key}")))?;
        if bytes.len() + chunk.len() > limit {
            return Err(Error::new(
                ErrorKind::LayoutInvalid(format!("{key} is larger than {limit} bytes")),
                format!("read {key}"),
            ));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes.freeze()))
}

#[async_trait]
impl BlobSource for Layout {
    async fn blob_get(&self, blob: &Descriptor, offset: u64) -> CopyResult<ByteStream> {
        let missing = || {
            CopyError::new(
                CopyKind::BlobNotFound,
                format!("blob_get {}@{}", self.name(), blob.digest),
            )
        };
        self.store
            .get(&self.key(&blob.digest), offset)
            .await?
            .ok_or_else(missing)
    }
}

#[async_trait]
impl Source for Layout {
    fn name(&self) -> String {
        format!("oci:{}/{}", self.store.name(), self.prefix)
            .trim_end_matches('/')
            .to_owned()
    }

    async fn manifest_head(&self, target: &Target) -> CopyResult<Option<Descriptor>> {
        match (self.descriptor_of(target), target) {
            (Some(descriptor), _) => Ok(Some(descriptor)),
            (None, Target::Digest(digest)) => Ok(self
                .manifest_of(digest, None)
                .await?
                .map(|manifest| manifest.descriptor())),
            (None, Target::Tag(_)) => Ok(None),
        }
    }

    async fn manifest_get(&self, target: &Target) -> CopyResult<Manifest> {
        let known = self.descriptor_of(target);
        let digest = known
            .as_ref()
            .map(|descriptor| &descriptor.digest)
            .or_else(|| target.digest());
        let media_type = known.as_ref().map(|descriptor| descriptor.media_type.as_str());
        let manifest = match digest {
            Some(digest) => self.manifest_of(digest, media_type).await?,
            None => None,
        };
        manifest.ok_or_else(|| {
            CopyError::new(
                CopyKind::SourceNotFound,
                format!("manifest_get {}{}{target}", self.name(), target.separator()),
            )
        })
    }

    async fn referrers(&self, subject: &Digest) -> CopyResult<Vec<Descriptor>> {
        let by_subject = self.referrers.get_or_try_init(|| self.all_referrers()).await?;
        let mut found = by_subject.get(subject).cloned().unwrap_or_default();
        // A layout filled from a registry without the API carries the fallback tag instead.
        if let Ok(tag) = subject.fallback_tag().parse::<Tag>()
            && let Some(index) = self.find(tag.as_str())
            && let Some(index) = self.manifest_of(&index.descriptor.digest, None).await?
        {
            found.extend(
                index
                    .children()
                    .iter()
                    .filter(|child| !found.iter().any(|known| known.digest == child.digest))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use transship_oci::media_type::{OCI_CONFIG, OCI_MANIFEST};

    use super::*;
    use crate::MemoryStore;

    struct Files(HashMap<String, Bytes>);

    impl Files {
        fn put(&mut self, bytes: &[u8]) -> (Digest, usize) {
            let digest = Digest::sha256(bytes);
            self.0
                .insert(format!("blobs/sha256/{}", digest.hex()), Bytes::copy_from_slice(bytes));
            (digest, bytes.len())
        }

        fn image(&mut self, text: &str, subject: Option<&Digest>) -> Digest {
            let (config, size) = self.put(text.as_bytes());
            let mut manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {"mediaType": OCI_CONFIG, "digest": config, "size": size}, "layers": []});
            if let Some(subject) = subject {
                manifest["subject"] = json!({"mediaType": OCI_MANIFEST, "digest": subject, "size": 1});
            }
            self.put(manifest.to_string().as_bytes()).0
        }
    }

    fn descriptor(digest: &Digest, name: Option<&str>) -> serde_json::Value {
        match name {
            Some(name) => {
                json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": 1, "annotations": {REF_NAME: name}})
            }
            None => json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": 1}),
        }
    }

    async fn layout(files: Files, entries: &[serde_json::Value]) -> Result<Layout> {
        let mut files = files.0;
        files
            .entry("oci-layout".into())
            .or_insert_with(|| r#"{"imageLayoutVersion":"1.0.0"}"#.into());
        files.insert(
            "index.json".into(),
            json!({"schemaVersion": 2, "manifests": entries}).to_string().into(),
        );
        Layout::open(Arc::new(MemoryStore(files)), "").await
    }

    #[tokio::test]
    async fn images_are_found_by_name_tag_part_digest_or_alone() {
        let mut files = Files(HashMap::new());
        let (one, two) = (files.image("1", None), files.image("2", None));
        let layout = layout(
            files,
            &[
                descriptor(&one, Some("v1")),
                descriptor(&two, Some("docker.io/library/app:v2")),
            ],
        )
        .await
        .unwrap();
        let find = |wanted: Option<&str>| {
            layout
                .resolve(wanted)
                .map(|entry| entry.descriptor.digest.clone())
                .map_err(|error| error.code())
        };
        assert_eq!(find(Some("v1")), Ok(one));
        assert_eq!(find(Some("v2")), Ok(two.clone()));
        assert_eq!(find(Some(&two.to_string())), Ok(two));
        assert_eq!(find(Some("v3")), Err("LAYOUT_REFERENCE_NOT_FOUND"));
        assert_eq!(find(None), Err("LAYOUT_REFERENCE_AMBIGUOUS"));
    }

    #[tokio::test]
    async fn an_unnamed_entry_with_a_subject_is_a_referrer() {
        let mut files = Files(HashMap::new());
        let image = files.image("image", None);
        let signature = files.image("signature", Some(&image));
        let layout = layout(files, &[descriptor(&image, Some("v1")), descriptor(&signature, None)])
            .await
            .unwrap();
        let referrers = layout.referrers(&image).await.unwrap();
        assert_eq!(
            referrers.iter().map(|referrer| &referrer.digest).collect::<Vec<_>>(),
            [&signature]
        );
        assert!(layout.referrers(&signature).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_no_layout_is_refused() {
        for marker in ["{}", r#"{"imageLayoutVersion":"2.0.0"}"#, "x"] {
            let files = Files(HashMap::from([(
                "oci-layout".to_owned(),
                Bytes::copy_from_slice(marker.as_bytes()),
            )]));
            assert_eq!(layout(files, &[]).await.err().unwrap().code(), "LAYOUT_INVALID");
        }
        assert_eq!(
            Layout::open(Arc::new(MemoryStore::default()), "")
                .await
                .err()
                .unwrap()
                .code(),
            "LAYOUT_INVALID"
        );
    }

    #[tokio::test]
    async fn changed_bytes_and_missing_blobs_are_told_apart() {
        let mut files = Files(HashMap::new());
        let image = files.image("image", None);
        let key = format!("blobs/sha256/{}", image.hex());
        let gone = Digest::sha256(b"gone");
        files.0.insert(key, Bytes::from_static(b"{}"));
        let layout = layout(files, &[descriptor(&image, Some("v1")), descriptor(&gone, Some("v2"))])
            .await
            .unwrap();
        let (image, gone) = (Target::Digest(image), Target::Digest(gone));
        assert_eq!(
            layout.manifest_get(&image).await.unwrap_err().code(),
            "MANIFEST_DIGEST_MISMATCH"
        );
        assert_eq!(layout.manifest_get(&gone).await.unwrap_err().code(), "SOURCE_NOT_FOUND");
    }
}
