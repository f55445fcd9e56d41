//! The document of a function: read where `TRANSSHIP_CONFIG` says, again when it changes, and kept when it breaks.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, in its helpers too"
)]

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use transship_aws::{ActiveVersion, Aws, DOCUMENT_OPTIONS, DocumentLocation};
use transship_engine::Configuration;
use transship_engine::SecretTable;
use transship_registry::{Anonymous, Retries};
use transship_rules::Document;
use transship_runtime::DocumentSource;
use transship_testkit::clock::ManualClock;
use transship_testkit::memory::MemoryLedger;
use transship_testkit::ministack::MiniStack;
use transship_testkit::proxy::FaultProxy;

/// A document of so many registries.
fn document(registries: usize) -> String {
    let entries = (0..registries)
        .map(|number| format!("  r{number}: {{ provider: generic, endpoint: \"https://r{number}.example\" }}\n"));
    format!("version: 1\nregistries:\n{}", entries.collect::<String>())
}

fn in_force(document: Document) -> Configuration {
    let retries = Retries {
        times: 0,
        max_wait: Duration::ZERO,
        first: Duration::ZERO,
    };
    let secrets = Arc::new(SecretTable::default());
    Configuration::new(document, Arc::new(|_| Arc::new(Anonymous)), secrets, retries)
}

fn source(location: &str, aws: &Aws, clock: &ManualClock) -> DocumentSource {
    let reader = DocumentLocation::parse(location)
        .unwrap()
        .reader(aws, ActiveVersion::NONE);
    DocumentSource::with_clock(reader, DOCUMENT_OPTIONS, Arc::new(clock.clone()))
}

fn registries(configuration: &Configuration) -> usize {
    configuration.current().document.registries.len()
}

/// Where a document lies, and how it gets there.
enum Place {
    Bucket(Aws),
    File(PathBuf),
}

impl Place {
    fn name(&self) -> String {
        match self {
            Self::Bucket(_) => "s3://configuration/a b/transship.yaml".into(),
            Self::File(path) => path.display().to_string(),
        }
    }

    async fn write(&self, text: &str) {
        match self {
            Self::Bucket(aws) => {
                let request = aws.s3().put_object().bucket("configuration").key("a b/transship.yaml");
                request.body(text.as_bytes().to_vec().into()).send().await.unwrap();
            }
            Self::File(path) => std::fs::write(path, text).unwrap(),
        }
    }

    async fn remove(&self) {
        match self {
            Self::Bucket(aws) => {
                let request = aws
                    .s3()
                    .delete_object()
                    .bucket("configuration")
                    .key("a b/transship.yaml");
                request.send().await.unwrap();
            }
            Self::File(path) => std::fs::remove_file(path).unwrap(),
        }
    }
}

/// What was logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_document_is_read_again_when_it_changes_and_kept_when_it_breaks() {
    let stack = MiniStack::start().await.unwrap();
    let aws = Aws::emulated(&stack.endpoint()).await;
    let folder = tempfile::tempdir().unwrap();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .with_max_level(tracing::Level::INFO)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    for place in [
        Place::Bucket(aws.clone()),
        Place::File(folder.path().join("transship.yaml")),
    ] {
        let name = place.name();
        let clock = ManualClock::default();
        let source = source(&name, &aws, &clock);
        let error = source.load().await.unwrap_err();
        assert_eq!(error.code(), "CONFIG_UNAVAILABLE");
        assert!(error.to_string().contains(&name), "{error}");

        if let Place::Bucket(aws) = &place {
            aws.s3().create_bucket().bucket("configuration").send().await.unwrap();
            let error = source.load().await.unwrap_err();
            assert_eq!(error.code(), "CONFIG_UNAVAILABLE", "{error}");
        }
        place.write("version: 2\nregistries: {}\n").await;
        let error = source.load().await.unwrap_err();
        assert_eq!(error.code(), "CONFIG_INVALID");
        assert!(error.to_string().contains("line 1"), "{error}");

        place.write(&document(1)).await;
        let configuration = in_force(source.load().await.unwrap().document);
        let look = async || {
            clock.advance(DOCUMENT_OPTIONS.interval);
            source.refresh(&configuration).await;
            registries(&configuration)
        };
        place.write(&document(2)).await;
        clock.advance(DOCUMENT_OPTIONS.interval.checked_sub(Duration::from_millis(1)).unwrap());
        source.refresh(&configuration).await;
        assert_eq!(registries(&configuration), 1, "it is not looked at so soon");
        assert_eq!(look().await, 2);

        log.take();
        assert_eq!(look().await, 2);
        assert_eq!(log.take(), "", "what did not change is not told");

        place.write("{").await;
        for _ in 0..2 {
            assert_eq!(look().await, 2);
            let told = log.take();
            assert!(
                told.contains("CONFIG_INVALID") && told.contains("last valid one"),
                "{told}"
            );
        }
        place.remove().await;
        assert_eq!(look().await, 2);
        let told = log.take();
        assert!(told.contains("CONFIG_UNAVAILABLE") && told.contains(&name), "{told}");

        place.write(&document(3)).await;
        assert_eq!(look().await, 3);
        clock.set(std::time::SystemTime::UNIX_EPOCH);
        place.write(&document(4)).await;
        assert_eq!(look().await, 4, "a clock that is set back stops nothing");
    }
}

