//! One request and its answer: limits, authentication, redirects, retries, and bounds, in that order.
//!
//! This is the owner of retries for every request whose body is in memory. A streamed upload goes through
//! [`Registry::send_once`] and is repeated by its own owner.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use crate::Registry;
use crate::auth::Scope;
use crate::failure::{ErrorBody, rate_limited, refusal, timed_out, transport};
use crate::retry::{is_temporary, retry_after};
use transship_oci::{Code, Error, Operation, Result, Verb};

/// Error bodies are for people: more of them is not read.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// A blob may be behind a storage service behind a load balancer; more hops are a loop.
const MAX_REDIRECTS: usize = 5;

/// A request.
pub(crate) struct Call<'a> {
    pub(crate) operation: Operation,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) scope: Scope,
    pub(crate) requests: &'a AtomicU64,
}

impl<'a> Call<'a> {
    pub(crate) fn new(operation: Operation, method: Method, url: Url, scope: Scope, requests: &'a AtomicU64) -> Self {
        Self {
            operation,
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            scope,
            requests,
        }
    }

    pub(crate) fn accept(mut self, types: &'static str) -> Self {
        self.headers.insert(ACCEPT, HeaderValue::from_static(types));
        self
    }
}

/// An answer whose body was not read yet.
pub(crate) struct Answer {
    pub(crate) response: reqwest::Response,
    pub(crate) operation: Operation,
    pub(crate) patience: Duration,
    /// See [`crate::Profile::is_tag_immutable`].
    pub(crate) is_tag_immutable: fn(&ErrorBody) -> bool,
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The URL that answered, after redirects.
    pub(crate) fn url(&self) -> &Url {
        self.response.url()
    }

    /// The body, refused beyond `limit` bytes.
    pub(crate) async fn body(self, limit: usize) -> Result<Bytes> {
        bounded(self.response, limit, self.patience, &self.operation).await
    }

    /// Reads the rest of a small answer so that its connection can be used again.
    pub(crate) async fn drain(self) {
        let _ = bounded(self.response, MAX_ERROR_BYTES, self.patience, &self.operation).await;
    }

    /// The error this answer is.
    pub(crate) async fn into_error(self) -> Error {
        let status = self.status();
        let after = retry_after(self.headers(), SystemTime::now());
        let (operation, is_tag_immutable) = (self.operation.clone(), self.is_tag_immutable);
        let body = ErrorBody::read(&self.body(MAX_ERROR_BYTES).await.unwrap_or_default());
        let is_tag_immutable = is_tag_immutable(&body);
        refusal(status, after, body, is_tag_immutable, &operation)
    }
}

impl Registry {
    /// Sends `call` until it is answered by something else than "not now". Statuses are the caller's to judge.
    pub(crate) async fn send(&self, call: Call<'_>) -> Result<Answer> {
        let mut waits = self.0.retries.begin();
        loop {
            let error = match self
                .send_once(&call, || reqwest::Body::from(call.body.clone()), self.0.patience)
                .await
            {
                Ok(answer) if is_temporary(answer.status()) => answer.into_error().await,
                Err(error) if error.persistence().is_temporary() => error,
                done => return done,
            };
            let after = error.persistence().retry_after();
            if error.is(Code::RateLimited) {
                self.pause(after.unwrap_or(self.0.retries.first));
            }
            let Some(wait) = waits.next(after) else {
                return Err(error);
            };
            tracing::debug!(operation = %call.operation, code = error.code(), ?wait, "trying again");
            tokio::time::sleep(wait).await;
        }
    }

    /// Sends `call` once: waits for its turn, authenticates, replays a 401 that asked and one that refused, follows redirects of reads.
    pub(crate) async fn send_once(
        &self,
        call: &Call<'_>,
        body: impl FnMut() -> reqwest::Body,
        patience: Duration,
    ) -> Result<Answer> {
        let sent = self.send_authorized(call, body, patience).await;
        match sent {
            Ok(answer) if answer.status().is_redirection() && answer.status() != StatusCode::NOT_MODIFIED => {
                self.follow(call, answer, patience).await
            }
            sent => sent,
        }
    }

    async fn send_authorized(
        &self,
        call: &Call<'_>,
        mut body: impl FnMut() -> reqwest::Body,
        patience: Duration,
    ) -> Result<Answer> {
        let ours = call.url.origin() == self.0.base.origin();
        let mut used = if ours {
            self.authorization(&call.scope).await?
        } else {
            None
        };
        loop {
            let answer = self.transmit(call, &call.url, used.as_ref(), body(), patience).await?;
            if let (StatusCode::FORBIDDEN, true, Some(old)) = (answer.status(), ours, &used)
                && let Some(newer) = self.forbidden(old).await?
            {
                answer.drain().await;
                return self.transmit(call, &call.url, Some(&newer), body(), patience).await;
            }
            if answer.status() != StatusCode::UNAUTHORIZED || !ours {
                return Ok(answer);
            }
            // A bare request is answered by a question; one with a login by a refusal, after which there is one more try.
            let was_refused = used.is_some();
            let headers = answer.headers().clone();
            answer.drain().await;
            let fresh = self
                .challenged(&headers, &call.scope, used.as_ref(), &call.operation)
                .await?;
            if used.as_ref() == Some(&fresh) {
                return Err(
                    Error::of(Code::AuthFailed, &call.operation).because("a new token is refused as the old one was")
                );
            }
            if was_refused {
                return self.transmit(call, &call.url, Some(&fresh), body(), patience).await;
            }
            used = Some(fresh);
        }
    }

