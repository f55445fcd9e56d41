//! `import` and `copy` from a bucket: in the process of the command, and as an order to a stack.

use std::path::Path;

use bytes::Bytes;
use serde_json::Value;
use transship_aws::{Aws, S3Store};
use transship_embedded_registry::EmbeddedRegistry;
use transship_layout::{ObjectStore as _, Put};
use transship_testkit::deployment::TABLE;
use transship_testkit::images::{self, Sample};

use crate::Stack;

const BUCKET: &str = "layouts";

/// A bucket with two layouts, an archive and other objects.
async fn bucket(stack: &Stack) -> [Sample; 3] {
    let aws = Aws::emulated(&stack.deployment.endpoint()).await;
    aws.s3().create_bucket().bucket(BUCKET).send().await.unwrap();
    let store = S3Store::new(&aws, BUCKET, "");
    let samples = [
        images::with_referrer(1),
        images::multi_platform(2),
        images::image(3, &[70_000]),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (sample, path) in samples.iter().zip(["team/app", "other", "packed"]) {
        sample.write_layout(&folder.path().join(path), "v1").unwrap();
    }
    let packed = folder.path().join("packed");
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_dir_all("", &packed).unwrap();
    std::fs::remove_dir_all(packed).unwrap();
    std::fs::write(folder.path().join("packed.tar"), archive.into_inner().unwrap()).unwrap();
    std::fs::write(folder.path().join("broken.tar"), vec![b'x'; 2048]).unwrap();
    upload(&store, folder.path(), "seed").await;
    samples
}

async fn upload(store: &S3Store, folder: &Path, key: &str) {
    let mut folders = vec![(folder.to_owned(), key.to_owned())];
    while let Some((folder, key)) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let key = format!("{key}/{}", path.file_name().unwrap().to_str().unwrap());
            if path.is_dir() {
                folders.push((path, key));
            } else {
                let bytes = Bytes::from(std::fs::read(&path).unwrap());
                let put = store.put_if_absent(&key, bytes).await.unwrap();
                assert!(matches!(put, Put::Written(_)), "{key}");
            }
        }
    }
}

fn assert_arrived(registry: &EmbeddedRegistry, repository: &str, sample: &Sample) {
    let repository = repository.parse().unwrap();
    assert_eq!(
        registry.digest(&repository, &"v1".parse().unwrap()),
        Some(sample.root.clone())
    );
    for (digest, bytes) in &sample.blobs {
        assert_eq!(registry.blob(&repository, digest).as_ref(), Some(bytes), "{digest}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_lies_in_a_bucket_arrives_and_what_is_broken_is_told() {
    let stack = Stack::start().await;
    let samples = bucket(&stack).await;
    let registry = EmbeddedRegistry::builder().start().await.unwrap();
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    let to = format!("{}/mirror", registry.host());
    let import = || stack.run(&["import", "s3://layouts/seed", "--to", &to, "--json", "--data", data]);

    let (code, out, error) = import();
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &report["images"], &report["copied"]),
        (1, &4.into(), &3.into()),
        "{report} {error}"
    );
    assert_eq!(
        report["failed"][0]["source"], "s3://layouts/seed/broken.tar",
        "{report}"
    );
    assert_eq!(report["failed"][0]["code"], "ARCHIVE_INVALID", "{report}");
    for (sample, path) in samples.iter().zip(["team/app", "other", "packed"]) {
        assert_arrived(&registry, &format!("mirror/{path}"), sample);
    }

    let (_, out, _) = import();
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&report["unchanged"], &report["bytes"]["copied"]),
        (&3.into(), &0.into()),
        "{report}"
    );

    for (source, sample) in [
        ("s3://layouts/seed/other:v1", &samples[1]),
        ("s3://layouts/seed/packed.tar", &samples[2]),
    ] {
        let to = format!("{}/one:v1", registry.host());
        let (code, _, error) = stack.run(&["copy", source, &to, "--data", data]);
        assert_eq!(code, 0, "{error}");
        assert_arrived(&registry, "one", sample);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bucket_that_holds_nothing_or_is_not_there_is_told_with_its_name() {
    let stack = Stack::start().await;
    bucket(&stack).await;
    for (source, code, word) in [
        ("s3://layouts/none", "SOURCE_EMPTY", "s3://layouts/none"),
        ("s3://nowhere/seed", "OBJECT_REFUSED", "nowhere"),
    ] {
        let (exit, out, error) = stack.run(&["import", source, "--to", "localhost:1/mirror"]);
        let told = format!("{out}{error}");
        assert_ne!(exit, 0, "{told}");
        assert!(told.contains(code) && told.contains(word), "{source}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_order_to_the_fleet_is_in_its_queue_when_the_command_ends() {
    let stack = Stack::start().await;
    let queue = stack.deployment.queue_url().to_owned();
    let arguments = [
        "import",
        "s3://layouts/seed/",
        "--to",
        "mirror/core",
        "--table",
        TABLE,
        "--queue",
        &queue,
    ];
    let (code, out, error) = stack.run(&[&arguments[..], &["--no-wait", "--json"]].concat());
    assert_eq!(code, 0, "{error}");
    let told: Value = serde_json::from_str(&out).unwrap();
    let messages = stack.deployment.queue_receive(&queue).await.unwrap();
    assert_eq!(messages.len(), 1);
    let message: Value = serde_json::from_str(&messages[0]).unwrap();
    assert_eq!(message["job"]["store"], "s3://layouts", "{message}");
    assert_eq!(message["job"]["import"]["registry"], "mirror", "{message}");
    assert!(
        told.to_string()
            .contains(message["job"]["execution"]["id"].as_str().unwrap()),
        "{told}"
    );
}
