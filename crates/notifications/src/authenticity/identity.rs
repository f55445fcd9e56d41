//! Senders that show a signed token of their cloud: Pub/Sub of Google, and Event Grid of Azure.
//!
//! The token is a JSON Web Token (RFC 7519) in `Authorization: Bearer`, signed with RS256 by the cloud. It says who sends to
//! whom: every claim that the document names must be there. Its key comes from the document, or from the one address where the
//! cloud publishes its keys; the token itself cannot name an address.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use http::header::AUTHORIZATION;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use transship_oci::Error;

use super::keys::RsaKey;
use super::{Authenticity, Keys};
use crate::Delivery;
use crate::error::not_authentic;
use crate::lenient::{Text, object};

/// Largest token in bytes. Those of both clouds have about 1 to 2 KiB.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// By how much the clocks of the cloud and of this machine may differ.
const CLOCK_LEEWAY: SignedDuration = SignedDuration::from_secs(60);
/// The keys of Google. Source: Google, "`OpenID` Connect", the `jwks_uri` of the discovery document.
const GOOGLE_KEYS: &str = "https://www.googleapis.com/oauth2/v3/certs";

/// A cloud of Microsoft, which has hosts of its own. Source: Microsoft, "National clouds".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntraCloud {
    /// The global one.
    Public,
    /// That of the government of the United States.
    UsGovernment,
    /// That of China, which 21Vianet operates.
    China,
}

impl EntraCloud {
    /// Every cloud.
    pub const ALL: [Self; 3] = [Self::Public, Self::UsGovernment, Self::China];

    /// The name in the document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::UsGovernment => "us-government",
            Self::China => "china",
        }
    }

    /// The cloud of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cloud| cloud.as_str() == name)
    }

    /// The host that publishes the keys, and issues tokens of version 2.
    pub const fn login_host(self) -> &'static str {
        match self {
            Self::Public => "login.microsoftonline.com",
            Self::UsGovernment => "login.microsoftonline.us",
            Self::China => "login.partner.microsoftonline.cn",
        }
    }

    /// The host that issues tokens of version 1. That of the United States has the public one.
    const fn token_service_host(self) -> &'static str {
        match self {
            Self::Public | Self::UsGovernment => "sts.windows.net",
            Self::China => "sts.chinacloudapi.cn",
        }
    }

    /// The application of Event Grid; [`None`]: Microsoft does not publish it. Source: Microsoft, "Deliver events to webhooks in
    /// different tenants".
    pub const fn event_grid_application(self) -> Option<&'static str> {
        match self {
            Self::Public => Some("4962773b-9cdb-44cf-a8bf-237846a00ab7"),
            Self::UsGovernment => Some("54316b56-3481-47f9-8f30-0300f5542a7b"),
            Self::China => None,
        }
    }
}

/// The sender, according to the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A service account of Google, in whose name Pub/Sub pushes.
    Google {
        /// What the token is for: the audience of the push subscription.
        audience: String,
        /// The service account.
        email: String,
    },
    /// An application of Microsoft Entra.
    Entra {
        /// What the token is for: the application that protects the endpoint.
        audience: String,
        /// The tenant.
        tenant: String,
        /// The application that sends: see [`EntraCloud::event_grid_application`].
        application: String,
        /// The cloud of the tenant.
        cloud: EntraCloud,
    },
}

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    alg: Text,
    #[serde(default)]
    kid: Text,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    iss: Text,
    /// A text or a list of texts.
    #[serde(default)]
    aud: Value,
    #[serde(default)]
    exp: Value,
    #[serde(default)]
    nbf: Value,
    #[serde(default)]
    email: Text,
    #[serde(default)]
    email_verified: Value,
    #[serde(default)]
    tid: Text,
    #[serde(default)]
    appid: Text,
    #[serde(default)]
    azp: Text,
}

impl Identity {
    /// Where the cloud publishes the keys of its tokens.
    pub fn keys_url(&self) -> String {
        match self {
            Self::Google { .. } => GOOGLE_KEYS.to_owned(),
            Self::Entra { tenant, cloud, .. } => format!("https://{}/{tenant}/discovery/v2.0/keys", cloud.login_host()),
        }
    }

