//! `import` of folders and archives, and `copy` from archives, into a registry of this process.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::{Digest, Repository, Target};
use transship_testkit::faults::{Action, Fault, Script};
use transship_testkit::images::{self, Sample};

use crate::run::{Run, run};

struct Harbour {
    registry: EmbeddedRegistry,
    folder: tempfile::TempDir,
}

impl Harbour {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("images")).unwrap();
        Self {
            registry: EmbeddedRegistry::builder().start().await.unwrap(),
            folder,
        }
    }

    /// The folder to import from.
    fn images(&self) -> PathBuf {
        self.folder.path().join("images")
    }

    fn layout(&self, path: &str, sample: &Sample, name: &str) -> PathBuf {
        let folder = self.images().join(path);
        std::fs::create_dir_all(&folder).unwrap();
        sample.write_layout(&folder, name).unwrap();
        folder
    }

    /// Packs the layout at `path` into `path.tar`.
    fn pack(&self, path: &str) -> PathBuf {
        let (folder, archive) = (self.images().join(path), self.images().join(format!("{path}.tar")));
        tool("tar", &["-cf", text(&archive), "-C", text(&folder), "."]);
        std::fs::remove_dir_all(folder).unwrap();
        archive
    }

    async fn run(&self, arguments: &[&str]) -> Run {
        let data = self.folder.path().join("cache");
        let mut arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        arguments.extend(["--data".to_owned(), text(&data).to_owned()]);
        // The registry runs on this runtime, so it must not be blocked.
        tokio::task::spawn_blocking(move || run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()))
            .await
            .unwrap()
    }

    async fn import(&self, source: &Path, more: &[&str]) -> Run {
        let to = format!("{}/mirror", self.registry.host());
        self.run(&[&["import", text(source), "--to", &to], more].concat()).await
    }

    async fn report(&self, more: &[&str]) -> Value {
        let told = self.import(&self.images(), &[&["--json"], more].concat()).await;
        assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
        told.json()
    }

    fn there(&self, repository: &str, tag: &str) -> Option<String> {
        let digest = self
            .registry
            .digest(&repository.parse().unwrap(), &tag.parse().unwrap());
        digest.map(|digest| digest.to_string())
    }

    /// Number of bytes of blobs that were sent.
    fn sent(&self) -> u64 {
        let uploads = self.registry.requests();
        let uploads = uploads.iter().filter(|request| request.path.contains("/blobs/"));
        uploads.map(|request| request.bytes_in).sum()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn tool(name: &str, arguments: &[&str]) {
    let done = Command::new(name).args(arguments).output().unwrap();
    assert!(done.status.success(), "{name} {arguments:?}: {done:?}");
}

fn counts(report: &Value) -> [u64; 4] {
    let failed = report["failed"].as_array().unwrap().len() as u64;
    let number = |key: &str| report[key].as_u64().unwrap();
    assert_eq!(
        number("images"),
        number("copied") + number("unchanged") + number("kept") + failed
    );
    [number("copied"), number("unchanged"), number("kept"), failed]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_below_a_folder_arrives_under_its_path_and_moves_once() {
    let harbour = Harbour::start().await;
    let (index, signed, packed) = (
        images::multi_platform(1),
        images::with_referrer(2),
        images::image(3, &[99]),
    );
    harbour.layout("team/app", &index, "v1");
    harbour.layout("team/app", &images::image(4, &[7]), "registry.example/other/name:v2");
    harbour.layout("signed", &signed, "v1");
    harbour.layout("packed", &packed, "v3");
    harbour.pack("packed");

    let first = harbour.report(&[]).await;
    assert_eq!(counts(&first), [4, 0, 0, 0], "{first}");
    assert_eq!(first["bytes"]["copied"], harbour.sent(), "{first}");
    assert_eq!(harbour.there("mirror/team/app", "v1"), Some(index.root.to_string()));
    assert!(harbour.there("mirror/team/app", "v2").is_some());
    assert_eq!(harbour.there("mirror/signed", "v1"), Some(signed.root.to_string()));
    assert_eq!(harbour.there("mirror/packed", "v3"), Some(packed.root.to_string()));
    let manifests = harbour.registry.manifests(&"mirror/signed".parse().unwrap());
    assert_eq!(manifests.len(), signed.manifests.len(), "referrers come along");

    harbour.registry.reset_requests();
    let again = harbour.report(&[]).await;
    assert_eq!(counts(&again), [0, 4, 0, 0], "{again}");
    let requests = harbour.registry.requests();
    assert!(requests.len() <= 2 * 4, "two requests per image: {requests:?}");
    // A referrer that is there may not be listed there, so the list is read.
    let is_list = |path: &str| path.contains("/referrers/");
    let others = requests.iter().filter(|request| !is_list(&request.path));
    assert!(others.clone().all(|request| request.method == "HEAD"), "{requests:?}");
    assert_eq!(others.count(), requests.len() - 1, "{requests:?}");
    let keys: BTreeSet<&str> = again.as_object().unwrap().keys().map(String::as_str).collect();
    let wanted = ["bytes", "copied", "elapsed_ms", "failed", "images", "kept", "unchanged"];
    assert_eq!(keys, BTreeSet::from(wanted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_source_itself_goes_to_the_path_and_what_has_no_name_by_digest() {
    let harbour = Harbour::start().await;
    let sample = images::image(1, &[10]);
    let layout = harbour.layout("app", &sample, "v1");
    let index = std::fs::read_to_string(layout.join("index.json")).unwrap();
    let mut index: Value = serde_json::from_str(&index).unwrap();
    index["manifests"][0].as_object_mut().unwrap().remove("annotations");
    std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
    let told = harbour.import(&layout, &[]).await;
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
    assert!(told.out.starts_with("1 image: 1 copied; "), "{told:?}");
    let mirror: Repository = "mirror".parse().unwrap();
    let by_digest = Target::Digest(sample.root.clone());
    assert!(harbour.registry.manifest(&mirror, &by_digest).is_some());
    assert!(harbour.registry.tags(&mirror).is_empty());

    // An archive with any name, through a symbolic link.
    harbour.layout("named", &images::image(2, &[10]), "v2");
    let archive = harbour.pack("named");
    let link = harbour.folder.path().join("linked");
    std::os::unix::fs::symlink(archive, &link).unwrap();
    let told = harbour.import(&link, &[]).await;
    assert_eq!(told.code, 0, "{told:?}");
    assert!(harbour.there("mirror", "v2").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_images_share_moves_once() {
    let harbour = Harbour::start().await;
    let shared = images::image(1, &[300_000, 200_000, 100_000]);
    for at in 0..12 {
        harbour.layout(&format!("app{at}"), &shared, "v1");
    }
    let report = harbour.report(&[]).await;
    assert_eq!(counts(&report), [12, 0, 0, 0]);
    assert_eq!(harbour.sent(), shared.blobs_size(), "{report}");
    assert_eq!(report["bytes"]["copied"], shared.blobs_size());
    assert_eq!(report["bytes"]["mounted"], 11 * shared.blobs_size());
    for at in 0..12 {
        let digest = harbour.there(&format!("mirror/app{at}"), "v1");
        assert_eq!(digest, Some(shared.root.to_string()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_image_is_told_and_the_rest_arrive() {
    let harbour = Harbour::start().await;
    harbour.layout("good", &images::image(1, &[10]), "v1");
    let lost = images::image(2, &[20]);
    let layout = harbour.layout("lost", &lost, "v1");
    let blob = lost.blobs.keys().next().unwrap();
    std::fs::remove_file(layout.join("blobs/sha256").join(blob.hex())).unwrap();
    harbour.layout("lost", &images::image(3, &[30]), "v2");
    let old = harbour.layout("old", &images::image(4, &[40]), "v1");
    std::fs::write(old.join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    harbour.layout("Upper", &images::image(5, &[50]), "v1");
    harbour.layout("cut", &images::image(6, &[60_000]), "v1");
    let cut = harbour.pack("cut");
    let bytes = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(harbour.images().join("none.tar.gz"), "no archive ".repeat(100)).unwrap();
    harbour.layout("twice", &images::image(7, &[70]), "v1");
    harbour.pack("twice");
    harbour.layout("twice", &images::image(8, &[80]), "v1");

    let told = harbour.import(&harbour.images(), &["--json"]).await;
    assert_eq!((told.code, told.error_code()), (1, "IMPORT_INCOMPLETE"), "{told:?}");
    let report = told.json();
    let failed: BTreeSet<(String, Option<String>, String)> = report["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|failed| {
            let word = |key: &str| failed[key].as_str().map(str::to_owned);
            let source = word("source").unwrap();
            let (_, source) = source.split_once("/images/").unwrap();
            assert!(!word("message").unwrap().is_empty());
            (source.to_owned(), word("reference"), word("code").unwrap())
        })
        .collect();
    let one = |source: &str, reference: Option<&str>, code: &str| {
        (source.to_owned(), reference.map(str::to_owned), code.to_owned())
    };
    let expected = [
        one("Upper", None, "INVALID_REFERENCE"),
        one("cut.tar", None, "ARCHIVE_TRUNCATED"),
        one("lost", Some("v1"), "BLOB_NOT_FOUND"),
        one("none.tar.gz", None, "ARCHIVE_INVALID"),
        one("old", None, "LAYOUT_INVALID"),
        one("twice", Some("v1"), "LAYOUT_NAME_CONFLICT"),
    ];
    assert_eq!(failed, BTreeSet::from(expected), "{report:#}");
    assert_eq!(counts(&report), [3, 0, 0, 6]);
    for (repository, tag) in [("good", "v1"), ("lost", "v2"), ("twice", "v1")] {
        assert!(
            harbour.there(&format!("mirror/{repository}"), tag).is_some(),
            "{repository}"
        );
    }
    assert_eq!(
        harbour.there("mirror/lost", "v1"),
        None,
        "nothing is visible before all of it is there"
    );

    // Text output has one line for each failure, and nothing that is there is moved again.
    let told = harbour.import(&harbour.images(), &[]).await;
    assert_eq!((told.code, told.err.lines().count()), (1, 6), "{told:?}");
    assert!(told.err.contains("BLOB_NOT_FOUND: "), "{told:?}");
    assert!(
        told.out.starts_with("9 images: 3 unchanged, 6 failed; 0 B sent"),
        "{told:?}"
    );
}

/// The response of a registry to a manifest whose blobs it lost. The client does not retry it.
fn forgetful(image: &str) -> Fault {
    let lost = Action::Status {
        code: 400,
        headers: vec![("content-type".into(), "application/json".into())],
        body: br#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown"}]}"#
            .as_slice()
            .into(),
    };
    Fault::new("PUT", &format!("/v2/mirror/{image}/manifests/"), lost).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_whose_failure_passes_is_tried_again_and_counted_once() {
    let harbour = Harbour::start().await;
    harbour.layout("app", &images::image(1, &[10]), "v1");
    harbour.layout("other", &images::image(2, &[20]), "v1");
    // A second attempt may put a manifest twice and the first does not, so a third is needed.
    let script = Arc::new(Script::new([forgetful("app").times(3)]));
    harbour.registry.set_faults(Some(Arc::clone(&script) as _));
    let report = harbour.report(&[]).await;
    assert_eq!(script.struck(), 3);
    assert_eq!(counts(&report), [2, 0, 0, 0], "{report}");
    assert!(harbour.there("mirror/app", "v1").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_fails_three_times_is_told_and_no_longer_tried() {
    let harbour = Harbour::start().await;
    harbour.layout("app", &images::image(1, &[10]), "v1");
    let script = Arc::new(Script::new([forgetful("app").always()]));
    harbour.registry.set_faults(Some(Arc::clone(&script) as _));
    let told = harbour.import(&harbour.images(), &["--json"]).await;
    assert_eq!((told.code, told.error_code()), (1, "IMPORT_INCOMPLETE"), "{told:?}");
    let report = told.json();
    assert_eq!(counts(&report), [0, 0, 0, 1], "{report}");
    assert_eq!(report["failed"][0]["code"], "BLOB_UNKNOWN_AT_DEST");
    assert!(
        (3..=6).contains(&script.struck()),
        "once or twice each time: {}",
        script.struck()
    );
    assert_eq!(harbour.there("mirror/app", "v1"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_is_kept_if_asked() {
    let harbour = Harbour::start().await;
    let other = images::image(1, &[10]);
    other.seed_into(
        &harbour.registry,
        &"mirror/app".parse().unwrap(),
        &"v1".parse().unwrap(),
    );
    harbour.layout("app", &images::image(2, &[20]), "v1");
    let kept = harbour.report(&["--existing", "keep"]).await;
    assert_eq!(counts(&kept), [0, 0, 1, 0]);
    assert_eq!(harbour.there("mirror/app", "v1"), Some(other.root.to_string()));
    let replaced = harbour.report(&[]).await;
    assert_eq!(counts(&replaced), [1, 0, 0, 0]);
}

#[cfg(not(feature = "aws"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_without_aws_says_so_where_a_bucket_or_a_stack_is_named() {
    let harbour = Harbour::start().await;
    let bucket = Path::new("s3://bucket/prefix");
    let told = harbour.import(bucket, &[]).await;
    assert_eq!((told.code, told.error_code()), (2, "S3_NOT_BUILT"));
    let stack = ["--table", "t", "--queue", "https://sqs.example/q"];
    let told = harbour.import(bucket, &stack).await;
    assert_eq!((told.code, told.error_code()), (2, "AWS_NOT_BUILT"));
    let told = harbour.import(&harbour.images(), &stack).await;
    assert_eq!((told.code, told.error_code()), (2, "USAGE"), "a stack reads no folders");
    for half in [
        &["--table", "t"][..],
        &["--queue", "https://sqs.example/q"],
        &["--no-wait"],
    ] {
        let told = harbour.import(bucket, half).await;
        assert_eq!((told.code, told.error_code()), (2, "USAGE"), "{half:?}");
    }
    assert!(harbour.registry.requests().is_empty());
}

/// Writes `sample` as `core/app:v1` of a registry's storage below `folder`.
fn write_tree(folder: &Path, sample: &Sample) {
    let write = |key: String, bytes: &[u8]| {
        let path = folder.join("docker/registry/v2").join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let data = |digest: &Digest| format!("blobs/sha256/{}/{}/data", &digest.hex()[..2], digest.hex());
    for (digest, bytes) in &sample.blobs {
        write(data(digest), bytes);
    }
    let manifests = "repositories/core/app/_manifests";
    for manifest in &sample.manifests {
        write(data(&manifest.digest), &manifest.bytes);
        let link = format!("{manifests}/revisions/sha256/{}/link", manifest.digest.hex());
        write(link, manifest.digest.to_string().as_bytes());
    }
    write(
        format!("{manifests}/tags/v1/current/link"),
        sample.root.to_string().as_bytes(),
    );
    let nothing = Digest::sha256(b"nothing").to_string();
    write(format!("{manifests}/tags/broken/current/link"), nothing.as_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_tree_is_taken_with_its_untagged_referrers() {
    let harbour = Harbour::start().await;
    let sample = images::with_referrer(1);
    write_tree(&harbour.images(), &sample);
    let told = harbour.import(&harbour.images(), &["--json"]).await;
    assert_eq!(told.code, 1, "{told:?}");
    let report = told.json();
    assert_eq!(
        counts(&report),
        [2, 0, 0, 1],
        "a referrer is an image of its own: {report:#}"
    );
    assert_eq!(
        (&report["failed"][0]["reference"], &report["failed"][0]["code"]),
        (&json!("broken"), &json!("STORAGE_LINK_DANGLING"))
    );
    assert_eq!(harbour.there("mirror/core/app", "v1"), Some(sample.root.to_string()));
    let manifests = harbour.registry.manifests(&"mirror/core/app".parse().unwrap());
    assert_eq!(manifests.len(), sample.manifests.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_storage_tree_is_imported_however_it_is_packed() {
    let sample = images::with_referrer(1);
    let root = tempfile::tempdir().unwrap();
    let registry = root.path().join("registry");
    write_tree(&registry, &sample);
    for (file, more, above, what) in [
        ("b.tgz", "-czf", registry.as_path(), "docker"),
        ("b.tar.gz", "-czf", registry.as_path(), "."),
        ("b.tar", "-cf", root.path(), "registry"),
    ] {
        for format in ["gnu", "posix"] {
            let harbour = Harbour::start().await;
            let archive = harbour.images().join(file);
            tool(
                "tar",
                &["--format", format, "-C", text(above), more, text(&archive), what],
            );
            let told = harbour.import(&harbour.images(), &["--json"]).await;
            let report = told.json();
            assert_eq!(counts(&report), [2, 0, 0, 1], "{format} {what}: {report:#}");
            let failed = &report["failed"][0];
            let source = format!("{}:core/app", archive.display());
            assert_eq!(
                (&failed["source"], &failed["reference"], &failed["code"]),
                (&json!(source), &json!("broken"), &json!("STORAGE_LINK_DANGLING"))
            );
            let there = "mirror/b/core/app";
            assert_eq!(harbour.there(there, "v1"), Some(sample.root.to_string()));
            let manifests = harbour.registry.manifests(&there.parse().unwrap());
            assert_eq!(manifests.len(), sample.manifests.len(), "the referrer is there");

            let to = format!("{}/copied/app:v1", harbour.registry.host());
            let one = format!("oci-archive:{}:core/app:v1", archive.display());
            let told = harbour.run(&["copy", &one, &to, "--json"]).await;
            assert_eq!(
                (told.code, told.json()["state"].as_str()),
                (0, Some("copied")),
                "{told:?}"
            );
            assert_eq!(harbour.there("copied/app", "v1"), Some(sample.root.to_string()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_is_no_image_is_skipped_and_fails_nothing() {
    let harbour = Harbour::start().await;
    let chart = harbour.folder.path().join("chart");
    std::fs::create_dir(&chart).unwrap();
    for file in ["Chart.yaml", "values.yaml"] {
        std::fs::write(chart.join(file), "a: b").unwrap();
    }
    std::fs::write(
        chart.join("manifest.json"),
        r#"{"name":"an extension","version":"1.0"}"#,
    )
    .unwrap();
    let archive = harbour.images().join("chart-1.0.tgz");
    tool("tar", &["-C", text(&chart), "-czf", text(&archive), "."]);
    let told = harbour.import(&archive, &["--json"]).await;
    assert_eq!((told.code, told.error_code()), (2, "SOURCE_EMPTY"), "{told:?}");
    let skipped = json!([{
        "source": text(&archive), "reference": null, "code": "ARCHIVE_WITHOUT_IMAGES",
        "message": told.json()["skipped"][0]["message"],
    }]);
    assert_eq!(told.json()["skipped"], skipped, "{told:?}");

    harbour.layout("app", &images::image(1, &[10]), "v1");
    let report = harbour.report(&[]).await;
    assert_eq!(counts(&report), [1, 0, 0, 0], "{report}");
    assert_eq!(report["skipped"], skipped);
    let told = harbour.import(&harbour.images(), &[]).await;
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
    assert!(told.out.contains("\nskipped "), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_without_images_is_told_with_its_name() {
    let harbour = Harbour::start().await;
    std::fs::write(harbour.images().join("readme.txt"), "x").unwrap();
    let empty = harbour.import(&harbour.images(), &[]).await;
    assert_eq!((empty.code, empty.error_code()), (2, "SOURCE_EMPTY"));
    assert!(empty.err.contains(text(&harbour.images())), "{empty:?}");
    let absent = harbour.import(&harbour.images().join("absent"), &[]).await;
    assert_eq!((absent.code, absent.error_code()), (2, "OBJECT_UNREADABLE"));
    assert!(harbour.registry.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archives_of_other_tools_are_copied_and_imported() {
    let harbour = Harbour::start().await;
    let sample = images::unpackable(1, &[1000, 300_000]);
    let layout = harbour.layout("app", &sample, "v1");
    let from = format!("oci:{}:v1", layout.display());
    let pack = |to: &str| tool("skopeo", &["copy", "--quiet", "--insecure-policy", &from, to]);
    let archive = |name: &str| harbour.images().join(name);
    pack(&format!("oci-archive:{}:v1", archive("packed.tar").display()));
    pack(&format!(
        "docker-archive:{}:team/app:v1",
        archive("saved.tar").display()
    ));
    std::fs::remove_dir_all(&layout).unwrap();

    let copy = async |source: &str, to: &str| {
        let to = format!("{}/{to}", harbour.registry.host());
        let told = harbour.run(&["copy", source, &to, "--json"]).await;
        assert_eq!((told.code, told.err.as_str()), (0, ""), "{told:?}");
        told.json()
    };
    let source = format!("oci-archive:{}:v1", archive("packed.tar").display());
    let report = copy(&source, "a/packed:v1").await;
    assert_eq!(
        (&report["source"], &report["state"]),
        (&json!(source), &json!("copied"))
    );
    assert_eq!(harbour.there("a/packed", "v1"), Some(sample.root.to_string()));
    let source = format!("docker-archive:{}:team/app:v1", archive("saved.tar").display());
    let saved = copy(&source, "a/saved:v1").await;
    assert_eq!(saved["state"], "copied");

    let report = harbour.report(&[]).await;
    assert_eq!(counts(&report), [2, 0, 0, 0], "{report}");
    assert_eq!(harbour.there("mirror/packed", "v1"), Some(sample.root.to_string()));
    assert_eq!(
        harbour.there("mirror/saved", "v1"),
        saved["digest"].as_str().map(str::to_owned)
    );
    assert_eq!(report["bytes"]["copied"], 0, "what copy brought is mounted: {report}");

    let source = format!("oci-archive:{}:v9", archive("packed.tar").display());
    let to = format!("{}/a/b", harbour.registry.host());
    let missing = harbour.run(&["copy", &source, &to]).await;
    assert_eq!((missing.code, missing.error_code()), (1, "LAYOUT_REFERENCE_NOT_FOUND"));
}