#[tokio::test]
async fn a_document_that_did_not_change_is_not_sent_again() {
    let stack = MiniStack::start().await.unwrap();
    let proxy = FaultProxy::start(stack.host()).await.unwrap();
    let aws = Aws::emulated(&proxy.url()).await;
    aws.s3().create_bucket().bucket("configuration").send().await.unwrap();
    let place = Place::Bucket(aws.clone());
    place.write(&document(1)).await;
    let clock = ManualClock::default();
    let source = source(&place.name(), &aws, &clock);
    let configuration = in_force(source.load().await.unwrap().document);
    proxy.reset_requests();
    for _ in 0..100 {
        source.refresh(&configuration).await;
    }
    assert_eq!(proxy.requests().len(), 0);
    for _ in 0..3 {
        clock.advance(DOCUMENT_OPTIONS.interval);
        source.refresh(&configuration).await;
    }
    let statuses: Vec<u16> = proxy.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [304, 304, 304]);
}

#[tokio::test]
async fn a_place_that_is_none_is_said_to_be_none() {
    for text in [
        "",
        "s3://",
        "s3://bucket",
        "s3://bucket/",
        "s3:///key",
        "s3://bucket/folder/",
    ] {
        let error = DocumentLocation::parse(text).err().unwrap();
        assert_eq!(error.code(), "CONFIG_UNAVAILABLE", "{text}");
    }
}

#[tokio::test]
async fn a_start_with_a_broken_document_uses_the_version_in_force_or_the_newest_valid_one() {
    let stack = MiniStack::start().await.unwrap();
    let aws = Aws::emulated(&stack.endpoint()).await;
    aws.s3().create_bucket().bucket("configuration").send().await.unwrap();
    let versioning = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled);
    let request = aws.s3().put_bucket_versioning().bucket("configuration");
    request
        .versioning_configuration(versioning.build())
        .send()
        .await
        .unwrap();
    let place = Place::Bucket(aws.clone());
    let ledger = Arc::new(MemoryLedger::default());
    let load = async |active: ActiveVersion| {
        let reader = DocumentLocation::parse(&place.name()).unwrap().reader(&aws, active);
        let loaded = DocumentSource::new(reader, DOCUMENT_OPTIONS).load().await;
        loaded.map(|loaded| (loaded.document.registries.len(), loaded.is_fallback))
    };
    let recorded = |is_writer| ActiveVersion {
        records: Some(Arc::clone(&ledger) as _),
        is_writer,
    };
    for registries in [1, 2] {
        place.write(&document(registries)).await;
        assert_eq!(load(recorded(true)).await.unwrap(), (registries, false));
    }
    place.write(&document(3)).await;
    assert_eq!(load(recorded(false)).await.unwrap(), (3, false), "it is not recorded");
    place.write("version: 1\nregistries: {").await;
    place.write("{").await;
    assert_eq!(load(recorded(false)).await.unwrap(), (2, true), "the version in force");
    assert_eq!(
        load(ActiveVersion::NONE).await.unwrap(),
        (3, true),
        "the newest valid one"
    );
    place.remove().await;
    assert_eq!(
        load(recorded(true)).await.unwrap(),
        (2, true),
        "also if the object is gone"
    );
    for _ in 0..10 {
        place.write("{").await;
    }
    let error = load(ActiveVersion::NONE).await.unwrap_err();
    assert_eq!(error.code(), "CONFIG_INVALID", "ten versions are tried");
}
