//! The adapters in memory pass the suites, so that a failure of another adapter is caused by that adapter.

use std::sync::Arc;

use transship_layout::{MemoryStore, ObjectStore};
use transship_testkit::suites;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_in_memory_keep_the_promises_of_a_store() {
    suites::object_store(async || Arc::new(MemoryStore::default()) as Arc<dyn ObjectStore>).await;
}
