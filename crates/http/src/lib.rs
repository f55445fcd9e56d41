//! The webhook as a router that registries post to, in one process or behind a function URL.
//!
//! The statuses of the contract: 202 the tasks are durable; 200 authentic, but no rule matches; 401, 404, 413 over 1 MiB,
//! 400; 503 the tasks could not be made durable. A sender that receives an error stops, blocks its queue, or disables its
//! webhook, so a delivery that matches no rule is not an error. Bodies of errors are `{code, message}`.

mod body;
mod server;

pub use server::Server;

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use transship_engine::{Accepted, Intake};
use transship_notifications::Delivery;
use transship_oci::{Code, Error, Operation};

use crate::body::Bodies;

/// Maximum size of a delivery in bytes. Distribution sends about 1 KB; `GitHub` could send 25 MB, which is never useful here.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// `POST` and `OPTIONS` of `/hooks/{source}` and `/hooks/{source}/{token}`, `GET /healthz`; a trailing slash makes no difference.
pub fn router(intake: Arc<Intake>) -> Router {
    let door = Door {
        intake,
        bodies: Arc::default(),
    };
    Router::new()
        .route("/healthz", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/hooks/{source}", post(hook).options(consent))
        .route("/hooks/{source}/", post(hook).options(consent))
        .route(
            "/hooks/{source}/{*token}",
            post(hook_with_token).options(consent_with_token),
        )
        .fallback(|request: Request| async move {
            log_refused(&request, StatusCode::NOT_FOUND, Code::NotFound, "there is no such path");
            refusal(
                StatusCode::NOT_FOUND,
                Code::NotFound,
                "not found: post deliveries to /hooks/{source}",
            )
        })
        .method_not_allowed_fallback(|request: Request| async move {
            let (status, code) = (StatusCode::METHOD_NOT_ALLOWED, Code::MethodNotAllowed);
            log_refused(&request, status, code, "deliveries are sent with POST");
            refusal(status, code, "method not allowed: use POST for deliveries")
        })
        .with_state(door)
}

/// The intake, and the bodies that are being read.
#[derive(Clone)]
struct Door {
    intake: Arc<Intake>,
    bodies: Arc<Bodies>,
}

async fn hook(State(door): State<Door>, Path(source): Path<String>, request: Request) -> Response {
    take(&door, &source, None, request).await
}

async fn hook_with_token(
    State(door): State<Door>,
    Path((source, token)): Path<(String, String)>,
    request: Request,
) -> Response {
    take(&door, &source, Some(&token), request).await
}

async fn consent(State(door): State<Door>, Path(source): Path<String>, headers: HeaderMap) -> Response {
    grant(&door, &source, None, &headers).await
}

async fn consent_with_token(
    State(door): State<Door>,
    Path((source, token)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    grant(&door, &source, Some(&token), &headers).await
}

/// Answers a sender that asks whether its deliveries are wanted. Source: CloudEvents, "HTTP 1.1 Web Hooks for Event Delivery",
/// section 4, Abuse Protection.
async fn grant(door: &Door, source: &str, token: Option<&str>, headers: &HeaderMap) -> Response {
    if let Err(error) = door.intake.consent(source, headers, token).await {
        return rejected(source, &error);
    }
    let Some(origin) = headers.get("webhook-request-origin") else {
        let error = Error::new(
            Code::DeliveryInvalid,
            Operation::default(),
            "the request has no WebHook-Request-Origin",
        );
        return rejected(source, &error);
    };
    tracing::info!(source, "allowed a sender of events");
    let mut response = StatusCode::OK.into_response();
    response.headers_mut().insert("webhook-allowed-origin", origin.clone());
    if headers.contains_key("webhook-request-rate") {
        let unlimited = HeaderValue::from_static("*");
        response.headers_mut().insert("webhook-allowed-rate", unlimited);
    }
    response
}

async fn take(door: &Door, source: &str, token: Option<&str>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let admission = match door.intake.admit(source, &parts.headers, token).await {
        Ok(admission) => admission,
        Err(error) => {
            // The sender reads the response only after it has sent its body.
            body::discard(body).await;
            return rejected(source, &error);
        }
    };
    let body = match door.bodies.read(source, &parts.headers, body).await {
        Ok(body) => body,
        Err(error) => return rejected(source, &error),
    };
    let delivery = Delivery {
        headers: &parts.headers,
        body: &body,
        token,
    };
    match admission.accept(&delivery).await {
        Ok(Accepted::Tasks { events, executions }) => {
            tracing::info!(source, events, executions = executions.len(), "accepted a delivery");
            (
                StatusCode::ACCEPTED,
                Json(json!({ "accepted": events, "executions": executions })),
            )
                .into_response()
        }
        Ok(Accepted::Handshake { response }) => {
            tracing::info!(source, "confirmed a subscription");
            Json(json!({ "validationResponse": response })).into_response()
        }
        Ok(Accepted::Nothing { code: None }) => Json(json!({ "accepted": 0, "executions": [] })).into_response(),
        Ok(Accepted::Nothing { code: Some(code) }) => {
            let message = "the delivery names a host that does not belong to this source";
            Json(json!({ "accepted": 0, "executions": [], "code": code.as_str(), "message": message })).into_response()
        }
        Err(error) => rejected(source, &error),
    }
}

fn rejected(source: &str, error: &Error) -> Response {
    let status = match error.kind() {
        Code::UnknownSource => StatusCode::NOT_FOUND,
        Code::NotAuthentic => StatusCode::UNAUTHORIZED,
        Code::DeliveryInvalid => StatusCode::BAD_REQUEST,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::DeliveryTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::DeliveryTooSlow => StatusCode::REQUEST_TIMEOUT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    // The name in the URL is any text.
    let source: String = source.chars().flat_map(char::escape_debug).take(100).collect();
    tracing::warn!(
        source,
        status = status.as_u16(),
        code = error.code(),
        "rejected a delivery: {error}"
    );
    refusal(status, error.kind(), &error.to_string())
}

/// Logs a request that is not a delivery. The path is shortened, because its third segment may be a secret.
fn log_refused(request: &Request, status: StatusCode, code: Code, why: &str) {
    let mut segments = request.uri().path().split('/').skip(1);
    let mut path = String::new();
    for segment in segments.by_ref().take(2) {
        path.push('/');
        path.extend(segment.chars().flat_map(char::escape_debug).take(60));
    }
    if segments.next().is_some() {
        path.push_str("/…");
    }
    tracing::warn!(
        method = %request.method(),
        path,
        status = status.as_u16(),
        code = code.as_str(),
        "refused a request: {why}"
    );
}

fn refusal(status: StatusCode, code: Code, message: &str) -> Response {
    (status, Json(json!({ "code": code.as_str(), "message": message }))).into_response()
}
