//! Requests to other services than registries: one small public file, or one call of an API. No redirects, and the same checks
//! of addresses as for a registry.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Response, StatusCode};
use transship_oci::{Code, Error, Network, Operation, Result, Verb};
use url::Url;

use crate::clients::Clients;
use crate::network::Guard;

/// The content of `url`, at most `bytes_max` bytes and within `time_limit`. Error: `UNAVAILABLE`.
pub async fn fetch_public(url: &Url, bytes_max: usize, time_limit: Duration) -> Result<Bytes> {
    let operation = Verb::Read.on(url.host_str().unwrap_or_default());
    match tokio::time::timeout(time_limit, fetch(url, bytes_max, &operation)).await {
        Ok(fetched) => fetched,
        Err(_) => Err(unavailable(&operation).because("it did not respond in time")),
    }
}

async fn fetch(url: &Url, bytes_max: usize, operation: &Operation) -> Result<Bytes> {
    let guard = Arc::new(Guard::new(url, &[], Network::Public));
    guard
        .check(url)
        .map_err(|denied| unavailable(operation).because(denied))?;
    let client = Clients::new(guard, Vec::new(), None).of(url).await?;
    let response = client.get(url.clone()).send().await;
    let mut response = response.map_err(|error| unavailable(operation).because(error))?;
    if response.status() != StatusCode::OK {
        return Err(unavailable(operation).because(format!("it answered {}", response.status())));
    }
    content(&mut response, bytes_max, operation).await
}

/// A signed call of an API.
#[derive(Debug)]
pub struct ApiCall<'a> {
    /// The address.
    pub url: &'a Url,
    /// Which addresses its name may resolve to.
    pub network: Network,
    /// The headers, which may hold a signature.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

/// Posts `call` once, without a retry. Returns the status and at most `bytes_max` bytes of the answer. Error: `UNAVAILABLE`;
/// whether the call was executed is then not known.
pub async fn post_api(call: ApiCall<'_>, bytes_max: usize, time_limit: Duration) -> Result<(u16, Bytes)> {
    let operation = Verb::Read.on(call.url.host_str().unwrap_or_default());
    match tokio::time::timeout(time_limit, post(call, bytes_max, &operation)).await {
        Ok(answered) => answered,
        Err(_) => Err(unavailable(&operation).because("it did not respond in time")),
    }
}

async fn post(call: ApiCall<'_>, bytes_max: usize, operation: &Operation) -> Result<(u16, Bytes)> {
    let guard = Arc::new(Guard::new(call.url, &[], call.network));
    guard
        .check(call.url)
        .map_err(|denied| unavailable(operation).because(denied))?;
    let client = Clients::new(guard, Vec::new(), None).of(call.url).await?;
    let mut request = client.post(call.url.clone()).body(call.body);
    for (name, value) in call.headers {
        request = request.header(name, value);
    }
    let response = request.send().await;
    let mut response = response.map_err(|error| unavailable(operation).because(error.without_url()))?;
    let status = response.status().as_u16();
    let content = content(&mut response, bytes_max, operation).await?;
    Ok((status, content))
}

async fn content(response: &mut Response, bytes_max: usize, operation: &Operation) -> Result<Bytes> {
    let mut content = BytesMut::new();
    while let Some(chunk) = next(response, operation).await? {
        if content.len() + chunk.len() > bytes_max {
            return Err(unavailable(operation).because(format!("it is larger than {bytes_max} bytes")));
        }
        content.extend_from_slice(&chunk);
    }
    Ok(content.freeze())
}

async fn next(response: &mut Response, operation: &Operation) -> Result<Option<Bytes>> {
    let chunk = response.chunk().await;
    chunk.map_err(|error| unavailable(operation).because(error))
}

fn unavailable(operation: &Operation) -> Error {
    Error::of(Code::Unavailable, operation.clone())
}
