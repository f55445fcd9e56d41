//! Connections that are opened before a request needs them, so that no request waits for the handshakes.
//!
//! `reqwest` opens a connection only for a request. So a second client, the opener, begins requests that are given up before they
//! are sent. Its connections are kept here, and the client that sends takes them. A spare connection is closed if it is not used
//! soon, because servers close connections without a request.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use hyper::rt::{Read, ReadBuf};
use reqwest::{Client, ClientBuilder};
use tokio::sync::oneshot;
use tower_layer::Layer;
use tower_service::Service;
use url::Url;

/// How long a spare connection is kept. Some servers wait 5 seconds for the first request.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(4);
/// How long a request waits for a connection that is being opened before it opens its own.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time limit for opening a connection.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections without a request, by what they are connected to. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Spares(Arc<Mutex<HashMap<String, Host>>>);

/// The connections to one host.
#[derive(Default)]
struct Host {
    ready: Vec<Spare>,
    /// How many are being opened.
    coming: usize,
    /// The requests that wait for them, at most as many.
    waiting: VecDeque<oneshot::Sender<Connection>>,
}

struct Spare {
    opened: Instant,
    connection: Connection,
}

/// The type of `reqwest`, which has no name.
type Connection = Box<dyn Any + Send>;

/// What a request finds.
enum Found<C> {
    Ready(C),
    /// It is being opened.
    Coming(oneshot::Receiver<Connection>),
    Nothing,
}

/// Begins to open one more connection to the host of `url`. If that fails, the request that needs it opens its own.
pub(crate) fn open_ahead(opener: &Client, url: Url) {
    // The first poll comes as far as the connection, which is opened without the request.
    let _ = opener.get(url).send().now_or_never();
}

impl Spares {
    /// The client takes its connections from here first.
    pub(crate) fn client(&self, builder: ClientBuilder) -> reqwest::Result<Client> {
        builder.connector_layer(self.connections(Role::Takes)).build()
    }

    /// A client for [`open_ahead`].
    pub(crate) fn opener(&self, builder: ClientBuilder) -> reqwest::Result<Client> {
        let layer = self.connections(Role::Opens);
        // It has no idle connection on which a request would be sent.
        builder.connector_layer(layer).pool_max_idle_per_host(0).build()
    }

    fn connections(&self, role: Role) -> Connections {
        Connections {
            spares: self.clone(),
            role,
        }
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<String, Host>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, to: &str) {
        self.hosts().entry(to.to_owned()).or_default().coming += 1;
    }

    /// A connection was opened, or ([`None`]) was not.
    fn end(&self, to: &str, mut opened: Option<Connection>) {
        let mut hosts = self.hosts();
        let Some(host) = hosts.get_mut(to) else { return };
        host.coming -= 1;
        while let Some(connection) = opened.take() {
            match host.waiting.pop_front() {
                // A request that was given up does not take it.
                Some(waiting) => opened = waiting.send(connection).err(),
                None => host.ready.push(Spare {
                    opened: Instant::now(),
                    connection,
                }),
            }
        }
        // Those for which none is coming any more open their own.
        let too_many = host.waiting.len().saturating_sub(host.coming);
        host.waiting.drain(..too_many);
    }

    fn take<C: Read + Unpin + 'static>(&self, to: &str) -> Found<C> {
        self.drop_old();
        let mut hosts = self.hosts();
        let Some(host) = hosts.get_mut(to) else {
            return Found::Nothing;
        };
        while let Some(spare) = host.ready.pop() {
            if let Some(connection) = open::<C>(spare.connection) {
                return Found::Ready(connection);
            }
        }
        host.waiting.retain(|waiting| !waiting.is_closed());
        if host.coming <= host.waiting.len() {
            return Found::Nothing;
        }
        let (sender, receiver) = oneshot::channel();
        host.waiting.push_back(sender);
        Found::Coming(receiver)
    }

    /// Closes those that were not used.
    fn drop_old(&self) {
        let mut old = Vec::new();
        let mut hosts = self.hosts();
        for host in hosts.values_mut() {
            old.extend(host.ready.extract_if(.., |spare| spare.opened.elapsed() >= MAX_AGE));
        }
        hosts.retain(|_, host| host.coming > 0 || !host.ready.is_empty());
        drop(hosts);
    }
}

/// The connection, if the server has neither closed it nor sent something without a request, such as a 408.
fn open<C: Read + Unpin + 'static>(connection: Connection) -> Option<C> {
    let mut connection: C = *connection.downcast().ok()?;
    let mut byte = [0];
    let mut buffer = ReadBuf::new(&mut byte);
    let mut context = Context::from_waker(Waker::noop());
    let read = Pin::new(&mut connection).poll_read(&mut context, buffer.unfilled());
    read.is_pending().then_some(connection)
}

#[derive(Clone, Copy)]
enum Role {
    /// Opens connections that the other one uses.
    Opens,
    Takes,
}

/// How one of the two clients gets its connections.
#[derive(Clone)]
struct Connections {
    spares: Spares,
    role: Role,
}

impl<S> Layer<S> for Connections {
    type Service = Connector<S>;

    fn layer(&self, inner: S) -> Connector<S> {
        Connector {
            inner,
            connections: self.clone(),
        }
    }
}

