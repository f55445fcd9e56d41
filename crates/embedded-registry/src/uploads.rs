//! Upload sessions: POST, PATCH, PUT, GET and DELETE of `/blobs/uploads/`.
//!
//! Bytes are hashed as they arrive, and stored once, or discarded above the limit. Each response contains a new location
//! whose query is part of it: a client that builds locations instead of using the newest one is rejected.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderName, StatusCode, header};
use transship_oci::{Algorithm, Digest, Hasher, Repository, Result};
use uuid::Uuid;

use crate::UploadRanges;
use crate::notification::Happening;
use crate::range;
use crate::refusal::{Answer, CONTENT_DIGEST, Refusal, UPLOAD_UUID, answer};
use crate::registry::{Call, Registry};
use crate::store::Blob;

const CHUNK_MIN: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// The open upload sessions.
#[derive(Debug, Default)]
pub(crate) struct Uploads(Mutex<HashMap<String, Open>>);

type Session = Arc<tokio::sync::Mutex<Upload>>;

#[derive(Debug)]
struct Open {
    repository: Repository,
    session: Session,
}

/// The received part of a blob.
#[derive(Debug)]
struct Upload {
    algorithm: Algorithm,
    hasher: Hasher,
    received: u64,
    pieces: Vec<Bytes>,
    keep_up_to: u64,
}

impl Uploads {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of open sessions.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn find(&self, repository: &Repository, id: &str) -> Result<Session, Refusal> {
        self.lock()
            .get(id)
            .filter(|open| open.repository == *repository)
            .map(|open| Arc::clone(&open.session))
            .ok_or_else(|| Refusal::not_found("BLOB_UPLOAD_UNKNOWN", "this upload"))
    }
}

impl Upload {
    fn new(algorithm: Algorithm, keep_up_to: u64) -> Self {
        Self {
            algorithm,
            hasher: Hasher::new(algorithm),
            received: 0,
            pieces: Vec::new(),
            keep_up_to,
        }
    }

    fn push(&mut self, piece: Bytes) {
        self.hasher.update(&piece);
        self.received += piece.len() as u64;
        if self.received <= self.keep_up_to {
            self.pieces.push(piece);
        } else {
            self.pieces = Vec::new();
        }
    }

    async fn take_in(&mut self, body: Body, limit: u64) -> Result<(), Refusal> {
        let mut body = body.into_data_stream();
        let mut taken = 0;
        while let Some(piece) = body.next().await {
            let broken = |_| Refusal::bad_request("BLOB_UPLOAD_INVALID", "the body of the request was cut off");
            let piece = piece.map_err(broken)?;
            taken += piece.len() as u64;
            // A body that is too large is still read to its end, because a client reads no response while it sends.
            if taken <= limit {
                self.push(piece);
            }
        }
        if taken <= limit {
            return Ok(());
        }
        Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "SIZE_INVALID",
            format!("the body is larger than {limit} bytes"),
        ))
    }

    /// Checks the digest. For an algorithm that was not announced, the stored bytes are hashed again.
    fn use_algorithm(&mut self, algorithm: Algorithm) -> Result<(), Refusal> {
        if algorithm == self.algorithm {
            return Ok(());
        }
        if self.received > self.keep_up_to {
            return Err(Refusal::bad_request(
                "DIGEST_INVALID",
                "discarded bytes cannot be hashed again: announce digest-algorithm when the upload starts",
            ));
        }
        self.algorithm = algorithm;
        self.hasher = Hasher::new(algorithm);
        for piece in &self.pieces {
            self.hasher.update(piece);
        }
        Ok(())
    }

    fn finish(&mut self) -> (Digest, Blob) {
        let size = self.received;
        let blob = if size > self.keep_up_to {
            Blob::Discarded { size }
        } else {
            Blob::Stored {
                size,
                pieces: std::mem::take(&mut self.pieces),
            }
        };
        (self.hasher.clone().finish(), blob)
    }

    fn expect_at(&self, headers: &HeaderMap, location: &str, id: &str) -> Result<(), Refusal> {
        let Some(range) = headers.get(header::CONTENT_RANGE) else {
            return Ok(());
        };
        let Some((first, last)) = range.to_str().ok().and_then(range::chunk) else {
            return Err(Refusal::bad_request(
                "BLOB_UPLOAD_INVALID",
                "the Content-Range is not valid: expected <first>-<last>",
            ));
        };
        let length = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length != last - first + 1) {
            return Err(Refusal::bad_request(
                "SIZE_INVALID",
                "Content-Range and Content-Length disagree",
            ));
        }
        if first == self.received {
            return Ok(());
        }
        Err(Refusal::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "BLOB_UPLOAD_INVALID",
            format!("the chunk must start at byte {}", self.received),
        )
        .with_header(header::LOCATION, location)
        .with_header(header::RANGE, self.range())
        .with_header(UPLOAD_UUID, id))
    }

    /// The received range in the format of registries: `0-0` for no bytes and for one byte.
    fn range(&self) -> String {
        format!("0-{}", self.received.saturating_sub(1))
    }

    fn location(&self, repository: &Repository, id: &str) -> String {
        format!("/v2/{repository}/blobs/uploads/{id}?_state={}", self.received)
    }
}

