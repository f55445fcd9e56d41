//! Authentication of requests: none, Basic, or a Bearer token, as the registry's challenge requires.
//!
//! The first request has no credentials unless the challenge is already known. After a 401 it is repeated once with
//! credentials. Rejected credentials are read once more without a cache, in case the secret was rotated. Credentials are
//! sent only to the registry and its realm.

mod challenge;
mod token;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use base64::Engine as _;
use http::{HeaderMap, HeaderValue};
use secrecy::ExposeSecret;
use tokio::sync::Mutex as AsyncMutex;
use transship_oci::{Code, Error, Operation, RegistryHost, Repository, Result, Verb};
use url::Url;

use crate::{Credentials, Login, Registry};
use token::Token;

/// The access that a request needs: the scope of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// No particular access: `GET /v2/`.
    Base,
    /// List the repositories.
    Catalog,
    /// Read one repository.
    Pull(Repository),
    /// Read and write one repository.
    Push(Repository),
    /// Write one repository, reading blobs of another.
    Mount(Repository, Repository),
}

impl Scope {
    /// The `scope` parameters in order. The scope for the push is first, because some registries use only the first one.
    pub(crate) fn parameters(&self) -> Vec<String> {
        match self {
            Self::Base => vec![],
            Self::Catalog => vec!["registry:catalog:*".to_owned()],
            Self::Pull(repository) => vec![format!("repository:{repository}:pull")],
            Self::Push(repository) => vec![format!("repository:{repository}:pull,push")],
            Self::Mount(repository, from) => vec![
                format!("repository:{repository}:pull,push"),
                format!("repository:{from}:pull"),
            ],
        }
    }
}

/// The authentication that the registry is known to require.
#[derive(Debug, Clone)]
enum Scheme {
    Unknown,
    Basic(HeaderValue),
    Bearer { realm: Url, service: Option<String> },
}

type TokenCell = Arc<AsyncMutex<Option<Token>>>;

pub(crate) struct Auth {
    scheme: RwLock<Scheme>,
    tokens: Mutex<HashMap<Vec<String>, TokenCell>>,
    credentials: Arc<dyn Credentials>,
    host: RegistryHost,
}

impl Auth {
    pub(crate) fn new(host: RegistryHost, credentials: Arc<dyn Credentials>) -> Self {
        Self {
            scheme: RwLock::new(Scheme::Unknown),
            tokens: Mutex::default(),
            credentials,
            host,
        }
    }

    pub(crate) async fn login(&self) -> Result<Login> {
        self.credentials.login(&self.host).await
    }

    /// The login after a rejection. The secret may have been rotated, or the token may have expired.
    pub(crate) async fn login_after_refusal(&self) -> Result<Login> {
        match self.credentials.login_anew(&self.host).await? {
            Some(login) => Ok(login),
            None => self.login().await,
        }
    }

    fn scheme(&self) -> Scheme {
        self.scheme.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, scheme: Scheme) {
        *self.scheme.write().unwrap_or_else(PoisonError::into_inner) = scheme;
    }

    fn token_cell(&self, scope: &Scope) -> TokenCell {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tokens.entry(scope.parameters()).or_default())
    }
}

impl Registry {
    /// The `Authorization` header of a first request, if the required authentication is known.
    pub(crate) async fn authorization(&self, scope: &Scope) -> Result<Option<HeaderValue>> {
        match self.0.auth.scheme() {
            Scheme::Unknown => Ok(None),
            Scheme::Basic(header) => Ok(Some(header)),
            Scheme::Bearer { realm, service } => self.token(scope, &realm, service.as_deref(), None).await.map(Some),
        }
    }

