//! Files and helpers as they are found on machines.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use super::*;
use transship_oci::Result;

/// `user:password`, `token:…`, `nothing`, or the error's sentence.
fn shown(result: Result<Option<Login>>) -> String {
    match result {
        Ok(Some(Login::Basic { username, password })) => format!("{username}:{}", password.expose_secret()),
        Ok(Some(Login::IdentityToken(token))) => format!("token:{}", token.expose_secret()),
        Ok(Some(Login::Anonymous)) => "anonymous".to_owned(),
        Ok(None) => "nothing".to_owned(),
        Err(error) => {
            assert_eq!(error.code(), "CREDENTIALS_UNAVAILABLE");
            assert!(!format!("{error:?} {error}").contains("canary"), "{error:?}");
            error.to_string()
        }
    }
}

fn home_with(config: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".docker")).unwrap();
    std::fs::write(home.path().join(".docker/config.json"), config).unwrap();
    home
}

async fn asked(config: &str, host: &str, repository: Option<&str>) -> String {
    let home = home_with(config);
    let path = helpers().path();
    let environment = Environment::of([("HOME", home.path().as_os_str()), ("PATH", path.as_os_str())]);
    let config = match DockerConfig::load_from(environment) {
        Ok(config) => config,
        Err(error) => return shown(Err(error)),
    };
    let repository = repository.map(|text| text.parse().unwrap());
    shown(config.login(&host.parse().unwrap(), repository.as_ref()).await)
}

/// A folder with one helper whose answer depends on the server it is asked for. Made once, before any process starts, so
/// that no child inherits the file while it is still open for writing.
fn helpers() -> &'static TempDir {
    static HELPERS: OnceLock<TempDir> = OnceLock::new();
    HELPERS.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let script = r#"#!/bin/sh
server=$(/bin/cat)
case "$1 $server" in
  "get r.example") echo '{"ServerURL":"r.example","Username":"robot","Secret":"from helper"}' ;;
  "get azure.example") echo '{"Username":"<token>","Secret":"refresh"}' ;;
  "get https://index.docker.io/v1/") echo '{"Username":"hub","Secret":"from helper"}' ;;
  "get empty.example") echo '{"Username":"","Secret":""}' ;;
  "get broken.example") echo 'canary'; exit 1 ;;
  "get words.example") echo 'canary' ;;
  "get flood.example") exec /usr/bin/head -c 100000000 /dev/zero ;;
  "get hang.example") exec /bin/sleep 600 ;;
  *) echo 'credentials not found in native keychain'; exit 1 ;;
esac
"#;
        let path = dir.path().join("docker-credential-test");
        std::fs::write(&path, script).unwrap();
        make_executable(&path);
        dir
    })
}

fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn entries_are_read_in_every_form() {
    let config = format!(
        r#"{{"auths": {{
            "r.example": {{"auth": "{}", "email": "x@r.example"}},
            "unpadded.example": {{"auth": "{}"}},
            "plain.example:5000": {{"username": "robot", "password": "plain"}},
            "azure.example": {{"auth": "{}", "identitytoken": "refresh"}},
            "https://old.example/v1/": {{"auth": "{}"}},
            "https://index.docker.io/v1/": {{"auth": "{}"}},
            "empty.example": {{}},
            "null.example": null
        }}, "HttpHeaders": {{"User-Agent": "Docker"}}, "psFormat": "table"}}"#,
        BASE64_STANDARD.encode("robot:p:q"),
        BASE64_STANDARD_NO_PAD.encode("robot:12"),
        BASE64_STANDARD.encode("00000000-0000-0000-0000-000000000000:"),
        BASE64_STANDARD.encode("robot:old\0\0"),
        BASE64_STANDARD.encode("hub:library"),
    );
    for (host, expected) in [
        ("r.example", "robot:p:q"),
        ("R.Example", "robot:p:q"),
        ("unpadded.example", "robot:12"),
        ("plain.example:5000", "robot:plain"),
        ("plain.example", "nothing"),
        ("azure.example", "token:refresh"),
        ("old.example", "robot:old"),
        ("docker.io", "hub:library"),
        ("index.docker.io", "hub:library"),
        ("registry-1.docker.io", "hub:library"),
        ("empty.example", "nothing"),
        ("null.example", "nothing"),
        ("sub.r.example", "nothing"),
    ] {
        assert_eq!(asked(&config, host, None).await, expected, "{host}");
    }
}

