//! Blobs that images of one import share are sent once, regardless of the behaviour of the registry.

use std::sync::Arc;

use transship_copy::{NoLocations, NoProgress, NoReplicas, Options, Report, Request, State};
use transship_embedded_registry::{Builder, EmbeddedRegistry};
use transship_engine::{SharedBlobs, SharingDestination};
use transship_oci::{Result, Target};
use transship_testkit::images::{self, Sample};

use crate::fixture::{Fixture, RULE, assert_parts, name, tag};

/// `core/app:v1` of `a` to `to` of `b`, as one image of an import.
async fn bring(fixture: &Fixture, arrivals: &SharedBlobs, to: &str) -> Result<Report> {
    let snapshot = fixture.configuration.current();
    let source = snapshot.registry("a").unwrap().repository(fixture.from());
    let destination = snapshot.registry("b").unwrap().repository(name(to)).for_writing();
    let destination = SharingDestination::new(destination, arrivals.clone());
    let target = Target::Tag(tag("v1"));
    let report = transship_copy::copy(Request {
        source: &source,
        from: target.clone(),
        destination: &destination,
        to: target,
        options: Options::default(),
        locations: &NoLocations,
        replicas: &NoReplicas,
        lease: None,
        continuations: None,
        budget: None,
        progress: Arc::new(NoProgress),
    });
    Ok(destination.corrected(report.await?))
}

/// An image of two layers, one of which is worth asking for before it is sent.
async fn stage() -> (Fixture, Sample) {
    stage_with(EmbeddedRegistry::builder()).await
}

async fn stage_with(destination: Builder) -> (Fixture, Sample) {
    let fixture = Fixture::of(EmbeddedRegistry::builder(), destination, RULE).await;
    let sample = images::image(1, &[5_000_000, 70_000]);
    fixture.push(&sample);
    (fixture, sample)
}

/// Bytes of blobs that `b` was sent.
fn sent(fixture: &Fixture) -> u64 {
    let requests = fixture.b.requests();
    let uploads = requests
        .iter()
        .filter(|request| request.path.contains("/blobs/uploads/"));
    uploads.map(|request| request.bytes_in).sum()
}

#[tokio::test]
async fn images_side_by_side_wait_for_what_one_of_them_sends() {
    let (fixture, sample) = stage().await;
    let arrivals = SharedBlobs::default();
    let (one, two, three) = tokio::join!(
        bring(&fixture, &arrivals, "copy/one"),
        bring(&fixture, &arrivals, "copy/two"),
        bring(&fixture, &arrivals, "copy/three"),
    );
    let reports = [one.unwrap(), two.unwrap(), three.unwrap()];
    let size = sample.blobs_size();
    assert_eq!(sent(&fixture), size);
    assert_eq!(reports.iter().map(|report| report.bytes.copied).sum::<u64>(), size);
    assert_eq!(reports.iter().map(|report| report.bytes.mounted).sum::<u64>(), 2 * size);
    for to in ["copy/one", "copy/two", "copy/three"] {
        assert_parts(&fixture.b, &name(to), &sample);
    }
}

#[tokio::test]
async fn a_second_tag_of_one_repository_asks_for_nothing_it_brought() {
    let (fixture, sample) = stage().await;
    let arrivals = SharedBlobs::default();
    bring(&fixture, &arrivals, "copy/app").await.unwrap();
    fixture.b.forget(&name("copy/app"), &sample.root);
    fixture.b.reset_requests();
    let again = bring(&fixture, &arrivals, "copy/app").await.unwrap();
    assert_eq!((again.state, again.bytes.skipped), (State::Copied, sample.blobs_size()));
    let requests = fixture.b.requests();
    assert!(
        requests.iter().all(|request| !request.path.contains("/blobs/")),
        "{requests:?}"
    );
}

#[tokio::test]
async fn a_registry_that_mounts_nothing_is_sent_everything() {
    let (fixture, sample) = stage_with(EmbeddedRegistry::builder().mounts(false)).await;
    let arrivals = SharedBlobs::default();
    for to in ["copy/one", "copy/two"] {
        let report = bring(&fixture, &arrivals, to).await.unwrap();
        assert_eq!(report.bytes.copied, sample.blobs_size());
        assert_parts(&fixture.b, &name(to), &sample);
    }
    assert_eq!(sent(&fixture), 2 * sample.blobs_size());
}

#[tokio::test]
async fn what_the_registry_lost_is_not_relied_on_again() {
    let (fixture, sample) = stage().await;
    let arrivals = SharedBlobs::default();
    bring(&fixture, &arrivals, "copy/app").await.unwrap();
    for digest in sample.blobs.keys().chain([&sample.root]) {
        fixture.b.forget(&name("copy/app"), digest);
    }
    let lost = bring(&fixture, &arrivals, "copy/app").await.unwrap_err();
    assert_eq!(lost.code(), "BLOB_UNKNOWN_AT_DEST");
    let again = bring(&fixture, &arrivals, "copy/app").await.unwrap();
    assert_eq!(again.state, State::Copied);
    assert_parts(&fixture.b, &name("copy/app"), &sample);
}

#[tokio::test]
async fn what_another_image_brought_is_not_given_to_one_that_lacks_it() {
    let (fixture, sample) = stage().await;
    let arrivals = SharedBlobs::default();
    bring(&fixture, &arrivals, "copy/one").await.unwrap();
    for layer in sample.blobs.keys() {
        fixture.a.forget(&fixture.from(), layer);
    }
    let lacks = bring(&fixture, &arrivals, "copy/two").await.unwrap_err();
    assert_eq!(lacks.code(), "BLOB_NOT_FOUND");
    for layer in sample.blobs.keys() {
        assert_eq!(fixture.b.blob(&name("copy/two"), layer), None);
    }
}
