//! One repository in the storage of a registry: `docker/registry/v2/…`, as CNCF Distribution lays it out and everything
//! built on it (Harbor, and by their documentation ACR).
//!
//! ```text
//! docker/registry/v2/blobs/sha256/<2 digits>/<hex>/data                          the bytes
//!   repositories/<name>/_manifests/tags/<tag>/current/link                       the digest a tag names
//!   repositories/<name>/_manifests/revisions/sha256/<hex>/link                   a manifest the repository has
//!   repositories/<name>/_layers/sha512/<hex>/link                                    where a blob of another algorithm lies
//! ```
//! A link is a file that holds a digest and nothing else; it is parsed as one before it becomes part of a key. The tree
//! keeps no media types: a manifest says itself what it is. All tags are images, the fallback and cosign's too, so that the
//! registry it is brought to has the same; of the untagged revisions all that no index brings along. A referrer is an image of
//! its own: asked for what refers to an image, a tree must read every revision there is.
//!
//! Source: distribution, registry/storage/paths.go.

mod completeness;
mod contents;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::OnceCell;
use transship_copy::{BlobSource, ByteStream, Manifests, Source};
use transship_oci::manifest::MAX_BYTES;
use transship_oci::{
    Algorithm, Code, Descriptor, Digest, Error, Manifest, Operation, Repository, Result, Tag, Target, Verb,
};

use crate::layout::proven;
use crate::read_all::read_all;
use crate::{ObjectStore, Part};

/// What stands before every key of a tree, perhaps below a prefix of its own.
pub(crate) const ROOT: &str = "docker/registry/v2/";
/// A digest in text, and room to see that there is more.
const MAX_LINK_BYTES: usize = 256;

/// One repository of a storage tree.
#[derive(Clone)]
pub struct TreeRepository {
    store: Arc<dyn ObjectStore>,
    /// Ends in [`ROOT`].
    root: String,
    name: Repository,
    /// By subject; read once, when first asked for.
    referrers: Arc<OnceCell<HashMap<Digest, Vec<Descriptor>>>>,
}

impl TreeRepository {
    /// The repository `name` of the tree whose keys begin with `root`, which ends in `docker/registry/v2/`. Nothing is read.
    pub fn new(store: Arc<dyn ObjectStore>, root: impl Into<String>, name: Repository) -> Self {
        Self {
            store,
            root: root.into(),
            name,
            referrers: Arc::default(),
        }
    }

    fn manifests(&self) -> String {
        format!("{}repositories/{}/_manifests/", self.root, self.name)
    }

    fn tag_key(&self, tag: &Tag) -> String {
        format!("{}tags/{tag}/current/link", self.manifests())
    }

    fn revision_key(&self, digest: &Digest) -> String {
        let (algorithm, hex) = (digest.algorithm().as_str(), digest.hex());
        format!("{}revisions/{algorithm}/{hex}/link", self.manifests())
    }

    fn layer_key(&self, digest: &Digest) -> String {
        let (algorithm, hex) = (digest.algorithm().as_str(), digest.hex());
        format!("{}repositories/{}/_layers/{algorithm}/{hex}/link", self.root, self.name)
    }

    /// Where the bytes of `digest` lie. Safe: a digest holds nothing but its algorithm and hexadecimal digits.
    fn blob_key(&self, digest: &Digest) -> String {
        let (algorithm, hex) = (digest.algorithm().as_str(), digest.hex());
        format!(
            "{}blobs/{algorithm}/{}/{hex}/data",
            self.root,
            hex.get(..2).unwrap_or_default()
        )
    }

    /// What `tag` names; [`None`] if there is no such tag. `STORAGE_LINK_INVALID` if its link holds no digest.
    async fn linked(&self, tag: &Tag) -> Result<Option<Digest>> {
        self.link(&self.tag_key(tag)).await
    }

