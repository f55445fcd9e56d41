//! Debian's `docker-registry`: the samples that it accepts, the notifications that it sends, the locations that it builds.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use transship_embedded_registry::faults::{Action, Faults, RequestHead};
use transship_embedded_registry::{Auth, EmbeddedRegistry, Notification};
use transship_oci::{Digest, Repository, Tag};
use transship_testkit::images;
use transship_testkit::processes::{DockerRegistry, NotificationEndpoint};
use transship_testkit::proxy::{Class, FaultProxy};

async fn started(notify: Option<&NotificationEndpoint>) -> Option<DockerRegistry> {
    let registry = DockerRegistry::start(notify).await.unwrap();
    if registry.is_none() {
        println!("skipped: docker-registry is not installed (apt-get install docker-registry)");
    }
    registry
}

/// The digest of the content of a URL, computed by the test.
async fn digest_at(url: String) -> Digest {
    let accept = transship_oci::media_type::ACCEPT_MANIFESTS;
    let answer = transship_testkit::http::client()
        .get(&url)
        .header("accept", accept)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{url}");
    Digest::sha256(&answer.bytes().await.unwrap())
}

#[tokio::test]
async fn every_sample_is_taken_and_given_back() {
    let Some(registry) = started(None).await else { return };
    for (name, sample) in images::all(9) {
        let repository: Repository = format!("samples/{name}").parse().unwrap();
        let tag = "v1".parse().unwrap();
        sample
            .push_over_http(&registry.url(), &repository, &tag)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let url = registry.url();
        assert_eq!(
            digest_at(format!("{url}/v2/{repository}/manifests/v1")).await,
            sample.root,
            "{name}"
        );
        if name == "with-referrer" {
            let fallback = digest_at(format!(
                "{url}/v2/{repository}/manifests/{}",
                sample.root.fallback_tag()
            ))
            .await;
            assert_eq!(fallback, sample.fallbacks()[0].digest);
        }
    }
}

#[tokio::test]
async fn its_locations_lead_through_the_proxy() {
    let Some(registry) = started(None).await else { return };
    let proxy = FaultProxy::start(registry.host()).await.unwrap();
    let (sample, repository, tag) = (
        images::image(1, &[300_000]),
        "a/b".parse().unwrap(),
        "v1".parse().unwrap(),
    );
    sample.push_over_http(&proxy.url(), &repository, &tag).await.unwrap();
    let uploads = proxy.traffic().count("PUT", Class::Upload);
    assert_eq!((uploads.requests, uploads.bytes_in), (2, sample.blobs_size()));
    assert_eq!(
        digest_at(format!("{}/v2/a/b/manifests/v1", proxy.url())).await,
        sample.root
    );
}

