//! Reads of the writers that overlap: one that began earlier and ends later does not put an older writer back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Notify;
use transship_embedded_registry::EmbeddedRegistry;
use transship_engine::failover::GroupState;
use transship_engine::ledger::{Cursor, Failovers, Key, Page, Record, Records};
use transship_oci::Result;
use transship_testkit::memory::MemoryLedger;

use crate::failover_pushes::GROUP;
use crate::fixture::Fixture;

/// Records whose answer to one list is held back until it is let go.
#[derive(Default)]
struct Slow {
    inner: MemoryLedger,
    holds_next: AtomicBool,
    is_read: Notify,
    goes_on: Notify,
}

#[async_trait]
impl Records for Slow {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        Records::get(&self.inner, key).await
    }

    async fn put_if(&self, key: &Key, expected: Option<u64>, value: &str) -> Result<Option<u64>> {
        Records::put_if(&self.inner, key, expected, value).await
    }

    async fn remove_if(&self, key: &Key, expected: u64) -> Result<bool> {
        self.inner.remove_if(key, expected).await
    }

    async fn list(&self, family: &str, prefix: &str, after: Option<&Cursor>, limit: usize) -> Result<Page<Record>> {
        let page = Records::list(&self.inner, family, prefix, after, limit).await;
        if self.holds_next.swap(false, Ordering::SeqCst) {
            self.is_read.notify_one();
            self.goes_on.notified().await;
        }
        page
    }
}

#[tokio::test]
async fn a_read_of_the_writers_that_ends_late_does_not_put_the_writer_before_a_switch_back() {
    let fixture = Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), GROUP).await;
    let configuration = fixture.configuration.clone();
    let slow = Arc::new(Slow::default());
    let failovers = Failovers::new(Arc::clone(&slow) as Arc<dyn Records>);
    configuration.follow(failovers.clone());
    let is_active = || configuration.current().document.rule("core").unwrap().enabled;
    assert!(is_active());
    let mut state = GroupState::new(configuration.current().document.failover_group("main").unwrap());

    slow.holds_next.store(true, Ordering::SeqCst);
    let earlier = configuration.clone();
    let earlier = tokio::spawn(async move { earlier.read_writers(Timestamp::now()).await });
    slow.is_read.notified().await;
    state.epoch = 1;
    state.writer = "a".to_owned();
    failovers.put("main", None, &state).await.unwrap();
    configuration.read_writers(Timestamp::now()).await.unwrap();
    assert!(!is_active());

    slow.goes_on.notify_one();
    earlier.await.unwrap().unwrap();
    assert!(!is_active(), "the earlier read ended last");
}
