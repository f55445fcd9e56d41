//! Authentication: none, Basic, Bearer; repeated after a challenge, and never sent to other hosts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use transship_embedded_registry::faults::Action;
use transship_embedded_registry::{Auth, EmbeddedRegistry};
use transship_oci::{RegistryHost, Repository, Result};
use transship_registry::{Credentials, Login};
use transship_testkit::images;

use crate::stage::{Stage, reply};
use crate::world::{World, always, answer, asked, client_as, name, tag, watch};

/// Logins in order, with the last one repeated, and the number of requests for them.
pub struct Logins {
    logins: Mutex<Vec<Login>>,
    asked: AtomicUsize,
}

impl Logins {
    pub fn new(logins: &[Login]) -> Arc<Self> {
        Arc::new(Self {
            logins: Mutex::new(logins.iter().rev().cloned().collect()),
            asked: AtomicUsize::new(0),
        })
    }

    /// The right one.
    pub fn right() -> Arc<Self> {
        Self::new(&[login("right")])
    }
}

#[async_trait]
impl Credentials for Logins {
    async fn login(&self, _: &RegistryHost, _: Option<&Repository>) -> Result<Login> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut logins = self.logins.lock().unwrap();
        Ok(if logins.len() > 1 {
            logins.pop().unwrap()
        } else {
            logins[0].clone()
        })
    }
}

pub fn login(password: &str) -> Login {
    Login::Basic {
        username: "robot".into(),
        password: password.to_owned().into(),
    }
}

pub fn basic() -> Auth {
    Auth::Basic {
        user: "robot".into(),
        password: "right".into(),
    }
}

pub fn bearer() -> Auth {
    Auth::Bearer {
        user: "robot".into(),
        password: "right".into(),
        expiry: Duration::from_mins(5),
    }
}

/// Registries that ask for `auth`, and clients with these credentials.
async fn guarded(auth: Auth, credentials: &Arc<Logins>) -> World {
    let builder = || EmbeddedRegistry::builder().auth(auth.clone());
    let world = World::of(builder(), builder()).await;
    World {
        from: client_as(&world.source, Arc::clone(credentials) as _),
        to: client_as(&world.destination, Arc::clone(credentials) as _),
        ..world
    }
}

#[tokio::test]
async fn an_image_passes_between_registries_that_ask_who_we_are() {
    for auth in [basic(), bearer()] {
        let sample = images::multi_platform(1);
        let world = guarded(auth, &Logins::right()).await;
        world.seed(&sample);
        world.copy().await.unwrap();
        world.assert_equal(&sample);
        world.from.ping().await.unwrap();
    }
}

#[tokio::test]
async fn blobs_side_by_side_share_one_token_for_each_scope() {
    let sample = images::image(2, &[1000; 15]);
    let world = guarded(bearer(), &Logins::right()).await;
    world.seed(&sample);
    world.copy().await.unwrap();
    world.assert_equal(&sample);
    assert_eq!(asked(&world.source, "GET", "/token").len(), 1);
    assert_eq!(asked(&world.destination, "GET", "/token").len(), 1);
    assert!(
        asked(&world.destination, "GET", "/token")[0]
            .query
            .as_deref()
            .unwrap()
            .contains("pull%2Cpush")
    );

    // A mount also reads the repository it mounts from: one more scope, one more token.
    let job = crate::world::Job {
        to: (name("copy/two"), transship_oci::Target::Tag(tag("v1"))),
        ..crate::world::Job::default()
    };
    let report = world.run(job).await.unwrap();
    assert_eq!((report.blobs.mounted, report.bytes.copied), (16, 0));
    assert_eq!(asked(&world.destination, "GET", "/token").len(), 3);
}

