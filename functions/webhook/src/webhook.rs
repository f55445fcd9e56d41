//! One invocation: a request to the function's URL, or an event that AWS itself brings.
//!
//! What must hold: 202, or an invocation that succeeds, only after the queue has the tasks. A sender of HTTP is told 503 and
//! comes again; an event that fails is an error of the invocation, which AWS repeats and then gives to the failure destination.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use http::StatusCode;
use lambda_http::lambda_runtime::Diagnostic;
use lambda_http::request::RequestContext;
use lambda_http::{Request, RequestExt, Service};
use serde_json::json;
use tokio::sync::OnceCell;
use transship_aws::Platform;
use transship_aws::emf::Emf;
use transship_engine::{Accepted, Intake};
use transship_oci::Provider;

/// Senders wait a few seconds for their answer.
const FOR_THE_DOCUMENT: Duration = Duration::from_secs(3);

/// The function.
pub(crate) struct Webhook {
    platform: Platform,
    emf: Emf,
    doors: OnceCell<Doors>,
}

/// The two ways in.
struct Doors {
    router: Router,
    intake: Arc<Intake>,
}

impl Webhook {
    pub(crate) fn new(platform: Platform, emf: Emf) -> Self {
        Self {
            platform,
            emf,
            doors: OnceCell::new(),
        }
    }

    pub(crate) async fn answer(&self, request: Request) -> Result<Response<Body>, Diagnostic> {
        let is_event = matches!(request.request_context_ref(), Some(RequestContext::PassThrough));
        let doors = self.doors().await;
        let answer = match doors {
            Ok(doors) if is_event => event(&doors.intake, request.body()).await,
            Ok(doors) => Ok(hook(doors.router.clone(), request).await),
            Err(failed) if is_event => Err(failed),
            Err(failed) => Ok(unavailable(&failed)),
        };
        self.emf.flush();
        answer
    }

    /// Both doors, under the document in force.
    async fn doors(&self) -> Result<&Doors, Diagnostic> {
        let configuration = self.platform.configuration(FOR_THE_DOCUMENT).await.map_err(|error| {
            tracing::error!(code = error.code(), "nothing can be accepted: {error}");
            failed(error.code(), &error)
        })?;
        let make = || async {
            let intake = Arc::new(self.platform.intake(configuration).await);
            Doors {
                router: transship_http::router(Arc::clone(&intake)),
                intake,
            }
        };
        Ok(self.doors.get_or_init(make).await)
    }
}

async fn hook(mut router: Router, request: Request) -> Response<Body> {
    router.call(request).await.unwrap_or_else(|never| match never {})
}

async fn event(intake: &Intake, body: &[u8]) -> Result<Response<Body>, Diagnostic> {
    match intake.accept_event(Provider::Ecr, body).await {
        Ok(Accepted::Tasks { events, executions }) => {
            tracing::info!(events, executions = executions.len(), "an event was accepted");
            Ok(Json(json!({ "accepted": events, "executions": executions })).into_response())
        }
        Ok(Accepted::Nothing { code }) => {
            Ok(Json(json!({ "accepted": 0, "executions": [], "code": code })).into_response())
        }
        Err(refused) => {
            tracing::error!(code = refused.code(), "an event was not accepted: {refused}");
            Err(failed(refused.code(), &refused))
        }
    }
}

/// Why an event's invocation failed.
fn failed(code: &str, error: &dyn Display) -> Diagnostic {
    Diagnostic {
        error_type: code.to_owned(),
        error_message: error.to_string(),
    }
}

fn unavailable(failed: &Diagnostic) -> Response<Body> {
    // The sentence may name a bucket; a sender need not know it.
    let message = "the configuration cannot be had now: send it again";
    let body = json!({ "code": failed.error_type, "message": message });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}
