//! The intake as a router: what registries post to, in one process or behind a function URL.
//!
//! The contract of statuses: 202 durable, 200 authentic and of no interest, 401, 404, 413 over 1 MiB, 400, 503 when it could not
//! be made durable. A sender that is refused stops, blocks its queue, or disables its hook, so nothing is refused that
//! is only uninteresting. Bodies are `{code, message}` wherever they are not the contract's own.

mod body;

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use transship_engine::{Accepted, Intake, Refusal};
use transship_notifications::Delivery;

/// The largest delivery that is read. Distribution sends a kilobyte; `GitHub` could send 25 MB, none of it of use.
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
                "deliveries are posted to /hooks/{source}",
            )
        })
        .method_not_allowed_fallback(|| async {
            refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                "METHOD_NOT_ALLOWED",
                "deliveries are posted",
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
            tracing::info!(source, events, executions = executions.len(), "a delivery was accepted");
            (
                StatusCode::ACCEPTED,
                Json(json!({ "accepted": events, "executions": executions })),
            )
                .into_response()
        }
        Ok(Accepted::Nothing { code: None }) => Json(json!({ "accepted": 0, "executions": [] })).into_response(),
        Ok(Accepted::Nothing { code: Some(code) }) => {
            let message = "the delivery names a registry that is not this source";
            Json(json!({ "accepted": 0, "executions": [], "code": code, "message": message })).into_response()
        }
        Err(refused) => {
            let status = match refused {
                Refusal::UnknownSource => StatusCode::NOT_FOUND,
                Refusal::NotAuthentic(_) => StatusCode::UNAUTHORIZED,
                Refusal::Invalid(_) => StatusCode::BAD_REQUEST,
                Refusal::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            tracing::warn!(
                source,
                status = status.as_u16(),
                code = refused.code(),
                "a delivery was refused: {refused}"
            );
            refusal(status, refused.code(), &refused.to_string())
        }
    }
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "code": code, "message": message }))).into_response()
}