    /// The `Authorization` header to repeat a request that was answered 401 although it had `used`. Fails if there are no other
    /// credentials.
    pub(crate) async fn challenged(
        &self,
        headers: &HeaderMap,
        scope: &Scope,
        used: Option<&HeaderValue>,
        operation: &Operation,
    ) -> Result<HeaderValue> {
        let challenges = challenge::parse(headers);
        let refused = |why: &str| Error::of(Code::AuthFailed, operation).because(why);
        if let Some(bearer) = challenges.iter().find(|challenge| challenge.scheme == "bearer") {
            let realm = bearer
                .parameter("realm")
                .ok_or_else(|| Error::of(Code::ChallengeInvalid, operation).because("Bearer without a realm"))?;
            let realm =
                self.0.base.join(realm).map_err(|_| {
                    Error::of(Code::ChallengeInvalid, operation).because("the realm is not a valid URL")
                })?;
            let service = bearer.parameter("service").map(str::to_owned);
            let header = self.token(scope, &realm, service.as_deref(), used).await?;
            self.0.auth.learn(Scheme::Bearer { realm, service });
            return Ok(header);
        }
        if challenges.iter().any(|challenge| challenge.scheme == "basic") {
            let login = match used {
                Some(_) => self.0.auth.login_after_refusal().await?,
                None => self.0.auth.login().await?,
            };
            let header = match login {
                Login::Basic { username, password } => basic(&username, password.expose_secret())?,
                Login::Anonymous => {
                    return Err(refused("no credentials are configured, but the registry requires them"));
                }
                Login::IdentityToken(_) => return Err(refused("an identity token cannot response a Basic challenge")),
            };
            if used == Some(&header) {
                return Err(refused("the registry rejected the user name and password"));
            }
            self.0.auth.learn(Scheme::Basic(header.clone()));
            return Ok(header);
        }
        Err(refused(if challenges.is_empty() {
            "the response 401 has no challenge"
        } else {
            "the registry requires an authentication scheme other than Basic and Bearer"
        }))
    }

    /// The `Authorization` header to repeat a request that was answered 403 although it had `used`, if there is a newer one:
    /// Amazon ECR answers 403 after its token has expired. Only cached credentials are read again.
    pub(crate) async fn forbidden(&self, used: &HeaderValue) -> Result<Option<HeaderValue>> {
        let Scheme::Basic(learned) = self.0.auth.scheme() else {
            return Ok(None);
        };
        if learned != *used {
            return Ok(Some(learned));
        }
        let Some(Login::Basic { username, password }) = self.0.auth.credentials.login_anew(&self.0.auth.host).await?
        else {
            return Ok(None);
        };
        let header = basic(&username, password.expose_secret())?;
        if header == *used {
            return Ok(None);
        }
        self.0.auth.learn(Scheme::Basic(header.clone()));
        Ok(Some(header))
    }

    /// A token for `scope`: the cached one unless it expires or is the `refused` one, otherwise a new one. Concurrent requests
    /// for the same scope fetch one token.
    async fn token(
        &self,
        scope: &Scope,
        realm: &Url,
        service: Option<&str>,
        refused: Option<&HeaderValue>,
    ) -> Result<HeaderValue> {
        let cell = self.0.auth.token_cell(scope);
        let mut token = cell.lock().await;
        if let Some(held) = token
            .as_ref()
            .filter(|held| held.is_fresh() && refused != Some(held.header()))
        {
            return Ok(held.header().clone());
        }
        let fetched = self.fetch_token(scope, realm, service).await?;
        let header = fetched.header().clone();
        *token = Some(fetched);
        Ok(header)
    }
}

/// `Basic base64(user:password)`, marked as sensitive so that it is never printed.
pub(crate) fn basic(username: &str, password: &str) -> Result<HeaderValue> {
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    secret_header(&format!("Basic {text}"))
}

pub(crate) fn secret_header(text: &str) -> Result<HeaderValue> {
    let mut header = HeaderValue::from_str(text).map_err(|_| {
        Error::of(Code::TokenInvalid, Verb::Login).because("it contains characters that are not allowed in a header")
    })?;
    header.set_sensitive(true);
    Ok(header)
}
