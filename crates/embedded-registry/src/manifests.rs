//! Manifests: HEAD, GET, PUT, DELETE by tag or digest.
//!
//! A manifest is accepted only if every blob and child that it names is in the repository, except non-distributable layers
//! and the subject, which may be pushed later. Source: distribution-spec, Pushing Manifests.

use axum::body::Body;
use bytes::Bytes;
use http::{Method, StatusCode, header};
use transship_oci::manifest::MAX_BYTES;
use transship_oci::{Descriptor, Digest, Manifest, MediaType, Repository, Result, Target};

use crate::notification::Happening;
use crate::refusal::{Answer, CONTENT_DIGEST, Refusal, SUBJECT, answer};
use crate::registry::{Call, Head, Registry};
use crate::store::{Content, StoredManifest};

impl Registry {
    /// `HEAD` and `GET /v2/<name>/manifests/<reference>`.
    pub(crate) fn manifest_read(&self, repository: &Repository, target: &Target, head: &Head) -> Answer {
        let content = self.store.lock();
        let (digest, manifest) = content
            .manifest(repository, target)
            .ok_or_else(|| Refusal::not_found("MANIFEST_UNKNOWN", target))?;
        let body = if head.method == Method::HEAD {
            Body::empty()
        } else {
            Body::from(manifest.bytes.clone())
        };
        let headers = [
            (header::CONTENT_TYPE, manifest.media_type.to_string()),
            (header::CONTENT_LENGTH, manifest.bytes.len().to_string()),
            (header::ETAG, format!("\"{digest}\"")),
            (CONTENT_DIGEST, digest.to_string()),
        ];
        Ok(answer(StatusCode::OK, headers, body))
    }

    /// `PUT /v2/<name>/manifests/<reference>`.
    pub(crate) async fn manifest_write(&self, repository: &Repository, target: &Target, call: Call) -> Answer {
        let (head, body) = call.into_parts();
        let bytes = axum::body::to_bytes(body, MAX_BYTES).await.map_err(|_| {
            Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "SIZE_INVALID",
                format!("the manifest was cut off or is larger than {MAX_BYTES} bytes"),
            )
        })?;
        let digest = digest_for(target, &bytes)?;
        let manifest = Manifest::parse_with_digest(bytes, head.header(&header::CONTENT_TYPE), digest)
            .map_err(|error| Refusal::bad_request("MANIFEST_INVALID", error.to_string()))?;
        // The type in the header is what a registry returns later, so it must be the type of the body.
        let sent = head.header(&header::CONTENT_TYPE).map(MediaType::new);
        if let Some(sent) = sent.filter(|sent| sent != manifest.media_type()) {
            let sentence = format!("the body is {}, not {sent}", manifest.media_type());
            return Err(Refusal::bad_request("MANIFEST_INVALID", sentence));
        }
        {
            let mut content = self.store.lock();
            expect_parts(&content, repository, &manifest, self.options.sparse_indexes)?;
            content.add_manifest(repository, manifest.digest().clone(), StoredManifest::of(&manifest));
            if let Target::Tag(tag) = target {
                content.add_tag(repository, tag.clone(), manifest.digest().clone());
            }
        }
        let headers = [
            (
                header::LOCATION,
                format!("/v2/{repository}/manifests/{}", manifest.digest()),
            ),
            (CONTENT_DIGEST, manifest.digest().to_string()),
        ];
        let mut response = answer(StatusCode::CREATED, headers, Body::empty());
        if let Some(subject) = manifest.subject().filter(|_| self.options.referrers_api)
            && let Ok(subject) = subject.digest.to_string().try_into()
        {
            response.headers_mut().insert(SUBJECT, subject);
        }
        let happening = Happening::ManifestPushed {
            repository: repository.clone(),
            tag: target.tag().cloned(),
            manifest: Box::new(manifest),
        };
        self.tell(happening, &head);
        Ok(response)
    }

    /// `DELETE /v2/<name>/manifests/<reference>`: deletes a tag, or a manifest with all its tags.
    pub(crate) fn manifest_delete(&self, repository: &Repository, target: &Target, head: &Head) -> Answer {
        self.expect_deletes()?;
        let unknown = || Refusal::not_found("MANIFEST_UNKNOWN", target);
        let tags = match target {
            Target::Tag(tag) => {
                let removed = self.store.lock().remove_tag(repository, tag);
                removed.then(|| vec![tag.clone()]).ok_or_else(unknown)?
            }
            Target::Digest(digest) => {
                let tags = self
                    .store
                    .lock()
                    .remove_manifest(repository, digest)
                    .ok_or_else(unknown)?;
                let happening = Happening::DigestDeleted {
                    repository: repository.clone(),
                    digest: digest.clone(),
                };
                self.tell(happening, head);
                tags
            }
        };
        for tag in tags {
            let repository = repository.clone();
            self.tell(Happening::TagDeleted { repository, tag }, head);
        }
        Ok(answer(StatusCode::ACCEPTED, [], Body::empty()))
    }
}

fn digest_for(target: &Target, bytes: &Bytes) -> Result<Digest, Refusal> {
    let Target::Digest(named) = target else {
        return Ok(Digest::sha256(bytes));
    };
    let actual = Digest::of(named.algorithm(), bytes);
    if actual == *named {
        return Ok(actual);
    }
    Err(Refusal::bad_request(
        "DIGEST_INVALID",
        format!("the manifest has the digest {actual}"),
    ))
}

fn expect_parts(
    content: &Content,
    repository: &Repository,
    manifest: &Manifest,
    is_sparse: bool,
) -> Result<(), Refusal> {
    let has_blob = |part: &Descriptor| content.blob(repository, &part.digest).is_some();
    let has_manifest = |part: &Descriptor| {
        let target = Target::Digest(part.digest.clone());
        content.manifest(repository, &target).is_some()
    };
    let missing_blob = manifest
        .blobs()
        .find(|part| !part.media_type.is_non_distributable() && !has_blob(part));
    if let Some(part) = missing_blob {
        return Err(missing("MANIFEST_BLOB_UNKNOWN", part));
    }
    // An index may name content that is not a manifest.
    let missing_child = manifest
        .children()
        .iter()
        .filter(|part| !is_sparse || !part.media_type.is_manifest())
        .find(|part| !has_manifest(part) && (part.media_type.is_manifest() || !has_blob(part)));
    missing_child.map_or(Ok(()), |part| Err(missing("MANIFEST_UNKNOWN", part)))
}

fn missing(code: &'static str, part: &Descriptor) -> Refusal {
    Refusal::bad_request(
        code,
        format!("{} {} is not in the repository", part.media_type, part.digest),
    )
}