    /// Why the claims are not those of this sender; [`None`] if they are.
    fn objection(&self, claims: &Claims) -> Option<&'static str> {
        let (audience, is_issuer) = match self {
            Self::Google { audience, .. } => {
                let issuers = ["https://accounts.google.com", "accounts.google.com"];
                (
                    audience,
                    claims.iss.get().is_some_and(|issuer| issuers.contains(&issuer)),
                )
            }
            Self::Entra {
                audience,
                tenant,
                cloud,
                ..
            } => {
                // Tokens of version 1 and 2. Source: Microsoft, "Access tokens in the Microsoft identity platform".
                let issuers = [
                    format!("https://{}/{tenant}/", cloud.token_service_host()),
                    format!("https://{}/{tenant}/v2.0", cloud.login_host()),
                ];
                let is_issuer = claims
                    .iss
                    .get()
                    .is_some_and(|issuer| issuers.iter().any(|known| known == issuer));
                (audience, is_issuer && claims.tid.get() == Some(tenant))
            }
        };
        if !is_issuer {
            return Some("its token is of another issuer");
        }
        if !is_for(&claims.aud, audience) {
            return Some("its token is for another audience");
        }
        let is_sender = match self {
            Self::Google { email, .. } => {
                let is_verified = matches!(&claims.email_verified, Value::Bool(true));
                is_verified && claims.email.get() == Some(email)
            }
            Self::Entra { application, .. } => claims.appid.get().or_else(|| claims.azp.get()) == Some(application),
        };
        (!is_sender).then_some("its token is of another sender")
    }
}

/// Checks the token of `delivery` at `now`. `configured` are the keys that the document names.
pub(super) fn check(
    delivery: &Delivery<'_>,
    identity: &Identity,
    configured: Option<&str>,
    fetched: Keys<'_>,
    now: Timestamp,
) -> Result<Authenticity, Error> {
    let token = token_of(delivery).ok_or_else(|| not_authentic("it has no bearer token"))?;
    let malformed = || not_authentic("its token is not a JSON Web Token signed with RS256");
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed());
    };
    let signed = &token[..header.len() + 1 + claims.len()];
    let bytes = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed());
    let header: Header = object(&bytes(header)?).map_err(|_| malformed())?;
    let claims: Claims = object(&bytes(claims)?).map_err(|_| malformed())?;
    let signature = bytes(signature)?;
    let (Some("RS256"), Some(kid)) = (header.alg.get(), header.kid.get()) else {
        return Err(malformed());
    };
    // Claims first: a token for another receiver must not cause a fetch of keys.
    if let Some(objection) = identity.objection(&claims) {
        return Err(not_authentic(objection));
    }
    let is_before_end = time_of(&claims.exp).is_some_and(|end| now < end + CLOCK_LEEWAY);
    let is_after_begin = time_of(&claims.nbf).is_none_or(|begin| begin - CLOCK_LEEWAY <= now);
    if !is_before_end || !is_after_begin {
        return Err(not_authentic("its token has expired, or is not valid yet"));
    }
    let key = if let Some(set) = configured {
        RsaKey::of_set(set.as_bytes(), kid).ok_or_else(|| not_authentic("its token has an unknown key"))?
    } else {
        let url = identity.keys_url();
        let Some(key) = fetched(&url).and_then(|set| RsaKey::of_set(&set, kid)) else {
            return Ok(Authenticity::NeedsKeys(url));
        };
        key
    };
    if key.has_signed(signed.as_bytes(), &signature) {
        Ok(Authenticity::Proven)
    } else {
        Err(not_authentic("the signature of its token is wrong"))
    }
}

/// The bearer token; [`None`] if there is not exactly one.
fn token_of<'a>(delivery: &Delivery<'a>) -> Option<&'a str> {
    let mut values = delivery.headers.get_all(AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let is_token = scheme.eq_ignore_ascii_case("bearer") && token.len() <= TOKEN_BYTES_MAX;
    is_token.then(|| token.trim())
}

/// True if `audience` is the value of the claim `aud`, or one of its values.
fn is_for(claim: &Value, audience: &str) -> bool {
    match claim {
        Value::String(text) => text == audience,
        Value::Array(texts) => texts.iter().any(|text| text == audience),
        _ => false,
    }
}

/// A time in seconds. Fractions are allowed by the RFC and sent by neither cloud.
fn time_of(claim: &Value) -> Option<Timestamp> {
    Timestamp::from_second(claim.as_i64()?).ok()
}
