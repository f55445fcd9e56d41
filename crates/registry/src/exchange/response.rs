//! A response, and its body within bounds.

use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use transship_copy::memory::{self, SMALL_BODY_BYTES};
use transship_oci::{Code, Error, Operation, Result};
use url::Url;

use super::failure::{ErrorBody, refusal, stalled, transport};
use crate::auth::wanted_scope;
use crate::pace::Pace;
use crate::retry::retry_after;

/// The bytes read of an error body, which only people read.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// A response whose body was not read yet.
pub(crate) struct Response {
    pub(crate) inner: reqwest::Response,
    pub(crate) operation: Operation,
    pub(crate) idle_timeout: Duration,
    /// See [`crate::Profile::is_tag_immutable`].
    pub(crate) is_tag_immutable: fn(&ErrorBody) -> bool,
}

impl Response {
    pub(crate) fn status(&self) -> StatusCode {
        self.inner.status()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// The URL of the response, after redirects.
    pub(crate) fn url(&self) -> &Url {
        self.inner.url()
    }

    /// Reads the body. Fails if it is larger than `limit` bytes.
    pub(crate) async fn body(self, limit: usize) -> Result<Bytes> {
        bounded(self.inner, limit, self.idle_timeout, &self.operation).await
    }

    /// Reads the rest of a small response so that its connection can be used again.
    pub(crate) async fn drain(self) {
        let _ = bounded(self.inner, MAX_ERROR_BYTES, self.idle_timeout, &self.operation).await;
    }

    /// The error that this response means.
    pub(crate) async fn into_error(self) -> Error {
        let status = self.status();
        let after = retry_after(self.headers(), SystemTime::now());
        let (operation, is_tag_immutable) = (self.operation.clone(), self.is_tag_immutable);
        let wanted = wanted_scope(self.headers()).filter(|_| status == StatusCode::UNAUTHORIZED);
        let body = ErrorBody::read(&self.body(MAX_ERROR_BYTES).await.unwrap_or_default());
        let is_tag_immutable = is_tag_immutable(&body);
        let error = refusal(status, after, body, is_tag_immutable, &operation);
        match wanted {
            Some(scope) => error.because(format_args!("it asks for the scope {scope}")),
            None => error,
        }
    }
}

/// Reads the whole body. Fails if it is larger than `limit` bytes or makes no progress, or too little.
///
/// A large body first waits for room ([`memory::reserve`]), and has it until the last copy of the bytes is dropped.
pub(crate) async fn bounded(
    mut response: reqwest::Response,
    limit: usize,
    idle_timeout: Duration,
    operation: &Operation,
) -> Result<Bytes> {
    let too_large = || {
        let why = format!("the response is larger than {limit} bytes");
        Error::new(Code::ResponseTooLarge, operation, why)
    };
    let stated = response.content_length();
    let stated = stated.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if stated.is_some_and(|stated| stated > limit) {
        return Err(too_large());
    }
    let mut room = None;
    let mut body = BytesMut::new();
    let mut pace = Pace::new(idle_timeout);
    let mut chunk = Bytes::new();
    loop {
        let length = body.len() + chunk.len();
        if length > limit {
            return Err(too_large());
        }
        let expected = stated.unwrap_or(0).max(length);
        if room.is_none() && expected > SMALL_BODY_BYTES {
            // Once for the whole body: a caller that waited again could wait for another one like it.
            let bytes = if stated.is_some() { expected } else { limit };
            let reserved = memory::reserve(bytes).await;
            room = Some(reserved.ok_or_else(|| Error::of(Code::MemoryBusy, operation))?);
            body.reserve(expected.saturating_sub(body.len()));
        }
        body.extend_from_slice(&chunk);
        let begin = Instant::now();
        match tokio::time::timeout(pace.next_wait(), response.chunk()).await {
            Ok(Ok(Some(next))) => {
                pace.record(begin.elapsed(), next.len() as u64);
                chunk = next;
            }
            Ok(Ok(None)) => break,
            Ok(Err(error)) => return Err(transport(error, operation)),
            Err(_) => return Err(stalled(pace.stalled(), operation)),
        }
    }
    let body = body.freeze();
    Ok(match room {
        Some(room) => room.holding(body),
        None => body,
    })
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use transship_oci::Verb;

    use super::*;

    #[tokio::test]
    async fn a_small_response_cannot_take_any_time() {
        let bytes = stream::iter(0..1000).then(|_| async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok::<_, std::io::Error>("x")
        });
        let response = http::Response::new(reqwest::Body::wrap_stream(bytes));
        let read = bounded(
            response.into(),
            1 << 20,
            Duration::from_millis(100),
            &Verb::ManifestGet.into(),
        )
        .await;
        let error = read.unwrap_err();
        // A pause of this machine counts as silence.
        assert!(error.is(Code::TooSlow) || error.is(Code::Timeout), "{error}");
    }
}
