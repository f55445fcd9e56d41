//! Bearer tokens, fetched from a realm that is checked first.
//!
//! Source: distribution's token authentication specification and its OAuth2 form. Credentials are sent to a realm only if it
//! is the registry's own host, a host in the document or the profile, or a host below the same registrable domain
//! (`auth.example.com` for `registry.example.com`). CVE-2026-48978 is a consequence of sending them to any realm.

use std::time::{Duration, Instant, SystemTime};

use http::{HeaderValue, Method, StatusCode, header};
use secrecy::ExposeSecret;
use serde::Deserialize;
use url::Url;

use crate::auth::{basic, secret_header};
use crate::exchange::bounded;
use crate::exchange::failure::{rate_limited, shown, timed_out, transport};
use crate::profile::is_listed;
use crate::redaction::remember;
use crate::registry::host_of;
use crate::retry::{is_temporary, retry_after};
use crate::{Login, Registry};
use transship_oci::{Code, Error, Operation, Persistence, Repository, Result, Verb};

/// Maximum size of a token response in bytes. Docker Hub's tokens have 3 KiB, Azure's 2 KiB.
const MAX_TOKEN_BYTES: usize = 64 * 1024;
/// Lifetime of a token by the specification, if `expires_in` is missing or invalid.
const DEFAULT_LIFETIME_SECONDS: i64 = 60;

/// A token and the time from which it is no longer used.
pub(crate) struct Token {
    header: HeaderValue,
    until: Instant,
}

impl Token {
    pub(crate) fn is_fresh(&self) -> bool {
        Instant::now() < self.until
    }

    pub(crate) const fn header(&self) -> &HeaderValue {
        &self.header
    }
}

#[derive(Deserialize)]
struct TokenResponse {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<f64>,
}

impl Registry {
    /// Fetches a token for `scopes` with the login of `repository`.
    pub(crate) async fn fetch_token(
        &self,
        repository: Option<&Repository>,
        scopes: &[String],
        realm: &Url,
        service: Option<&str>,
    ) -> Result<Token> {
        let operation = Verb::Token.on(realm.host_str().unwrap_or_default());
        let mut login = self.0.auth.login(repository).await?;
        let mut was_refused = false;
        self.check_realm(realm, &login, &operation)?;
        let mut waits = self.0.retries.begin();
        loop {
            let error = match self.ask_realm(scopes, realm, service, &login, &operation).await {
                Err(error) if error.is(Code::AuthFailed) && !was_refused => {
                    was_refused = true;
                    let asked_again = self.0.auth.login_after_refusal(repository).await?;
                    if asked_again.is_same(&login) {
                        return Err(error);
                    }
                    login = asked_again;
                    continue;
                }
                Err(error) if error.persistence().is_temporary() => error,
                done => return done,
            };
            let Some(wait) = waits.next(error.persistence().retry_after()) else {
                return Err(error);
            };
            tokio::time::sleep(wait).await;
        }
    }

    fn check_realm(&self, realm: &Url, login: &Login, operation: &Operation) -> Result<()> {
        let host = realm.host_str().unwrap_or_default();
        let reject =
            |why: &str| Err(Error::of(Code::RealmRejected, operation).because(format!("{} ({why})", shown(host))));
        if realm.scheme() != "https" && !(realm.scheme() == "http" && self.0.base.scheme() == "http") {
            return reject("its scheme is not https");
        }
        if !realm.username().is_empty() || realm.password().is_some() {
            return reject("it contains a user name");
        }
        let own = self.0.base.host_str().unwrap_or_default();
        let listed = host == own
            || self.0.names.iter().any(|name| name.hostname() == host)
            || is_listed(host, self.0.profile.realms);
        if !matches!(login, Login::Anonymous) && !listed && !are_neighbours(host, own) {
            return reject("its host does not belong to the registry");
        }
        // A literal address in the endpoint is a permission only for its port; other hosts must be listed explicitly.
        if self.0.names.iter().any(|name| Some(name) == host_of(realm).as_ref()) {
            return Ok(());
        }
        self.0
            .guard
            .check(realm)
            .map_err(|denied| Error::new(Code::EgressDenied, operation, denied.to_string()))
    }

