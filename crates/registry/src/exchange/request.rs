//! A request before it is sent.

use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};
use transship_oci::Operation;
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
        }
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
