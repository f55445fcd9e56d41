//! Upload sessions: POST, PATCH, PUT, GET and DELETE of `/blobs/uploads/`.
//!
//! Bytes are hashed as they arrive and kept once, or not at all above the limit. Each answer carries a new location
//! whose query is part of it: a client that rebuilds locations instead of using the newest one is refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderName, StatusCode, header};
use transship_oci::{Algorithm, Digest, Hasher, Repository};
use uuid::Uuid;

use crate::UploadRanges;
use crate::notification::Happening;
use crate::range;
use crate::refusal::{Answer, CONTENT_DIGEST, Refusal, UPLOAD_UUID, answer};
use crate::registry::{Call, Registry};
use crate::store::Blob;

const CHUNK_MIN: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// The open sessions.
#[derive(Debug, Default)]
pub(crate) struct Uploads(Mutex<HashMap<String, Open>>);

type Session = Arc<tokio::sync::Mutex<Upload>>;

#[derive(Debug)]
struct Open {
    repository: Repository,
    session: Session,
}

/// What has arrived of a blob.
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

    /// How many sessions are neither committed nor cancelled.
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
            let broken = |_| Refusal::bad_request("BLOB_UPLOAD_INVALID", "the body of the request broke off");
            let piece = piece.map_err(broken)?;
            taken += piece.len() as u64;
            // A body that is too large is read to its end all the same: a sender that still sends does not listen.
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
            format!("a body has {limit} bytes at most"),
        ))
    }

    /// The hash may be asked for by an algorithm that was not announced: then what was kept is hashed again.
    fn use_algorithm(&mut self, algorithm: Algorithm) -> Result<(), Refusal> {
        if algorithm == self.algorithm {
            return Ok(());
        }
        if self.received > self.keep_up_to {
            return Err(Refusal::bad_request(
                "DIGEST_INVALID",
                "what was discarded cannot be hashed again: announce digest-algorithm when the upload begins",
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
                "the Content-Range of a chunk is <first>-<last>",
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
            format!("the next byte is number {}", self.received),
        )
        .with_header(header::LOCATION, location)
        .with_header(header::RANGE, self.range())
        .with_header(UPLOAD_UUID, id))
    }

    /// The range received, as registries write it: `0-0` for nothing and for one byte alike.
    fn range(&self) -> String {
        format!("0-{}", self.received.saturating_sub(1))
    }

    fn location(&self, repository: &Repository, id: &str) -> String {
        format!("/v2/{repository}/blobs/uploads/{id}?_state={}", self.received)
    }
}

impl Registry {
    /// `POST /v2/<name>/blobs/uploads/`: a mount, a whole blob, or a session.
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
                    "digest-algorithm is sha256 or sha512",
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

    /// `GET`: how much has arrived. The session is found whatever the state in the location.
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

    /// `PATCH`: the next bytes. What arrived before a body broke off stays, unless the registry is one that then forgets.
    pub(crate) async fn upload_chunk(&self, repository: &Repository, id: &str, call: Call) -> Answer {
        let session = self.uploads.find(repository, id)?;
        let mut upload = session.lock().await;
        let location = upload.location(repository, id);
        upload.expect_at(&call.head.headers, &location, id)?;
        expect_state(&call, &upload)?;
        // A connection that breaks may end this future instead of giving it an error to handle.
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

    /// `PUT`: the last bytes, if any, and the digest of all. The session is over whatever the outcome, unless the body broke off.
    pub(crate) async fn upload_commit(&self, repository: &Repository, id: &str, call: Call) -> Answer {
        let session = self.uploads.find(repository, id)?;
        let mut upload = session.lock().await;
        let location = upload.location(repository, id);
        upload.expect_at(&call.head.headers, &location, id)?;
        expect_state(&call, &upload)?;
        let digest = call
            .query_digest("digest")?
            .ok_or_else(|| Refusal::bad_request("DIGEST_INVALID", "the commit of an upload names its digest"))?;
        upload.use_algorithm(digest.algorithm())?;
        let (head, body) = call.into_parts();
        upload.take_in(body, self.options.upload_body_max).await?;
        self.uploads.lock().remove(id);
        self.commit(repository, &digest, &mut upload, &head)
    }

    /// `DELETE`: forgets the session.
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
                format!("what arrived has the digest {actual}"),
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

/// Forgets a session when it is dropped, unless told that the chunk arrived.
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
        "this is not the newest location of the upload",
    ))
}
