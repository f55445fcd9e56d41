//! Records of requests, one for each in order of arrival, and their sums.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use transship_oci::Result;

use axum::body::Body;
use bytes::{Buf as _, Bytes};
use http::{Method, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};

/// One request and its response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    /// HTTP method, such as `GET`.
    pub method: Method,
    /// Path as it was sent, such as `/v2/core/app/manifests/v1`.
    pub path: String,
    /// Query string, without `?`.
    pub query: Option<String>,
    /// Status of the response; 0 if no response was sent (yet).
    pub status: u16,
    /// Number of bytes read from the request's body.
    pub bytes_in: u64,
    /// Number of bytes sent of the response's body.
    pub bytes_out: u64,
}

/// Class of a request, by its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// `GET /v2/`.
    Ping,
    /// `/manifests/`.
    Manifest,
    /// `/blobs/`.
    Blob,
    /// `/blobs/uploads/`.
    Upload,
    /// `/tags/list`.
    Tags,
    /// `/referrers/`.
    Referrers,
    /// Anything else: tokens.
    Other,
}

impl Class {
    /// The class of a path.
    pub fn of(path: &str) -> Self {
        if path == "/v2/" || path == "/v2" {
            Self::Ping
        } else if path.contains("/blobs/uploads") {
            Self::Upload
        } else if path.contains("/blobs/") {
            Self::Blob
        } else if path.contains("/manifests/") {
            Self::Manifest
        } else if path.ends_with("/tags/list") {
            Self::Tags
        } else if path.contains("/referrers/") {
            Self::Referrers
        } else {
            Self::Other
        }
    }
}

/// Number of requests and bytes of one method and class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Number of requests.
    pub requests: u64,
    /// Bytes of the requests' bodies.
    pub bytes_in: u64,
    /// Bytes of the responses' bodies.
    pub bytes_out: u64,
}

/// Sums over requests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Traffic {
    /// All requests except pings.
    pub total: Count,
    /// `GET /v2/`.
    pub pings: u64,
    /// By method and class, including pings.
    pub by_class: BTreeMap<(String, Class), Count>,
}

impl Traffic {
    /// The sums over `records`.
    pub fn of(records: &[RequestRecord]) -> Self {
        let mut traffic = Self::default();
        for record in records {
            let class = Class::of(&record.path);
            if class == Class::Ping {
                traffic.pings += 1;
            } else {
                traffic.total.add(record);
            }
            traffic
                .by_class
                .entry((record.method.to_string(), class))
                .or_default()
                .add(record);
        }
        traffic
    }

    /// The sum of one method and class.
    pub fn count(&self, method: &str, class: Class) -> Count {
        self.by_class
            .get(&(method.to_owned(), class))
            .copied()
            .unwrap_or_default()
    }
}

impl Count {
    const fn add(&mut self, record: &RequestRecord) {
        self.requests += 1;
        self.bytes_in += record.bytes_in;
        self.bytes_out += record.bytes_out;
    }
}

/// A record of a request in progress.
#[derive(Debug)]
pub(crate) struct Entry {
    method: Method,
    path: String,
    query: Option<String>,
    status: AtomicU16,
    bytes_in: Arc<AtomicU64>,
    bytes_out: Arc<AtomicU64>,
}

impl Entry {
    pub(crate) fn count_request(&self, body: Body) -> Body {
        CountedBody::wrap(body, &self.bytes_in)
    }

    pub(crate) fn count_response(&self, status: StatusCode, body: Body) -> Body {
        self.status.store(status.as_u16(), Ordering::Relaxed);
        CountedBody::wrap(body, &self.bytes_out)
    }
}

/// All records since the start or the last reset.
#[derive(Debug, Default)]
pub(crate) struct RequestLog(Mutex<Vec<Arc<Entry>>>);

impl RequestLog {
    pub(crate) fn begin(&self, method: Method, path: &str, query: Option<&str>) -> Arc<Entry> {
        let entry = Arc::new(Entry {
            method,
            path: path.to_owned(),
            query: query.map(ToOwned::to_owned),
            status: AtomicU16::new(0),
            bytes_in: Arc::default(),
            bytes_out: Arc::default(),
        });
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&entry));
        entry
    }

    pub(crate) fn records(&self) -> Vec<RequestRecord> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |entry: &Arc<Entry>| RequestRecord {
            method: entry.method.clone(),
            path: entry.path.clone(),
            query: entry.query.clone(),
            status: entry.status.load(Ordering::Relaxed),
            bytes_in: entry.bytes_in.load(Ordering::Relaxed),
            bytes_out: entry.bytes_out.load(Ordering::Relaxed),
        };
        entries.iter().map(read).collect()
    }

    pub(crate) fn reset(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A body that counts its bytes and keeps its size hint.
struct CountedBody {
    inner: Body,
    counter: Arc<AtomicU64>,
}

impl CountedBody {
    fn wrap(inner: Body, counter: &Arc<AtomicU64>) -> Body {
        Body::new(Self {
            inner,
            counter: Arc::clone(counter),
        })
    }
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.counter.fetch_add(data.remaining() as u64, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_counts_pings_apart() {
        let record = |method: Method, path: &str, bytes_in| RequestRecord {
            method,
            path: path.into(),
            query: None,
            status: 200,
            bytes_in,
            bytes_out: 1,
        };
        let traffic = Traffic::of(&[
            record(Method::GET, "/v2/", 0),
            record(Method::PUT, "/v2/a/b/blobs/uploads/1", 5),
            record(Method::PUT, "/v2/a/b/blobs/uploads/2", 6),
            record(Method::GET, "/v2/a/b/blobs/sha256:00", 0),
        ]);
        assert_eq!(traffic.pings, 1);
        assert_eq!(
            traffic.total,
            Count {
                requests: 3,
                bytes_in: 11,
                bytes_out: 3
            }
        );
        assert_eq!(traffic.count("PUT", Class::Upload).bytes_in, 11);
        assert_eq!(traffic.count("PUT", Class::Manifest), Count::default());
    }
}
