//! `copy` between registries of this process and from layouts.

use serde_json::Value;
use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::Target;
use transship_testkit::images;

use crate::run::{Run, run};

/// Two registries, and the folder in which the command remembers blob locations.
pub struct Two {
    pub source: EmbeddedRegistry,
    pub destination: EmbeddedRegistry,
    pub data: tempfile::TempDir,
}

impl Two {
    pub async fn start() -> Self {
        Self {
            source: EmbeddedRegistry::builder().start().await.unwrap(),
            destination: EmbeddedRegistry::builder().start().await.unwrap(),
            data: tempfile::tempdir().unwrap(),
        }
    }

    pub async fn copy(&self, from: &str, to: &str, more: &[&str]) -> Run {
        let from = if from.contains("oci:") || from.contains("archive:") {
            from.to_owned()
        } else {
            format!("{}/{from}", self.source.host())
        };
        let to = format!("{}/{to}", self.destination.host());
        let data = self.data.path().join("cache").to_str().unwrap().to_owned();
        let more: Vec<String> = more.iter().map(|&text| text.to_owned()).collect();
        // The registries run on this runtime, so it must not be blocked.
        tokio::task::spawn_blocking(move || {
            let mut arguments = vec!["copy", &from, &to, "--data", &data];
            arguments.extend(more.iter().map(String::as_str));
            run(&arguments)
        })
        .await
        .unwrap()
    }

    pub async fn report(&self, from: &str, to: &str, more: &[&str]) -> Value {
        let told = self.copy(from, to, &[&["--json"], more].concat()).await;
        assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
        told.json()
    }

