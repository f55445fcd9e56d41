//! The queue, the ledger and the folder keep what their ports promise, by the suites every adapter runs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use tempfile::TempDir;
use transship_engine::ledger::{Hints, Records, Replicas};
use transship_layout::ObjectStore;
use transship_local::{Database, ObjectFolder, SqliteLedger, SqliteQueue};
use transship_testkit::clock::ManualClock;
use transship_testkit::suites::{self, QueueUnderTest};

/// Folders for empty ledgers.
#[derive(Default)]
struct Ledgers(std::sync::Mutex<Vec<TempDir>>);

impl Ledgers {
    fn make(&self) -> Arc<SqliteLedger> {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(dir.path()).unwrap();
        self.0.lock().unwrap().push(dir);
        Arc::new(SqliteLedger::new(database))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_history_keeps_its_promises() {
    let ledgers = Ledgers::default();
    suites::history(async || ledgers.make()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replicas_keep_their_promises() {
    let ledgers = Ledgers::default();
    suites::replicas(async || ledgers.make() as Arc<dyn Replicas>).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hints_keep_their_promises() {
    let ledgers = Ledgers::default();
    suites::hints(async || ledgers.make() as Arc<dyn Hints>).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_records_keep_their_promises() {
    let ledgers = Ledgers::default();
    suites::records(async || ledgers.make() as Arc<dyn Records>).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_keeps_its_promises() {
    let dir = tempfile::tempdir().unwrap();
    let number = std::sync::atomic::AtomicU32::new(0);
    let make = async || {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let database = Database::open(&dir.path().join(number.to_string())).unwrap();
        let clock = ManualClock::default();
        let queue = Arc::new(SqliteQueue::with_clock(database, Arc::new(clock.clone())));
        QueueUnderTest {
            queue: Arc::clone(&queue) as _,
            receiver: queue,
            advance: Box::new(move |by| {
                clock.advance(by);
                Box::pin(std::future::ready(()))
            }),
            visibility: suites::MINUTE,
            is_exact: true,
        }
    };
    suites::queue(make).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_folder_keeps_its_promises() {
    let dir = tempfile::tempdir().unwrap();
    let number = std::sync::atomic::AtomicU32::new(0);
    let make = async || {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = dir.path().join(number.to_string());
        std::fs::create_dir(&folder).unwrap();
        Arc::new(ObjectFolder::open(&folder).unwrap()) as Arc<dyn ObjectStore>
    };
    suites::object_store(make).await;
}