#[derive(Clone)]
struct Connector<S> {
    inner: S,
    connections: Connections,
}

impl<S, To> Service<To> for Connector<S>
where
    S: Service<To> + Clone + Send + 'static,
    S::Response: Read + Send + Unpin + 'static,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
    To: Debug + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, to: To) -> Self::Future {
        let spares = self.connections.spares.clone();
        // The type of the target has no name and nothing that can be read but this.
        let key = format!("{to:?}");
        match self.connections.role {
            Role::Takes => match spares.take::<S::Response>(&key) {
                Found::Ready(connection) => std::future::ready(Ok(connection)).boxed(),
                Found::Nothing => self.inner.call(to).boxed(),
                Found::Coming(coming) => {
                    // The clone is not ready, and this one is.
                    let clone = self.inner.clone();
                    let mut inner = std::mem::replace(&mut self.inner, clone);
                    async move {
                        let connection = tokio::time::timeout(PATIENCE, coming).await;
                        match connection.ok().and_then(Result::ok).and_then(open) {
                            Some(connection) => Ok(connection),
                            None => inner.call(to).await,
                        }
                    }
                    .boxed()
                }
            },
            Role::Opens => {
                let opening = Opening::new(spares, key);
                let connecting = self.inner.call(to);
                tokio::spawn(async move {
                    if let Ok(Ok(connection)) = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                        let spares = opening.done(Box::new(connection));
                        tokio::time::sleep(MAX_AGE).await;
                        spares.drop_old();
                    }
                });
                std::future::pending().boxed()
            }
        }
    }
}

/// A connection that is being opened.
struct Opening {
    spares: Spares,
    to: String,
    opened: Option<Connection>,
}

impl Opening {
    fn new(spares: Spares, to: String) -> Self {
        spares.begin(&to);
        Self {
            spares,
            to,
            opened: None,
        }
    }

    fn done(mut self, connection: Connection) -> Spares {
        self.opened = Some(connection);
        self.spares.clone()
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.spares.end(&self.to, self.opened.take());
    }
}

#[cfg(test)]
mod tests {
    use hyper::rt::ReadBufCursor;

    use super::*;

    /// A connection with a number, closed by the server or not.
    #[derive(Debug, PartialEq)]
    struct Numbered(u32, bool);

    impl Read for Numbered {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: ReadBufCursor<'_>) -> Poll<std::io::Result<()>> {
            if self.1 { Poll::Ready(Ok(())) } else { Poll::Pending }
        }
    }

    const HOST: &str = "a";

    fn opened(number: u32) -> Connection {
        Box::new(Numbered(number, false))
    }

    fn ready(spares: &Spares) -> Option<u32> {
        match spares.take::<Numbered>(HOST) {
            Found::Ready(connection) => Some(connection.0),
            Found::Coming(_) | Found::Nothing => None,
        }
    }

    fn coming(spares: &Spares) -> Option<oneshot::Receiver<Connection>> {
        match spares.take::<Numbered>(HOST) {
            Found::Coming(receiver) => Some(receiver),
            Found::Ready(_) | Found::Nothing => None,
        }
    }

    #[test]
    fn a_request_takes_a_connection_that_is_open_or_waits_for_one_that_is_being_opened() {
        let spares = Spares::default();
        assert!(matches!(spares.take::<Numbered>(HOST), Found::Nothing));
        spares.begin(HOST);
        let mut first = coming(&spares).unwrap();
        assert!(coming(&spares).is_none(), "another one waits for it");
        spares.end(HOST, Some(opened(1)));
        let connection = open::<Numbered>(first.try_recv().unwrap());
        assert_eq!(connection, Some(Numbered(1, false)));
        spares.begin(HOST);
        spares.end(HOST, Some(opened(2)));
        assert_eq!((ready(&spares), ready(&spares)), (Some(2), None));
    }

    #[test]
    fn a_request_waits_for_no_connection_that_failed() {
        let spares = Spares::default();
        [(); 2].iter().for_each(|()| spares.begin(HOST));
        let (mut first, mut second) = (coming(&spares).unwrap(), coming(&spares).unwrap());
        spares.end(HOST, None);
        let failed = [first.try_recv(), second.try_recv()].map(Result::err);
        assert_eq!(
            failed,
            [
                Some(oneshot::error::TryRecvError::Closed),
                Some(oneshot::error::TryRecvError::Empty)
            ]
        );
    }

    #[test]
    fn a_request_that_is_given_up_leaves_its_connection_to_others() {
        let spares = Spares::default();
        spares.begin(HOST);
        drop(coming(&spares));
        spares.end(HOST, Some(opened(1)));
        assert_eq!(ready(&spares), Some(1));
        spares.begin(HOST);
        drop(coming(&spares));
        assert!(coming(&spares).is_some());
    }

    #[test]
    fn a_connection_that_was_closed_is_passed_over() {
        let spares = Spares::default();
        for (number, is_closed) in [(1, false), (2, true)] {
            spares.begin(HOST);
            spares.end(HOST, Some(Box::new(Numbered(number, is_closed))));
        }
        assert_eq!((ready(&spares), ready(&spares)), (Some(1), None));
    }
}
