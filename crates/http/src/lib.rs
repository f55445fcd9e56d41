//! The webhook as a router that registries post to, in one process or behind a function URL.
//!
//! The statuses of the contract: 202 the tasks are durable; 200 authentic, but no rule matches; 401, 404, 413 over 1 MiB,
//! 400; 503 the tasks could not be made durable. A sender that receives an error stops, blocks its queue, or disables its
//! webhook, so a delivery that matches no rule is not an error. Bodies of errors are `{code, message}`.

mod body;

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use transship_engine::{Accepted, Intake};
use transship_notifications::Delivery;
use transship_oci::Code;

/// Maximum size of a delivery in bytes. Distribution sends about 1 KB; `GitHub` could send 25 MB, which is never useful here.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// `POST /hooks/{source}`, `POST /hooks/{source}/{token}`, `GET /healthz`.
pub fn router(intake: Arc<Intake>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/hooks/{source}", post(hook))
        .route("/hooks/{source}/{token}", post(hook_with_token))
        .fallback(|| async {
            refusal(
                StatusCode::NOT_FOUND,
                "NOT_FOUND",
                "not found: post deliveries to /hooks/{source}",
            )
        })
        .method_not_allowed_fallback(|| async {
            refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                "METHOD_NOT_ALLOWED",
                "method not allowed: use POST for deliveries",
            )
        })
        .with_state(intake)
}

async fn hook(State(intake): State<Arc<Intake>>, Path(source): Path<String>, request: Request) -> Response {
    take(&intake, &source, None, request).await
}

async fn hook_with_token(
    State(intake): State<Arc<Intake>>,
    Path((source, token)): Path<(String, String)>,
    request: Request,
) -> Response {
    take(&intake, &source, Some(&token), request).await
}

async fn take(intake: &Intake, source: &str, token: Option<&str>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = match body::read(&parts.headers, body).await {
        Ok(body) => body,
        Err(unreadable) => return unreadable.into_response(),
    };
    let delivery = Delivery {
        headers: &parts.headers,
        body: &body,
        token,
    };
    match intake.accept(source, &delivery).await {
        Ok(Accepted::Tasks { events, executions }) => {
            tracing::info!(source, events, executions = executions.len(), "accepted a delivery");
            (
                StatusCode::ACCEPTED,
                Json(json!({ "accepted": events, "executions": executions })),
            )
                .into_response()
        }
        Ok(Accepted::Nothing { code: None }) => Json(json!({ "accepted": 0, "executions": [] })).into_response(),
        Ok(Accepted::Nothing { code: Some(code) }) => {
            let message = "the delivery names a host that does not belong to this source";
            Json(json!({ "accepted": 0, "executions": [], "code": code.as_str(), "message": message })).into_response()
        }
        Err(refused) => {
            let status = match refused.kind() {
                Code::UnknownSource => StatusCode::NOT_FOUND,
                Code::NotAuthentic => StatusCode::UNAUTHORIZED,
                Code::DeliveryInvalid => StatusCode::BAD_REQUEST,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            tracing::warn!(
                source,
                status = status.as_u16(),
                code = refused.code(),
                "rejected a delivery: {refused}"
            );
            refusal(status, refused.code(), &refused.to_string())
        }
    }
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "code": code, "message": message }))).into_response()
}
