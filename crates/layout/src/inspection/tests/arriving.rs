//! What arrives in any order is complete when the last of it is there, and is not looked at more often than it must be.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use transship_oci::{Digest, Target};

use super::{One, layout, tree};
use crate::{Inspection, MemoryStore, Missing, ObjectMeaning, ObjectStore, arrived_since, inspect};
use transship_testkit::layouts::read_image;

/// Acts like the intake of uploads: inspects sources, and inspects them again when a missing object is uploaded.
#[derive(Default)]
struct Intake {
    store: Arc<MemoryStore>,
    waiting: Vec<(One, Vec<Missing>)>,
    complete: Vec<One>,
    inspections: usize,
}

impl Intake {
    async fn arrive(&mut self, key: &str, bytes: &Bytes) {
        self.store.put_if_absent(key, bytes.clone()).await.unwrap();
        match ObjectMeaning::of_key("", key) {
            Some(ObjectMeaning::Names { found, target }) => {
                let revision = target.as_ref().and_then(Target::digest).cloned();
                let place = found.place().to_owned();
                self.inspect((found, target)).await;
                if let Some(digest) = revision {
                    self.wake(&place, &digest).await;
                }
            }
            Some(ObjectMeaning::Content { place, digest }) => self.wake(&place, &digest).await,
            None => {}
        }
    }

    async fn wake(&mut self, place: &str, digest: &Digest) {
        let wakes = |(one, missing): &mut (One, Vec<Missing>)| {
            one.0.place() == place && missing.iter().any(|one| one.digest() == Some(digest))
        };
        let woken: Vec<One> = self.waiting.extract_if(.., wakes).map(|(one, _)| one).collect();
        for one in woken {
            self.inspect(one).await;
        }
    }

    async fn inspect(&mut self, one: One) {
        self.inspections += 1;
        self.waiting.retain(|(known, _)| *known != one);
        let store = Arc::clone(&self.store) as Arc<dyn ObjectStore>;
        match inspect(Arc::clone(&store), &one.0, one.1.as_ref()).await.unwrap() {
            Inspection::Complete { source, .. } => {
                let images = source.images(&one.0).unwrap();
                let targets = match &one.1 {
                    Some(target) => vec![target.clone()],
                    None => images
                        .images()
                        .await
                        .unwrap()
                        .images
                        .into_iter()
                        .map(|image| image.target)
                        .collect(),
                };
                for target in targets {
                    let read = read_image(images.as_ref(), &target).await;
                    assert!(read.is_ok(), "{target} is said to be complete: {read:?}");
                }
                self.complete.push(one);
            }
            Inspection::Nothing => {}
            Inspection::Incomplete { missing } => {
                let present = arrived_since(store, &one.0, &missing).await.unwrap();
                assert!(present.is_empty(), "{present:?} would be looked for again without end");
                self.waiting.push((one, missing));
            }
        }
    }
}

fn in_order(objects: HashMap<String, Bytes>, order: &[prop::sample::Index]) -> Vec<(String, Bytes)> {
    let mut left: Vec<(String, Bytes)> = objects.into_iter().collect();
    left.sort();
    let mut ordered = Vec::new();
    for at in order.iter().cycle() {
        if left.is_empty() {
            break;
        }
        let at = at.index(left.len());
        ordered.push(left.swap_remove(at));
    }
    ordered
}

fn order() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 30)
}

proptest! {
    #[test]
    fn a_layout_in_any_order_is_complete_with_its_last_object(order in order()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut intake = Intake::default();
            let mut objects = in_order(layout().finished("to/a+b %2Bü/"), &order);
            let (last, bytes) = objects.pop().unwrap();
            for (key, bytes) in &objects {
                intake.arrive(key, bytes).await;
                assert!(intake.complete.is_empty(), "{last} is not there");
            }
            intake.arrive(&last, &bytes).await;
            assert_eq!(intake.complete.len(), 1);
            assert!(intake.waiting.is_empty());
            assert!(intake.inspections <= objects.len() + 1);
        });
    }

    #[test]
    fn the_images_of_a_tree_in_any_order_are_complete_once_all_of_it_is_there(order in order()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut intake = Intake::default();
            let (tree, about) = tree();
            for (key, bytes) in in_order(tree.objects(), &order) {
                intake.arrive(&key, &bytes).await;
            }
            assert!(intake.waiting.is_empty(), "{:?}", intake.waiting);
            let complete: Vec<&Target> = intake.complete.iter().map(|(_, target)| target.as_ref().unwrap()).collect();
            let tag = Target::Tag("v1".parse().unwrap());
            assert!(complete.contains(&&tag), "{complete:?}");
            assert!(complete.contains(&&Target::Digest(about)), "{complete:?}");
            assert_eq!(complete.len(), 2, "children come with their index: {complete:?}");
        });
    }
}
