//! Registries with names, behind a proxy, to test other hosts on a machine with one address.
//!
//! The proxy of the environment is read once for each process, so each case runs in a child process of this test. The proxy acts
//! as every host and records the requests to each.

use std::process::Stdio;
use std::sync::Arc;

use axum::body::Body;
use futures_util::TryStreamExt;
use http::Response;
use transship_copy::{BlobSource, Destination, NoProgress};
use transship_oci::{Descriptor, Digest, Limits, Network, Provider};
use transship_registry::{Credentials, Options, Profile, Registry};

use crate::auth::{Logins, login};
use crate::stage::{Heard, Stage, reply};
use crate::world::{QUICK, name};

const BLOB: &[u8] = b"the blob";
const STORY: &str = "TRANSSHIP_TEST_STORY";

fn blob() -> Descriptor {
    Descriptor::new("a/b".into(), Digest::sha256(BLOB), BLOB.len() as u64)
}

fn registry() -> Registry {
    let credentials: Arc<dyn Credentials> = Logins::new(&[login("right")]);
    Registry::new(Options {
        endpoint: "http://registry.example.com".parse().unwrap(),
        names: Vec::new(),
        network: Network::Public,
        limits: Limits::default(),
        profile: Profile::of(Provider::Distribution),
        retries: QUICK,
        credentials,
        tls: None,
    })
    .unwrap()
}

#[tokio::test]
#[ignore = "a part of the stories below, which run it behind a proxy"]
async fn child() {
    let repository = registry().repository(name("core/app"));
    let ended = if std::env::var(STORY).unwrap() == "read" {
        read(&repository).await
    } else {
        let progress: Arc<dyn transship_copy::Progress> = Arc::new(NoProgress);
        let sending = transship_copy::UploadOptions {
            session: None,
            progress: &progress,
            continuations: None,
            budget: None,
            is_repeated: false,
        };
        repository.for_writing().blob_put(&blob(), &Whole, sending).await
    };
    let told = ended.map_or_else(|error| error.code().to_owned(), |()| "OK".to_owned());
    std::fs::write(std::env::var("TRANSSHIP_TEST_TOLD").unwrap(), told).unwrap();
}

async fn read(repository: &transship_registry::RemoteRepository) -> transship_oci::Result<()> {
    let stream = repository.blob_get(&blob(), 0).await?;
    let read: Vec<bytes::Bytes> = stream.try_collect().await?;
    assert_eq!(read.concat(), BLOB);
    Ok(())
}

struct Whole;

#[async_trait::async_trait]
impl BlobSource for Whole {
    async fn blob_get(&self, _: &Descriptor, _: u64) -> transship_oci::Result<transship_copy::ByteStream> {
        Ok(Box::pin(futures_util::stream::iter([Ok(bytes::Bytes::from_static(
            BLOB,
        ))])))
    }

    async fn has_blob(&self, _: &Descriptor) -> bool {
        true
    }
}

/// Runs the child behind a proxy that answers by `play`; how it ended, and what was heard.
async fn told(story: &str, play: impl Fn(&Heard) -> Response<Body> + Send + Sync + 'static) -> (String, Vec<Heard>) {
    let stage = Stage::start(play).await;
    let file = std::env::temp_dir().join(format!("transship-story-{}-{}", std::process::id(), stage.port()));
    let output = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hosts::child", "--ignored", "--test-threads=1"])
        .env(STORY, story)
        .env("TRANSSHIP_TEST_TOLD", &file)
        .env("HTTP_PROXY", format!("http://127.0.0.1:{}", stage.port()))
        .env("http_proxy", format!("http://127.0.0.1:{}", stage.port()))
        .env("NO_PROXY", "")
        .env("no_proxy", "")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = || format!("no result was reported: {}", String::from_utf8_lossy(&output.stdout));
    let told = std::fs::read_to_string(&file).map_err(|_| said()).unwrap();
    std::fs::remove_file(&file).ok();
    (told, stage.heard())
}

/// The credentials each request carried, by host.
fn carried(heard: &[Heard]) -> Vec<(&str, bool)> {
    heard
        .iter()
        .map(|heard| (heard.host.as_str(), heard.authorization().is_some()))
        .collect()
}

const ASKS: [(&str, &str); 1] = [("www-authenticate", "Basic realm=\"r\"")];

#[tokio::test]
async fn a_redirected_read_carries_no_credentials_to_another_host() {
    let (told, heard) = told("read", |heard| match (heard.host.as_str(), heard.authorization()) {
        ("registry.example.com", None) => reply(401, &ASKS, ""),
        ("registry.example.com", Some(_)) => reply(
            307,
            &[("location", "http://storage.example.net/bucket/x?signature=s")],
            "",
        ),
        _ => reply(200, &[], "the blob"),
    })
    .await;
    assert_eq!(told, "OK");
    assert_eq!(
        carried(&heard),
        [
            ("registry.example.com", false),
            ("registry.example.com", true),
            ("storage.example.net", false)
        ]
    );
}

#[tokio::test]
async fn a_redirect_to_where_no_registry_is_is_refused() {
    for (location, expected) in [
        ("http://169.254.169.254/latest/meta-data", "EGRESS_DENIED"),
        ("http://127.0.0.1:9001/2018-06-01/runtime", "EGRESS_DENIED"),
        ("http://10.0.0.1/x", "EGRESS_DENIED"),
        ("file:///etc/passwd", "REDIRECT_REFUSED"),
    ] {
        let (told, heard) = told("read", move |_| reply(307, &[("location", location)], "")).await;
        assert_eq!(told, expected, "{location}");
        assert_eq!(heard.len(), 1, "{location}: nothing was sent there");
    }
}

#[tokio::test]
async fn redirects_without_end_are_not_followed_to_their_end() {
    let (told, heard) = told("read", |heard| {
        reply(302, &[("location", &format!("{}x", heard.path))], "")
    })
    .await;
    assert_eq!((told.as_str(), heard.len()), ("REDIRECT_REFUSED", 6));
}

#[tokio::test]
async fn a_realm_beneath_the_same_domain_gets_credentials_and_one_elsewhere_does_not() {
    for (realm, expected) in [("auth.example.com", "OK"), ("auth.example.net", "AUTH_REALM_REJECTED")] {
        let (told, heard) = told("read", move |heard| {
            match (heard.host.as_str(), heard.authorization()) {
                ("registry.example.com", None) => {
                    let challenge = format!("Bearer realm=\"http://{realm}/token\",service=\"s\"");
                    reply(401, &[("www-authenticate", &challenge)], "")
                }
                ("registry.example.com", Some("Bearer t0ken")) => reply(200, &[], "the blob"),
                (_, Some(_)) => reply(200, &[], r#"{"token":"t0ken"}"#),
                (_, None) => reply(401, &[], ""),
            }
        })
        .await;
        assert_eq!(told, expected, "{realm}");
        let there: Vec<_> = heard.iter().filter(|heard| heard.host == realm).collect();
        assert_eq!(there.len(), usize::from(expected == "OK"), "{realm}");
    }
}

#[tokio::test]
async fn an_upload_that_is_sent_to_another_host_does_not_go_there() {
    for location in [
        "http://storage.example.net/u",
        "http://sub.registry.example.com/u",
        "http://registry.example.com:81/u",
    ] {
        let (told, heard) = told("write", move |_| reply(202, &[("location", location)], "")).await;
        assert_eq!(told, "UPLOAD_LOCATION_REJECTED", "{location}");
        assert_eq!(heard.len(), 1, "{location}");
    }
}
