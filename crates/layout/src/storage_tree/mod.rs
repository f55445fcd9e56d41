//! One repository in the storage of a registry: `docker/registry/v2/…`, as written by CNCF Distribution and products based on
//! it (Harbor and, according to its documentation, ACR).
//!
//! ```text
//! docker/registry/v2/blobs/sha256/<2 digits>/<hex>/data                          the bytes
//!   repositories/<name>/_manifests/tags/<tag>/current/link                       the digest a tag names
//!   repositories/<name>/_manifests/revisions/sha256/<hex>/link                   a manifest the repository has
//!   repositories/<name>/_layers/sha512/<hex>/link                                    where a blob of another algorithm lies
//! ```
//! A link is a file that contains only a digest; it is validated before it becomes part of a key. The tree has no media types:
//! they are read from the manifests. All tags are images, including fallback and cosign tags, so that the destination gets the
//! same tags. Untagged revisions are images unless an index names them. A referrer is an image of its own, because finding the
//! referrers of an image requires reading all revisions.
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

/// Path of the root of a tree, possibly below a prefix.
pub(crate) const ROOT: &str = "docker/registry/v2/";
/// Maximum size in bytes of a link: a digest, and some bytes to detect longer content.
const MAX_LINK_BYTES: usize = 256;

/// One repository of a storage tree.
#[derive(Clone)]
pub struct TreeRepository {
    store: Arc<dyn ObjectStore>,
    /// Ends in [`ROOT`].
    root: String,
    name: Repository,
    /// Referrers by subject, read once when they are first needed.
    referrers: Arc<OnceCell<HashMap<Digest, Vec<Descriptor>>>>,
}

impl TreeRepository {
    /// The repository `name` of the tree with the prefix `root`, which ends in `docker/registry/v2/`. Nothing is read.
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

    /// The key of the bytes of `digest`. It is safe, because a digest contains only its algorithm and hexadecimal digits.
    fn blob_key(&self, digest: &Digest) -> String {
        let (algorithm, hex) = (digest.algorithm().as_str(), digest.hex());
        format!(
            "{}blobs/{algorithm}/{}/{hex}/data",
            self.root,
            hex.get(..2).unwrap_or_default()
        )
    }

    /// The digest of `tag`; [`None`] if there is no such tag. `STORAGE_LINK_INVALID` if its link does not contain a digest.
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

    /// The key of the bytes of `digest`, whose link in this repository is at `link`, and the digest in that key. A registry stores
    /// all bytes under their sha256 digest; for another algorithm only the link leads to them.
    async fn located_by(&self, digest: &Digest, link: &str) -> Result<(String, Digest)> {
        let linked = match digest.algorithm() {
            Algorithm::Sha256 => None,
            Algorithm::Sha512 => self.link(link).await?,
        };
        let under = linked.unwrap_or_else(|| digest.clone());
        Ok((self.blob_key(&under), under))
    }

    /// The manifest `digest` with verified bytes; [`None`] if the tree does not have it. The caller has checked that it is a
    /// revision of the repository.
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
    let message = format!("the link points to {digest}, which is missing");
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

    /// The bytes are shared by all repositories of the tree, so the repository's own link decides.
    async fn has_blob(&self, blob: &Descriptor) -> bool {
        let link = self.store.head(&self.layer_key(&blob.digest)).await;
        link.is_ok_and(|link| link.is_some())
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
    /// All revisions of the repository are read once, because a tree has no list of referrers.
    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let by_subject = self.referrers.get_or_try_init(|| self.all_referrers()).await?;
        Ok(by_subject.get(subject).cloned().unwrap_or_default())
    }
}
