//! Connections that are opened before a request needs them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use transship_oci::Limits;
use transship_registry::{Options, Registry, Retries};
use transship_testkit::proxy::DelayProxy;

use crate::world::{World, options_of};

const ROUND_TRIP: Duration = Duration::from_millis(30);

/// A way to a registry that counts connections.
struct Way {
    address: SocketAddr,
    /// Opened so far.
    opened: Arc<AtomicUsize>,
    /// Open now.
    open: Arc<AtomicUsize>,
    _delay: DelayProxy,
}

impl Way {
    /// The first `closed` connections are closed when they are open.
    async fn to(world: &World, round_trip: Duration, closed: usize) -> Self {
        let delay = DelayProxy::start(world.source.host(), round_trip).await.unwrap();
        let far: SocketAddr = delay.host().to_string().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (opened, open) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counters = (Arc::clone(&opened), Arc::clone(&open));
        tokio::spawn(async move {
            let (opened, open) = counters;
            while let Ok((mut near, _)) = listener.accept().await {
                if opened.fetch_add(1, Ordering::SeqCst) < closed {
                    continue;
                }
                let open = Arc::clone(&open);
                open.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(far).await {
                        let _ = copy_bidirectional(&mut near, &mut far).await;
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            opened,
            open,
            _delay: delay,
        }
    }

    fn registry(&self, world: &World) -> Registry {
        Registry::new(self.options(world)).unwrap()
    }

    fn options(&self, world: &World) -> Options {
        Options {
            endpoint: format!("http://{}", self.address).parse().unwrap(),
            ..options_of(&world.source)
        }
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    async fn until(&self, what: impl Fn(&Self) -> bool) {
        let wait = async {
            while !what(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
    }
}

async fn ping(registry: &Registry, times: usize) {
    let answers = join_all((0..times).map(|_| registry.ping())).await;
    for answer in answers {
        answer.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_use_the_connections_that_were_opened_for_them() {
    let world = World::new().await;
    let way = Way::to(&world, ROUND_TRIP, 0).await;
    let registry = way.registry(&world);
    registry.expect_requests(6);
    registry.expect_requests(6);
    way.until(|way| way.opened() == 6).await;
    ping(&registry, 6).await;
    assert_eq!(way.opened(), 6);
    assert_eq!(world.source.requests().len(), 6, "nothing but the six was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn for_requests_that_wait_connections_are_opened() {
    let world = World::new().await;
    let way = Way::to(&world, Duration::from_secs(5), 0).await;
    let registry = way.registry(&world);
    let mut pings: Vec<_> = (0..24).map(|_| Box::pin(registry.ping())).collect();
    for ping in &mut pings {
        assert!(ping.now_or_never().is_none());
    }
    // Eight have begun. The others are given up, so that no place comes for them.
    drop(pings.split_off(8));
    way.until(|way| way.opened() == 24).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn for_few_requests_per_second_none_is_opened_ahead() {
    let world = World::new().await;
    let way = Way::to(&world, ROUND_TRIP, 0).await;
    let registry = Registry::new(Options {
        limits: Limits {
            requests_per_second: Some(1.0),
            ..Limits::default()
        },
        ..way.options(&world)
    })
    .unwrap();
    registry.expect_requests(6);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(way.opened(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_a_registry_that_is_near_none_is_opened_ahead() {
    let world = World::new().await;
    let way = Way::to(&world, Duration::ZERO, 0).await;
    let registry = way.registry(&world);
    // The first one takes longer on a busy machine.
    ping(&registry, 1).await;
    ping(&registry, 1).await;
    let opened = way.opened();
    registry.expect_requests(6);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(way.opened(), opened);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_not_used_are_closed() {
    let world = World::new().await;
    let way = Way::to(&world, ROUND_TRIP, 0).await;
    let registry = way.registry(&world);
    registry.expect_requests(3);
    way.until(|way| way.open.load(Ordering::SeqCst) == 3).await;
    way.until(|way| way.open.load(Ordering::SeqCst) == 0).await;
    ping(&registry, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_registry_closed_harm_no_request() {
    let world = World::new().await;
    let way = Way::to(&world, ROUND_TRIP, 4).await;
    let registry = Registry::new(Options {
        retries: Retries {
            times: 0,
            ..Retries::default()
        },
        ..way.options(&world)
    })
    .unwrap();
    registry.expect_requests(4);
    way.until(|way| way.opened() == 4).await;
    // They are closed, and known to be.
    tokio::time::sleep(Duration::from_millis(200)).await;
    ping(&registry, 8).await;
}
