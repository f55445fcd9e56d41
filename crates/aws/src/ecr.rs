//! Tokens of Amazon ECR: one for each region and role, valid for twelve hours, and renewed shortly before they expire.
//!
//! Source: Amazon ECR API reference, `GetAuthorizationToken`. A token is valid for every registry that its role may use, in any
//! account. A role of another account is assumed first, for 15 minutes, which is long enough to request a token.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::Region;
use aws_credential_types::Credentials;
use base64::Engine as _;
use transship_copy::{Clock, SystemClock};
use transship_registry::Login;

use crate::Aws;
use crate::error::AwsError;
use transship_oci::{Code, Error, Persistence, Result, Verb};
use transship_runtime::{Cached, FetchCache, Freshness};

/// A token is not used in its last minutes: a long upload authenticates more than once.
const RENEWAL_MARGIN: Duration = Duration::from_mins(30);
/// The shortest session there is. Source: AWS STS API reference, `AssumeRole`.
const SESSION_SECONDS: i32 = 900;
/// Name of the session in the role's logs.
const SESSION_NAME: &str = "transship";

/// In which region, and under which role, a registry's tokens are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registration {
    /// The region of the registry's entry; otherwise the region of this process.
    pub(crate) region: Option<String>,
    /// The ARN of a role to assume; [`None`] for the function's own role.
    pub(crate) role: Option<String>,
}

impl Registration {
    /// The region of a registry in a document: its `region`, otherwise the one in its host or one of its other hosts.
    pub(crate) fn of(registry: &transship_rules::Registry, role: Option<String>) -> Self {
        let mut hosts = std::iter::once(registry.host()).chain(&registry.hosts);
        let of_host = || hosts.find_map(|host| region_of(host.as_str())).map(str::to_owned);
        Self {
            region: registry.region.clone().or_else(of_host),
            role,
        }
    }

    fn key(&self) -> String {
        let text = |option: &Option<String>| option.clone().unwrap_or_default();
        format!("{} {}", text(&self.region), text(&self.role))
    }

    fn name(&self) -> String {
        let region = self.region.as_deref().unwrap_or("this region");
        match &self.role {
            Some(role) => format!("a token of Amazon ECR in {region} under {role}"),
            None => format!("a token of Amazon ECR in {region}"),
        }
    }
}

/// True for a host of Amazon ECR, also by way of an interface endpoint of a VPC.
pub(crate) fn is_ecr(host: &str) -> bool {
    let host = host.strip_suffix(":443").unwrap_or(host);
    let domains = [".vpce.amazonaws.com", ".vpce.amazonaws.com.cn"];
    let endpoint = domains.iter().find_map(|domain| host.strip_suffix(domain));
    // <endpoint id>.dkr.ecr.<region>, with a zone in the id of a zone.
    let is_endpoint = endpoint.is_some_and(|name| {
        let labels: Vec<&str> = name.split('.').collect();
        matches!(labels.as_slice(), [id, "dkr", "ecr", _] if id.starts_with("vpce-"))
    });
    region_of(host).is_some() || is_endpoint
}

/// `<account>.dkr.ecr.<region>.amazonaws.com`, with `.cn` in China; the same with `ecr-fips`; and dual-stack,
/// `<account>.dkr-ecr.<region>.on.aws`. Source: AWS General Reference, "Amazon ECR endpoints and quotas".
fn region_of(host: &str) -> Option<&str> {
    let (account, rest) = host.split_once('.')?;
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let rest = ["dkr.ecr.", "dkr.ecr-fips.", "dkr-ecr.", "dkr-ecr-fips."]
        .iter()
        .find_map(|service| rest.strip_prefix(service))?;
    let (region, domain) = rest.split_once('.')?;
    let is_aws = matches!(
        domain,
        "amazonaws.com" | "amazonaws.com.cn" | "on.aws" | "on.amazonwebservices.com.cn"
    );
    (is_account && is_aws).then_some(region)
}

