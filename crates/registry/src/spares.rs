//! Connections that are opened before a request needs them, so that no request waits for the handshakes.
//!
//! `reqwest` opens a connection only for a request. So a second client, the opener, begins requests that are given up before they
//! are sent. Its connections are kept here, and the client that sends takes them. A spare connection is closed if it is not used
//! soon, because servers close connections without a request.

use std::any::Any;
use std::collections::HashMap;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use reqwest::{Client, ClientBuilder};
use tower_layer::Layer;
use tower_service::Service;
use url::Url;

/// How long a spare connection is kept. Some servers wait 5 seconds for the first request.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(4);
/// Time limit for opening a connection.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Open connections without a request, by what they are connected to. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Spares(Arc<Mutex<HashMap<String, Vec<Spare>>>>);

/// Begins to open one more connection to the host of `url`. If that fails, the request that needs it opens its own.
pub(crate) fn open_ahead(opener: &Client, url: Url) {
    // The first poll comes as far as the connection, which is opened without the request.
    let _ = opener.get(url).send().now_or_never();
}

struct Spare {
    opened: Instant,
    /// The type of `reqwest`, which has no name.
    connection: Box<dyn Any + Send>,
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

    fn put(&self, to: &str, opened: Instant, connection: Box<dyn Any + Send>) {
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spares
            .entry(to.to_owned())
            .or_default()
            .push(Spare { opened, connection });
    }

    fn take<C: 'static>(&self, to: &str) -> Option<C> {
        self.drop_old();
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spare = spares.get_mut(to)?.pop()?;
        spare.connection.downcast().ok().map(|connection| *connection)
    }

    /// Closes those that were not used.
    fn drop_old(&self) {
        let mut old = Vec::new();
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for spares in spares.values_mut() {
            old.extend(spares.extract_if(.., |spare| spare.opened.elapsed() >= MAX_AGE));
        }
        spares.retain(|_, spares| !spares.is_empty());
        drop(spares);
    }
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
    S: Service<To>,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
    To: Debug,
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
            Role::Takes => match spares.take(&key) {
                Some(connection) => std::future::ready(Ok(connection)).boxed(),
                None => self.inner.call(to).boxed(),
            },
            Role::Opens => {
                let connecting = self.inner.call(to);
                tokio::spawn(async move {
                    let Ok(Ok(connection)) = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await else {
                        return;
                    };
                    spares.put(&key, Instant::now(), Box::new(connection));
                    tokio::time::sleep(MAX_AGE).await;
                    spares.drop_old();
                });
                std::future::pending().boxed()
            }
        }
    }
}
