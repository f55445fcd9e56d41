//! Cached credentials: read again once when the registry rejects them, and not otherwise.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine as _;
use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::{RegistryHost, Repository, Result};
use transship_registry::{Credentials, Login};

use crate::auth::{Logins, basic, bearer, login};
use crate::world::{answer, client_as, watch};

/// A cached login, and its value when it is read again.
struct Remembering {
    held: Mutex<Login>,
    anew: Login,
    read: AtomicUsize,
}

impl Remembering {
    fn new(held: &str, anew: &str) -> Arc<Self> {
        Arc::new(Self {
            held: Mutex::new(login(held)),
            anew: login(anew),
            read: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl Credentials for Remembering {
    async fn login(&self, _: &RegistryHost, _: Option<&Repository>) -> Result<Login> {
        Ok(self.held.lock().unwrap().clone())
    }

    async fn login_anew(&self, _: &RegistryHost, _: Option<&Repository>) -> Result<Option<Login>> {
        self.read.fetch_add(1, Ordering::Relaxed);
        *self.held.lock().unwrap() = self.anew.clone();
        Ok(Some(self.anew.clone()))
    }
}

#[tokio::test]
async fn a_remembered_login_that_is_refused_is_read_anew_once() {
    for auth in [basic(), bearer()] {
        let registry = EmbeddedRegistry::builder().auth(auth).start().await.unwrap();
        let rotated = Remembering::new("old", "right");
        let client = client_as(&registry, Arc::clone(&rotated) as _);
        for _ in 0..3 {
            client.ping().await.unwrap();
        }
        assert_eq!(rotated.read.load(Ordering::Relaxed), 1);

        let wrong = Remembering::new("old", "wrong");
        let client = client_as(&registry, Arc::clone(&wrong) as _);
        assert_eq!(client.ping().await.unwrap_err().code(), "AUTH_FAILED");
        assert_eq!(wrong.read.load(Ordering::Relaxed), 1);
    }
}

/// A registry that answers 403 to the login `expired`, as Amazon ECR does to a token whose twelve hours are over.
async fn forgetful(expired: &str) -> EmbeddedRegistry {
    let registry = EmbeddedRegistry::builder().auth(basic()).start().await.unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(format!("robot:{expired}"));
    watch(&registry, move |request| {
        let shown = request.headers.get("authorization")?.to_str().ok()?;
        (shown == format!("Basic {text}")).then(|| answer(403, &[], "your authorization token has expired"))
    });
    registry
}

#[tokio::test]
async fn a_token_that_expired_is_fetched_anew() {
    let registry = forgetful("expired").await;
    let credentials = Remembering::new("expired", "right");
    let client = client_as(&registry, Arc::clone(&credentials) as _);
    for _ in 0..3 {
        client.ping().await.unwrap();
    }
    assert_eq!(credentials.read.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn who_is_not_allowed_is_told_so_after_one_new_login() {
    for anew in ["expired", "wrong"] {
        let registry = forgetful("expired").await;
        let credentials = Remembering::new("expired", anew);
        let client = client_as(&registry, Arc::clone(&credentials) as _);
        assert!(client.ping().await.is_err());
        assert_eq!(credentials.read.load(Ordering::Relaxed), 1);
        let with_login = registry.requests().len() - 1;
        assert_eq!(with_login, if anew == "expired" { 1 } else { 2 }, "{anew}");
    }
    // Without a cache there is nothing to read again.
    let registry = forgetful("expired").await;
    let logins = Logins::new(&[login("expired"), login("right")]);
    assert!(client_as(&registry, Arc::clone(&logins) as _).ping().await.is_err());
    assert_eq!(registry.requests().len(), 2);
}
