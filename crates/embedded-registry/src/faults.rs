//! Faults of the HTTP layer: what can happen to a request, and the port that decides it.
//!
//! The decision ([`Faults`]) is separate from its execution, so that a script or a seed can drive both this registry and a
//! proxy in front of a real one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use http_body::{Body as HttpBody, Frame};

use crate::connection::ResetSwitch;
use transship_oci::Result;

/// Decides the fault of a request before it is handled. Called once for each request, in order of arrival.
pub trait Faults: Send + Sync {
    /// The fault of this request; [`None`] for no fault.
    fn action(&self, request: &RequestHead<'_>) -> Option<Action>;
}

/// The parts of a request that a decision can use.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// HTTP method, such as `GET`.
    pub method: &'a Method,
    /// Path as it was sent, such as `/v2/core/app/manifests/v1`.
    pub path: &'a str,
    /// Query string, without `?`.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// A fault of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The request is not handled and gets this response.
    Status {
        /// Status, such as 429.
        code: u16,
        /// Headers, such as `retry-after: 1`. Names are in lower case.
        headers: Vec<(String, String)>,
        /// Body; may be empty.
        body: Bytes,
    },
    /// The connection is reset; the request is not handled.
    Reset,
    /// The connection is reset after this number of bytes of the request's body. The bytes before are handled.
    CutRequest {
        /// Number of bytes that pass.
        after_bytes: u64,
    },
    /// The response's body ends after this number of bytes. A shorter body and a response to HEAD are not affected.
    CutBody {
        /// Number of bytes that pass.
        after_bytes: u64,
        /// How it ends.
        ending: Ending,
    },
    /// The request is handled completely; then the connection is reset instead of a response.
    LoseResponse,
    /// The request is handled after a delay.
    Delay {
        /// Delay in milliseconds.
        delay_ms: u64,
    },
    /// One bit of the response's body is wrong.
    FlipBit {
        /// Index of the byte, counted from 0. A shorter body is not affected.
        at_byte: u64,
    },
    /// The request is handled as if it had no `Authorization` header, like an expired session.
    DropCredentials,
}

/// How a cut body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The connection is reset.
    Reset,
    /// The connection is closed after fewer bytes than `Content-Length`.
    Close,
    /// The body ends normally and without `Content-Length`, so that only the digest reveals the missing bytes.
    Unnoticed,
}

/// A fault of a body in transit.
#[derive(Debug)]
enum Damage {
    Cut {
        left: u64,
        ending: Ending,
    },
    Flip {
        before: u64,
    },
    /// The last bytes were passed on and must be sent before the connection ends.
    Ending(Ending),
    Broken,
    Done,
}

/// A body with a fault.
pub(crate) struct DamagedBody {
    inner: Body,
    damage: Damage,
    reset: ResetSwitch,
}

impl DamagedBody {
    pub(crate) fn cut(inner: Body, after_bytes: u64, ending: Ending, reset: ResetSwitch) -> Body {
        Body::new(Self {
            inner,
            damage: Damage::Cut {
                left: after_bytes,
                ending,
            },
            reset,
        })
    }

    pub(crate) fn flip(inner: Body, at_byte: u64, reset: ResetSwitch) -> Body {
        Body::new(Self {
            inner,
            damage: Damage::Flip { before: at_byte },
            reset,
        })
    }

    fn apply(&mut self, data: Bytes) -> Bytes {
        match &mut self.damage {
            Damage::Cut { left, ending } => {
                let length = data.len() as u64;
                if length < *left {
                    *left -= length;
                    return data;
                }
                let keep = usize::try_from(*left).unwrap_or(usize::MAX);
                self.damage = Damage::Ending(*ending);
                data.slice(..keep.min(data.len()))
            }
            Damage::Flip { before } => {
                let length = data.len() as u64;
                if length <= *before {
                    *before -= length;
                    return data;
                }
                let at = usize::try_from(*before).unwrap_or(usize::MAX);
                let mut damaged = BytesMut::from(data.as_ref());
                if let Some(byte) = damaged.get_mut(at) {
                    *byte ^= 0x10;
                }
                self.damage = Damage::Done;
                damaged.freeze()
            }
            Damage::Ending(_) | Damage::Broken | Damage::Done => data,
        }
    }

    /// The first call lets the server flush its buffer; the second breaks the connection.
    fn end(&mut self, ending: Ending, context: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match ending {
            Ending::Unnoticed => return Poll::Ready(None),
            Ending::Reset => self.reset.arm(),
            Ending::Close => {}
        }
        self.damage = Damage::Broken;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl HttpBody for DamagedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.damage {
            Damage::Ending(ending) => return self.end(ending, context),
            Damage::Broken => {
                let reason = io::Error::from(io::ErrorKind::ConnectionReset);
                return Poll::Ready(Some(Err(axum::Error::new(reason))));
            }
            Damage::Cut { .. } | Damage::Flip { .. } | Damage::Done => {}
        }
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(context)) else {
            return Poll::Ready(None);
        };
        let frame = frame?;
        Poll::Ready(Some(Ok(match frame.into_data() {
            Ok(data) => Frame::data(self.apply(data)),
            Err(trailers) => trailers,
        })))
    }
}

impl Action {
    /// A response with the status `code`, without headers or body.
    pub const fn status(code: u16) -> Self {
        Self::Status {
            code,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// 429 with `Retry-After` in seconds.
    pub fn too_many_requests(retry_after_s: u64) -> Self {
        Self::Status {
            code: 429,
            headers: vec![("retry-after".into(), retry_after_s.to_string())],
            body: Bytes::from_static(br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#),
        }
    }

    /// The delay before a request is handled.
    pub(crate) const fn delay(&self) -> Option<Duration> {
        match self {
            Self::Delay { delay_ms } => Some(Duration::from_millis(*delay_ms)),
            _ => None,
        }
    }
}
