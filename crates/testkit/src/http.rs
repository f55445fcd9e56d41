//! HTTP requests of tests. A client needs a TLS provider, even if it makes no TLS connections.

use reqwest::{Client, IntoUrl, Response};

/// A client with all defaults.
pub fn client() -> Client {
    transship_registry::use_ring();
    Client::new()
}

/// Sends a GET request to `url` and returns the response.
pub async fn get(url: impl IntoUrl) -> reqwest::Result<Response> {
    client().get(url).send().await
}