impl Registry {
    /// `POST /v2/<name>/blobs/uploads/`: mounts a blob, uploads a whole blob, or opens a session.
    pub(crate) async fn upload_start(&self, repository: &Repository, call: Call) -> Answer {
        if let Some(answer) = self.mount(repository, &call)? {
            return Ok(answer);
        }
        let digest = call.query_digest("digest")?;
        let algorithm = match (&digest, call.query("digest-algorithm").as_deref()) {
            (Some(digest), _) => digest.algorithm(),
            (None, None | Some("sha256")) => Algorithm::Sha256,
            (None, Some("sha512")) => Algorithm::Sha512,
            (None, Some(_)) => {
                return Err(Refusal::bad_request(
                    "UNSUPPORTED",
                    "the digest-algorithm is not valid: expected sha256 or sha512",
                ));
            }
        };
        let mut upload = Upload::new(algorithm, self.options.discard_blobs_above);
        if let Some(digest) = digest.filter(|_| call.query("mount").is_none()) {
            let (head, body) = call.into_parts();
            upload.take_in(body, self.options.upload_body_max).await?;
            return self.commit(repository, &digest, &mut upload, &head);
        }
        let id = Uuid::new_v4().to_string();
        let mut headers = vec![
            (header::LOCATION, upload.location(repository, &id)),
            (header::RANGE, upload.range()),
            (UPLOAD_UUID, id.clone()),
        ];
        let chunk_min = self.options.chunk_min;
        headers.extend(chunk_min.map(|bytes| (CHUNK_MIN, bytes.to_string())));
        let open = Open {
            repository: repository.clone(),
            session: Arc::new(tokio::sync::Mutex::new(upload)),
        };
        self.uploads.lock().insert(id, open);
        Ok(answer(StatusCode::ACCEPTED, headers, Body::empty()))
    }

    fn mount(&self, repository: &Repository, call: &Call) -> Result<Option<http::Response<Body>>, Refusal> {
        let (Some(digest), Some(from)) = (call.query_digest("mount")?, call.query("from")) else {
            return Ok(None);
        };
        let from: Repository = from
            .parse()
            .map_err(|error: transship_oci::Error| Refusal::bad_request("NAME_INVALID", error.to_string()))?;
        if !self.options.mounts || !call.head.access.may_pull(&from) {
            return Ok(None);
        }
        let Some(size) = self.store.lock().mount(repository, &digest, &from) else {
            return Ok(None);
        };
        let headers = [
            (header::LOCATION, format!("/v2/{repository}/blobs/{digest}")),
            (CONTENT_DIGEST, digest.to_string()),
        ];
        self.tell(
            Happening::BlobMounted {
                repository: repository.clone(),
                digest,
                size,
                from,
            },
            &call.head,
        );
        Ok(Some(answer(StatusCode::CREATED, headers, Body::empty())))
    }

    /// `GET`: the received range. The state in the location is not checked.
    pub(crate) async fn upload_status(&self, repository: &Repository, id: &str) -> Answer {
        let session = self.uploads.find(repository, id)?;
        let upload = session.lock().await;
        let mut headers = vec![
            (header::LOCATION, upload.location(repository, id)),
            (UPLOAD_UUID, id.to_owned()),
        ];
        if self.options.upload_ranges != UploadRanges::Never {
            headers.push((header::RANGE, upload.range()));
        }
        Ok(answer(StatusCode::NO_CONTENT, headers, Body::empty()))
    }