    async fn ask_realm(
        &self,
        scopes: &[String],
        realm: &Url,
        service: Option<&str>,
        login: &Login,
        operation: &Operation,
    ) -> Result<Token> {
        let parameters: Vec<(&str, String)> = service
            .map(|service| ("service", service.to_owned()))
            .into_iter()
            .chain(scopes.iter().map(|scope| ("scope", scope.clone())))
            .collect();
        let client = self.0.clients.of(realm).await?;
        let request = match login {
            Login::IdentityToken(token) => {
                remember(token.expose_secret());
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                form.append_pair("grant_type", "refresh_token")
                    .append_pair("refresh_token", token.expose_secret())
                    .append_pair("client_id", "transship");
                if let Some(service) = service {
                    form.append_pair("service", service);
                }
                form.append_pair("scope", &scopes.join(" "));
                client
                    .request(Method::POST, realm.clone())
                    .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form.finish())
            }
            Login::Basic { .. } | Login::Anonymous => {
                let mut url = realm.clone();
                url.query_pairs_mut()
                    .extend_pairs(parameters.iter().map(|(name, value)| (*name, value.as_str())));
                let request = client.request(Method::GET, url);
                match login {
                    Login::Basic { username, password } => {
                        request.header(header::AUTHORIZATION, basic(username, password.expose_secret())?)
                    }
                    _ => request,
                }
            }
        };
        let sent = tokio::time::timeout(self.0.idle_timeout, request.send()).await;
        let response = match sent {
            Ok(response) => response.map_err(|error| transport(error, operation))?,
            Err(_) => return Err(timed_out(self.0.idle_timeout, operation)),
        };
        let status = response.status();
        let after = retry_after(response.headers(), SystemTime::now());
        let body = bounded(response, MAX_TOKEN_BYTES, self.0.idle_timeout, operation).await?;
        let said = || shown(&String::from_utf8_lossy(&body));
        let error = match status {
            StatusCode::OK => return read_token(&body, operation),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => Error::of(
                Code::AuthFailed,
                operation,
            )
            .because(format_args!("the realm answered {}: {}", status.as_u16(), said())),
            StatusCode::TOO_MANY_REQUESTS => rate_limited(after, operation),
            status if is_temporary(status) => Error::new(
                Code::RegistryUnavailable,
                operation,
                format!("the registry answered {}: {}", status.as_u16(), said()),
            )
            .with_status(status.as_u16())
            .with_persistence(Persistence::Temporary(after)),
            status => Error::of(Code::TokenInvalid, operation).because(format_args!("status {}", status.as_u16())),
        };
        Err(error)
    }
}

fn read_token(body: &[u8], operation: &Operation) -> Result<Token> {
    let invalid = |why: &str| Error::of(Code::TokenInvalid, operation).because(why);
    let answer: TokenResponse =
        serde_json::from_slice(body).map_err(|_| invalid("the response is not a JSON token"))?;
    let token = answer
        .token
        .filter(|token| !token.is_empty())
        .or(answer.access_token)
        .filter(|token| !token.is_empty())
        .ok_or_else(|| invalid("it is empty"))?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float cast saturates, and is clamped next"
    )]
    let seconds = answer
        .expires_in
        .map_or(DEFAULT_LIFETIME_SECONDS, |seconds| seconds as i64);
    let seconds = if seconds <= 0 {
        DEFAULT_LIFETIME_SECONDS
    } else {
        seconds.min(24 * 3600)
    };
    // One tenth of the lifetime is a margin for clock differences and requests in progress.
    let life = Duration::from_secs(seconds.unsigned_abs()).mul_f64(0.9);
    Ok(Token {
        header: secret_header(&format!("Bearer {token}"))?,
        until: Instant::now() + life,
    })
}

