//! One request and its response: limits, authentication, redirects, retries, and bounds, in that order.
//!
//! This is the owner of retries for every request whose body is in memory. A streamed upload goes through
//! [`Registry::send_once`] and is repeated by `upload`.

pub(crate) mod failure;
mod redirects;
mod request;
mod response;

use std::pin::pin;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt as _;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, StatusCode};
use transship_oci::{Code, Error, Result};
use url::Url;

use crate::Registry;
use crate::auth::wanted_scope;
use crate::retry::{is_temporary, retry_after};
use failure::{rate_limited, timed_out, transport};

pub(crate) use request::Request;
pub(crate) use response::{Response, bounded};

impl Registry {
    /// Sends the request until the response is not a temporary failure. The caller judges the status.
    pub(crate) async fn send(&self, request: Request<'_>) -> Result<Response> {
        let mut waits = self.0.retries.begin();
        // A connection may hang while the registry answers on others.
        let mut patience = self.0.adaptive.patience().filter(|_| request.method == Method::HEAD);
        loop {
            let idle_timeout = patience.map_or(self.0.idle_timeout, |patience| patience.min(self.0.idle_timeout));
            let error = match self
                .send_once(&request, || reqwest::Body::from(request.body.clone()), idle_timeout)
                .await
            {
                Ok(response) if is_temporary(response.status()) => response.into_error().await,
                Err(error) if error.is(Code::Timeout) && patience.take().is_some() => {
                    tracing::debug!(operation = %request.operation, "an answer takes much longer than others: asked again");
                    continue;
                }
                Err(error) if error.persistence().is_temporary() && !request.is_refused() => error,
                done => return done,
            };
            let after = error.persistence().retry_after();
            let wait = waits.next(after);
            if error.is(Code::RateLimited) {
                self.pause(wait.or(after).unwrap_or(self.0.retries.first));
            }
            let Some(wait) = wait else {
                return Err(error);
            };
            tracing::debug!(operation = %request.operation, code = error.code(), ?wait, "retrying a request");
            tokio::time::sleep(wait).await;
        }
    }

    /// Sends the request once: waits for its turn, authenticates, repeats it after a 401 that asks for a login and once after a 401
    /// that refuses one, and follows redirects of reads.
    pub(crate) async fn send_once(
        &self,
        request: &Request<'_>,
        body: impl FnMut() -> reqwest::Body,
        idle_timeout: Duration,
    ) -> Result<Response> {
        let sent = self.send_authorized(request, body, idle_timeout).await;
        match sent {
            Ok(response) if response.status().is_redirection() && response.status() != StatusCode::NOT_MODIFIED => {
                self.follow(request, response, idle_timeout).await
            }
            sent => sent,
        }
    }

    async fn send_authorized(
        &self,
        request: &Request<'_>,
        mut body: impl FnMut() -> reqwest::Body,
        idle_timeout: Duration,
    ) -> Result<Response> {
        let ours = request.url.origin() == self.0.base.origin();
        let mut used = if ours {
            self.authorization(&request.scope).await?
        } else {
            None
        };
        loop {
            let response = self
                .transmit(request, &request.url, used.as_ref(), body(), idle_timeout)
                .await?;
            if let (StatusCode::FORBIDDEN, true, Some(old)) = (response.status(), ours, &used)
                && let Some(newer) = self.forbidden(&request.scope, old).await?
            {
                response.drain().await;
                return self
                    .transmit(request, &request.url, Some(&newer), body(), idle_timeout)
                    .await;
            }
            if response.status() != StatusCode::UNAUTHORIZED || !ours {
                return Ok(response);
            }
            // A request without credentials gets a challenge; one with credentials may be rejected, and is then repeated once.
            let was_refused = used.is_some();
            let headers = response.headers().clone();
            response.drain().await;
            let fresh = self
                .challenged(&headers, &request.scope, used.as_ref(), &request.operation)
                .await?;
            if used.as_ref() == Some(&fresh) {
                let wanted =
                    wanted_scope(&headers).map_or_else(String::new, |scope| format!("; it asks for the scope {scope}"));
                return Err(Error::of(Code::AuthFailed, &request.operation)
                    .because(format_args!("the registry rejected a new token as well{wanted}")));
            }
            if was_refused {
                return self
                    .transmit(request, &request.url, Some(&fresh), body(), idle_timeout)
                    .await;
            }
            used = Some(fresh);
        }
    }

