//! Authentication: none, Basic, or Bearer tokens from a token endpoint in the same server.
//!
//! Source: distribution, docs/spec/auth/token.md. Scopes are checked, so that a client that requests too little fails here
//! and not at a real registry.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::json;
use transship_oci::{Repository, Result};
use uuid::Uuid;

use crate::refusal::{Answer, Refusal, answer};
use crate::registry::Head;
use crate::route::Route;

/// How clients authenticate.
#[derive(Clone, Default)]
pub enum Auth {
    /// No authentication.
    #[default]
    None,
    /// Basic authentication with every request.
    Basic {
        /// Name of the only user.
        user: String,
        /// Password of the user.
        password: String,
    },
    /// A token, obtained from `/token` with Basic authentication.
    Bearer {
        /// Name of the only user.
        user: String,
        /// Password of the user.
        password: String,
        /// Lifetime of a token. Clients receive it in whole seconds.
        expiry: Duration,
    },
}

/// Checks requests, and stores the issued tokens.
pub(crate) struct Guard {
    auth: Auth,
    tokens: Mutex<HashMap<String, Grant>>,
}

struct Grant {
    scopes: Arc<Scopes>,
    expires: Instant,
}

/// Actions by repository: `(core/app, pull)`.
type Scopes = BTreeSet<(String, String)>;

/// Permissions of a request.
#[derive(Debug, Clone)]
pub(crate) enum Access {
    All,
    Scopes(Arc<Scopes>),
}

impl Access {
    pub(crate) fn may_pull(&self, repository: &Repository) -> bool {
        self.may(repository, "pull")
    }

    fn may(&self, repository: &Repository, action: &str) -> bool {
        match self {
            Self::All => true,
            Self::Scopes(scopes) => scopes.contains(&(repository.to_string(), action.to_owned())),
        }
    }
}

impl Guard {
    pub(crate) fn new(auth: Auth) -> Self {
        Self {
            auth,
            tokens: Mutex::default(),
        }
    }

    /// The user in every event, if there is one.
    pub(crate) fn user(&self) -> Option<&str> {
        match &self.auth {
            Auth::None => None,
            Auth::Basic { user, .. } | Auth::Bearer { user, .. } => Some(user),
        }
    }

    /// Revokes all tokens.
    pub(crate) fn expire_tokens(&self) {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Returns the permissions of a request, or rejects it with a challenge if they are not sufficient.
    pub(crate) fn check(&self, route: &Route, method: &Method, headers: &HeaderMap) -> Result<Access, Refusal> {
        match &self.auth {
            Auth::None => Ok(Access::All),
            Auth::Basic { user, password } => {
                if is_basic(headers, user, password) {
                    return Ok(Access::All);
                }
                Err(unauthorized("Basic realm=\"embedded registry\"".into()))
            }
            Auth::Bearer { .. } if matches!(route, Route::Token) => Ok(Access::All),
            Auth::Bearer { .. } => self.check_token(route, method, headers),
        }
    }

    fn check_token(&self, route: &Route, method: &Method, headers: &HeaderMap) -> Result<Access, Refusal> {
        let needed = needed(route, method);
        let scopes = self.scopes_of(headers);
        let is_enough = |scopes: &Arc<Scopes>| needed.iter().all(|scope| scopes.contains(scope));
        match scopes {
            Some(scopes) if is_enough(&scopes) => Ok(Access::Scopes(scopes)),
            known => Err(unauthorized(challenge(&needed, headers, known.is_some()))),
        }
    }

    fn scopes_of(&self, headers: &HeaderMap) -> Option<Arc<Scopes>> {
        let token = headers
            .get(header::AUTHORIZATION)?
            .to_str()
            .ok()?
            .strip_prefix("Bearer ")?;
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let grant = tokens.get(token)?;
        (Instant::now() < grant.expires).then(|| Arc::clone(&grant.scopes))
    }

    /// `GET /token?service=&scope=`: issues a token for all requested scopes.
    pub(crate) fn token(&self, head: &Head) -> Answer {
        let Auth::Bearer { user, password, expiry } = &self.auth else {
            return Err(Refusal::not_found("UNSUPPORTED", "this path"));
        };
        if !is_basic(&head.headers, user, password) {
            return Err(unauthorized("Basic realm=\"embedded registry tokens\"".into()));
        }
        let scopes: Scopes = head
            .query_all("scope")
            .iter()
            .flat_map(|list| list.split(' '))
            .filter_map(|scope| scope.strip_prefix("repository:")?.rsplit_once(':'))
            .flat_map(|(name, actions)| actions.split(',').map(|action| (name.to_owned(), action.to_owned())))
            .collect();
        let token = Uuid::new_v4().to_string();
        let grant = Grant {
            scopes: Arc::new(scopes),
            expires: Instant::now() + *expiry,
        };
        let body = json!({
            "token": token,
            "access_token": token,
            "expires_in": expiry.as_secs(),
            "issued_at": jiff::Timestamp::now().to_string(),
        });
        self.tokens
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(token, grant);
        let headers = [(header::CONTENT_TYPE, "application/json".to_owned())];
        Ok(answer(StatusCode::OK, headers, Body::from(body.to_string())))
    }
}

fn needed(route: &Route, method: &Method) -> Vec<(String, String)> {
    let Some(repository) = route.repository() else {
        return Vec::new();
    };
    let actions: &[&str] = match (method.as_str(), route) {
        ("GET" | "HEAD", Route::Upload(..)) => &["push"],
        ("GET" | "HEAD", _) => &["pull"],
        ("DELETE", Route::Manifest(..) | Route::Blob(..)) => &["delete"],
        _ => &["pull", "push"],
    };
    let scope = |action: &&str| (repository.to_string(), (*action).to_owned());
    actions.iter().map(scope).collect()
}

fn challenge(needed: &[(String, String)], headers: &HeaderMap, is_known: bool) -> String {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let mut text = format!("Bearer realm=\"http://{host}/token\",service=\"embedded registry\"");
    if let Some((repository, _)) = needed.first() {
        let actions: Vec<&str> = needed.iter().map(|(_, action)| action.as_str()).collect();
        text.push_str(",scope=\"repository:");
        text.push_str(repository);
        text.push(':');
        text.push_str(&actions.join(","));
        text.push('"');
    }
    if is_known {
        text.push_str(",error=\"insufficient_scope\"");
    } else if headers.contains_key(header::AUTHORIZATION) {
        text.push_str(",error=\"invalid_token\"");
    }
    text
}

fn unauthorized(challenge: String) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication is required")
        .with_header(header::WWW_AUTHENTICATE, challenge)
}

fn is_basic(headers: &HeaderMap, user: &str, password: &str) -> bool {
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Basic "))
        .and_then(|encoded| STANDARD.decode(encoded).ok())
        .is_some_and(|decoded| decoded == format!("{user}:{password}").as_bytes())
}
