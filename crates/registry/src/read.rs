//! Reading a blob: a stream that goes on after the connection broke.
//!
//! The bytes so far stay; a new request asks for the rest by `Range`. If the registry refuses the range, the blob is read
//! from its first byte again, and what was read before is skipped. Only a response that names the size of the blob says that
//! it is short. The hash runs over all of it elsewhere, so that a registry which answers a range with other bytes is found
//! out. Only progress renews the retries.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use http::{HeaderValue, Method, StatusCode};
use transship_copy::{BlobSource, ByteStream, Destination as _, Manifests as _};
use transship_oci::{Code, Descriptor, Error, Operation, Result, Verb};

use crate::RemoteRepository;
use crate::exchange::failure::{stalled, transport};
use crate::exchange::{Request, Response};
use crate::pace::Pace;
use crate::retry::{Waits, is_temporary};

/// Number of bytes after which a resumed read resets its retries.
const PROGRESS_BYTES: u64 = 1024 * 1024;

struct Reading {
    repository: RemoteRepository,
    blob: Descriptor,
    response: Option<Answer>,
    offset: u64,
    /// The registry refused a range of this blob, so that it is read from its first byte again.
    are_ranges_refused: bool,
    was_repaired: bool,
    waits: Waits,
    since_repair: u64,
    /// How long the registry may keep the read waiting. Waits for the destination and for the bandwidth limit do not count.
    pace: Pace,
}

/// A response with bytes of a blob.
struct Answer {
    response: Response,
    /// Number of bytes to skip, because the response starts at the first byte.
    skip: u64,
    /// The size of the whole blob in bytes, as the response says it.
    total: Option<u64>,
}

#[async_trait]
impl BlobSource for RemoteRepository {
    async fn blob_get(&self, blob: &Descriptor, offset: u64) -> Result<ByteStream> {
        if offset > 0 && offset >= blob.size {
            return Ok(stream::empty().boxed());
        }
        let mut reading = Reading {
            repository: self.clone(),
            blob: blob.clone(),
            response: None,
            offset,
            are_ranges_refused: false,
            was_repaired: false,
            waits: self.registry.0.retries.begin(),
            since_repair: 0,
            pace: Pace::new(self.registry.0.idle_timeout),
        };
        reading.open().await?;
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
    fn blob_request(&self, blob: &Descriptor) -> Result<Request<'_>> {
        let url = self.url(&format!("blobs/{}", blob.digest))?;
        let operation = self.blob_operation(Verb::BlobGet, &blob.digest);
        let mut request = Request::new(operation, Method::GET, url, self.scope(), &self.requests);
        // Compression by a proxy would change the bytes.
        request
            .headers
            .insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(request)
    }

    /// The blob from its first byte; the `skip` bytes that were read before are skipped.
    async fn blob_whole(&self, blob: &Descriptor, skip: u64) -> Result<Answer> {
        let response = self.registry.send(self.blob_request(blob)?).await?;
        match response.status() {
            StatusCode::OK => Ok(Answer::whole(response, skip)),
            _ => Err(blob_error(response).await),
        }
    }

    /// The blob from `offset`; [`None`] if the registry does not serve this range, which says nothing about the size of the
    /// blob. The range has an end, because go-containerregistry's registry understands no other
    /// (stereoscope#695).
    async fn blob_range(&self, blob: &Descriptor, offset: u64) -> Result<Option<Answer>> {
        let mut request = self.blob_request(blob)?;
        let range = HeaderValue::from_str(&format!("bytes={offset}-{}", blob.size.saturating_sub(1)))
            .map_err(|_| Error::of(Code::ResponseInvalid, &request.operation).because("range"))?;
        request.headers.insert(RANGE, range);
        let response = self.registry.send(request).await?;
        let sent = ContentRange::of(&response);
        match (response.status(), sent) {
            (StatusCode::OK, _) => Ok(Some(Answer::whole(response, offset))),
            (StatusCode::PARTIAL_CONTENT, Some(range)) if range.first == Some(offset) => Ok(Some(Answer {
                response,
                skip: 0,
                total: range.total,
            })),
            (StatusCode::PARTIAL_CONTENT, Some(_)) => Err(Error::of(Code::ResponseInvalid, response.operation)
                .because("the response has another range than the requested one")),
            // `bytes */N`: there are no bytes from here on.
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(ContentRange { total: Some(total), .. })) if total <= offset => {
                Err(ends_early(&response.operation, blob, total))
            }
            (status, _) if status == StatusCode::PARTIAL_CONTENT || is_refusal_of_range(status) => {
                tracing::debug!(blob = %blob.digest, offset, %status, "a range is refused");
                response.drain().await;
                Ok(None)
            }
            _ => Err(blob_error(response).await),
        }
    }
}

