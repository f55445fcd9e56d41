//! A reverse proxy that executes faults and records requests, in front of a registry that can do neither.
//!
//! It rewrites nothing. The client's `Host` is passed on, so that a registry that builds absolute locations from it names the
//! proxy. Bodies are streamed in both directions and never buffered as a whole.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use transship_embedded_registry::faults::Faults;
use transship_embedded_registry::records::{RequestRecord, Traffic};
use transship_embedded_registry::server::{Handler, Server};
use transship_oci::RegistryHost;

use crate::{Error, ErrorKind, Result};

/// Headers that belong to one connection. Source: RFC 9110, 7.6.1.
const OF_THE_CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
];

/// A running proxy on a loopback port. Dropping it stops accepting connections.
pub struct FaultProxy {
    server: Server,
    host: RegistryHost,
}

struct Forward {
    upstream: RegistryHost,
    client: Client<HttpConnector, Body>,
}

impl FaultProxy {
    /// A proxy in front of `upstream` (plain HTTP), without faults until [`FaultProxy::set_faults`].
    pub async fn start(upstream: &RegistryHost) -> Result<Self> {
        let failed = |error| Error::new(ErrorKind::BindFailed, "fault proxy").with_source(error);
        let bound = Server::bind().await.map_err(failed)?;
        let host = super::host(bound.address())?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let forward = Forward {
            upstream: upstream.clone(),
            client: Client::builder(TokioExecutor::new()).build(connector),
        };
        let server = bound.serve(Arc::new(forward), None);
        Ok(Self { server, host })
    }

    /// `127.0.0.1:<port>`.
    pub const fn host(&self) -> &RegistryHost {
        &self.host
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.host)
    }

    /// Sets the faults of future requests; [`None`] for no faults.
    pub fn set_faults(&self, faults: Option<Arc<dyn Faults>>) {
        self.server.set_faults(faults);
    }

    /// Every request since the start or the last reset, in order of arrival.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.server.requests()
    }

    /// Sums over [`FaultProxy::requests`], with pings counted separately.
    pub fn traffic(&self) -> Traffic {
        Traffic::of(&self.requests())
    }

    /// Deletes the records of requests.
    pub fn reset_requests(&self) {
        self.server.reset_requests();
    }

    /// Stops accepting connections, and returns when the open ones have ended.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

#[async_trait]
impl Handler for Forward {
    async fn handle(&self, request: Request<Body>) -> Response<Body> {
        let Ok(request) = self.readdressed(request) else {
            return bad_gateway();
        };
        match self.client.request(request).await {
            Ok(mut response) => {
                remove_of_the_connection(response.headers_mut());
                response.map(Body::new)
            }
            Err(_) => bad_gateway(),
        }
    }
}

impl Forward {
    fn readdressed(&self, request: Request<Body>) -> std::result::Result<Request<Body>, http::Error> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = Uri::builder()
            .scheme("http")
            .authority(self.upstream.as_str())
            .path_and_query(path)
            .build()?;
        parts.extensions.clear();
        remove_of_the_connection(&mut parts.headers);
        Ok(Request::from_parts(parts, body))
    }
}

fn remove_of_the_connection(headers: &mut HeaderMap) {
    for name in &OF_THE_CONNECTION {
        headers.remove(name);
    }
}

fn bad_gateway() -> Response<Body> {
    let mut response = Response::new(Body::from("the proxy cannot reach the registry"));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}
