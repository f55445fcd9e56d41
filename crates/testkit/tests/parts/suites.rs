//! The adapters in memory pass the suites, so that a failure of another adapter is caused by that adapter.

use std::sync::Arc;

use transship_engine::names::{Entry, owner_of};
use transship_layout::{MemoryStore, ObjectStore};
use transship_testkit::memory::MemoryNames;
use transship_testkit::suites;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_in_memory_keep_the_promises_of_a_store() {
    suites::object_store(async || Arc::new(MemoryStore::default()) as Arc<dyn ObjectStore>).await;
}

#[tokio::test]
async fn names_in_memory_keep_their_promises() {
    let zone: transship_rules::Hostname = "example.com".parse().unwrap();
    let make = async || {
        let names = MemoryNames::new(zone.clone());
        let owned = zone.below(suites::OWNED).unwrap();
        let owner = owner_of(suites::EXTERNAL_DNS);
        names.put(
            &owned,
            Entry {
                owner,
                ..Entry::default()
            },
        );
        suites::NamesUnderTest {
            names: Arc::new(names),
            zone: zone.clone(),
        }
    };
    suites::names(make).await;
}