impl Answer {
    fn whole(response: Response, skip: u64) -> Self {
        let length = response.headers().get(CONTENT_LENGTH);
        let total = length.and_then(|value| value.to_str().ok()?.parse().ok());
        Self { response, skip, total }
    }
}

/// True for a refusal that may be about the range, and not about the blob or the login.
fn is_refusal_of_range(status: StatusCode) -> bool {
    let is_about_blob = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND);
    status == StatusCode::NOT_IMPLEMENTED || status.is_client_error() && !is_about_blob && !is_temporary(status)
}

async fn blob_error(response: Response) -> Error {
    match response.into_error().await {
        error if error.is(Code::NotFound) => error.meaning(Code::BlobNotFound),
        error => error,
    }
}

fn ends_early(operation: &Operation, blob: &Descriptor, total: u64) -> Error {
    let message = format!("the blob has {total} bytes, and its descriptor says {}", blob.size);
    Error::new(Code::BlobSizeMismatch, operation, message)
}

/// `Content-Range`, where it is readable: `bytes FIRST-LAST/TOTAL` or `bytes */TOTAL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ContentRange {
    first: Option<u64>,
    total: Option<u64>,
}

impl ContentRange {
    fn of(response: &Response) -> Option<Self> {
        Self::parse(response.headers().get(CONTENT_RANGE)?.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let (unit, range) = text.trim().split_once(char::is_whitespace)?;
        let (range, total) = range.trim().split_once('/').unwrap_or((range.trim(), "*"));
        let first = range.split_once('-').and_then(|(first, _)| first.trim().parse().ok());
        unit.eq_ignore_ascii_case("bytes").then(|| Self {
            first,
            total: total.trim().parse().ok(),
        })
    }
}

impl Reading {
    /// Requests the blob from the first byte that was not read.
    async fn open(&mut self) -> Result<()> {
        if self.offset > 0 && !self.are_ranges_refused {
            match self.repository.blob_range(&self.blob, self.offset).await? {
                None => self.are_ranges_refused = true,
                answer => {
                    self.response = answer;
                    return Ok(());
                }
            }
        }
        self.response = Some(self.repository.blob_whole(&self.blob, self.offset).await?);
        Ok(())
    }