    pub fn there(&self, repository: &str, tag: &str) -> Option<String> {
        let digest = self
            .destination
            .digest(&repository.parse().unwrap(), &tag.parse().unwrap());
        digest.map(|digest| digest.to_string())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_copied_then_unchanged_then_mounted() {
    let two = Two::start().await;
    let sample = images::multi_platform(1);
    sample.seed_into(&two.source, &"core/app".parse().unwrap(), &"v1".parse().unwrap());

    let first = two.report("core/app:v1", "a/b:v1", &[]).await;
    let keys: Vec<_> = first.as_object().unwrap().keys().map(String::as_str).collect();
    let wanted = [
        "source",
        "destination",
        "digest",
        "state",
        "manifests",
        "blobs",
        "bytes",
        "requests",
        "elapsed_ms",
    ];
    assert_eq!(keys.len(), wanted.len());
    assert!(wanted.iter().all(|key| keys.contains(key)), "{keys:?}");
    assert_eq!(
        (&first["state"], &first["digest"]),
        (&"copied".into(), &sample.root.to_string().into())
    );
    assert_eq!(first["bytes"]["copied"], sample.blobs_size());
    assert_eq!(two.there("a/b", "v1"), Some(sample.root.to_string()));

    two.source.reset_requests();
    two.destination.reset_requests();
    let again = two.report("core/app:v1", "a/b:v1", &["--referrers", "exclude"]).await;
    assert_eq!((&again["state"], &again["manifests"]), (&"unchanged".into(), &0.into()));
    let requests = (two.source.requests().len(), two.destination.requests().len());
    assert_eq!(requests, (1, 1), "nothing to do costs two requests");
    assert_eq!(again["requests"], serde_json::json!({ "source": 1, "destination": 1 }));

    let elsewhere = two.report("core/app:v1", "c/d:v1", &[]).await;
    assert_eq!(
        elsewhere["bytes"]["copied"], 0,
        "what the registry has is mounted: {elsewhere}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layout_is_a_source_under_its_own_digest() {
    let two = Two::start().await;
    let sample = images::with_referrer(2);
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("with:colon");
    std::fs::create_dir(&layout).unwrap();
    sample.write_layout(&layout, "v9").unwrap();
    let from = format!("oci:{}:v9", layout.display());
    let report = two.report(&from, "a/b", &[]).await;
    assert_eq!(report["destination"], format!("{}/a/b:latest", two.destination.host()));
    assert_eq!(two.there("a/b", "latest"), Some(sample.root.to_string()));
    assert_eq!(
        two.destination.manifests(&"a/b".parse().unwrap()).len(),
        sample.manifests.len()
    );
    let missing = two.copy(&format!("oci:{}:v8", layout.display()), "a/b", &[]).await;
    assert_eq!((missing.code, missing.error_code()), (1, "LAYOUT_REFERENCE_NOT_FOUND"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_is_kept_or_saved_as_asked() {
    let two = Two::start().await;
    let (old, new) = (images::image(1, &[10]), images::image(2, &[10]));
    let name = "core/app".parse().unwrap();
    new.seed_into(&two.source, &name, &"v1".parse().unwrap());
    old.seed_into(&two.destination, &name, &"v1".parse().unwrap());
    for existing in ["keep", "follow"] {
        let kept = two
            .report("core/app:v1", "core/app:v1", &["--existing", existing])
            .await;
        assert_eq!(
            (&kept["state"], &kept["digest"]),
            (&"kept".into(), &old.root.to_string().into())
        );
    }
    let saved = two
        .report("core/app:v1", "core/app:v1", &["--existing", "backup"])
        .await;
    assert_eq!(saved["state"], "copied");
    assert_eq!(two.there("core/app", "v1"), Some(new.root.to_string()));
    let backup = format!("v1-{}", &old.root.hex()[..12]);
    assert_eq!(two.there("core/app", &backup), Some(old.root.to_string()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_names_its_own_image_only() {
    let two = Two::start().await;
    let sample = images::image(1, &[10]);
    sample.seed_into(&two.source, &"core/app".parse().unwrap(), &"v1".parse().unwrap());
    let right = two
        .report("core/app:v1", &format!("core/app@{}", sample.root), &[])
        .await;
    assert_eq!(right["state"], "copied");
    let target = Target::Digest(sample.root.clone());
    assert!(
        two.destination
            .manifest(&"core/app".parse().unwrap(), &target)
            .is_some()
    );
    let other = transship_oci::Digest::sha256(b"other");
    let wrong = two.copy("core/app:v1", &format!("core/app@{other}"), &[]).await;
    assert_eq!((wrong.code, wrong.error_code()), (2, "USAGE"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_copied_is_exit_1_with_its_code() {
    let two = Two::start().await;
    let missing = two.copy("core/app:nope", "a/b:v1", &[]).await;
    assert_eq!((missing.code, missing.error_code()), (1, "SOURCE_NOT_FOUND"));
    let unsigned = images::image(1, &[10]);
    unsigned.seed_into(&two.source, &"core/app".parse().unwrap(), &"v1".parse().unwrap());
    let refused = two.copy("core/app:v1", "a/b:v1", &["--referrers", "require"]).await;
    assert_eq!((refused.code, refused.error_code()), (1, "REFERRERS_MISSING"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_that_cannot_be_used_costs_one_warning_and_nothing_else() {
    let two = Two::start().await;
    let sample = images::image(1, &[10, 20]);
    sample.seed_into(&two.source, &"core/app".parse().unwrap(), &"v1".parse().unwrap());
    std::fs::write(two.data.path().join("cache"), "in the way").unwrap();
    let told = two.copy("core/app:v1", "a/b:v1", &[]).await;
    assert_eq!((told.code, told.err.lines().count()), (0, 1), "{told:?}");
    assert!(told.err.contains("DATA_UNAVAILABLE"), "{told:?}");
    assert!(told.out.starts_with("copied "), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn platforms_are_selected_and_a_missing_one_is_an_error() {
    let two = Two::start().await;
    let sample = images::of_platforms(21, &["linux/amd64", "linux/arm64/v8", "linux/s390x"]);
    sample.seed_into(&two.source, &"core/app".parse().unwrap(), &"v1".parse().unwrap());
    let one = two
        .report("core/app:v1", "one:v1", &["--platform", "linux/arm64"])
        .await;
    assert_eq!(one["state"], "copied");
    assert_ne!(one["digest"], sample.root.to_string());
    assert_eq!(two.there("one", "v1").map(Into::into), Some(one["digest"].clone()));
    let several = ["--platform", "linux/arm64,linux/amd64"];
    let row = two
        .copy(
            "core/app:v1",
            "several:v1",
            &[&["--dry-run", "--json"], &several[..]].concat(),
        )
        .await;
    let first = two.report("core/app:v1", "several:v1", &several).await;
    assert_eq!(row.json()["images"][0]["digest"], first["digest"]);
    let again = ["--platform", "linux/amd64", "--platform", "linux/arm64/v8"];
    let again = two.report("core/app:v1", "several:v1", &again).await;
    assert_eq!(
        (&again["state"], &again["digest"]),
        (&"unchanged".into(), &first["digest"])
    );
    for more in [
        &["--platform", "linux/mips"][..],
        &["--platform", "linux/mips", "--dry-run"],
    ] {
        let told = two.copy("core/app:v1", "none:v1", more).await;
        assert_eq!((told.code, told.error_code()), (1, "PLATFORM_MISSING"), "{told:?}");
        assert!(
            told.err.contains("linux/amd64, linux/arm64/v8, linux/s390x"),
            "{told:?}"
        );
    }
    let told = two
        .copy("core/app:v1", "some:v1", &["--platform", "linux/mips,linux/amd64"])
        .await;
    assert_eq!(told.code, 0, "{told:?}");
    assert!(
        told.err.contains("PLATFORMS_INCOMPLETE") && told.err.contains("linux/mips"),
        "{told:?}"
    );
}
