//! Reads the body of a delivery, with limits for its size and for slow senders.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::{MAX_BODY_BYTES, refusal};

/// Time limit for a body. Senders wait 1 to 10 seconds for a response, so one that takes longer will not receive it.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a body could not be read.
pub(crate) enum Unreadable {
    TooLarge,
    TooSlow,
    Broken,
}

impl IntoResponse for Unreadable {
    fn into_response(self) -> Response {
        match self {
            Self::TooLarge => refusal(
                StatusCode::PAYLOAD_TOO_LARGE,
                "DELIVERY_TOO_LARGE",
                "the delivery is larger than 1 MiB",
            ),
            Self::TooSlow => refusal(
                StatusCode::REQUEST_TIMEOUT,
                "DELIVERY_TOO_SLOW",
                "the body was not received in time",
            ),
            Self::Broken => refusal(
                StatusCode::BAD_REQUEST,
                "DELIVERY_INVALID",
                "the body is shorter than its Content-Length",
            ),
        }
    }
}

/// Reads the whole body. A body whose announced length is too large is rejected before it is read.
pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Unreadable> {
    let announced: Option<usize> = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length| length > MAX_BODY_BYTES) {
        return Err(Unreadable::TooLarge);
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Unreadable::TooLarge),
        Ok(Err(_)) => Err(Unreadable::Broken),
        Err(_) => Err(Unreadable::TooSlow),
    }
}
