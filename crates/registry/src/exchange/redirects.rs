//! Redirects: reads follow them, within the rules that keep credentials and addresses safe.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::LOCATION;
use transship_oci::{Code, Error, Result};

use super::{Request, Response};
use crate::Registry;

/// Maximum number of redirects. A blob may be in a storage service behind a load balancer; more redirects are a loop.
const MAX_REDIRECTS: usize = 5;

impl Registry {
    /// Follows redirects of reads. `Authorization` is never sent to another origin, and writes are not redirected. A redirect
    /// that the request does not follow is returned.
    pub(crate) async fn follow(
        &self,
        request: &Request<'_>,
        mut response: Response,
        idle_timeout: Duration,
    ) -> Result<Response> {
        let refuse = |why: &str| Error::of(Code::RedirectRefused, &request.operation).because(why);
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return Err(refuse("it redirects a write: check the endpoint's scheme"));
        }
        for _ in 0..MAX_REDIRECTS {
            let from = response.url().clone();
            let target = response
                .headers()
                .get(LOCATION)
                .and_then(|value| value.to_str().ok())
                .and_then(|text| from.join(text).ok())
                .ok_or_else(|| refuse("its Location is not a valid URL"))?;
            if !matches!(target.scheme(), "https" | "http") || (from.scheme() == "https" && target.scheme() != "https")
            {
                return Err(refuse("it redirects from https to http"));
            }
            if request.is_within_origin && target.origin() != self.0.base.origin() {
                return Ok(response);
            }
            response.drain().await;
            let authorization = if target.origin() == self.0.base.origin() {
                self.authorization(&request.scope).await?
            } else {
                None
            };
            response = self
                .transmit(
                    request,
                    &target,
                    authorization.as_ref(),
                    reqwest::Body::from(Bytes::new()),
                    idle_timeout,
                )
                .await?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
        }
        Err(refuse("it redirects more than five times"))
    }
}