    /// `PATCH`: receives the next bytes. The received part of a body that is cut off is kept, unless the option to forget the
    /// session is set.
    pub(crate) async fn upload_chunk(&self, repository: &Repository, id: &str, call: Call) -> Answer {
        let session = self.uploads.find(repository, id)?;
        let mut upload = session.lock().await;
        let location = upload.location(repository, id);
        upload.expect_at(&call.head.headers, &location, id)?;
        expect_state(&call, &upload)?;
        // A broken connection may drop this future instead of returning an error.
        let cut = ForgetUnlessWhole {
            registry: self,
            id: self.options.forgets_cut_uploads.then_some(id),
        };
        upload
            .take_in(call.into_parts().1, self.options.upload_body_max)
            .await?;
        cut.arrived();
        let mut headers = vec![
            (header::LOCATION, upload.location(repository, id)),
            (UPLOAD_UUID, id.to_owned()),
        ];
        match self.options.upload_ranges {
            UploadRanges::Plain => headers.push((header::RANGE, upload.range())),
            UploadRanges::WithUnit => headers.push((header::RANGE, format!("bytes={}", upload.range()))),
            UploadRanges::OnlyInStatus | UploadRanges::Never => {}
        }
        Ok(answer(StatusCode::ACCEPTED, headers, Body::empty()))
    }

    /// `PUT`: receives the last bytes, if any, and the digest of the blob. The session ends with any result, unless the body is
    /// cut off.
    pub(crate) async fn upload_commit(&self, repository: &Repository, id: &str, call: Call) -> Answer {
        let session = self.uploads.find(repository, id)?;
        let mut upload = session.lock().await;
        let location = upload.location(repository, id);
        upload.expect_at(&call.head.headers, &location, id)?;
        expect_state(&call, &upload)?;
        let digest = call
            .query_digest("digest")?
            .ok_or_else(|| Refusal::bad_request("DIGEST_INVALID", "the query parameter digest is missing"))?;
        upload.use_algorithm(digest.algorithm())?;
        let (head, body) = call.into_parts();
        upload.take_in(body, self.options.upload_body_max).await?;
        self.uploads.lock().remove(id);
        self.commit(repository, &digest, &mut upload, &head)
    }

    /// `DELETE`: ends the session.
    pub(crate) fn upload_cancel(&self, repository: &Repository, id: &str) -> Answer {
        self.uploads.find(repository, id)?;
        self.uploads.lock().remove(id);
        Ok(answer(StatusCode::NO_CONTENT, [], Body::empty()))
    }

    fn commit(
        &self,
        repository: &Repository,
        digest: &Digest,
        upload: &mut Upload,
        head: &crate::registry::Head,
    ) -> Answer {
        let (actual, blob) = upload.finish();
        if actual != *digest {
            return Err(Refusal::bad_request(
                "DIGEST_INVALID",
                format!("the received bytes have the digest {actual}"),
            ));
        }
        let size = blob.size();
        self.store.lock().add_blob(repository, actual, blob);
        self.tell(
            Happening::BlobPushed {
                repository: repository.clone(),
                digest: digest.clone(),
                size,
            },
            head,
        );
        let headers = [
            (header::LOCATION, format!("/v2/{repository}/blobs/{digest}")),
            (CONTENT_DIGEST, digest.to_string()),
        ];
        Ok(answer(StatusCode::CREATED, headers, Body::empty()))
    }
}

/// Ends a session when it is dropped, unless the chunk was received completely.
struct ForgetUnlessWhole<'a> {
    registry: &'a Registry,
    id: Option<&'a str>,
}

impl ForgetUnlessWhole<'_> {
    fn arrived(mut self) {
        self.id = None;
    }
}

impl Drop for ForgetUnlessWhole<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.registry.uploads.lock().remove(id);
        }
    }
}

fn expect_state(call: &Call, upload: &Upload) -> Result<(), Refusal> {
    if call.query("_state") == Some(upload.received.to_string()) {
        return Ok(());
    }
    Err(Refusal::bad_request(
        "BLOB_UPLOAD_INVALID",
        "not the newest location of the upload",
    ))
}