#[tokio::test]
async fn the_most_specific_entry_decides() {
    let config = r#"{"auths": {
        "r.example": {"username": "host", "password": ""},
        "r.example/team": {"username": "team", "password": ""},
        "r.example/team/app": {"username": "app", "password": ""},
        "https://r.example/v2/": {"username": "old", "password": ""}
    }}"#;
    for (repository, expected) in [
        (Some("team/app"), "app:"),
        (Some("team/app/web"), "app:"),
        (Some("team/apple"), "team:"),
        (Some("teams"), "host:"),
        (None, "host:"),
    ] {
        assert_eq!(asked(config, "r.example", repository).await, expected, "{repository:?}");
    }
}

#[tokio::test]
async fn helpers_are_asked_by_registry_and_for_all() {
    let one = r#"{"credHelpers": {"r.example": "test", "azure.example": "test"}, "auths": {"other.example": {"username": "a", "password": "b"}}}"#;
    assert_eq!(asked(one, "r.example", None).await, "robot:from helper");
    assert_eq!(asked(one, "azure.example", None).await, "token:refresh");
    assert_eq!(asked(one, "other.example", None).await, "a:b");
    let all =
        r#"{"credsStore": "test", "auths": {"r.example": {}, "kept.example": {"username": "a", "password": "b"}}}"#;
    assert_eq!(asked(all, "r.example", None).await, "robot:from helper");
    assert_eq!(asked(all, "docker.io", None).await, "hub:from helper");
    assert_eq!(asked(all, "unknown.example", None).await, "nothing");
    assert_eq!(asked(all, "empty.example", None).await, "nothing");
    assert_eq!(
        asked(all, "kept.example", None).await,
        "a:b",
        "the store does not have it"
    );
}

