//! Reads the bodies of deliveries, with limits for their size, for slow senders, and for all bodies that are being read.
//!
//! Only bodies of admitted senders are read. A format whose proof is in its body admits everybody, so the bytes in progress
//! are limited for each source as well: a flood of one source leaves room for the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use transship_oci::{Code, Error, Operation, Result};

use crate::MAX_BODY_BYTES;

/// Time limit for a body. Senders wait 1 to 10 seconds for a response, so one that takes longer will not receive it.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest wait until there is room for a body.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of bytes of all bodies that are being read.
const BODIES_BYTES_MAX: usize = 32 * MAX_BODY_BYTES;
/// Maximum number of bytes of the bodies of one source that are being read.
const SOURCE_BYTES_MAX: usize = 8 * MAX_BODY_BYTES;
/// Number of bytes and time in which the body of a rejected delivery is discarded, so that its sender can read the response.
const DISCARD_BYTES_MAX: usize = 2 * MAX_BODY_BYTES;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// The bodies that are being read.
pub(crate) struct Bodies {
    all: Arc<Semaphore>,
    sources: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Default for Bodies {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(BODIES_BYTES_MAX)),
            sources: Mutex::default(),
        }
    }
}

impl Bodies {
    /// Reads the whole body of a delivery to `source`, which the document has. A body whose announced length is too large is
    /// rejected before it is read. Errors: `DELIVERY_TOO_LARGE`, `DELIVERY_TOO_SLOW`, `DELIVERY_INVALID`, and `UNAVAILABLE` if
    /// there is no room for it.
    pub(crate) async fn read(&self, source: &str, headers: &HeaderMap, mut body: Body) -> Result<Bytes> {
        let announced: Option<usize> = headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length| length > MAX_BODY_BYTES) {
            discard(body).await;
            return Err(too_large());
        }
        // The whole body is reserved before it is read: bodies that wait for each other's bytes would never end.
        let count = u32::try_from(announced.unwrap_or(MAX_BODY_BYTES)).unwrap_or(u32::MAX);
        let of_source = self.of_source(source);
        let reserved = timeout(RESERVE_TIMEOUT, async {
            tokio::try_join!(of_source.acquire_many(count), self.all.acquire_many(count))
        });
        let Ok(Ok(_reserved)) = reserved.await else {
            return Err(rejected(
                Code::Unavailable,
                "too many deliveries are being read: send it again",
            ));
        };
        let read = timeout(BODY_TIMEOUT, Limited::new(&mut body, MAX_BODY_BYTES).collect());
        match read.await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                discard(body).await;
                Err(too_large())
            }
            Ok(Err(_)) => Err(rejected(
                Code::DeliveryInvalid,
                "the body is shorter than its Content-Length",
            )),
            Err(_) => Err(rejected(Code::DeliveryTooSlow, "the body was not received in time")),
        }
    }

    /// The limit of one source. The number of sources is bounded, because only names of the document get here.
    fn of_source(&self, source: &str) -> Arc<Semaphore> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = sources
            .entry(source.to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(SOURCE_BYTES_MAX)));
        Arc::clone(limit)
    }
}

/// Reads the beginning of a body that is not wanted. A server that closes a connection with unread bytes resets it, and the
/// client may then lose the response.
pub(crate) async fn discard(mut body: Body) {
    let discarding = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > DISCARD_BYTES_MAX {
                return;
            }
        }
    };
    let _ = timeout(DISCARD_TIMEOUT, discarding).await;
}

fn too_large() -> Error {
    rejected(Code::DeliveryTooLarge, "the delivery is larger than 1 MiB")
}

fn rejected(code: Code, message: &'static str) -> Error {
    Error::new(code, Operation::default(), message)
}
