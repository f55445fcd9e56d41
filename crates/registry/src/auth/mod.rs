//! Authentication of requests: none, Basic, or a Bearer token, as the registry's challenge requires.
//!
//! The first request has no credentials unless the challenge is already known. After a 401 it is repeated once with
//! credentials. Rejected credentials are read once more without a cache, in case the secret was rotated. Credentials are
//! sent only to the registry and its realm.

mod challenge;
mod scope;
mod token;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use base64::Engine as _;
use http::{HeaderMap, HeaderValue};
use secrecy::ExposeSecret;
use tokio::sync::Mutex as AsyncMutex;
use transship_oci::{Code, Error, Operation, RegistryHost, Repository, Result, Verb};
use url::Url;

use crate::exchange::failure::shown;
use crate::redaction::remember;
use crate::{Credentials, Login, Registry};
pub(crate) use scope::Scope;
use token::Token;

/// Entries of a memory by repository; beyond, it starts again.
const ENTRIES_MAX: usize = 10_000;

/// The authentication that the registry is known to require.
#[derive(Debug, Clone)]
enum Scheme {
    Unknown,
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

/// Maximum number of tokens. Each may have some kilobytes, and is good for some minutes. Beyond, the expired ones are removed, and
/// all if there are none.
const TOKENS_MAX: usize = 256;

type TokenCell = Arc<AsyncMutex<Option<Token>>>;

pub(crate) struct Auth {
    scheme: RwLock<Scheme>,
    memory: Mutex<Memory>,
    credentials: Arc<dyn Credentials>,
    host: RegistryHost,
}

/// What was learned and fetched. Repositories may have logins of their own.
#[derive(Default)]
struct Memory {
    tokens: HashMap<Vec<String>, TokenCell>,
    /// The `Authorization` of Basic, by repository.
    basics: HashMap<Option<Repository>, HeaderValue>,
    /// What a challenge asked for in addition to our own scope, by that.
    beyond: HashMap<Vec<String>, Vec<String>>,
    /// Whether two repositories have the same login.
    same_logins: HashMap<(Repository, Repository), bool>,
}

impl Auth {
    pub(crate) fn new(host: RegistryHost, credentials: Arc<dyn Credentials>) -> Self {
        Self {
            scheme: RwLock::new(Scheme::Unknown),
            memory: Mutex::default(),
            credentials,
            host,
        }
    }

    pub(crate) async fn login(&self, repository: Option<&Repository>) -> Result<Login> {
        self.credentials.login(&self.host, repository).await
    }

    /// The login after a rejection. The secret may have been rotated, or the token may have expired.
    pub(crate) async fn login_after_refusal(&self, repository: Option<&Repository>) -> Result<Login> {
        match self.credentials.login_anew(&self.host, repository).await? {
            Some(login) => Ok(login),
            None => self.login(repository).await,
        }
    }