#[tokio::test]
async fn a_helper_that_fails_is_named_and_not_repeated() {
    let all = r#"{"credsStore": "test"}"#;
    for (host, why) in [
        ("broken.example", "docker-credential-test failed"),
        ("words.example", "did not write JSON"),
        ("flood.example", "writes too much output"),
    ] {
        let message = asked(all, host, None).await;
        assert!(message.contains(why), "{message}");
    }
    let missing = asked(r#"{"credsStore": "desktop.exe"}"#, "r.example", None).await;
    assert!(
        missing.contains("docker-credential-desktop.exe cannot be started"),
        "{missing}"
    );
    let climbing = asked(r#"{"credsStore": "x/../../../bin/sh"}"#, "r.example", None).await;
    assert!(
        climbing.contains("not a valid name of a credential helper"),
        "{climbing}"
    );
}

#[tokio::test]
async fn a_helper_that_hangs_is_given_up() {
    let environment = Environment::of([("PATH", helpers().path().as_os_str())]);
    let result = helper::get("test", "hang.example", &environment, Duration::from_millis(50)).await;
    assert!(shown(result).contains("did not answer in time"));
}

#[tokio::test]
async fn a_broken_file_is_named_by_place_and_not_repeated() {
    for (config, place) in [
        ("{\"auths\":\n {\"r.example\": \"canary\"}}", "line 2"),
        ("{\"credsStore\": {\"canary\": 1}}", "line 1"),
        ("canary", "line 1"),
    ] {
        let message = asked(config, "r.example", None).await;
        assert!(message.contains(place) && message.contains("config.json"), "{message}");
    }
    let undecodable = asked(r#"{"auths": {"r.example": {"auth": "canary"}}}"#, "r.example", None).await;
    assert!(undecodable.contains("\"r.example\" has an auth"), "{undecodable}");
}

#[tokio::test]
async fn files_are_looked_through_in_order() {
    let home = home_with(
        r#"{"auths": {"a.example": {"username": "docker", "password": ""}, "b.example": {"username": "docker", "password": ""}}}"#,
    );
    let runtime = tempfile::tempdir().unwrap();
    std::fs::create_dir(runtime.path().join("containers")).unwrap();
    std::fs::write(
        runtime.path().join("containers/auth.json"),
        r#"{"auths": {"a.example": {"username": "podman", "password": ""}}}"#,
    )
    .unwrap();
    let own = tempfile::tempdir().unwrap();
    std::fs::write(
        own.path().join("config.json"),
        r#"{"auths": {"a.example": {"username": "own", "password": ""}}}"#,
    )
    .unwrap();
    let single = own.path().join("config.json");
    let (home, runtime, own) = (home.path(), runtime.path(), own.path());
    let ask = async |variables: Vec<(&str, &Path)>, host: &str| {
        let variables = variables.into_iter().map(|(name, path)| (name, path.as_os_str()));
        let config = DockerConfig::load_from(Environment::of(variables)).unwrap();
        shown(config.login(&host.parse().unwrap(), None).await)
    };
    let usual = || vec![("HOME", home), ("XDG_RUNTIME_DIR", runtime)];
    assert_eq!(ask(usual(), "a.example").await, "podman:");
    assert_eq!(ask(usual(), "b.example").await, "docker:");
    let chosen = || [usual(), vec![("DOCKER_CONFIG", own)]].concat();
    assert_eq!(ask(chosen(), "a.example").await, "own:");
    assert_eq!(ask(chosen(), "b.example").await, "nothing");
    let only = [usual(), vec![("REGISTRY_AUTH_FILE", &*single)]].concat();
    assert_eq!(ask(only.clone(), "a.example").await, "own:");
    assert_eq!(ask(only, "b.example").await, "nothing");
    assert_eq!(ask(Vec::new(), "a.example").await, "nothing");
    let missing = Environment::of([("REGISTRY_AUTH_FILE", own.join("missing.json").into_os_string())]);
    assert_eq!(
        DockerConfig::load_from(missing).err().unwrap().code(),
        "CREDENTIALS_UNAVAILABLE"
    );
}

#[tokio::test]
async fn nobody_is_anonymous_at_the_port() {
    let home = home_with("{}");
    let config = DockerConfig::load_from(Environment::of([("HOME", home.path().as_os_str())])).unwrap();
    let login = Credentials::login(&config, &"r.example".parse().unwrap(), None)
        .await
        .unwrap();
    assert!(matches!(login, Login::Anonymous));
}

#[tokio::test]
async fn the_login_of_a_path_is_used_for_what_is_below_it() {
    let paths = r#"{"auths": {
        "r.example/team-a": {"username": "a", "password": ""},
        "r.example/team-b": {"username": "b", "password": ""}
    }}"#;
    assert_eq!(asked(paths, "r.example", Some("team-a/app")).await, "a:");
    assert_eq!(asked(paths, "r.example", Some("team-b/app")).await, "b:");
    assert_eq!(asked(paths, "r.example", Some("team-c/app")).await, "nothing");
    assert_eq!(
        asked(paths, "r.example", None).await,
        "a:",
        "a connection can be tested"
    );
    assert_eq!(asked(paths, "other.example", None).await, "nothing");
    let both = r#"{"credsStore": "test", "auths": {
        "r.example/team-a": {"username": "a", "password": ""},
        "r.example": {"username": "host", "password": ""}
    }}"#;
    assert_eq!(
        asked(both, "r.example", Some("team-a/app")).await,
        "a:",
        "it is more specific than the store"
    );
    assert_eq!(asked(both, "r.example", Some("team-b/app")).await, "robot:from helper");
    assert_eq!(asked(both, "r.example", None).await, "robot:from helper");
}