    async fn link(&self, key: &str) -> Result<Option<Digest>> {
        let Some(bytes) = read_all(self.store.as_ref(), key, MAX_LINK_BYTES).await? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes);
        let digest = text.trim_end_matches(['\n', '\r']).parse();
        digest
            .map(Some)
            .map_err(|error: Error| Error::of(Code::StorageLinkInvalid, Verb::Read.on(key)).because(error))
    }

    /// Where the bytes of `digest` lie, whose link in this repository is at `link`. A registry keeps bytes under their sha256
    /// whatever they are called by; by another algorithm only the link leads to them. With the digest they are kept under.
    async fn located_by(&self, digest: &Digest, link: &str) -> Result<(String, Digest)> {
        let linked = match digest.algorithm() {
            Algorithm::Sha256 => None,
            Algorithm::Sha512 => self.link(link).await?,
        };
        let under = linked.unwrap_or_else(|| digest.clone());
        Ok((self.blob_key(&under), under))
    }

    /// The manifest `digest`, its bytes proven; [`None`] if the tree has none. Whether the repository has it as a revision
    /// was asked before.
    async fn manifest_bytes(&self, digest: &Digest) -> Result<Option<Manifest>> {
        let operation = || Verb::ManifestGet.on(format_args!("{}@{digest}", self.name()));
        let (key, _) = self.located_by(digest, &self.revision_key(digest)).await?;
        match read_all(self.store.as_ref(), &key, MAX_BYTES).await? {
            Some(bytes) => proven(bytes, digest, None, operation).map(Some),
            None => Ok(None),
        }
    }

    async fn revision(&self, digest: &Digest) -> Result<Option<Manifest>> {
        match self.store.head(&self.revision_key(digest)).await? {
            Some(_) => self.manifest_bytes(digest).await,
            None => Ok(None),
        }
    }

    async fn manifest_of(&self, target: &Target) -> Result<Option<Manifest>> {
        match target {
            Target::Digest(digest) => self.revision(digest).await,
            Target::Tag(tag) => {
                let Some(digest) = self.linked(tag).await? else {
                    return Ok(None);
                };
                let manifest = self.revision(&digest).await?;
                let operation = || Verb::ManifestGet.on(format_args!("{}:{tag}", self.name()));
                let manifest = manifest.ok_or_else(|| dangling(&digest).during(operation()));
                Ok(Some(manifest?))
            }
        }
    }
}

/// `STORAGE_LINK_DANGLING`.
fn dangling(digest: &Digest) -> Error {
    let message = format!("the link leads to {digest}, which is not there");
    Error::new(Code::StorageLinkDangling, Operation::default(), message)
}

#[async_trait]
impl BlobSource for TreeRepository {
    async fn blob_get(&self, blob: &Descriptor, offset: u64) -> Result<ByteStream> {
        let operation = Verb::BlobGet.on(format_args!("{}@{}", self.name(), blob.digest));
        let (key, _) = self.located_by(&blob.digest, &self.layer_key(&blob.digest)).await?;
        let bytes = self.store.get(&key, Part::from(offset)).await?;
        bytes.ok_or_else(|| Error::of(Code::BlobNotFound, operation))
    }
}

#[async_trait]
impl Manifests for TreeRepository {
    fn name(&self) -> String {
        format!("{}/{}repositories/{}", self.store.name(), self.root, self.name)
    }

    async fn manifest_head(&self, target: &Target) -> Result<Option<Descriptor>> {
        let manifest = self.manifest_of(target).await?;
        Ok(manifest.map(|manifest| manifest.descriptor()))
    }

    async fn manifest_get(&self, target: &Target) -> Result<Option<Manifest>> {
        self.manifest_of(target).await
    }
}

#[async_trait]
impl Source for TreeRepository {
    /// Every revision of the repository is read once for this, because a tree has no list of referrers.
    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let by_subject = self.referrers.get_or_try_init(|| self.all_referrers()).await?;
        Ok(by_subject.get(subject).cloned().unwrap_or_default())
    }
}
