//! What is asked of a registry at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use transship_copy::{Progress, Step};
use transship_oci::Limits;
use transship_registry::{Options, Registry};
use transship_testkit::images;

use crate::world::{Known, Ours, World, name, options_of, tag};

async fn limited(limits: Limits) -> World {
    let world = World::new().await;
    let to = Registry::new(Options {
        limits,
        ..options_of(&world.destination)
    })
    .unwrap();
    World { to, ..world }
}

/// Counts blobs on their way: begun and not ended.
#[derive(Default)]
struct OnTheWay {
    uploads: AtomicUsize,
    most: AtomicUsize,
}

#[tokio::test]
async fn one_upload_at_a_time_means_one_upload_at_a_time() {
    let world = limited(Limits {
        uploads: Some(1),
        ..Limits::default()
    })
    .await;
    let sample = images::image(1, &[50_000; 8]);
    world.seed(&sample);
    let on_the_way = Arc::new(OnTheWay::default());
    let seen = Arc::clone(&on_the_way);
    let registry = Arc::downgrade(&world.destination);
    crate::world::watch(&world.destination, move |request| {
        if request.method == "POST" {
            // A session that is open while another one is opened: two uploads at the same time.
            let open = registry.upgrade()?.open_uploads() + 1;
            seen.uploads.fetch_add(1, Ordering::Relaxed);
            seen.most.fetch_max(open, Ordering::Relaxed);
        }
        None
    });
    world.copy().await.unwrap();
    world.assert_equal(&sample);
    assert_eq!(on_the_way.uploads.load(Ordering::Relaxed), 9);
    assert_eq!(on_the_way.most.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn no_more_requests_are_sent_in_a_second_than_allowed() {
    let world = limited(Limits {
        requests_per_second: Some(40.0),
        ..Limits::default()
    })
    .await;
    let sample = images::image(2, &[100; 30]);
    world.seed(&sample);
    let begin = Instant::now();
    world.copy().await.unwrap();
    // A second's worth may go at once; the rest at its pace.
    let requests = f64::from(u32::try_from(world.destination.requests().len()).unwrap());
    assert!(requests > 60.0);
    let least = (requests - 40.0 - 1.0) / 40.0;
    assert!(
        begin.elapsed() >= Duration::from_secs_f64(least),
        "{requests} requests in {:?}",
        begin.elapsed()
    );
    world.assert_equal(&sample);
}

#[tokio::test]
async fn no_more_bytes_are_sent_in_a_second_than_allowed() {
    let world = limited(Limits {
        bandwidth: Some(2 << 20),
        ..Limits::default()
    })
    .await;
    let sample = images::image(3, &[3 << 20]);
    world.seed(&sample);
    let begin = Instant::now();
    world.copy().await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(450), "{:?}", begin.elapsed());
    world.assert_equal(&sample);
}

/// Sums what progress says of bytes.
#[derive(Default)]
struct Sum(std::sync::Mutex<(u64, u64)>);

impl Progress for Sum {
    fn step(&self, step: Step<'_>) {
        let mut sum = self.0.lock().unwrap();
        match step {
            Step::BlobBytes { bytes, .. } => sum.0 += bytes,
            Step::BlobRestart { bytes, .. } => sum.0 -= bytes,
            Step::BlobEnd { size, .. } => sum.1 += size,
            _ => {}
        }
    }
}

#[tokio::test]
async fn progress_tells_every_byte_once_also_when_an_upload_begins_again() {
    let sample = images::image(4, &[1 << 20, 1000]);
    let world = World::with(&sample).await;
    let cut = crate::world::script(
        "PUT",
        "/blobs/uploads/",
        transship_embedded_registry::faults::Action::CutRequest { after_bytes: 1 << 18 },
    );
    world.destination.set_faults(Some(Arc::clone(&cut) as _));
    let sum = Arc::new(Sum::default());
    let (source, destination) = (
        world.from.repository(name("core/app")),
        world.to.repository(name("copy/app")).for_writing(),
    );
    transship_copy::copy(transship_copy::Request {
        source: &source,
        from: transship_oci::Target::Tag(tag("v1")),
        destination: &destination,
        to: transship_oci::Target::Tag(tag("v1")),
        options: transship_copy::Options::default(),
        locations: &Known::default(),
        replicas: &Ours::default(),
        lease: None,
        continuations: None,
        budget: None,
        progress: Arc::clone(&sum) as _,
    })
    .await
    .unwrap();
    assert_eq!(cut.struck(), 1);
    assert_eq!(*sum.0.lock().unwrap(), (sample.blobs_size(), sample.blobs_size()));
    assert_eq!(source.requests(), world.source.traffic().total.requests);
    assert_eq!(destination.requests(), world.destination.traffic().total.requests);
}
