//! HTTP for the SDK, with the client that also connects to registries.
//!
//! The SDK's own client would add a second HTTP client with HTTP/2, which no endpoint needs, to every function. Creating the
//! client must read nothing, so that a function starts at once. Temporary errors must be marked, because the SDK retries only
//! time-outs and broken connections.

use std::sync::{Arc, OnceLock};
use std::time::Duration;
use transship_oci::Result;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use reqwest::{Body, Client, Request};

/// Idle time after which a connection is closed, because it may be dead when a frozen function resumes.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// A URL is put in order when it is read, by the rules of browsers, and then names something else than was asked for.
const NOT_AS_SIGNED: &str = "the path cannot be written in a URL; a part of it may be . or ..";

/// Connections to AWS, pooled; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    connect_timeout: Duration,
    client: Arc<OnceLock<Client>>,
}

impl Transport {
    /// Gives a connection `connect_timeout` to stand. Reads and sends nothing.
    pub(crate) fn new(connect_timeout: Duration) -> Self {
        Self {
            connect_timeout,
            client: Arc::default(),
        }
    }

    /// The client, made when it is first needed: it reads the machine's root certificates, some 10 ms.
    fn client(&self) -> Result<&Client, ConnectorError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        transship_registry::use_ring();
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .tcp_nodelay(true)
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()
            .map_err(|error| ConnectorError::user(error.into()))?;
        Ok(self.client.get_or_init(|| client))
    }

    async fn exchange(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let request = request
            .try_into_http1x()
            .map_err(|error| ConnectorError::user(error.into()))?;
        let signed = request.uri().clone();
        let request = Request::try_from(request.map(Body::wrap)).map_err(|error| ConnectorError::user(error.into()))?;
        if request.url().path() != signed.path() || request.url().query() != signed.query() {
            return Err(ConnectorError::user(NOT_AS_SIGNED.into()));
        }
        let response = self.client()?.execute(request).await.map_err(failed)?;
        let response = http::Response::<Body>::from(response).map(SdkBody::from_body_1_x);
        HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
    }
}

/// A failed or broken connection, which is temporary. The endpoint is not part of the error, because it may contain a password.
fn failed(error: reqwest::Error) -> ConnectorError {
    let error = error.without_url();
    if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else if error.is_builder() {
        ConnectorError::user(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}

impl HttpConnector for Transport {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().exchange(request))
    }
}

impl HttpClient for Transport {
    /// The connect time-out was set when the client was created and is the same for all clients; the SDK itself enforces the other
    /// time-outs.
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
