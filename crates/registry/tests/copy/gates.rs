//! Writes of tags behind a gate: it is asked right before each request that writes, and what it refuses is not sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use transship_copy::{
    Destination as _, Gate, NoProgress, Options, Owner, Replicas, Request, TagClaim, copy, source_manifest,
};
use transship_embedded_registry::faults::Action;
use transship_oci::{Code, Digest, Error, Manifest, Result, Tag, Target, Verb};
use transship_registry::{RemoteRepository, TagDelete};
use transship_testkit::images;

use crate::world::{QUICK, World, always, name, script, tag};

/// A gate that opens for some requests.
struct Counted {
    asked: AtomicU32,
    opens: u32,
    limit: Option<Duration>,
}

impl Counted {
    fn new(opens: u32, limit: Option<Duration>) -> Self {
        let asked = AtomicU32::new(0);
        Self { asked, opens, limit }
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Gate for Counted {
    async fn pass(&self) -> Result<Option<Duration>> {
        // The code may pass by itself, so a client without a gate would try again.
        match self.asked.fetch_add(1, Ordering::Relaxed) {
            before if before < self.opens => Ok(self.limit),
            _ => Err(Error::of(Code::FailoverUnderWay, Verb::Ledger.on("main"))),
        }
    }
}

/// A destination with the blobs of an image, and its manifest.
async fn pushed() -> (World, RemoteRepository, Manifest, Target) {
    let world = World::with(&images::image(1, &[100])).await;
    world.copy().await.unwrap();
    let source = world.from.repository(name("core/app"));
    let manifest = source_manifest(&source, &Target::Tag(tag("v1"))).await.unwrap();
    let destination = world.to.repository(name("copy/app")).for_writing();
    (world, destination, manifest, Target::Tag(tag("other")))
}

#[tokio::test]
async fn a_gate_is_asked_before_each_request_and_what_it_refuses_is_not_sent() {
    let (world, destination, manifest, other) = pushed().await;
    let gate = Counted::new(2, None);
    let faults = script("PUT", "/manifests/", Action::status(503));
    world.destination.set_faults(Some(Arc::clone(&faults) as _));
    destination.manifest_put(&other, &manifest, Some(&gate)).await.unwrap();
    assert_eq!((gate.asked(), faults.struck()), (2, 1));

    // It was fenced between the two requests: the second one is not sent, and nothing waits for the gate.
    let (world, destination, manifest, other) = pushed().await;
    let gate = Counted::new(1, None);
    let faults = always("PUT", "/manifests/", Action::status(503));
    world.destination.set_faults(Some(Arc::clone(&faults) as _));
    let error = destination
        .manifest_put(&other, &manifest, Some(&gate))
        .await
        .unwrap_err();
    assert!(error.is(Code::FailoverUnderWay), "{error}");
    assert_eq!((gate.asked(), faults.struck()), (2, 1));
    world.destination.set_faults(None);

    let gate = Counted::new(0, None);
    let deleting = destination.clone().for_deleting();
    let error = deleting.tag_delete(&tag("v1"), Some(&gate)).await.unwrap_err();
    assert!(error.is(Code::FailoverUnderWay), "{error}");
    assert!(world.arrived().is_some());
    let deleted = deleting.tag_delete(&tag("v1"), Some(&Counted::new(1, None))).await;
    assert_eq!(deleted.unwrap(), TagDelete::Deleted);
}

/// A request that hangs ends before its slot does.
#[tokio::test]
async fn a_request_behind_a_gate_takes_no_longer_than_it_may() {
    let (world, destination, manifest, other) = pushed().await;
    let minutes = Action::Delay { delay_ms: 600_000 };
    let faults = always("PUT", "/manifests/", minutes);
    world.destination.set_faults(Some(faults as _));
    let gate = Counted::new(u32::MAX, Some(Duration::from_millis(5)));
    let error = destination
        .manifest_put(&other, &manifest, Some(&gate))
        .await
        .unwrap_err();
    assert!(error.is(Code::Timeout), "{error}");
    assert_eq!(gate.asked(), 1 + QUICK.times, "each try asks again");
}

/// No tag may be written.
struct Fenced;

#[async_trait]
impl Replicas for Fenced {
    async fn owner(&self, _: &Tag, _: &Digest) -> Result<Owner> {
        Ok(Owner::Ours)
    }

    async fn claim(&self, _: &Tag, _: &Digest) -> Result<TagClaim> {
        Ok(TagClaim::Granted)
    }

    async fn admit(&self) -> Result<Option<Duration>> {
        Err(Error::of(Code::FailoverUnderWay, Verb::Ledger.on("main")))
    }
}

#[tokio::test]
async fn a_copy_that_may_not_write_tags_writes_manifests_by_digest_alone() {
    let sample = images::of_platforms(1, &["linux/amd64", "linux/arm64"]);
    let world = World::with(&sample).await;
    let source = world.from.repository(name("core/app"));
    let destination = world.to.repository(name("copy/app")).for_writing();
    let error = copy(Request {
        source: &source,
        from: Target::Tag(tag("v1")),
        destination: &destination,
        to: Target::Tag(tag("v1")),
        options: Options::default(),
        locations: &world.locations,
        replicas: &Fenced,
        lease: None,
        continuations: None,
        budget: None,
        progress: Arc::new(NoProgress),
    })
    .await
    .map(|report| report.state)
    .unwrap_err();
    assert!(error.is(Code::FailoverUnderWay), "{error}");
    assert_eq!(world.destination.tags(&name("copy/app")), []);
    let children = sample.manifests.len() - 1;
    assert_eq!(world.destination.manifests(&name("copy/app")).len(), children);
}
