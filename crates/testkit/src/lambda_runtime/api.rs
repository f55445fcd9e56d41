//! The Runtime API of one environment: `next`, `response`, `error`, `init/error`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

/// Maximum size of a response in bytes, slightly more than Lambda's limit.
const MAX_ANSWER_BYTES: usize = 6 * 1024 * 1024 + 1024;

/// One event for the process.
pub(super) struct Invocation {
    pub(super) request: String,
    pub(super) event: Vec<u8>,
    pub(super) deadline: SystemTime,
}

/// A request of the process.
pub(super) enum Said {
    /// Poll for the next event.
    Next(oneshot::Sender<Invocation>),
    /// Response to an event.
    Response(String, Value),
    /// Error of an event.
    Error(String, Value),
    /// Error of the initialization.
    InitError(Value),
}

type Heard = State<mpsc::Sender<Said>>;

pub(super) fn router(heard: mpsc::Sender<Said>) -> Router {
    Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{request}/response", post(response))
        .route("/2018-06-01/runtime/invocation/{request}/error", post(error))
        .route("/2018-06-01/runtime/init/error", post(init_error))
        .layer(DefaultBodyLimit::max(MAX_ANSWER_BYTES))
        .with_state(heard)
}

async fn next(State(heard): Heard) -> Response {
    let (give, given) = oneshot::channel();
    if heard.send(Said::Next(give)).await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let Ok(invocation) = given.await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let deadline_ms = invocation
        .deadline
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_millis();
    let mut response = invocation.event.into_response();
    for (name, value) in [
        ("lambda-runtime-aws-request-id", invocation.request.as_str()),
        ("lambda-runtime-deadline-ms", &deadline_ms.to_string()),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:us-east-1:000000000000:function:test",
        ),
        ("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700"),
        ("content-type", "application/json"),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

async fn response(State(heard): Heard, Path(request): Path<String>, body: Bytes) -> StatusCode {
    tell(&heard, Said::Response(request, read(&body))).await
}

async fn error(State(heard): Heard, Path(request): Path<String>, body: Bytes) -> StatusCode {
    tell(&heard, Said::Error(request, read(&body))).await
}

async fn init_error(State(heard): Heard, body: Bytes) -> StatusCode {
    tell(&heard, Said::InitError(read(&body))).await
}

async fn tell(heard: &mpsc::Sender<Said>, said: Said) -> StatusCode {
    match heard.send(said).await {
        Ok(()) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn read(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned().into())
}
