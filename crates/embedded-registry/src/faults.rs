//! Faults of the HTTP layer: what may befall one request, and the port that decides it.
//!
//! The decision ([`Faults`]) is apart from its execution, so that a script or a seed can drive this registry and a
//! proxy in front of a real one alike.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use http_body::{Body as HttpBody, Frame};

use crate::connection::ResetSwitch;

/// Decides what befalls a request, before it is handled. Called once per request, in order of arrival.
pub trait Faults: Send + Sync {
    /// The fault of this request; [`None`] lets it pass.
    fn action(&self, request: &RequestHead<'_>) -> Option<Action>;
}

/// What a decision may look at.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// `GET`.
    pub method: &'a Method,
    /// `/v2/core/app/manifests/v1`, as it was sent.
    pub path: &'a str,
    /// What stands after `?`.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// What befalls a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Answered like this, not handled.
    Status {
        /// Such as 429.
        code: u16,
        /// Such as `retry-after: 1`. Names in lower case.
        headers: Vec<(String, String)>,
        /// The body; empty for none.
        body: Bytes,
    },
    /// The connection is reset; the request is not handled.
    Reset,
    /// The request's body breaks by reset after so many bytes; what came before was handled.
    CutRequest {
        /// Bytes let through.
        after_bytes: u64,
    },
    /// The response's body ends after so many bytes. Nothing happens to a shorter one, nor to an answer to HEAD.
    CutBody {
        /// Bytes let through.
        after_bytes: u64,
        /// How it ends.
        ending: Ending,
    },
    /// Handled to the end; then the connection is reset instead of an answer.
    LoseResponse,
    /// Handled after so long.
    Delay {
        /// Milliseconds.
        delay_ms: u64,
    },
    /// One bit of the response's body is wrong.
    FlipBit {
        /// The byte it is in, counted from 0. Nothing happens to a shorter body.
        at_byte: u64,
    },
    /// Handled as if it had been sent without `Authorization`: a session that expired.
    DropCredentials,
}

/// How a cut body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By a connection reset.
    Reset,
    /// By a closed connection: fewer bytes came than `Content-Length` said.
    Close,
    /// Well, and without `Content-Length`: only the digest can tell that bytes are missing.
    Unnoticed,
}

/// What is done to a body on its way.
#[derive(Debug)]
enum Damage {
    Cut {
        left: u64,
        ending: Ending,
    },
    Flip {
        before: u64,
    },
    /// The last bytes were handed on; they must reach the wire before the end does.
    Ending(Ending),
    Broken,
    Done,
}

/// A body on which a fault is executed.
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

    /// The first call gives the server a turn in which it flushes what it was given; the second breaks the connection.
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
    /// An answer of `code` without headers or body.
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

    /// How long handling is put off.
    pub(crate) const fn delay(&self) -> Option<Duration> {
        match self {
            Self::Delay { delay_ms } => Some(Duration::from_millis(*delay_ms)),
            _ => None,
        }
    }
}