/// Domains below which a cloud gives hosts to its customers, and which are not in the public suffix list as such.
const CLOUD_DOMAINS: [&str; 12] = [
    "aliyuncs.com",
    "amazonaws.com",
    "amazonaws.com.cn",
    "azure.com",
    "azurecr.io",
    "googleapis.com",
    "myqcloud.com",
    "on.aws",
    "pkg.dev",
    "tencentcloudcr.com",
    "tencentyun.com",
    "windows.net",
];

/// True if both hosts are below the same registrable domain by the public suffix list: `auth.example.co.uk` and
/// `registry.example.co.uk` are, `a.co.uk` and `b.co.uk` are not. Always false for addresses.
fn are_neighbours(one: &str, other: &str) -> bool {
    let domain = |host: &str| {
        psl::domain_str(host)
            .filter(|domain| domain.contains('.') && !CLOUD_DOMAINS.contains(domain))
            .map(str::to_owned)
    };
    let is_address = |host: &str| host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    !is_address(one) && !is_address(other) && domain(one).is_some() && domain(one) == domain(other)
}

#[cfg(test)]
mod tests {
    use transship_testkit::mutation::fuzz;

    use super::*;

    #[test]
    fn neighbours_share_a_registrable_domain_and_not_a_public_suffix() {
        assert!(are_neighbours("gitlab.com", "registry.gitlab.com"));
        assert!(are_neighbours("auth.example.co.uk", "r.example.co.uk"));
        for (one, other) in [
            ("evil.co.uk", "r.co.uk"),
            ("evil.com", "example.com"),
            ("10.0.0.1", "10.0.0.2"),
            ("a.github.io", "b.github.io"),
            ("example.com.evil.com", "r.example.com"),
            ("evil.oss-cn-hangzhou.aliyuncs.com", "r.cn-hangzhou.cr.aliyuncs.com"),
            (
                "evil.execute-api.eu-west-1.amazonaws.com",
                "1.dkr.ecr.eu-west-1.amazonaws.com",
            ),
            ("evil.azurecr.io", "r.azurecr.io"),
            ("evil.tencentcloudcr.com", "r.tencentcloudcr.com"),
            ("evil.cos.ap-beijing.myqcloud.com", "r.ap-beijing.myqcloud.com"),
        ] {
            assert!(!are_neighbours(one, other), "{one} {other}");
        }
    }

    #[test]
    fn tokens_are_read_within_bounds() {
        let life = |text: &str| {
            read_token(text.as_bytes(), &Verb::Token.on("t"))
                .map(|token| token.until.saturating_duration_since(Instant::now()).as_secs())
                .map_err(|error| error.code())
        };
        assert_eq!(life(r#"{"token":"a"}"#), Ok(53));
        assert_eq!(life(r#"{"access_token":"a","expires_in":-1}"#), Ok(53));
        assert!(life(r#"{"token":"a","expires_in":1000000000000}"#).unwrap() <= 24 * 3600);
        for bad in [
            "",
            "{}",
            "<html>",
            r#"{"token":""}"#,
            "{\"token\":\"a\\r\\nX: y\"}",
            r#"{"token":7}"#,
        ] {
            assert_eq!(life(bad), Err("AUTH_TOKEN_INVALID"), "{bad}");
        }
    }

    #[test]
    fn no_answer_of_a_token_service_yields_a_token_without_an_end() {
        let inputs = [
            r#"{"token":"abc.def-1","expires_in":300,"issued_at":"2026-01-01T00:00:00Z"}"#,
            r#"{"access_token":"a","expires_in":-1,"refresh_token":null,"scope":"x"}"#,
        ];
        fuzz("tokens", &inputs.map(|text| text.as_bytes().to_vec()), |_, bytes| {
            if let Ok(token) = read_token(bytes, &Verb::Token.on("t")) {
                let life = token.until.saturating_duration_since(Instant::now());
                assert!(life <= Duration::from_hours(24), "{life:?}");
                assert!(token.header().is_sensitive());
            }
        });
    }
}
