//! Graph first, tag last: what is visible at the destination is whole at every moment.

use std::sync::{Arc, Mutex};

use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::Action;
use transship_oci::Target;
use transship_testkit::images;

use crate::world::{World, asked, name, tag, watch};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_before_what_it_names() {
    for (kind, sample) in images::all(1) {
        let world = World::with(&sample).await;
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let (log, registry, parts) = (Arc::clone(&seen), Arc::downgrade(&world.destination), sample.clone());
        watch(&world.destination, move |request| {
            let registry = registry.upgrade()?;
            if request.method == "PUT" && request.path.contains("/manifests/") {
                let missing = missing(&registry, &parts, request.path);
                log.lock().unwrap().extend(missing);
                return None;
            }
            // Blobs are slow, so that a copy that does not wait for them fails.
            (request.method == "PUT").then_some(Action::Delay { delay_ms: 20 })
        });
        world.copy().await.unwrap();
        assert_eq!(*seen.lock().unwrap(), Vec::<String>::new(), "{kind}");
        let puts = asked(&world.destination, "PUT", "/manifests/");
        assert_eq!(puts.last().unwrap().path, "/v2/copy/app/manifests/v1", "{kind}");
        assert!(
            puts.iter().all(|put| put.status == 201),
            "{kind}: the registry had nothing to refuse"
        );
        world.assert_equal(&sample);
    }
}

/// What the manifest that is about to be written names and the destination does not have.
fn missing(registry: &EmbeddedRegistry, sample: &images::Sample, path: &str) -> Vec<String> {
    let here = name("copy/app");
    let reference = path.rsplit('/').next().unwrap();
    let written = sample.manifests.iter().find(|manifest| match &manifest.tag {
        Some(own) => own.as_str() == reference,
        None => manifest.digest.to_string() == reference || (reference == "v1" && manifest.digest == sample.root),
    });
    let Some(written) = written else { return Vec::new() };
    let manifest = transship_oci::Manifest::parse(written.bytes.clone(), Some(written.media_type.as_str())).unwrap();
    let blobs = manifest
        .blobs()
        .filter(|blob| !blob.media_type.is_non_distributable() && registry.blob_size(&here, &blob.digest).is_none());
    let children = manifest.children().iter().filter(|child| {
        registry
            .manifest(&here, &Target::Digest(child.digest.clone()))
            .is_none()
    });
    blobs
        .chain(children)
        .map(|part| format!("{reference} before {}", part.digest))
        .collect()
}

#[tokio::test]
async fn a_copy_that_fails_half_way_shows_nothing_under_the_tag() {
    let sample = images::multi_platform(2);
    let old = images::image(3, &[10]);
    for number in 1..=4 {
        let world = World::with(&sample).await;
        old.seed_into(&world.destination, &name("copy/app"), &tag("v1"));
        let script = transship_testkit::faults::Script::new([transship_testkit::faults::Fault::new(
            "PUT",
            "/manifests/",
            Action::status(403),
        )
        .unwrap()
        .nth(number)
        .always()]);
        world.destination.set_faults(Some(Arc::new(script)));
        assert_eq!(world.fails().await.code(), "ACCESS_DENIED");
        assert_eq!(world.arrived(), Some(old.root.clone()));
    }
}
