//! A site of a name: what answers there, also while the name leads elsewhere.
//!
//! Before a name is switched, its new site must be asked as clients will ask it: with their name in TLS and in `Host`.

use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use http::header::DATE;
use http::{HeaderMap, Method, StatusCode};
use reqwest::tls::TlsInfo;
use transship_oci::{Code, Error, Result, Verb};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::Registry;
use crate::auth::Scope;
use crate::exchange::Request;

/// Where a site is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteTarget {
    /// At these addresses.
    Addresses(Vec<IpAddr>),
    /// At the addresses of this host name, which is resolved for each connection.
    Alias(String),
}

/// What a site answered to `GET /v2/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SiteAnswer {
    /// When its certificate expires; [`None`]: not known, or the site has no TLS.
    pub certificate_end: Option<SystemTime>,
    /// Its clock less ours, in seconds; [`None`]: it sends no `Date`. Answers have whole seconds.
    pub clock_ahead_seconds: Option<i64>,
}

impl Registry {
    /// Sends `GET /v2/` with the login of this client. The errors are those of [`Registry::ping`]; a certificate that does not
    /// cover the name is `TLS_ERROR`.
    pub async fn ask_site(&self) -> Result<SiteAnswer> {
        let operation = Verb::Ping.on(self.host());
        let requests = AtomicU64::new(0);
        let request = Request::new(
            operation.clone(),
            Method::GET,
            self.0.base.clone(),
            Scope::Base,
            &requests,
        );
        let response = self.send(request).await?;
        let answer = SiteAnswer {
            certificate_end: response.inner.extensions().get::<TlsInfo>().and_then(end_of),
            clock_ahead_seconds: clock_ahead_seconds(response.headers(), SystemTime::now()),
        };
        match response.status() {
            StatusCode::OK => Ok(answer),
            StatusCode::NOT_FOUND => Err(Error::of(Code::ResponseInvalid, operation)
                .because("GET /v2/ returned 404: the endpoint is not a registry")),
            _ => Err(response.into_error().await),
        }
    }
}

/// Resolves the host name of a site with the system's resolver, for a message about it. `CONNECT_FAILED` if it has no address.
pub(crate) async fn addresses_of(name: &str) -> Result<Vec<IpAddr>> {
    let operation = Verb::Registry.on(name);
    let found = tokio::net::lookup_host((name, 0)).await.map_err(|error| {
        Error::of(Code::ConnectFailed, operation.clone()).because(format_args!("the name does not resolve: {error}"))
    })?;
    let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(Error::of(Code::ConnectFailed, operation).because("the name has no address"));
    }
    Ok(addresses)
}

impl SiteTarget {
    /// The addresses, resolved now. `CONNECT_FAILED` if the name has none.
    pub async fn addresses(&self) -> Result<Vec<IpAddr>> {
        match self {
            Self::Addresses(addresses) => Ok(addresses.clone()),
            Self::Alias(name) => addresses_of(name).await,
        }
    }
}

fn end_of(info: &TlsInfo) -> Option<SystemTime> {
    let certificate = Certificate::from_der(info.peer_certificate()?).ok()?;
    let end = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    Some(SystemTime::UNIX_EPOCH + end)
}

fn clock_ahead_seconds(headers: &HeaderMap, now: SystemTime) -> Option<i64> {
    let theirs = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let seconds = |difference: Duration| i64::try_from(difference.as_secs()).unwrap_or(i64::MAX);
    Some(match theirs.duration_since(now) {
        Ok(ahead) => seconds(ahead),
        Err(behind) => -seconds(behind.duration()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_compared_by_the_date_of_an_answer() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let ahead = |seconds: i64| {
            let theirs = SystemTime::UNIX_EPOCH + Duration::from_secs((1_000_000_000 + seconds).unsigned_abs());
            let headers = HeaderMap::from_iter([(DATE, httpdate::fmt_http_date(theirs).parse().unwrap())]);
            clock_ahead_seconds(&headers, now)
        };
        assert_eq!((ahead(0), ahead(400), ahead(-301)), (Some(0), Some(400), Some(-301)));
        assert_eq!(clock_ahead_seconds(&HeaderMap::new(), now), None);
    }
}
