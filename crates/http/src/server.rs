//! The HTTP server of `serve`: limits for connections, request heads and idle time.
//!
//! A connection that sends no complete head within [`HEAD_TIMEOUT`] is closed, also between two requests. At the maximum
//! number of connections, a new one takes the place of the one that has been silent for longest, so silent peers cannot keep
//! senders out. A connection with a request in progress is never closed for another one.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tower_service::Service as _;

/// Time limit for a request head, and for the silence between two requests of a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum size of a request head in bytes.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Maximum number of headers of a request.
const HEADERS_MAX: usize = 100;
/// Wait before the next `accept` after the process or the system ran out of descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(20);

/// The server.
pub struct Server {
    router: Router,
    connections: usize,
    head_timeout: Duration,
}

impl Server {
    /// A server of `router` with at most `connections` connections at the same time.
    pub const fn new(router: Router, connections: usize) -> Self {
        Self {
            router,
            connections,
            head_timeout: HEAD_TIMEOUT,
        }
    }

    /// Serves connections until `stopped` is true; then connections end with their current request, and no new ones are
    /// accepted.
    pub async fn run(self, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
        let connections = Arc::new(Connections::new(self.connections));
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = tasks.join_next(), if !tasks.is_empty() => continue,
                _ = stopped.wait_for(|stopped| *stopped) => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let place = tokio::select! {
                        place = connections.place() => place,
                        _ = stopped.wait_for(|stopped| *stopped) => break,
                    };
                    let connection = Connection {
                        place,
                        head_timeout: self.head_timeout,
                        stopped: stopped.clone(),
                    };
                    tasks.spawn(connection.serve(stream, self.router.clone()));
                }
                Err(error) => {
                    // A connection that was reset before it was accepted costs nothing. Without descriptors, the
                    // connections that are silent must end first.
                    if !connections.close_idle() {
                        tracing::warn!("a connection could not be accepted: {error}");
                    }
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
        drop(listener);
        while tasks.join_next().await.is_some() {}
    }
}

/// The open connections.
struct Connections {
    places: Arc<Semaphore>,
    /// The connections without a request in progress, by the order in which they became silent.
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    next: u64,
    by_age: BTreeMap<u64, Arc<Notify>>,
}

impl Connections {
    fn new(max: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(max)),
            idle: Mutex::default(),
        }
    }

    /// A place for one more connection. If there is none, the one that has been silent for longest is closed.
    async fn place(self: &Arc<Self>) -> Place {
        let permit = loop {
            if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
                break permit;
            }
            self.close_idle();
            if let Ok(permit) = Arc::clone(&self.places).acquire_owned().await {
                break permit;
            }
        };
        let mut place = Place {
            connections: Arc::clone(self),
            close: Arc::default(),
            idle: None,
            is_busy: false,
            _permit: permit,
        };
        place.becomes_idle();
        place
    }

    /// Closes the connection that has been silent for longest; false if there is none.
    fn close_idle(&self) -> bool {
        let oldest = self.lock().by_age.pop_first();
        oldest.is_some_and(|(_, close)| {
            close.notify_one();
            true
        })
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection, until it is dropped.
struct Place {
    connections: Arc<Connections>,
    close: Arc<Notify>,
    /// The key in [`Idle::by_age`] while no request is in progress.
    idle: Option<u64>,
    is_busy: bool,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn becomes_idle(&mut self) {
        let mut idle = self.connections.lock();
        let key = idle.next;
        idle.next += 1;
        idle.by_age.insert(key, Arc::clone(&self.close));
        drop(idle);
        self.idle = Some(key);
        self.is_busy = false;
    }

    fn becomes_busy(&mut self) {
        if let Some(key) = self.idle.take() {
            self.connections.lock().by_age.remove(&key);
        }
        self.is_busy = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.becomes_busy();
    }
}

/// One connection.
struct Connection {
    place: Place,
    head_timeout: Duration,
    stopped: watch::Receiver<bool>,
}

impl Connection {
    async fn serve(self, stream: TcpStream, router: Router) {
        let Self {
            place,
            head_timeout,
            mut stopped,
        } = self;
        let close = Arc::clone(&place.close);
        let place = Arc::new(Mutex::new(place));
        let requests = service_fn(|request: Request<Incoming>| {
            let (mut router, place) = (router.clone(), Arc::clone(&place));
            async move {
                with(&place, Place::becomes_busy);
                let response: Result<Response, Infallible> = router.call(request.map(Body::new)).await;
                with(&place, Place::becomes_idle);
                response
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), requests);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            // An error is that of the peer: a reset, a timeout, or something that is not HTTP.
            _ = connection.as_mut() => return,
            // A request that began in this moment is still answered.
            () = close.notified() => {
                if !with(&place, |place| place.is_busy) {
                    return;
                }
            }
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

fn with<T>(place: &Mutex<Place>, act: impl FnOnce(&mut Place) -> T) -> T {
    act(&mut place.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests;