    fn scheme(&self) -> Scheme {
        self.scheme.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, scheme: Scheme) {
        *self.scheme.write().unwrap_or_else(PoisonError::into_inner) = scheme;
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn basic(&self, repository: Option<&Repository>) -> Option<HeaderValue> {
        self.memory().basics.get(&repository.cloned()).cloned()
    }

    /// Remembers the header of `repository`. It replaces the refused one wherever that is remembered.
    fn learn_basic(&self, repository: Option<&Repository>, header: &HeaderValue, refused: Option<&HeaderValue>) {
        let mut memory = self.memory();
        for known in memory.basics.values_mut() {
            if Some(&*known) == refused {
                *known = header.clone();
            }
        }
        insert(&mut memory.basics, repository.cloned(), header.clone());
    }

    /// The scopes to request for `scope`, in order, and their token.
    fn token_cell(&self, scope: &Scope) -> (Vec<String>, TokenCell) {
        let mut memory = self.memory();
        let own = scope.parameters();
        let beyond = memory.beyond.get(&own).cloned().unwrap_or_default();
        let all: Vec<String> = own.into_iter().chain(beyond).collect();
        if memory.tokens.len() >= TOKENS_MAX {
            // A cell that is locked is being filled.
            let is_of_use = |cell: &TokenCell| {
                let token = cell.try_lock();
                token.map_or(true, |token| token.as_ref().is_some_and(Token::is_fresh))
            };
            memory.tokens.retain(|_, cell| is_of_use(cell));
            if memory.tokens.len() >= TOKENS_MAX {
                memory.tokens.clear();
            }
        }
        let cell = Arc::clone(memory.tokens.entry(all.clone()).or_default());
        (all, cell)
    }

    fn learn_beyond(&self, scope: &Scope, beyond: Vec<String>) {
        let mut memory = self.memory();
        let own = scope.parameters();
        if beyond.is_empty() {
            memory.beyond.remove(&own);
        } else {
            insert(&mut memory.beyond, own, beyond);
        }
    }
}

/// Adds an entry to a memory of limited size.
fn insert<K: Eq + Hash, V>(memory: &mut HashMap<K, V>, key: K, value: V) {
    if memory.len() >= ENTRIES_MAX {
        memory.clear();
    }
    memory.insert(key, value);
}

impl Registry {
    /// The `Authorization` header of a first request, if the required authentication is known.
    pub(crate) async fn authorization(&self, scope: &Scope) -> Result<Option<HeaderValue>> {
        let auth = &self.0.auth;
        match auth.scheme() {
            Scheme::Unknown => Ok(None),
            Scheme::Basic => {
                let repository = scope.repository();
                if let Some(header) = auth.basic(repository) {
                    return Ok(Some(header));
                }
                // The registry will say what it thinks of another kind of login.
                let Login::Basic { username, password } = auth.login(repository).await? else {
                    return Ok(None);
                };
                let header = basic(&username, password.expose_secret())?;
                auth.learn_basic(repository, &header, None);
                Ok(Some(header))
            }
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
            let beyond = scope.beyond(bearer.parameter("scope").unwrap_or_default());
            if !beyond.is_empty() {
                self.0.auth.learn_beyond(scope, beyond);
            }
            let header = self.token(scope, &realm, service.as_deref(), used).await?;
            self.0.auth.learn(Scheme::Bearer { realm, service });
            return Ok(header);
        }
        if challenges.iter().any(|challenge| challenge.scheme == "basic") {
            let repository = scope.repository();
            let login = match used {
                Some(_) => self.0.auth.login_after_refusal(repository).await?,
                None => self.0.auth.login(repository).await?,
            };
            let header = match login {
                Login::Basic { username, password } => basic(&username, password.expose_secret())?,
                Login::Anonymous => {
                    return Err(refused("no credentials are configured, but the registry requires them"));
                }
                Login::IdentityToken(_) => return Err(refused("an identity token cannot answer a Basic challenge")),
            };
            if used == Some(&header) {
                return Err(refused("the registry rejected the user name and password"));
            }
            self.0.auth.learn(Scheme::Basic);
            self.0.auth.learn_basic(repository, &header, used);
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
    pub(crate) async fn forbidden(&self, scope: &Scope, used: &HeaderValue) -> Result<Option<HeaderValue>> {
        let (auth, repository) = (&self.0.auth, scope.repository());
        if !matches!(auth.scheme(), Scheme::Basic) {
            return Ok(None);
        }
        if let Some(learned) = auth.basic(repository).filter(|learned| learned != used) {
            return Ok(Some(learned));
        }
        let Some(Login::Basic { username, password }) = auth.credentials.login_anew(&auth.host, repository).await?
        else {
            return Ok(None);
        };
        let header = basic(&username, password.expose_secret())?;
        if header == *used {
            return Ok(None);
        }
        auth.learn_basic(repository, &header, Some(used));
        Ok(Some(header))
    }

    /// True if both repositories have the same login, as far as the registry is known to require one: a blob is mounted under
    /// one login.
    pub(crate) async fn is_one_login(&self, one: &Repository, other: &Repository) -> bool {
        let auth = &self.0.auth;
        if matches!(auth.scheme(), Scheme::Unknown) {
            return true;
        }
        let pair = (one.clone(), other.clone());
        if let Some(known) = auth.memory().same_logins.get(&pair) {
            return *known;
        }
        let (Ok(first), Ok(second)) = (auth.login(Some(one)).await, auth.login(Some(other)).await) else {
            return true;
        };
        let is_one = first.is_same(&second);
        insert(&mut auth.memory().same_logins, pair, is_one);
        is_one
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
        loop {
            let (scopes, cell) = self.0.auth.token_cell(scope);
            let mut token = cell.lock().await;
            if let Some(held) = token
                .as_ref()
                .filter(|held| held.is_fresh() && refused != Some(held.header()))
            {
                return Ok(held.header().clone());
            }
            match self.fetch_token(scope.repository(), &scopes, realm, service).await {
                // A service that refuses scopes it does not know is asked for our own alone.
                Err(error) if error.is(Code::AuthFailed) && scopes != scope.parameters() => {
                    self.0.auth.learn_beyond(scope, Vec::new());
                }
                fetched => {
                    let fetched = fetched?;
                    let header = fetched.header().clone();
                    *token = Some(fetched);
                    return Ok(header);
                }
            }
        }
    }
}

/// The scope that the challenge of a 401 asks for, for its error.
pub(crate) fn wanted_scope(headers: &HeaderMap) -> Option<String> {
    let challenges = challenge::parse(headers);
    challenges
        .iter()
        .find_map(|challenge| Some(shown(challenge.parameter("scope")?)))
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
    remember(text);
    Ok(header)
}
