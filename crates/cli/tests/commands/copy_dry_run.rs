//! `copy --dry-run`: says what a copy would do, and sends nothing that could change a registry.

use serde_json::{Value, json};
use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::{Repository, Tag};
use transship_testkit::images::{self, Sample};

use crate::copy::Two;

fn seed(sample: &Sample, registry: &EmbeddedRegistry, repository: &str) {
    sample.seed_into(
        registry,
        &repository.parse::<Repository>().unwrap(),
        &"v1".parse::<Tag>().unwrap(),
    );
}

impl Two {
    /// The one row of a dry run, which changed nothing.
    async fn row(&self, from: &str, to: &str, more: &[&str]) -> Value {
        self.source.reset_requests();
        self.destination.reset_requests();
        let report = self.report(from, to, &[&["--dry-run"], more].concat()).await;
        self.assert_only_read();
        let [row] = report["images"].as_array().unwrap().as_slice() else {
            panic!("not one row: {report}");
        };
        assert_eq!(report["totals"]["images"], 1);
        assert_eq!(report["totals"]["bytes"], row["bytes"]);
        assert_eq!(report["totals"][row["action"].as_str().unwrap()], 1);
        row.clone()
    }

    fn assert_only_read(&self) {
        for request in [self.source.requests(), self.destination.requests()].concat() {
            let reads = request.method == "GET" || request.method == "HEAD";
            assert!(reads, "{} {}", request.method, request.path);
        }
    }
}