#[tokio::test]
async fn a_token_that_expires_in_the_middle_is_replaced() {
    for place in ["/blobs/uploads/", "/manifests/v1"] {
        for method in ["POST", "PUT"] {
            let sample = images::image(3, &[200_000; 4]);
            let world = guarded(bearer(), &Logins::right()).await;
            world.seed(&sample);
            let (registry, seen) = (Arc::downgrade(&world.destination), AtomicUsize::new(0));
            let verb = method.to_owned();
            watch(&world.destination, move |request| {
                if request.method.as_str() == verb
                    && request.path.contains(place)
                    && seen.fetch_add(1, Ordering::Relaxed) == 0
                {
                    registry.upgrade()?.expire_tokens();
                }
                None
            });
            world
                .copy()
                .await
                .unwrap_or_else(|error| panic!("{method} {place}: {error}"));
            world.assert_equal(&sample);
            if (place, method) != ("/manifests/v1", "POST") {
                assert_eq!(asked(&world.destination, "GET", "/token").len(), 2, "{method} {place}");
            }
            assert_eq!(world.destination.open_uploads(), 0);
        }
    }
}

#[tokio::test]
async fn a_session_that_is_forgotten_at_any_request_is_taken_up_again() {
    for (at, path) in [
        ("source", "/blobs/"),
        ("source", "/manifests/"),
        ("destination", "/manifests/"),
    ] {
        let sample = images::image(4, &[1000; 3]);
        let world = guarded(bearer(), &Logins::right()).await;
        world.seed(&sample);
        let registry = if at == "source" {
            &world.source
        } else {
            &world.destination
        };
        let faults = Arc::new(transship_testkit::faults::Script::new([
            transship_testkit::faults::Fault::new("*", path, Action::DropCredentials)
                .unwrap()
                .nth(2),
        ]));
        registry.set_faults(Some(Arc::clone(&faults) as _));
        world
            .copy()
            .await
            .unwrap_or_else(|error| panic!("{at} {path}: {error}"));
        assert_eq!(faults.struck(), 1, "{at} {path}");
        world.assert_equal(&sample);
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_for_good() {
    for auth in [basic(), bearer()] {
        let world = guarded(auth, &Logins::new(&[login("wrong")])).await;
        world.seed(&images::image(5, &[10]));
        let error = world.fails().await;
        assert_eq!(error.code(), "AUTH_FAILED");
        assert!(error.persistence().is_permanent());
        assert!(
            world.requests() <= 4,
            "no account is locked by trying: {}",
            world.requests()
        );
        assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
    }
}

#[tokio::test]
async fn who_has_no_login_is_refused_where_one_is_asked_for() {
    for auth in [basic(), bearer()] {
        let world = guarded(auth, &Logins::new(&[Login::Anonymous])).await;
        assert_eq!(world.fails().await.code(), "AUTH_FAILED");
    }
}

#[tokio::test]
async fn a_password_that_was_rotated_is_asked_for_once_more() {
    for auth in [basic(), bearer()] {
        let sample = images::image(6, &[10]);
        let logins = Logins::new(&[login("old"), login("right")]);
        let world = guarded(auth, &logins).await;
        let world = World {
            to: client_as(&world.destination, Logins::right()),
            ..world
        };
        world.seed(&sample);
        world.copy().await.unwrap();
        world.assert_equal(&sample);
    }
}

#[tokio::test]
async fn nobody_is_asked_for_a_login_where_none_is_needed() {
    let logins = Logins::right();
    let world = guarded(Auth::None, &logins).await;
    world.seed(&images::image(7, &[10]));
    world.copy().await.unwrap();
    assert_eq!(logins.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn credentials_are_not_sent_to_a_realm_elsewhere() {
    let thief = Stage::start(|_| reply(200, &[], r#"{"token":"stolen"}"#)).await;
    for (host, expected) in [
        // Another name for the same address is another host.
        ("localhost", "AUTH_REALM_REJECTED"),
        ("auth.example.com", "AUTH_REALM_REJECTED"),
        // The same address at another port is not the registry either.
        ("127.0.0.1", "EGRESS_DENIED"),
        ("169.254.169.254", "AUTH_REALM_REJECTED"),
    ] {
        let world = guarded(Auth::None, &Logins::right()).await;
        world.seed(&images::image(8, &[10]));
        let challenge = format!("Bearer realm=\"http://{host}:{}/token\",service=\"x\"", thief.port());
        let asks = answer(401, &[("www-authenticate", &challenge)], "");
        world.source.set_faults(Some(always("*", "/manifests/", asks)));
        let error = world.fails().await;
        assert_eq!(error.code(), expected, "{host}: {error}");
        assert!(error.persistence().is_permanent());
        assert!(thief.heard().is_empty(), "{host}");
    }
}

#[tokio::test]
async fn a_realm_that_names_a_user_or_speaks_another_scheme_is_rejected() {
    for realm in [
        "http://user:secret@127.0.0.1/token",
        "ftp://127.0.0.1/token",
        "file:///etc/passwd",
    ] {
        let world = guarded(Auth::None, &Logins::right()).await;
        world.seed(&images::image(9, &[10]));
        let challenge = format!("Bearer realm=\"{realm}\"");
        let asks = answer(401, &[("www-authenticate", &challenge)], "");
        world.source.set_faults(Some(always("*", "/manifests/", asks)));
        let error = world.fails().await;
        assert_eq!(error.code(), "AUTH_REALM_REJECTED", "{realm}");
        assert!(!format!("{error:?}").contains("secret"));
    }
}

#[tokio::test]
async fn a_token_without_end_is_not_read_to_its_end() {
    let world = guarded(bearer(), &Logins::right()).await;
    world.seed(&images::image(10, &[10]));
    world
        .source
        .set_faults(Some(always("GET", "^/token", answer(200, &[], vec![b'"'; 8 << 20]))));
    assert_eq!(world.fails().await.code(), "RESPONSE_TOO_LARGE");
}

#[tokio::test]
async fn a_realm_that_answers_nonsense_is_named_as_what_failed() {
    for (body, expected) in [("<html>", "AUTH_TOKEN_INVALID"), ("{}", "AUTH_TOKEN_INVALID")] {
        let world = guarded(bearer(), &Logins::right()).await;
        world.seed(&images::image(11, &[10]));
        world
            .source
            .set_faults(Some(always("GET", "^/token", answer(200, &[], body))));
        assert_eq!(world.fails().await.code(), expected);
    }
}

#[tokio::test]
async fn a_realm_that_stumbles_is_asked_again() {
    for action in [Action::status(503), Action::too_many_requests(0), Action::Reset] {
        let sample = images::image(12, &[10]);
        let world = guarded(bearer(), &Logins::right()).await;
        world.seed(&sample);
        let faults = crate::world::script("GET", "^/token", action);
        world.source.set_faults(Some(Arc::clone(&faults) as _));
        world.copy().await.unwrap();
        assert_eq!(faults.struck(), 1);
        world.assert_equal(&sample);
    }
}

#[tokio::test]
async fn a_registry_that_refuses_every_token_is_not_asked_for_ever() {
    let world = guarded(bearer(), &Logins::right()).await;
    world.seed(&images::image(13, &[10]));
    world
        .source
        .set_faults(Some(always("*", "^/v2/", Action::DropCredentials)));
    let error = world.fails().await;
    assert_eq!(error.code(), "AUTH_FAILED");
    assert!(world.source.traffic().total.requests < 8);
}

#[tokio::test]
async fn a_challenge_that_is_none_is_refused() {
    for (challenge, expected) in [
        ("Negotiate", "AUTH_FAILED"),
        ("Bearer service=\"x\"", "AUTH_CHALLENGE_INVALID"),
        ("Bearer realm=\"http://[\"", "AUTH_CHALLENGE_INVALID"),
    ] {
        let world = guarded(Auth::None, &Logins::right()).await;
        world.seed(&images::image(14, &[10]));
        world.source.set_faults(Some(always(
            "*",
            "/manifests/",
            answer(401, &[("www-authenticate", challenge)], ""),
        )));
        let error = world.fails().await;
        assert_eq!(error.code(), expected, "{challenge}");
        assert!(error.persistence().is_permanent());
    }
}
