//! The HTTP of the SDK, by the client that speaks to registries too.
//!
//! Here because the SDK's own would bring a second client with HTTP/2, which no endpoint of ours needs, into every function.
//! What must hold: making it reads nothing, so that a function starts at once; what may pass is told as such, because the
//! SDK tries again what timed out or broke, and nothing else.

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

/// A connection that nobody used so long may be gone when a frozen function wakes.
const IDLE: Duration = Duration::from_secs(20);
/// A URL is put in order when it is read, by the rules of browsers, and then names something else than was asked for.
const NOT_AS_SIGNED: &str = "no URL can name this: perhaps a part of the path is . or ..";

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
            .pool_idle_timeout(IDLE)
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

/// What reached nobody, or broke on its way: both pass. Where it was to go is not told: an endpoint may hold a password.
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
    /// The time-outs are those this was made with: every client here has the same until a connection stands, and the SDK
    /// itself bounds the rest.
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