    /// One HTTP request, after the guard has checked its URL.
    pub(super) async fn transmit(
        &self,
        request: &Request<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
        body: reqwest::Body,
        idle_timeout: Duration,
    ) -> Result<Response> {
        self.0
            .guard
            .check(url)
            .map_err(|denied| Error::new(Code::EgressDenied, &request.operation, denied.to_string()))?;
        self.pause_over(request).await?;
        let adaptive = &self.0.adaptive;
        let is_ours = url.origin() == self.0.base.origin();
        let mut turn = if request.is_streamed {
            adaptive.streamed()
        } else {
            let mut turn = pin!(adaptive.request());
            if let Some(turn) = turn.as_mut().now_or_never() {
                turn
            } else {
                if is_ours {
                    self.open_ahead(None);
                }
                turn.await
            }
        };
        loop {
            // It may have begun while this request waited for its turn.
            self.pause_over(request).await?;
            // What the registry redirects to has limits of its own.
            let wait = if is_ours { adaptive.wait() } else { Duration::ZERO };
            if wait.is_zero() {
                break;
            }
            tokio::time::sleep(wait).await;
            if self.paused().is_none() {
                break;
            }
        }
        self.0.limiter.request().await;
        let idle_timeout = request
            .pass()
            .await?
            .map_or(idle_timeout, |limit| limit.min(idle_timeout));
        turn.begin(is_ours);
        request.requests.fetch_add(1, Ordering::Relaxed);
        let mut builder = self
            .0
            .clients
            .of(url)
            .await?
            .request(request.method.clone(), url.clone())
            .headers(request.headers.clone())
            .body(body);
        if let Some(header) = authorization {
            builder = builder.header(AUTHORIZATION, header);
        }
        let sent = Instant::now();
        let answered = tokio::time::timeout(idle_timeout, builder.send()).await;
        let response = answered.as_ref().ok().and_then(|response| response.as_ref().ok());
        let status = response.map(reqwest::Response::status);
        let after = response.and_then(|response| retry_after(response.headers(), SystemTime::now()));
        if let Some(response) = response.filter(|_| is_ours) {
            adaptive.answered(sent.elapsed());
            let mut quota = self.0.quota.lock().unwrap_or_else(PoisonError::into_inner);
            quota.learn(response.headers(), Instant::now());
        }
        self.count(status);
        turn.end(&request.method, status, after);
        match answered {
            Ok(Ok(inner)) => Ok(Response {
                inner,
                operation: request.operation.clone(),
                idle_timeout: self.0.idle_timeout,
                is_tag_immutable: self.0.profile.is_tag_immutable,
            }),
            Ok(Err(error)) => {
                let error = transport(error, &request.operation);
                if error.is(Code::Tls) {
                    self.0.clients.tls_failed().await;
                }
                Err(error)
            }
            Err(_) => Err(timed_out(idle_timeout, &request.operation)),
        }
    }

    /// Waits until the registry is not paused. The error says how long, if that is longer than a worker may wait.
    async fn pause_over(&self, request: &Request<'_>) -> Result<()> {
        // Another request may be refused meanwhile, so that the pause becomes longer.
        while let Some(wait) = self.paused() {
            if wait > self.0.retries.max_wait {
                return Err(rate_limited(Some(wait), &request.operation));
            }
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// Counts a request in the metrics, by registry and status class.
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
}
