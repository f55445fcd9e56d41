//! Registries with authentication: credentials come from the document and from Docker's configuration, and are sent only to
//! these registries.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use transship_tests::docker_registry::{Options, PASSWORD, USER};
use transship_tests::{DockerRegistry, Document, Image, Serve, assert_equal, check, transship, until};

fn locked(notify: Option<String>) -> DockerRegistry {
    DockerRegistry::start_with(&Options {
        locked: true,
        notify,
        ..Options::default()
    })
}

/// A document whose registries take the credentials from files: `good` at the source, `destination` at the destination.
fn serve_between(
    serve: &mut Serve,
    source: &DockerRegistry,
    destination: &DockerRegistry,
    destination_password: &str,
) -> tempfile::TempDir {
    let secrets = tempfile::tempdir().unwrap();
    let file = |name: &str, password: &str| {
        let path = secrets.path().join(name);
        std::fs::write(&path, format!("{USER}:{password}\n")).unwrap();
        format!("credentials: \"file:{}\"", path.display())
    };
    let hook = format!("webhook: {{ secret: \"env:HOOK\" }}, {}", file("source", PASSWORD));
    let document = Document::between(&source.host(), &destination.host())
        .registry("a", &source.host(), &hook)
        .registry("b", &destination.host(), &file("destination", destination_password))
        .rule("core", "core", "copy", "");
    serve.start(&document);
    secrets
}

fn assert_told_nothing(text: &str) {
    let basic = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
    for secret in [PASSWORD, &basic] {
        assert!(!text.contains(secret), "a secret shows in {text}");
    }
}

#[test]
fn locked_registries_are_opened_by_the_documents_credentials() {
    if DockerRegistry::skipped() {
        return;
    }
    let mut serve = Serve::prepare();
    let (source, destination) = (locked(Some(serve.hook("a"))), locked(None));
    let _secrets = serve_between(&mut serve, &source, &destination, PASSWORD);
    let (from, to) = (source.unlocked_host(), destination.unlocked_host());
    Image::multi_platform(1, 4000).push(&from, "core/app", "v1");
    let arrived = until(Duration::from_secs(30), || {
        check::equal(&from, "core/app", "v1", &to, "copy/app", "v1")
    });
    assert_eq!(arrived, Ok(()));
    serve.until_at_rest(Duration::from_secs(30));
    assert_told_nothing(&serve.log());
}

#[test]
fn a_wrong_password_fails_the_task_with_its_code_and_shows_nowhere() {
    if DockerRegistry::skipped() {
        return;
    }
    let mut serve = Serve::prepare();
    let (source, destination) = (locked(Some(serve.hook("a"))), locked(None));
    let _secrets = serve_between(&mut serve, &source, &destination, "wrong-but-secret");
    Image::single(2, &[1000]).push(&source.unlocked_host(), "core/app", "v1");
    let tasks = serve.until_at_rest(Duration::from_secs(30));
    assert_eq!(tasks.len(), 1, "{tasks:?}");
    assert_eq!(
        (tasks[0]["state"].as_str(), tasks[0]["code"].as_str()),
        (Some("failed"), Some("AUTH_FAILED"))
    );
    assert_eq!(tasks[0]["attempts"], 1);
    for text in [serve.log(), tasks[0].to_string()] {
        assert_told_nothing(&text);
        assert!(!text.contains("wrong-but-secret"), "{text}");
    }
}

#[test]
fn copy_finds_credentials_in_dockers_configuration() {
    if DockerRegistry::skipped() {
        return;
    }
    let (source, destination) = (locked(None), locked(None));
    Image::single(3, &[1000]).push(&source.unlocked_host(), "by/hand", "v1");
    let folder = tempfile::tempdir().unwrap();
    let auth = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let config =
        serde_json::json!({ "auths": { source.host(): { "auth": auth }, destination.host(): { "auth": auth } } });
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let copy = |configuration: &std::path::Path| {
        transship::run_command(
            transship::command()
                .env("DOCKER_CONFIG", configuration)
                .args([
                    "copy",
                    &format!("{}/by/hand:v1", source.host()),
                    &format!("{}/by/hand:v1", destination.host()),
                ])
                .args(["--data"])
                .arg(folder.path().join("data")),
        )
    };
    let refused = copy(&folder.path().join("nothing-here"));
    assert_eq!(
        (refused.code, refused.error_code()),
        (1, Some("AUTH_FAILED")),
        "{refused:?}"
    );
    let done = copy(folder.path());
    assert_eq!(done.code, 0, "{done:?}");
    assert_told_nothing(&format!("{done:?}{refused:?}"));
    assert_equal(
        &source.unlocked_host(),
        "by/hand",
        "v1",
        &destination.unlocked_host(),
        "by/hand",
        "v1",
    );
}