/// Fetches tokens and remembers them.
pub(crate) struct EcrTokens {
    aws: Aws,
    cache: FetchCache<Login>,
}

impl EcrTokens {
    pub(crate) fn new(aws: Aws) -> Self {
        Self::with_clock(aws, Arc::new(SystemClock))
    }

    pub(crate) fn with_clock(aws: Aws, clock: Arc<dyn Clock>) -> Self {
        Self {
            aws,
            cache: FetchCache::new(clock),
        }
    }

    /// The token at hand, or a new one.
    pub(crate) async fn login(&self, registration: &Registration) -> Result<Login> {
        self.cached(registration, Freshness::Relaxed(Duration::MAX)).await
    }

    /// A token that was fetched at most `age` ago.
    pub(crate) async fn login_anew(&self, registration: &Registration, age: Duration) -> Result<Login> {
        self.cached(registration, Freshness::Strict(age)).await
    }

    async fn cached(&self, registration: &Registration, freshness: Freshness) -> Result<Login> {
        let fetch = self.fetch(registration);
        self.cache.get(&registration.key(), freshness, fetch).await
    }

    async fn fetch(&self, registration: &Registration) -> Result<Cached<Login>> {
        let name = registration.name();
        let mut config = aws_sdk_ecr::config::Builder::from(self.aws.config());
        if let Some(region) = &registration.region {
            config = config.region(Region::new(region.clone()));
        }
        if let Some(role) = &registration.role {
            config = config.credentials_provider(self.assume(role, registration).await?);
        }
        let client = aws_sdk_ecr::Client::from_conf(config.build());
        let response = client.get_authorization_token().send().await;
        let response = response.map_err(|error| refused(&AwsError::of(&error), &name, "ecr:GetAuthorizationToken"))?;
        let data = response.authorization_data.unwrap_or_default().into_iter().next();
        let expires = data.as_ref().and_then(|data| data.expires_at);
        let login = data
            .and_then(|data| login(&data.authorization_token?))
            .ok_or_else(|| incomplete(format!("{name}: the response has no token")))?;
        let until = expires.and_then(|expires| SystemTime::try_from(expires).ok());
        Ok(Cached {
            value: login,
            until: until.and_then(|until| until.checked_sub(RENEWAL_MARGIN)),
        })
    }

    /// Asked in the region of the registry: a role of another partition is unknown elsewhere.
    async fn assume(&self, role: &str, registration: &Registration) -> Result<Credentials> {
        let mut config = aws_sdk_sts::config::Builder::from(self.aws.config());
        if let Some(region) = &registration.region {
            config = config.region(Region::new(region.clone()));
        }
        let request = aws_sdk_sts::Client::from_conf(config.build())
            .assume_role()
            .role_arn(role)
            .role_session_name(SESSION_NAME)
            .duration_seconds(SESSION_SECONDS);
        let response = request.send().await;
        let response = response.map_err(|error| refused(&AwsError::of(&error), role, "sts:AssumeRole"))?;
        let given = response
            .credentials
            .ok_or_else(|| incomplete(format!("{role}: the response has no credentials")))?;
        Ok(Credentials::new(
            given.access_key_id,
            given.secret_access_key,
            Some(given.session_token),
            SystemTime::try_from(given.expiration).ok(),
            SESSION_NAME,
        ))
    }
}

fn refused(error: &AwsError, name: &str, permission: &str) -> Error {
    Error::new(
        Code::CredentialsUnavailable,
        Verb::Login,
        error.of_secret(name, permission),
    )
    .with_persistence(error.persistence())
}

/// A response without what was asked for, which may be there in the next one.
fn incomplete(message: String) -> Error {
    Error::new(Code::CredentialsUnavailable, Verb::Login, message).with_persistence(Persistence::Temporary(None))
}