/// An independent client can use the embedded registry, with and without tokens.
#[tokio::test]
async fn skopeo_copies_into_the_embedded_registry_and_out_of_it() {
    let auth = Auth::Bearer {
        user: "ada".into(),
        password: "secret".into(),
        expiry: Duration::from_mins(1),
    };
    let first = EmbeddedRegistry::builder().start().await.unwrap();
    let second = EmbeddedRegistry::builder().auth(auth).start().await.unwrap();
    let (repository, tag): (Repository, Tag) = ("a/b".parse().unwrap(), "v1".parse().unwrap());
    for sample in [images::multi_platform(4), images::docker_list(5), images::helm_chart(6)] {
        sample.seed_into(&first, &repository, &tag);
        let skopeo = tokio::process::Command::new("skopeo")
            .args([
                "copy",
                "--quiet",
                "--all",
                "--preserve-digests",
                "--src-tls-verify=false",
            ])
            .args(["--dest-tls-verify=false", "--dest-creds=ada:secret"])
            .arg(format!("docker://{}/a/b:v1", first.host()))
            .arg(format!("docker://{}/a/b:v1", second.host()))
            .output()
            .await;
        let Ok(output) = skopeo else {
            println!("skipped: skopeo is not installed (apt-get install skopeo)");
            return;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(second.digest(&repository, &tag), Some(sample.root.clone()));
        for (digest, bytes) in &sample.blobs {
            assert_eq!(second.blob(&repository, digest).as_ref(), Some(bytes));
        }
    }
}

/// Answers every request and records it.
#[derive(Default)]
struct Sink(Mutex<Vec<(String, Option<String>)>>);

impl Faults for Sink {
    fn action(&self, request: &RequestHead<'_>) -> Option<Action> {
        let header = request.headers.get("authorization");
        let header = header.map(|value| value.to_str().unwrap().to_owned());
        self.0.lock().unwrap().push((request.path.to_owned(), header));
        Some(Action::status(200))
    }
}

#[tokio::test]
async fn it_notifies_where_it_is_told_to() {
    let sink = Arc::new(Sink::default());
    let receiver = EmbeddedRegistry::builder()
        .faults(Arc::clone(&sink) as _)
        .start()
        .await
        .unwrap();
    let endpoint = NotificationEndpoint {
        url: format!("{}/hooks/source", receiver.url()),
        headers: vec![("Authorization".into(), "Bearer \"right\"".into())],
    };
    let Some(registry) = started(Some(&endpoint)).await else {
        return;
    };
    let (sample, repository, tag) = (images::image(1, &[10]), "a".parse().unwrap(), "v1".parse().unwrap());
    sample.push_over_http(&registry.url(), &repository, &tag).await.unwrap();
    // Two blobs and the manifest; the registry delivers within its own time.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while sink.0.lock().unwrap().len() < 3 {
        assert!(tokio::time::Instant::now() < deadline, "{}", registry.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let seen = sink.0.lock().unwrap();
    assert!(seen.iter().all(|(path, _)| path == "/hooks/source"));
    assert!(
        seen.iter()
            .all(|(_, header)| header.as_deref() == Some("Bearer \"right\""))
    );
}

/// The embedded registry's delivery has the fields of the real one, with equal values where they do not depend on the time.
#[tokio::test]
async fn the_embedded_registry_notifies_like_the_recorded_one() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/payloads");
    let Ok(recorded) = std::fs::read(folder.join("distribution-v2-push-deep-repo.json")) else {
        println!("skipped: no recorded deliveries beside the workspace");
        return;
    };
    let recorded: Value = serde_json::from_slice(&recorded).unwrap();
    let told: Arc<Mutex<Vec<Value>>> = Arc::default();
    let listener = Arc::clone(&told);
    let tell = move |notification: Notification| {
        listener
            .lock()
            .unwrap()
            .push(serde_json::from_slice(&notification.body).unwrap());
    };
    let builder = EmbeddedRegistry::builder().notify(Arc::new(tell));
    let registry = builder.start().await.unwrap();
    let (sample, repository, tag) = (images::image(1, &[10]), "a".parse().unwrap(), "v1".parse().unwrap());
    sample.push_over_http(&registry.url(), &repository, &tag).await.unwrap();
    let told = told.lock().unwrap();
    assert_eq!(shape(told.last().unwrap()), shape(&recorded));
}

/// The paths of all fields, without their values.
fn shape(value: &Value) -> Vec<String> {
    fn walk(value: &Value, path: &str, paths: &mut Vec<String>) {
        match value {
            Value::Object(fields) => fields
                .iter()
                .for_each(|(name, value)| walk(value, &format!("{path}/{name}"), paths)),
            Value::Array(items) => items.iter().for_each(|value| walk(value, &format!("{path}/[]"), paths)),
            _ => paths.push(path.to_owned()),
        }
    }
    let mut paths = Vec::new();
    walk(value, "", &mut paths);
    paths.retain(|path| path != "/events/[]/actor/name");
    paths.sort();
    paths.dedup();
    paths
}
