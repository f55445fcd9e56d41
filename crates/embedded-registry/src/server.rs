//! The loopback HTTP/1.1 server of the registry, and of a proxy in front of a real one.
//!
//! It provides what both need around their handler: records of requests, the execution of faults, and a shutdown that lets
//! running requests finish.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use axum::body::Body;
use http::{Request, Response, StatusCode, header};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::connection::{Connection, ResetSwitch};
use crate::faults::{Action, DamagedBody, Ending, Faults, RequestHead};
use crate::records::{RequestLog, RequestRecord};
use transship_oci::Result;

/// Handles requests. The peer's [`SocketAddr`] is in the request's extensions.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Returns the response.
    async fn handle(&self, request: Request<Body>) -> Response<Body>;
}

/// A running server. Dropping it stops accepting connections and lets running requests finish.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

struct Shared {
    handler: Arc<dyn Handler>,
    faults: Mutex<Option<Arc<dyn Faults>>>,
    log: RequestLog,
}

/// The connection must be dropped without a response.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped on purpose")]
struct Dropped;

impl Server {
    /// Binds a free port of 127.0.0.1. Must be called within a tokio runtime.
    pub async fn bind() -> io::Result<Bound> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok(Bound { listener, address })
    }

    /// The address on which it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the faults of future requests; [`None`] for no faults.
    pub fn set_faults(&self, faults: Option<Arc<dyn Faults>>) {
        *self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Every request since the start or the last [`Server::reset_requests`], in order of arrival.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.shared.log.records()
    }

    /// Deletes the records.
    pub fn reset_requests(&self) {
        self.shared.log.reset();
    }

    /// Stops accepting connections, and returns when the open ones have ended.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.stop.closed().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// A bound port without a handler, so that the address is known before the handler is created.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// The address on which it will listen.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts handling requests.
    pub fn serve(self, handler: Arc<dyn Handler>, faults: Option<Arc<dyn Faults>>) -> Server {
        let shared = Arc::new(Shared {
            handler,
            faults: Mutex::new(faults),
            log: RequestLog::default(),
        });
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(accept(self.listener, Arc::clone(&shared), stopped));
        Server {
            address: self.address,
            shared,
            stop,
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = until_stopped(&mut stopped) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                tokio::spawn(serve(stream, peer, Arc::clone(&shared), stopped.clone()));
            }
            // Out of file descriptors, or the client closed the connection. Other clients must still be served.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn until_stopped(stopped: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which also means stop.
    stopped.wait_for(|stop| *stop).await.map(drop).ok();
}

async fn serve(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    stream.set_nodelay(true).ok();
    let reset = ResetSwitch::default();
    let io = TokioIo::new(Connection::new(stream, reset.clone()));
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let (shared, reset) = (Arc::clone(&shared), reset.clone());
        async move { shared.answer(request.map(Body::new), peer, reset).await }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    // A failed connection was caused by the client or by a fault of this server.
    tokio::select! {
        result = connection.as_mut() => drop(result),
        () = until_stopped(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await.ok();
        }
    }
}

impl Shared {
    async fn answer(
        &self,
        mut request: Request<Body>,
        peer: SocketAddr,
        reset: ResetSwitch,
    ) -> Result<Response<Body>, Dropped> {
        let (path, query) = (request.uri().path(), request.uri().query());
        let action = self.decide(&request);
        let entry = self.log.begin(request.method().clone(), path, query);
        let is_head = request.method() == http::Method::HEAD;
        request.extensions_mut().insert(peer);
        let mut request = request.map(|body| entry.count_request(body));

        if let Some(delay) = action.as_ref().and_then(Action::delay) {
            tokio::time::sleep(delay).await;
        }
        match &action {
            Some(Action::Reset) => {
                reset.arm();
                return Err(Dropped);
            }
            Some(Action::DropCredentials) => {
                request.headers_mut().remove(header::AUTHORIZATION);
            }
            Some(Action::CutRequest { after_bytes }) => {
                let (after_bytes, reset) = (*after_bytes, reset.clone());
                request = request.map(|body| DamagedBody::cut(body, after_bytes, Ending::Reset, reset));
            }
            _ => {}
        }
        let mut response = match &action {
            Some(Action::Status { code, headers, body }) => scripted(*code, headers, body.clone()),
            _ => self.handler.handle(request).await,
        };
        if matches!(action, Some(Action::LoseResponse)) {
            reset.arm();
        }
        if reset.is_armed() {
            return Err(Dropped);
        }
        if !is_head {
            response = damage(response, action.as_ref(), reset);
        }
        let status = response.status();
        Ok(response.map(|body| entry.count_response(status, body)))
    }

    fn decide(&self, request: &Request<Body>) -> Option<Action> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        faults.action(&RequestHead {
            method: request.method(),
            path: request.uri().path(),
            query: request.uri().query(),
            headers: request.headers(),
        })
    }
}

fn scripted(code: u16, headers: &[(String, String)], body: bytes::Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        let name = header::HeaderName::try_from(name.as_str());
        let value = header::HeaderValue::try_from(value.as_str());
        if let (Ok(name), Ok(value)) = (name, value) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

fn damage(mut response: Response<Body>, action: Option<&Action>, reset: ResetSwitch) -> Response<Body> {
    let length = content_length(&response);
    match action {
        Some(Action::CutBody { after_bytes, ending }) if length.is_none_or(|length| *after_bytes < length) => {
            let (after_bytes, ending) = (*after_bytes, *ending);
            // The body no longer has a size hint, so the header is set here, unless the fault omits it.
            match (ending, length) {
                (Ending::Unnoticed, _) => {
                    response.headers_mut().remove(header::CONTENT_LENGTH);
                }
                (Ending::Reset | Ending::Close, Some(length)) => {
                    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
                }
                (Ending::Reset | Ending::Close, None) => {}
            }
            response.map(|body| DamagedBody::cut(body, after_bytes, ending, reset))
        }
        Some(Action::FlipBit { at_byte }) => {
            let at_byte = *at_byte;
            if let Some(length) = length {
                response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
            }
            response.map(|body| DamagedBody::flip(body, at_byte, reset))
        }
        _ => response,
    }
}

fn content_length(response: &Response<Body>) -> Option<u64> {
    let declared = response.headers().get(header::CONTENT_LENGTH);
    declared
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .or_else(|| http_body::Body::size_hint(response.body()).exact())
}