/// A token is `user:password` in base64.
fn login(token: &str) -> Option<Login> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(token).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(Login::of(username.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use transship_testkit::clock::ManualClock;
    use transship_testkit::ministack::MiniStack;
    use transship_testkit::proxy::FaultProxy;

    use super::*;

    #[test]
    fn the_region_stands_in_the_host() {
        for (host, region) in [
            ("123456789012.dkr.ecr.us-west-2.amazonaws.com", Some("us-west-2")),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            (
                "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
                Some("us-gov-west-1"),
            ),
            ("123456789012.dkr-ecr.eu-west-1.on.aws", Some("eu-west-1")),
            ("127.0.0.1:5000", None),
            ("12345.dkr.ecr.us-west-2.amazonaws.com", None),
            ("123456789012.dkr.ecr.us-west-2.example.com", None),
            ("123456789012.dkr.ecr.us-west-2.amazonaws.com.evil.example", None),
        ] {
            assert_eq!(region_of(host), region, "{host}");
        }
    }

    #[test]
    fn a_token_is_a_login() {
        let token = base64::engine::general_purpose::STANDARD.encode("AWS:a:b");
        let Some(Login::Basic { username, .. }) = login(&token) else {
            panic!("it is one")
        };
        assert_eq!(username, "AWS");
        for bad in ["", "?", "QVdT"] {
            assert!(login(bad).is_none(), "{bad}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_token_is_fetched_again_shortly_before_it_ends_and_when_it_is_refused() {
        let stack = MiniStack::start().await.unwrap();
        let proxy = FaultProxy::start(stack.host()).await.unwrap();
        let clock = ManualClock::new(SystemTime::now());
        let aws = Aws::emulated(&proxy.url()).await;
        let tokens = EcrTokens::with_clock(aws, Arc::new(clock.clone()));
        let of = |region: &str| Registration {
            region: Some(region.to_owned()),
            role: None,
        };
        let requests = || proxy.requests().len();
        tokens.login(&of("eu-west-1")).await.unwrap();
        tokens.login(&of("eu-west-1")).await.unwrap();
        assert_eq!(requests(), 1);
        tokens.login(&of("us-east-1")).await.unwrap();
        assert_eq!(requests(), 2, "each region has tokens of its own");

        let age = Duration::from_secs(2);
        tokens.login_anew(&of("eu-west-1"), age).await.unwrap();
        assert_eq!(requests(), 2, "it is new");
        clock.advance(age);
        tokens.login_anew(&of("eu-west-1"), age).await.unwrap();
        assert_eq!(requests(), 3);

        // MiniStack's last twelve hours, as Amazon's do.
        clock.advance(Duration::from_hours(11));
        tokens.login(&of("eu-west-1")).await.unwrap();
        assert_eq!(requests(), 3);
        clock.advance(Duration::from_mins(31));
        tokens.login(&of("eu-west-1")).await.unwrap();
        assert_eq!(requests(), 4);
    }

    #[test]
    fn a_token_goes_to_hosts_of_ecr_only() {
        for host in [
            "111122223333.dkr.ecr.eu-west-1.amazonaws.com",
            "111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn:443",
            "111122223333.dkr-ecr.eu-west-1.on.aws",
            "vpce-0a1b-2c3d.dkr.ecr.eu-west-1.vpce.amazonaws.com",
        ] {
            assert!(is_ecr(host), "{host}");
        }
        for host in [
            "registry.example.com",
            "111122223333.dkr.ecr.eu-west-1.amazonaws.com.example.com",
            "dkr.ecr.eu-west-1.amazonaws.com",
            "evil.s3.amazonaws.com",
            "evil.execute-api.eu-west-1.amazonaws.com",
            "vpce-0a1b-2c3d.execute-api.eu-west-1.vpce.amazonaws.com",
            "111122223333.dkr.ecr.eu-west-1.amazonaws.com:8443",
        ] {
            assert!(!is_ecr(host), "{host}");
        }
    }
}
