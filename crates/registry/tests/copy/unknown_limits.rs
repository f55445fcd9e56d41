//! Limits that a registry does not tell: by requests, by repository, by bytes, and by connection. What is refused is sent again, and everything
//! arrives.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use transship_copy::State;
use transship_embedded_registry::faults::{Action, Faults, RequestHead};
use transship_oci::{Repository, Target};
use transship_registry::{Options, Registry, Retries};
use transship_testkit::images::{self, Sample};

use crate::world::{Job, World, answer, assert_arrived, name, options_of, tag};

const IMAGES: u64 = 40;

/// Buckets of what a registry accepts, each filled by `per_second` and holding a fifth of that.
struct Buckets {
    per_second: f64,
    filled: Mutex<HashMap<String, (f64, Instant)>>,
    refused: AtomicUsize,
    /// The bucket of a request, and what it takes from it.
    weigh: fn(&RequestHead<'_>) -> Option<(String, f64)>,
}

impl Buckets {
    fn new(per_second: f64, weigh: fn(&RequestHead<'_>) -> Option<(String, f64)>) -> Arc<Self> {
        Arc::new(Self {
            per_second,
            filled: Mutex::default(),
            refused: AtomicUsize::new(0),
            weigh,
        })
    }
}

impl Faults for Buckets {
    fn action(&self, request: &RequestHead<'_>) -> Option<Action> {
        let (bucket, weight) = (self.weigh)(request)?;
        let (now, full) = (Instant::now(), self.per_second / 5.0);
        let mut filled = self.filled.lock().unwrap();
        let (left, since) = filled.entry(bucket).or_insert((full, now));
        *left = (*left + now.duration_since(*since).as_secs_f64() * self.per_second).min(full);
        *since = now;
        if *left < weight {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Some(answer(429, &[], r#"{"errors":[{"code":"TOOMANYREQUESTS"}]}"#));
        }
        *left -= weight;
        None
    }
}

/// Copies an image. A task that was refused too often is tried again later.
async fn copy_one(world: &World, number: usize) {
    loop {
        let copied = world.run(Job {
            from: (name(&format!("core/app{number}")), Target::Tag(tag("v1"))),
            to: destination(number),
            ..Job::default()
        });
        match copied.await {
            Ok(report) => return assert_eq!(report.state, State::Copied),
            Err(error) => assert!(error.persistence().is_temporary(), "{error}"),
        }
    }
}

fn destination(number: usize) -> (Repository, Target) {
    (
        name(&format!("copy/app{}", number % 4)),
        Target::Tag(tag(&format!("v{number}"))),
    )
}

/// Copies images of several repositories, many at the same time.
async fn copy_many(world: &World) -> Vec<Sample> {
    let samples: Vec<Sample> = (0..IMAGES).map(|number| images::image(number, &[2000, 3000])).collect();
    for (number, sample) in samples.iter().enumerate() {
        sample.seed_into(&world.source, &name(&format!("core/app{number}")), &tag("v1"));
    }
    let copies: Vec<_> = (0..samples.len()).map(|number| copy_one(world, number)).collect();
    stream::iter(copies).buffer_unordered(16).collect::<Vec<()>>().await;
    for (number, sample) in samples.iter().enumerate() {
        let (repository, reference) = destination(number);
        assert_arrived(sample, &world.destination, &repository, reference.tag().unwrap());
    }
    samples
}

fn repository_of(path: &str) -> Option<String> {
    let end = ["/blobs/", "/manifests/"].iter().find_map(|part| path.find(part))?;
    path.get(..end).map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_a_second() {
    let mut world = World::new().await;
    world.to = Registry::new(Options {
        retries: Retries::default(),
        ..options_of(&world.destination)
    })
    .unwrap();
    let buckets = Buckets::new(100.0, |_| Some((String::new(), 1.0)));
    world.destination.set_faults(Some(Arc::clone(&buckets) as _));
    copy_many(&world).await;
    let refused = buckets.refused.load(Ordering::Relaxed);
    let sent = world.destination.requests().len();
    assert!(refused > 0 && refused * 10 < sent, "{refused} of {sent} are refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_one_repository() {
    let world = World::new().await;
    let buckets = Buckets::new(100.0, |request| Some((repository_of(request.path)?, 1.0)));
    world.destination.set_faults(Some(Arc::clone(&buckets) as _));
    copy_many(&world).await;
    assert!(buckets.refused.load(Ordering::Relaxed) > 0, "more were sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_in_a_second() {
    let world = World::new().await;
    let buckets = Buckets::new(200_000.0, |request| {
        let length = request.headers.get("content-length")?.to_str().ok()?.parse().ok()?;
        Some((String::new(), length))
    });
    world.destination.set_faults(Some(Arc::clone(&buckets) as _));
    let samples = copy_many(&world).await;
    let blobs: usize = samples.iter().map(|sample| sample.blobs.len()).sum();
    let opened = world.destination.requests();
    let opened = opened.iter().filter(|request| request.method == "POST").count();
    let refused = buckets.refused.load(Ordering::Relaxed);
    assert!(refused > 0, "more were sent");
    assert!(
        opened <= blobs + refused,
        "{opened} uploads of {blobs} blobs, {refused} refused"
    );
}

/// A way to a registry that holds so many connections, and ends every other one at once.
async fn few_connections(registry: SocketAddr, connections: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&refused);
    tokio::spawn(async move {
        let open = Arc::new(());
        while let Ok((mut near, _)) = listener.accept().await {
            if Arc::strong_count(&open) > connections {
                counted.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let one = Arc::clone(&open);
            tokio::spawn(async move {
                let Ok(mut far) = TcpStream::connect(registry).await else {
                    return;
                };
                let _ = copy_bidirectional(&mut near, &mut far).await;
                drop(one);
            });
        }
    });
    (address, refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections() {
    let mut world = World::new().await;
    let (way, refused) = few_connections(world.destination.host().to_string().parse().unwrap(), 6).await;
    world.to = Registry::new(Options {
        endpoint: format!("http://{way}").parse().unwrap(),
        ..options_of(&world.destination)
    })
    .unwrap();
    copy_many(&world).await;
    assert!(refused.load(Ordering::Relaxed) > 0, "more were tried");
}
