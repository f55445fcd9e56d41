//! The upload of a large layer outlives its process: after kill -9, `serve` resumes at the offset that the destination
//! acknowledged.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use transship_embedded_registry::faults::{Action, Faults, RequestHead};
use transship_embedded_registry::{EmbeddedRegistry, VirtualBlob};
use transship_oci::Repository;
use transship_testkit::images;
use transship_testkit::proxy::FaultProxy;
use transship_tests::serve::is_terminal;
use transship_tests::{DockerRegistry, Document, Serve, check, delivery, until, wait};

const MEBIBYTE: u64 = 1024 * 1024;
const LAYER_BYTES: u64 = 640 * MEBIBYTE;
const CHUNK_BYTES: u64 = 64 * MEBIBYTE;
/// So much of a chunk gets through that is cut.
const CUT_AFTER: u64 = 20 * MEBIBYTE;
/// A dev build on two busy cores; a hang must end all the same.
const TIMEOUT: Duration = Duration::from_mins(4);

/// What befalls the chunks of an upload, counted over all of them.
struct Chunks {
    seen: AtomicU64,
    nth: u64,
    action: Action,
}

impl Chunks {
    fn new(nth: u64, action: Action) -> Arc<Self> {
        Arc::new(Self {
            seen: AtomicU64::new(0),
            nth,
            action,
        })
    }

    fn has_come(&self) -> bool {
        self.seen.load(Ordering::SeqCst) >= self.nth
    }
}

impl Faults for Chunks {
    fn action(&self, request: &RequestHead<'_>) -> Option<Action> {
        if request.method != "PATCH" {
            return None;
        }
        let number = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        (number == self.nth).then(|| self.action.clone())
    }
}

/// An embedded source with an image of one large layer, a real destination behind a proxy that counts, and `serve`.
struct Stage {
    source: EmbeddedRegistry,
    destination: DockerRegistry,
    proxy: FaultProxy,
    serve: Serve,
}

impl Stage {
    async fn begin(faults: Arc<Chunks>) -> Self {
        let repository: Repository = "core/app".parse().unwrap();
        let source = EmbeddedRegistry::builder().start().await.unwrap();
        let layer = VirtualBlob::new(11, LAYER_BYTES);
        let (_, root) = images::seed_virtual_layer(&source, &repository, &"v1".parse().unwrap(), &layer);

        let destination = DockerRegistry::start();
        let proxy = FaultProxy::start(&destination.host().parse().unwrap()).await.unwrap();
        proxy.set_faults(Some(faults));
        let mut serve = Serve::prepare();
        let document = Document::between(source.host().as_str(), proxy.host().as_str());
        serve.start(&document.rule("core", "core", "copy", ""));
        let event = delivery::push_event(source.host().as_str(), "core/app", "v1", &root.to_string(), 1);
        assert_eq!(delivery::post(&serve.host(), &event).status, 202);
        Self {
            source,
            destination,
            proxy,
            serve,
        }
    }

    /// Bytes of chunks that came by.
    fn sent(&self) -> u64 {
        let requests = self.proxy.requests();
        let chunks = requests.iter().filter(|request| request.method == "PATCH");
        chunks.map(|request| request.bytes_in).sum()
    }

    fn assert_arrives(&self) {
        let ended = until(TIMEOUT, || match self.serve.tasks_to("copy/app:v1").as_slice() {
            [task] if is_terminal(task) => Ok(task.clone()),
            others => Err(format!("{others:?}")),
        });
        assert_eq!(ended.unwrap()["state"], "succeeded");
        let (source, host) = (self.source.host().to_string(), self.destination.host());
        check::whole(&host, "copy/app", "v1").unwrap();
        check::equal(&source, "core/app", "v1", &host, "copy/app", "v1").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_kill_makes_sent_again_is_at_most_a_chunk() {
    if DockerRegistry::skipped() {
        return;
    }
    // Held before the registry sees any of it, so that the kill finds the upload in between two chunks.
    let faults = Chunks::new(6, Action::Delay { delay_ms: 600_000 });
    let mut stage = Stage::begin(Arc::clone(&faults)).await;
    tokio::task::spawn_blocking(move || {
        wait::until_true(TIMEOUT, "no sixth chunk is sent", || faults.has_come()).unwrap();
        stage.serve.kill();
        let before = stage.sent();
        assert!(before >= 5 * CHUNK_BYTES, "{} MiB", before / MEBIBYTE);
        stage.proxy.set_faults(None);
        stage.serve.start_again();
        stage.assert_arrives();
        let again = stage.sent() - LAYER_BYTES;
        assert!(again <= CHUNK_BYTES, "{} MiB were sent again", again / MEBIBYTE);
        let opened = stage
            .proxy
            .requests()
            .iter()
            .filter(|request| request.method == "POST")
            .count();
        assert_eq!(opened, 2, "one session for the layer, one for the configuration");
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_of_a_chunk_costs_no_more_than_the_blob() {
    if DockerRegistry::skipped() {
        return;
    }
    // This registry forgets a session whose chunk is cut; the rest of it must not be mistaken for the blob.
    let faults = Chunks::new(4, Action::CutRequest { after_bytes: CUT_AFTER });
    let mut stage = Stage::begin(Arc::clone(&faults)).await;
    tokio::task::spawn_blocking(move || {
        wait::until_true(TIMEOUT, "no fourth chunk is sent", || faults.has_come()).unwrap();
        stage.serve.kill();
        stage.proxy.set_faults(None);
        stage.serve.start_again();
        stage.assert_arrives();
        let again = stage.sent() - LAYER_BYTES;
        let before = 3 * CHUNK_BYTES + CUT_AFTER;
        assert!(again <= before, "{} MiB were sent again", again / MEBIBYTE);
    })
    .await
    .unwrap();
}