    /// One HTTP request, to a URL the guard has looked at.
    async fn transmit(
        &self,
        call: &Call<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
        body: reqwest::Body,
        patience: Duration,
    ) -> Result<Answer> {
        self.0
            .guard
            .check(url)
            .map_err(|denied| Error::new(Code::EgressDenied, &call.operation, denied.to_string()))?;
        if let Some(wait) = self.paused() {
            if wait > self.0.retries.max_wait {
                return Err(rate_limited(Some(wait), &call.operation));
            }
            tokio::time::sleep(wait).await;
        }
        self.0.limiter.request().await;
        call.requests.fetch_add(1, Ordering::Relaxed);
        let mut request = self
            .0
            .clients
            .of(url)
            .await?
            .request(call.method.clone(), url.clone())
            .headers(call.headers.clone())
            .body(body);
        if let Some(header) = authorization {
            request = request.header(AUTHORIZATION, header);
        }
        let answered = tokio::time::timeout(patience, request.send()).await;
        let status = answered
            .as_ref()
            .ok()
            .and_then(|answer| Some(answer.as_ref().ok()?.status()));
        self.count(status);
        match answered {
            Ok(Ok(response)) => Ok(Answer {
                response,
                operation: call.operation.clone(),
                patience: self.0.patience,
                is_tag_immutable: self.0.profile.is_tag_immutable,
            }),
            Ok(Err(error)) => {
                let error = transport(error, &call.operation);
                if error.is(Code::Tls) {
                    self.0.clients.tls_failed().await;
                }
                Err(error)
            }
            Err(_) => Err(timed_out(patience, &call.operation)),
        }
    }

    /// Counts a request for the operator's graphs, by this registry and the class of its answer.
    fn count(&self, status: Option<StatusCode>) {
        let class = status.map_or("none", |status| match status.as_u16() / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        });
        metrics::counter!("Requests", "Registry" => self.0.host.to_string(), "Status" => class).increment(1);
    }

    /// Follows redirects of reads; `Authorization` never crosses an origin, and nothing that writes is redirected.
    async fn follow(&self, call: &Call<'_>, mut answer: Answer, patience: Duration) -> Result<Answer> {
        let refuse = |why: &str| Error::of(Code::RedirectRefused, &call.operation).because(why);
        if !matches!(call.method, Method::GET | Method::HEAD) {
            return Err(refuse("it redirects a write; is the endpoint's scheme right?"));
        }
        for _ in 0..MAX_REDIRECTS {
            let from = answer.url().clone();
            let target = answer
                .headers()
                .get(LOCATION)
                .and_then(|value| value.to_str().ok())
                .and_then(|text| from.join(text).ok())
                .ok_or_else(|| refuse("its Location is no URL"))?;
            if !matches!(target.scheme(), "https" | "http") || (from.scheme() == "https" && target.scheme() != "https")
            {
                return Err(refuse("from https to something less"));
            }
            answer.drain().await;
            let authorization = if target.origin() == self.0.base.origin() {
                self.authorization(&call.scope).await?
            } else {
                None
            };
            answer = self
                .transmit(
                    call,
                    &target,
                    authorization.as_ref(),
                    reqwest::Body::from(Bytes::new()),
                    patience,
                )
                .await?;
            if !answer.status().is_redirection() {
                return Ok(answer);
            }
        }
        Err(refuse("more than five times"))
    }

    pub(crate) async fn ping_base(&self) -> Result<()> {
        let requests = AtomicU64::new(0);
        let call = Call::new(
            Verb::Ping.on(&self.0.host),
            Method::GET,
            self.0.base.clone(),
            Scope::Base,
            &requests,
        );
        let answer = self.send(call).await?;
        match answer.status() {
            StatusCode::OK => Ok(()),
            StatusCode::NOT_FOUND => Err(Error::of(Code::ResponseInvalid, Verb::Ping.on(&self.0.host))
                .because("GET /v2/ is 404: this is no registry")),
            _ => Err(answer.into_error().await),
        }
    }
}

/// The whole body, refused beyond `limit` bytes and when it makes no progress.
pub(crate) async fn bounded(
    mut response: reqwest::Response,
    limit: usize,
    patience: Duration,
    operation: &Operation,
) -> Result<Bytes> {
    let mut body = BytesMut::new();
    loop {
        match tokio::time::timeout(patience, response.chunk()).await {
            Ok(Ok(Some(chunk))) if body.len() + chunk.len() > limit => {
                return Err(Error::new(
                    Code::ResponseTooLarge,
                    operation,
                    format!("the answer is larger than {limit} bytes"),
                ));
            }
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            Ok(Ok(None)) => return Ok(body.freeze()),
            Ok(Err(error)) => return Err(transport(error, operation)),
            Err(_) => return Err(timed_out(patience, operation)),
        }
    }
}
