//! Blobs: HEAD, GET by range, DELETE.

use std::convert::Infallible;

use axum::body::Body;
use futures_util::stream;
use http::{Method, StatusCode, header};
use transship_oci::{Digest, Repository};

use crate::notification::Happening;
use crate::range::{self, Wanted};
use crate::refusal::{Answer, CONTENT_DIGEST, Refusal, answer};
use crate::registry::{Head, Registry};

impl Registry {
    /// `HEAD` and `GET /v2/<name>/blobs/<digest>`. A discarded blob can be found by HEAD, but its bytes cannot be read.
    pub(crate) fn blob_read(&self, repository: &Repository, digest: &Digest, head: &Head) -> Answer {
        let unknown = || Refusal::not_found("BLOB_UNKNOWN", digest);
        let blob = self
            .store
            .lock()
            .blob(repository, digest)
            .cloned()
            .ok_or_else(unknown)?;
        let size = blob.size();
        let wanted = range::wanted(head.header(&header::RANGE), size);
        let (status, first, end) = match wanted {
            Wanted::Whole => (StatusCode::OK, 0, size),
            Wanted::Part { first, last } => (StatusCode::PARTIAL_CONTENT, first, last + 1),
            Wanted::Unsatisfiable => {
                let refusal = Refusal::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "SIZE_INVALID",
                    format!("the blob has {size} bytes"),
                );
                return Err(refusal.with_header(header::CONTENT_RANGE, format!("bytes */{size}")));
            }
        };
        let body = if head.method == Method::HEAD {
            Body::empty()
        } else {
            let pieces = blob.read(first, end).ok_or_else(unknown)?;
            Body::from_stream(stream::iter(pieces.map(Ok::<_, Infallible>)))
        };
        let headers = [
            (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            (header::CONTENT_LENGTH, (end - first).to_string()),
            (header::ACCEPT_RANGES, "bytes".to_owned()),
            (CONTENT_DIGEST, digest.to_string()),
        ];
        let mut response = answer(status, headers, body);
        if let Wanted::Part { first, last } = wanted
            && let Ok(range) = format!("bytes {first}-{last}/{size}").try_into()
        {
            response.headers_mut().insert(header::CONTENT_RANGE, range);
        }
        Ok(response)
    }

    /// `DELETE /v2/<name>/blobs/<digest>`.
    pub(crate) fn blob_delete(&self, repository: &Repository, digest: &Digest, head: &Head) -> Answer {
        self.expect_deletes()?;
        if !self.store.lock().remove_blob(repository, digest) {
            return Err(Refusal::not_found("BLOB_UNKNOWN", digest));
        }
        let happening = Happening::DigestDeleted {
            repository: repository.clone(),
            digest: digest.clone(),
        };
        self.tell(happening, head);
        Ok(answer(StatusCode::ACCEPTED, [], Body::empty()))
    }
}
