//! Requests of tests. Here because a client wants to know who makes its TLS connections, also where it makes none.

use reqwest::{Client, IntoUrl, Response};

/// A client with all defaults.
pub fn client() -> Client {
    transship_registry::use_ring();
    Client::new()
}

/// What a GET of `url` is answered.
pub async fn get(url: impl IntoUrl) -> reqwest::Result<Response> {
    client().get(url).send().await
}
