//! Deletes of tags, and what must be known before one is repeated elsewhere: that the registry itself says that the tag is gone.
//!
//! Source: distribution-spec, Deleting tags. A registry that does not delete tags answers 400 or 405, and says `UNSUPPORTED`
//! (docker-registry before 3.0, Harbor). What must hold: a missing right, or a repository that is gone, is not taken for a deleted
//! tag; and nothing is ever deleted by digest.

use http::{Method, StatusCode};
use transship_copy::Gate;
use transship_oci::manifest::MAX_BYTES;
use transship_oci::{Digest, Error, Result, Tag, Target, Verb};

use crate::RemoteRepository;
use crate::exchange::Request;
use crate::exchange::failure::ErrorBody;
use crate::manifests::content_digest;

/// What a registry says about a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagPresence {
    /// The tag names this digest.
    Named(Digest),
    /// The registry says that the manifest is unknown.
    Gone,
    /// The registry says neither: the reason.
    Unclear(String),
}

/// The result of [`RemoteRepository::tag_delete`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagDelete {
    /// The tag was deleted.
    Deleted,
    /// The tag was not there.
    NotThere,
    /// The registry does not delete tags: its text.
    Unsupported(String),
}

impl RemoteRepository {
    /// What the registry says about `tag`: one GET. Errors: those that may pass.
    pub async fn tag_presence(&self, tag: &Tag) -> Result<TagPresence> {
        let target = Target::Tag(tag.clone());
        let request = self.manifest_request(Verb::ManifestGet, Method::GET, &target)?;
        let response = match self.registry.send(request).await {
            Ok(response) => response,
            Err(error) => return unclear(error).map(TagPresence::Unclear),
        };
        if response.status() == StatusCode::OK {
            if let Some(digest) = content_digest(response.headers()) {
                response.drain().await;
                return Ok(TagPresence::Named(digest));
            }
            let bytes = response.body(MAX_BYTES).await?;
            return Ok(TagPresence::Named(Digest::sha256(&bytes)));
        }
        let status = response.status();
        let error = response.into_error().await;
        let codes = self.registry.0.profile.manifest_unknown;
        let is_unknown = ErrorBody::of(&error).is_some_and(|body| codes.iter().any(|code| body.says(code)));
        if status == StatusCode::NOT_FOUND && is_unknown {
            return Ok(TagPresence::Gone);
        }
        unclear(error).map(TagPresence::Unclear)
    }

    /// [`None`] if the registry lists the tags of the repository, even if there are none; otherwise why not. One GET of the first
    /// page. Errors: those that may pass.
    pub async fn unlisted(&self) -> Result<Option<String>> {
        let size = &self.registry.0.tag_pages;
        let first = size.first_page(&self.url("tags/list")?);
        let request = |url| {
            let operation = Verb::TagsList.on(format_args!("{}/{}", self.registry.host(), self.repository));
            Request::new(operation, Method::GET, url, self.scope(), &self.requests)
        };
        match self.registry.page(request, first, size).await {
            Ok((response, _)) if response.status() == StatusCode::OK => {
                response.drain().await;
                Ok(None)
            }
            Ok((response, _)) => unclear(response.into_error().await).map(Some),
            Err(error) => unclear(error).map(Some),
        }
    }

    /// Deletes `tag`. One DELETE by tag; what the tag names stays in the repository. `gate` is asked right before it is sent.
    pub async fn tag_delete(&self, tag: &Tag, gate: Option<&dyn Gate>) -> Result<TagDelete> {
        let target = Target::Tag(tag.clone());
        let request = self.manifest_request(Verb::ManifestDelete, Method::DELETE, &target)?;
        let request = request.behind(gate);
        let response = self.registry.send(request).await?;
        let status = response.status();
        if status.is_success() {
            response.drain().await;
            return Ok(TagDelete::Deleted);
        }
        let error = response.into_error().await;
        let is_unsupported = matches!(status, StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED)
            || ErrorBody::of(&error).is_some_and(|body| body.says("UNSUPPORTED"));
        match status {
            StatusCode::NOT_FOUND if !is_unsupported => Ok(TagDelete::NotThere),
            _ if is_unsupported => Ok(TagDelete::Unsupported(error.to_string())),
            _ => Err(error),
        }
    }
}

/// The text of an error that lasts; an error that may pass stays one.
fn unclear(error: Error) -> Result<String> {
    if error.persistence().is_permanent() {
        Ok(error.to_string())
    } else {
        Err(error)
    }
}
