//! Logins of single repositories, and registries that ask for another scope than the path's.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use transship_copy::{Source as _, State};
use transship_embedded_registry::faults::{Action, RequestHead};
use transship_oci::{RegistryHost, Repository, Result, Target};
use transship_registry::{Credentials, Login};
use transship_testkit::images;

use crate::auth::Logins;
use crate::world::{Job, World, answer, asked, client_as, name, tag, watch};

/// A login for each first component of a repository.
struct Robots;

#[async_trait]
impl Credentials for Robots {
    async fn login(&self, _: &RegistryHost, repository: Option<&Repository>) -> Result<Login> {
        let team = repository.and_then(|repository| repository.as_str().split('/').next());
        Ok(team.map_or(Login::Anonymous, |team| Login::Basic {
            username: format!("robot-{team}"),
            password: "secret".to_owned().into(),
        }))
    }
}

fn asks_for(challenge: &str) -> Action {
    answer(401, &[("www-authenticate", challenge)], "")
}

fn authorization<'h>(request: &RequestHead<'h>) -> &'h str {
    let header = request.headers.get("authorization");
    header.map_or("", |value| value.to_str().unwrap())
}

/// Each team's robot may do everything below its team, and nothing elsewhere.
fn is_robot(request: &RequestHead<'_>) -> Option<Action> {
    let team = request.path.strip_prefix("/v2/")?.split('/').next()?;
    let expected = BASE64_STANDARD.encode(format!("robot-{team}:secret"));
    let is_right = authorization(request) == format!("Basic {expected}");
    (!is_right).then(|| asks_for("Basic realm=\"r\""))
}

fn job(from: &str, to: &str) -> Job {
    Job {
        from: (name(from), Target::Tag(tag("v1"))),
        to: (name(to), Target::Tag(tag("v1"))),
        ..Job::default()
    }
}

#[tokio::test]
async fn each_repository_is_used_with_its_own_login() {
    let sample = images::image(1, &[1000, 2000]);
    let mut world = World::new().await;
    world.destination = Arc::clone(&world.source);
    (world.from, world.to) = {
        let client = client_as(&world.source, Arc::new(Robots));
        (client.clone(), client)
    };
    sample.seed_into(&world.source, &name("team-a/app"), &tag("v1"));
    // Known to be there, and not mounted, because it takes one login for both.
    world.claim(&sample, &name("team-a/app"));
    watch(&world.source, is_robot);
    world.run(job("team-a/app", "team-b/app")).await.unwrap();
    assert_eq!(
        world.source.digest(&name("team-b/app"), &tag("v1")),
        Some(sample.root.clone())
    );
    assert_eq!(asked(&world.source, "POST", "mount=").len(), 0);
    world.locations.0.lock().unwrap().clear();
    world.claim(&sample, &name("team-a/app"));
    world.reset_requests();
    world.run(job("team-a/app", "team-a/other")).await.unwrap();
    assert!(
        !asked(&world.source, "POST", "mount=").is_empty(),
        "under one login it is mounted"
    );
    let unchanged = world.run(job("team-a/app", "team-b/app")).await.unwrap();
    assert_eq!(unchanged.state, State::Unchanged);
}

/// The scopes that a token service was asked for.
type Scopes = Arc<Mutex<Vec<String>>>;

/// A token service that knows the scopes of `known` only: another one is refused, or ignored.
fn service(known: &'static str, refuses: bool) -> (impl Fn(&RequestHead<'_>) -> Option<Action>, Scopes) {
    let asked = Scopes::default();
    let log = Arc::clone(&asked);
    let act = move |request: &RequestHead<'_>| {
        let host = request.headers.get("host").unwrap().to_str().unwrap();
        if request.path == "/gateway/token" {
            let query = url::form_urlencoded::parse(request.query.unwrap_or_default().as_bytes());
            let scopes: Vec<String> = query
                .filter_map(|(key, value)| (key == "scope").then(|| value.into_owned()))
                .collect();
            log.lock().unwrap().extend(scopes.iter().cloned());
            let is_known = |scope: &String| scope.starts_with(known);
            if refuses && !scopes.iter().all(is_known) {
                return Some(Action::status(403));
            }
            let token = if scopes.iter().any(is_known) { "good" } else { "empty" };
            return Some(answer(
                200,
                &[],
                format!("{{\"token\":\"{token}\",\"expires_in\":3600}}"),
            ));
        }
        let challenge = format!("Bearer realm=\"http://{host}/gateway/token\",scope=\"repository:team/app:pull,push\"");
        (authorization(request) != "Bearer good").then(|| asks_for(&challenge))
    };
    (act, asked)
}

#[tokio::test]
async fn the_scope_of_the_challenge_is_requested_too() {
    let sample = images::image(2, &[1000]);
    let mut world = World::with(&sample).await;
    world.from = client_as(&world.source, Logins::right());
    let (act, scopes) = service("repository:team/app:", false);
    watch(&world.source, act);
    world.copy().await.unwrap();
    world.assert_equal(&sample);
    let scopes = scopes.lock().unwrap();
    assert_eq!(
        *scopes,
        ["repository:core/app:pull", "repository:team/app:pull"],
        "our own first, and no more than reading"
    );
}

#[tokio::test]
async fn a_token_service_that_refuses_the_other_scope_is_asked_for_ours() {
    let sample = images::image(3, &[1000]);
    let mut world = World::with(&sample).await;
    world.from = client_as(&world.source, Logins::right());
    watch(&world.source, service("repository:core/app:", true).0);
    world.copy().await.unwrap();
    world.assert_equal(&sample);
}

#[tokio::test]
async fn a_refusal_names_the_scope_that_the_registry_asks_for() {
    let world = World::with(&images::image(4, &[10])).await;
    let client = client_as(&world.source, Logins::right());
    watch(&world.source, service("repository:nothing:", false).0);
    let source = client.repository(name("core/app"));
    let error = source.referrers(&images::image(4, &[10]).root).await.unwrap_err();
    assert_eq!(error.code(), "AUTH_FAILED");
    assert!(error.to_string().contains("repository:team/app:pull,push"), "{error}");
}
