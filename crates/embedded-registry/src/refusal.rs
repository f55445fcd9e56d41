//! Error responses in the format of the specification.
//!
//! Source: distribution-spec, Error Codes.

use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::json;
use transship_oci::Result;

/// An error response: status, code and message.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    headers: Vec<(HeaderName, String)>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            headers: Vec::new(),
        }
    }

    pub(crate) fn not_found(code: &'static str, what: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            code,
            format!("{what} was not found in this registry"),
        )
    }

    pub(crate) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message)
    }

    #[must_use]
    pub(crate) fn with_header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let body = json!({ "errors": [{ "code": self.code, "message": self.message }] }).to_string();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.append(name, value);
            }
        }
        response
    }
}

/// Result of a handler.
pub(crate) type Answer = Result<Response<Body>, Refusal>;

/// A response with `status` and headers that are known to be valid text.
pub(crate) fn answer(
    status: StatusCode,
    headers: impl IntoIterator<Item = (HeaderName, String)>,
    body: Body,
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Name of the header `Docker-Content-Digest`.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// Name of the header `Docker-Upload-UUID`.
pub(crate) const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// Name of the header `OCI-Subject`.
pub(crate) const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// Name of the header `OCI-Filters-Applied`.
pub(crate) const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
