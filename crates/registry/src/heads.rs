//! How far HEAD is believed at a registry.
//!
//! Some registries answer HEAD of a manifest with 404 (Nexus: diun#1614, registry-cli#14), 403 (containerd#6684) or another
//! refusal, and GET with the manifest. Where GET contradicted HEAD, GET is used for an hour. A registry whose GETs count
//! against a quota is exempt, see [`crate::Profile::are_gets_limited`].

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::try_join_all;
use http::StatusCode;
use tokio::sync::{Mutex, MutexGuard};
use transship_copy::Manifests as _;
use transship_oci::{Descriptor, Digest, Result, Tag, Target};

use crate::RemoteRepository;
use crate::registry::Refused;
use crate::retry::is_temporary;

/// What was learned about HEAD.
#[derive(Default)]
pub(crate) struct Heads {
    /// A GET contradicted a HEAD.
    contradicted: Refused,
    /// A HEAD found a manifest, so HEAD is not refused in general.
    is_proven: AtomicBool,
    proof: Mutex<()>,
}

impl Heads {
    pub(crate) fn are_contradicted(&self) -> bool {
        self.contradicted.get()
    }

    pub(crate) fn contradict(&self) {
        if !self.contradicted.get() {
            tracing::info!("a registry refuses HEAD of what it has: GET is used for an hour");
        }
        self.contradicted.set();
    }

    pub(crate) fn prove(&self) {
        self.is_proven.store(true, Ordering::Relaxed);
    }

    fn is_proven(&self) -> bool {
        self.is_proven.load(Ordering::Relaxed)
    }

    /// One request proves it for all that wait.
    async fn proof(&self) -> MutexGuard<'_, ()> {
        self.proof.lock().await
    }
}

/// True for a refusal of HEAD that GET may not repeat. 401 is about the login, and 404 is an answer.
pub(crate) fn may_be_about_head(status: StatusCode) -> bool {
    let is_answer = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND);
    status == StatusCode::NOT_IMPLEMENTED || status.is_client_error() && !is_answer && !is_temporary(status)
}

impl RemoteRepository {
    /// What `target` names, by GET, after a HEAD found nothing.
    pub(crate) async fn find_by_get(&self, target: &Target) -> Result<Option<Descriptor>> {
        let found = self.manifest_by_get(target).await?;
        let heads = &self.registry.0.heads;
        // It may have been pushed since the HEAD, which contradicts nothing.
        if found.is_some() && !heads.are_contradicted() && self.manifest_head(target).await?.is_none() {
            heads.contradict();
        }
        Ok(found)
    }

    /// What the digest tags `tags` of `subject` name. Whether HEAD is right is asked after all of them, so that the number of
    /// requests does not depend on which is answered first.
    pub(crate) async fn find_digest_tags(&self, tags: &[Tag], subject: &Digest) -> Result<Vec<Option<Descriptor>>> {
        let is_by_get = self.registry.0.heads.are_contradicted() || self.registry.0.profile.are_gets_limited;
        let found = self.tag_heads(tags).await?;
        if is_by_get || found.iter().all(Option::is_some) || self.heads_are_right(subject).await? {
            return Ok(found);
        }
        self.tag_heads(tags).await
    }

    async fn tag_heads(&self, tags: &[Tag]) -> Result<Vec<Option<Descriptor>>> {
        let heads = tags
            .iter()
            .map(|tag| async move { self.manifest_head(&Target::Tag(tag.clone())).await });
        try_join_all(heads).await
    }

    /// True if HEAD finds manifests of this registry; else GET is used from now on. `known` is one that the repository has.
    async fn heads_are_right(&self, known: &Digest) -> Result<bool> {
        let heads = &self.registry.0.heads;
        let _proof = heads.proof().await;
        if !heads.is_proven()
            && !heads.are_contradicted()
            && self.manifest_head(&Target::Digest(known.clone())).await?.is_none()
        {
            heads.contradict();
        }
        Ok(!heads.are_contradicted())
    }
}