    /// The next bytes; [`None`] at the end of the response. The verifier checks the size.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let Some(Answer { response, total, .. }) = &mut self.response else {
                return Ok(None);
            };
            let (begin, total) = (Instant::now(), *total);
            let read = tokio::time::timeout(self.pace.next_wait(), response.inner.chunk()).await;
            let error = match read {
                Ok(Ok(Some(chunk))) => {
                    self.pace.record(begin.elapsed(), chunk.len() as u64);
                    let Some(chunk) = self.take(chunk).await else { continue };
                    return Ok(Some(chunk));
                }
                Ok(Ok(None)) if self.offset < self.blob.size => match total {
                    // Said twice: the blob is shorter than its descriptor says.
                    Some(total) if total <= self.offset && self.was_repaired => {
                        return Err(ends_early(&response.operation, &self.blob, total));
                    }
                    // A clean end before the declared size is a truncated response.
                    _ => Error::of(Code::ConnectionBroken, &response.operation).because(format_args!(
                        "the response ended after {} of {} bytes",
                        self.offset, self.blob.size
                    )),
                },
                Ok(Ok(None)) => return Ok(None),
                // All bytes were received, and only the end of the response failed.
                Ok(Err(_)) | Err(_) if self.offset == self.blob.size => return Ok(None),
                Ok(Err(error)) => transport(error, &response.operation),
                Err(_) => stalled(self.pace.stalled(), &response.operation),
            };
            self.response = None;
            self.repair(error).await?;
        }
    }

    async fn take(&mut self, mut chunk: Bytes) -> Option<Bytes> {
        if let Some(bandwidth) = self.repository.registry.0.limiter.bandwidth() {
            bandwidth.pass(chunk.len()).await;
        }
        if let Some(Answer { skip, .. }) = &mut self.response
            && *skip > 0
        {
            let drop = usize::try_from(*skip).unwrap_or(usize::MAX).min(chunk.len());
            let _ = chunk.split_to(drop);
            *skip -= drop as u64;
            if chunk.is_empty() {
                return None;
            }
        }
        self.offset += chunk.len() as u64;
        self.since_repair += chunk.len() as u64;
        Some(chunk)
    }

    /// Requests the rest of the blob, or returns the error that broke the read. A read that is too slow from its beginning is
    /// not repeated here: its task waits in the queue, and another one has the worker.
    async fn repair(&mut self, broken: Error) -> Result<()> {
        if broken.is(Code::TooSlow) && self.since_repair < PROGRESS_BYTES {
            return Err(broken);
        }
        self.pace = Pace::new(self.repository.registry.0.idle_timeout);
        if self.since_repair >= PROGRESS_BYTES {
            self.waits = self.repository.registry.0.retries.begin();
            self.since_repair = 0;
        }
        let Some(wait) = self.waits.next(None) else {
            return Err(broken);
        };
        tracing::debug!(blob = %self.blob.digest, offset = self.offset, code = broken.code(), "resuming a read");
        tokio::time::sleep(wait.min(Duration::from_secs(20))).await;
        self.was_repaired = true;
        self.open().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A read of 10 bytes at a registry that cannot be reached, whose response is `body`.
    fn reading(body: reqwest::Body) -> Reading {
        let registry = crate::Registry::new(crate::Options {
            endpoint: "http://127.0.0.1:1".parse().unwrap(),
            names: Vec::new(),
            network: transship_oci::Network::Private,
            limits: transship_oci::Limits::default(),
            profile: crate::Profile::of(transship_oci::Provider::Generic),
            retries: crate::Retries {
                times: 1,
                first: Duration::ZERO,
                ..crate::Retries::default()
            },
            credentials: std::sync::Arc::new(crate::Anonymous),
            tls: None,
        })
        .unwrap();
        let repository = registry.repository("a/b".parse().unwrap());
        let response = Response {
            inner: http::Response::new(body).into(),
            operation: Verb::BlobGet.into(),
            idle_timeout: Duration::from_mins(1),
            is_tag_immutable: |_| false,
        };
        Reading {
            blob: Descriptor::new("a/b".into(), transship_oci::Digest::sha256(b""), 10),
            response: Some(Answer::whole(response, 0)),
            offset: 0,
            are_ranges_refused: false,
            was_repaired: false,
            waits: repository.registry.0.retries.begin(),
            since_repair: 0,
            pace: Pace::new(Duration::from_mins(1)),
            repository,
        }
    }

    /// A read whose registry has used up its time, and now sends nothing.
    fn slow_reading() -> Reading {
        let body = stream::pending::<std::io::Result<Bytes>>();
        let mut reading = reading(reqwest::Body::wrap_stream(body));
        reading.pace.record(Duration::from_mins(2), 0);
        reading
    }

    #[tokio::test]
    async fn a_read_that_is_too_slow_ends_and_leaves_its_worker_to_others() {
        let error = slow_reading().next().await.unwrap_err();
        assert_eq!(error.code(), "TOO_SLOW");
    }

    #[tokio::test]
    async fn a_read_that_became_slow_after_progress_is_resumed() {
        let mut reading = slow_reading();
        reading.since_repair = PROGRESS_BYTES;
        let error = reading.next().await.unwrap_err();
        assert_eq!(error.code(), "CONNECT_FAILED", "it was requested again");
    }

    #[tokio::test]
    async fn time_that_the_destination_takes_does_not_count_against_the_source() {
        let body = stream::iter([Ok::<_, std::io::Error>("a"), Ok("b")]);
        let mut reading = reading(reqwest::Body::wrap_stream(body));
        reading.pace.record(Duration::from_secs(100), 0);
        let before = reading.pace.next_wait();
        assert!(reading.next().await.unwrap().is_some());
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(reading.next().await.unwrap().is_some());
        assert!(reading.pace.next_wait() + Duration::from_millis(40) > before);
    }

    #[test]
    fn a_content_range_is_read_with_and_without_a_range() {
        let of = |text: &str| ContentRange::parse(text).map(|range| (range.first, range.total));
        assert_eq!(of("bytes 5-9/10"), Some((Some(5), Some(10))));
        assert_eq!(of("Bytes 5-9/*"), Some((Some(5), None)));
        assert_eq!(of("bytes */10"), Some((None, Some(10))));
        assert_eq!(of("bytes 5-9"), Some((Some(5), None)));
        for garbled in ["", "bytes", "5-9/10", "items 0-1/2"] {
            assert_eq!(of(garbled), None, "{garbled}");
        }
    }
}
