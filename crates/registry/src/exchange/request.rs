//! A request before it is sent.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};
use transship_copy::Gate;
use transship_oci::{Operation, Result};
use url::Url;

use crate::auth::Scope;

/// A request to the registry, with the scope its token needs.
pub(crate) struct Request<'a> {
    pub(crate) operation: Operation,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) scope: Scope,
    pub(crate) requests: &'a AtomicU64,
    /// A redirect to another origin is the response, and is not followed.
    pub(crate) is_within_origin: bool,
    /// The body is sent while it is read from elsewhere, as long as that takes.
    pub(crate) is_streamed: bool,
    /// Asked right before each time that the request is sent.
    pub(crate) gate: Option<&'a dyn Gate>,
    /// The gate refused: the request is not tried again.
    pub(crate) is_refused: AtomicBool,
}

impl<'a> Request<'a> {
    pub(crate) fn new(operation: Operation, method: Method, url: Url, scope: Scope, requests: &'a AtomicU64) -> Self {
        Self {
            operation,
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            scope,
            requests,
            is_within_origin: false,
            is_streamed: false,
            gate: None,
            is_refused: AtomicBool::new(false),
        }
    }

    /// The same request behind a gate.
    pub(crate) const fn behind(mut self, gate: Option<&'a dyn Gate>) -> Self {
        self.gate = gate;
        self
    }

    /// How long the request may take from now. After an error it is not sent.
    pub(crate) async fn pass(&self) -> Result<Option<Duration>> {
        let Some(gate) = self.gate else { return Ok(None) };
        let passed = gate.pass().await;
        self.is_refused.store(passed.is_err(), Ordering::Relaxed);
        passed
    }

    /// True if the gate refused.
    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    /// The same request, which follows redirects only within the registry's own origin.
    pub(crate) const fn within_origin(mut self) -> Self {
        self.is_within_origin = true;
        self
    }

    pub(crate) fn accept(mut self, types: &'static str) -> Self {
        self.headers.insert(ACCEPT, HeaderValue::from_static(types));
        self
    }
}