fn requests_of(report: &Value) -> u64 {
    let requests = &report["requests"];
    requests["source"].as_u64().unwrap() + requests["destination"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_copy_does_is_what_its_dry_run_said() {
    for sample in [
        images::image(1, &[1000; 10]),
        images::image(2, &[5 << 20, 10]),
        images::multi_platform(3),
        images::with_referrer(4),
        images::with_cosign_signature(5),
    ] {
        let two = Two::start().await;
        seed(&sample, &two.source, "core/app");
        let row = two.row("core/app:v1", "a/b:v1", &[]).await;
        let keys: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
        let wanted = [
            "source",
            "destination",
            "action",
            "code",
            "reason",
            "digest",
            "manifests",
            "blobs",
            "bytes",
            "requests",
        ];
        assert!(
            wanted.iter().all(|key| keys.contains(key)) && keys.len() == wanted.len(),
            "{keys:?}"
        );
        assert_eq!(two.destination.repositories().len(), 0);

        let done = two.report("core/app:v1", "a/b:v1", &[]).await;
        assert_eq!((&row["action"], &done["state"]), (&"copy".into(), &"copied".into()));
        for key in ["source", "destination", "digest", "manifests", "blobs"] {
            assert_eq!(row[key], done[key], "{key}");
        }
        assert_eq!(row["bytes"], done["bytes"]["copied"]);
        assert_eq!(row["requests"], requests_of(&done));

        let again = two.row("core/app:v1", "a/b:v1", &[]).await;
        assert_eq!((&again["action"], &again["bytes"]), (&"unchanged".into(), &0.into()));
        let elsewhere = two.row("core/app:v1", "c/d:v1", &[]).await;
        assert_eq!(
            (&elsewhere["bytes"], &elsewhere["blobs"]["copied"]),
            (&0.into(), &0.into()),
            "what the registry has would be mounted"
        );
        assert_eq!(elsewhere["blobs"]["mounted"], row["blobs"]["copied"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_would_be_kept_or_replaced_as_asked() {
    let two = Two::start().await;
    let (old, new) = (images::image(1, &[10, 20]), images::image(2, &[10, 30]));
    seed(&new, &two.source, "core/app");
    seed(&old, &two.destination, "core/app");
    for (existing, action, code) in [
        ("keep", "keep", json!("DESTINATION_KEPT")),
        ("follow", "keep", json!("DESTINATION_KEPT")),
        ("overwrite", "copy", Value::Null),
        ("backup", "copy", Value::Null),
    ] {
        let row = two.row("core/app:v1", "core/app:v1", &["--existing", existing]).await;
        assert_eq!((&row["action"], &row["code"]), (&action.into(), &code), "{existing}");
        assert_eq!(row["bytes"].as_u64().unwrap() > 0, action == "copy");
        assert_eq!(two.there("core/app", "v1"), Some(old.root.to_string()));
    }
    let row = two.row("core/app:v1", "core/app:v1", &["--existing", "backup"]).await;
    let done = two
        .report("core/app:v1", "core/app:v1", &["--existing", "backup"])
        .await;
    assert_eq!(row["requests"], requests_of(&done));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_attached_to_an_image_that_is_there_would_be_copied() {
    let two = Two::start().await;
    let whole = images::with_referrer(7);
    seed(&whole, &two.source, "core/app");
    let bare = Sample {
        manifests: whole.manifests[..1].to_vec(),
        ..whole.clone()
    };
    seed(&bare, &two.destination, "core/app");
    let row = two.row("core/app:v1", "core/app:v1", &[]).await;
    assert_eq!((&row["action"], &row["manifests"]), (&"copy".into(), &1.into()));
    assert_eq!(row["reason"], "the image is there, 1 attachment missing or different");
    let excluded = two.row("core/app:v1", "core/app:v1", &["--referrers", "exclude"]).await;
    assert_eq!(excluded["action"], "unchanged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_sources_too() {
    let two = Two::start().await;
    let sample = images::multi_platform(8);
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    std::fs::create_dir(&layout).unwrap();
    sample.write_layout(&layout, "v1").unwrap();
    let archive = folder.path().join("packed.tar");
    let packed = std::process::Command::new("tar")
        .args(["-cf", archive.to_str().unwrap(), "-C", layout.to_str().unwrap(), "."])
        .status()
        .unwrap();
    assert!(packed.success());
    for from in [
        format!("oci:{}:v1", layout.display()),
        format!("oci-archive:{}:v1", archive.display()),
    ] {
        let row = two.row(&from, "a/b:v1", &[]).await;
        assert_eq!(
            (&row["action"], &row["source"]),
            (&"copy".into(), &from.as_str().into())
        );
        assert_eq!(row["bytes"], sample.blobs_size());
        assert_eq!(two.source.requests().len(), 0);
    }
    let from = format!("oci:{}:v1", layout.display());
    let row = two.row(&from, "a/b:v1", &[]).await;
    let done = two.report(&from, "a/b:v1", &[]).await;
    assert_eq!(row["requests"], requests_of(&done));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_copy_refuses_its_dry_run_refuses_with_the_same_code() {
    let two = Two::start().await;
    let missing = two.copy("core/app:nope", "a/b:v1", &["--dry-run", "--json"]).await;
    assert_eq!((missing.code, missing.error_code()), (1, "SOURCE_NOT_FOUND"));
    let row = &missing.json()["images"][0];
    assert_eq!(
        (&row["action"], &row["code"]),
        (&"refuse".into(), &"SOURCE_NOT_FOUND".into())
    );
    seed(&images::image(1, &[10]), &two.source, "core/app");
    let unsigned = two
        .copy("core/app:v1", "a/b:v1", &["--dry-run", "--referrers", "require"])
        .await;
    assert_eq!((unsigned.code, unsigned.error_code()), (1, "REFERRERS_MISSING"));
    two.assert_only_read();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_that_may_not_be_distributed_are_not_counted() {
    let two = Two::start().await;
    seed(&images::non_distributable(6), &two.source, "core/app");
    let row = two.row("core/app:v1", "a/b:v1", &[]).await;
    assert_eq!(
        (&row["action"], &row["code"]),
        (&"copy".into(), &"FOREIGN_LAYER_SKIPPED".into())
    );
    assert_eq!(row["blobs"], json!({ "copied": 2, "mounted": 0, "skipped": 0 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_read_one_line() {
    let two = Two::start().await;
    seed(&images::image(1, &[1000; 10]), &two.source, "core/app");
    let told = two
        .copy("core/app:v1", "a/b:v1", &["--dry-run", "--referrers", "exclude"])
        .await;
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
    assert!(told.out.starts_with("would copy "), "{told:?}");
    assert!(
        told.out.contains("1 manifest, blobs 11 to send, 0 to mount, 0 there"),
        "{told:?}"
    );
    assert!(told.out.contains("37 requests"), "{told:?}");
    assert_eq!(told.out.lines().count(), 1);
}
