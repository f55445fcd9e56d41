//! Reading a blob: a stream that goes on after the connection broke.
//!
//! The bytes so far stay; a new request asks for the rest by `Range`. The hash runs over all of it elsewhere, so that a
//! registry which answers a range with other bytes is found out. Only progress renews the retries.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::{ACCEPT_ENCODING, CONTENT_RANGE, RANGE};
use http::{HeaderValue, Method, StatusCode};
use transship_copy::{BlobSource, ByteStream, Destination as _, Manifests as _};
use transship_oci::{Code, Descriptor, Error, Operation, Result, Verb};

use crate::RemoteRepository;
use crate::exchange::failure::{timed_out, transport};
use crate::exchange::{Request, Response};
use crate::retry::Waits;

/// Number of bytes after which a resumed read resets its retries.
const PROGRESS_BYTES: u64 = 1024 * 1024;

struct Reading {
    repository: RemoteRepository,
    blob: Descriptor,
    response: Option<Response>,
    offset: u64,
    /// Number of bytes to skip, because the server ignored the range and started at the first byte.
    skip: u64,
    waits: Waits,
    since_repair: u64,
}

#[async_trait]
impl BlobSource for RemoteRepository {
    async fn blob_get(&self, blob: &Descriptor, offset: u64) -> Result<ByteStream> {
        let (response, skip) = self.blob_answer(blob, offset).await?;
        let waits = self.registry.0.retries.begin();
        let reading = Reading {
            repository: self.clone(),
            blob: blob.clone(),
            response: Some(response),
            offset,
            skip,
            waits,
            since_repair: 0,
        };
        Ok(stream::try_unfold(reading, |mut reading| async move {
            let chunk = reading.next().await?;
            Ok(chunk.map(|chunk| (chunk, reading)))
        })
        .boxed())
    }

    /// Only 200 counts: an error is reported by the read that follows.
    async fn has_blob(&self, blob: &Descriptor) -> bool {
        self.blob_head(blob).await.unwrap_or_default()
    }

    fn identity(&self) -> Option<String> {
        Some(self.name())
    }
}

impl RemoteRepository {
    /// The response to GET, and the number of its bytes before `offset`.
    async fn blob_answer(&self, blob: &Descriptor, offset: u64) -> Result<(Response, u64)> {
        let url = self.url(&format!("blobs/{}", blob.digest))?;
        let mut request = Request::new(
            self.blob_operation(Verb::BlobGet, &blob.digest),
            Method::GET,
            url,
            self.scope(),
            &self.requests,
        );
        // Compression by a proxy would change the bytes.
        request
            .headers
            .insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if offset > 0 {
            let range = HeaderValue::from_str(&format!("bytes={offset}-"))
                .map_err(|_| Error::of(Code::ResponseInvalid, &request.operation).because("range"))?;
            request.headers.insert(RANGE, range);
        }
        let response = self.registry.send(request).await?;
        match response.status() {
            StatusCode::OK => Ok((response, offset)),
            StatusCode::PARTIAL_CONTENT if begins_at(&response, offset) => Ok((response, 0)),
            // There are no bytes from here on: the blob is shorter than its descriptor says.
            StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => Err(ends_early(response.operation)),
            StatusCode::PARTIAL_CONTENT => Err(Error::of(Code::ResponseInvalid, response.operation)
                .because("the response has another range than the requested one")),
            _ => Err(match response.into_error().await {
                error if error.is(Code::NotFound) => error.meaning(Code::BlobNotFound),
                error => error,
            }),
        }
    }
}

fn ends_early(operation: Operation) -> Error {
    let message = "the blob is shorter than the size in its descriptor";
    Error::new(Code::BlobSizeMismatch, operation, message)
}

fn begins_at(response: &Response, offset: u64) -> bool {
    let range = response
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok());
    range.and_then(|range| range.trim().strip_prefix("bytes ")?.split('-').next()?.parse().ok()) == Some(offset)
}

impl Reading {
    /// The next bytes; [`None`] at the end of the response. The verifier checks the size.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let Some(response) = &mut self.response else {
                return Ok(None);
            };
            let idle_timeout = response.idle_timeout;
            let read = tokio::time::timeout(idle_timeout, response.inner.chunk()).await;
            let error = match read {
                Ok(Ok(Some(chunk))) => {
                    let Some(chunk) = self.take(chunk).await else { continue };
                    return Ok(Some(chunk));
                }
                // A clean end before the declared size is a truncated response.
                Ok(Ok(None)) if self.offset < self.blob.size => ends_early(response.operation.clone()),
                Ok(Ok(None)) => return Ok(None),
                // All bytes were received, and only the end of the response failed.
                Ok(Err(_)) | Err(_) if self.offset == self.blob.size => return Ok(None),
                Ok(Err(error)) => transport(error, &response.operation),
                Err(_) => timed_out(idle_timeout, &response.operation),
            };
            self.response = None;
            self.repair(error).await?;
        }
    }

    async fn take(&mut self, mut chunk: Bytes) -> Option<Bytes> {
        if self.skip > 0 {
            let drop = usize::try_from(self.skip).unwrap_or(usize::MAX).min(chunk.len());
            let _ = chunk.split_to(drop);
            self.skip -= drop as u64;
            if chunk.is_empty() {
                return None;
            }
        }
        self.offset += chunk.len() as u64;
        self.since_repair += chunk.len() as u64;
        if let Some(bandwidth) = self.repository.registry.0.limiter.bandwidth() {
            bandwidth.pass(chunk.len()).await;
        }
        Some(chunk)
    }

    /// Requests the rest of the blob, or returns the error that broke the read.
    async fn repair(&mut self, broken: Error) -> Result<()> {
        if self.since_repair >= PROGRESS_BYTES {
            self.waits = self.repository.registry.0.retries.begin();
            self.since_repair = 0;
        }
        let Some(wait) = self.waits.next(None) else {
            return Err(broken);
        };
        tracing::debug!(blob = %self.blob.digest, offset = self.offset, code = broken.code(), "resuming a read");
        tokio::time::sleep(wait.min(Duration::from_secs(20))).await;
        let (response, skip) = self.repository.blob_answer(&self.blob, self.offset).await?;
        self.response = Some(response);
        self.skip = skip;
        Ok(())
    }
}
