//! One invocation: a request to the function's URL, or an event from AWS.
//!
//! It must answer 202, or succeed, only after the tasks are in the queue. An HTTP sender receives 503 and sends again. A
//! failed event is an error of the invocation, which AWS repeats and then sends to the failure destination.

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
use transship_oci::{Code, Provider};

/// Time limit for the document. Senders wait a few seconds for a response.
const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(3);

/// The Lambda function.
pub(crate) struct Webhook {
    platform: Platform,
    emf: Emf,
    handlers: OnceCell<Handlers>,
}

/// The handlers of requests and of events.
struct Handlers {
    router: Router,
    intake: Arc<Intake>,
}

impl Webhook {
    pub(crate) fn new(platform: Platform, emf: Emf) -> Self {
        Self {
            platform,
            emf,
            handlers: OnceCell::new(),
        }
    }

    pub(crate) async fn answer(&self, request: Request) -> Result<Response<Body>, Diagnostic> {
        let is_event = matches!(request.request_context_ref(), Some(RequestContext::PassThrough));
        let handlers = self.handlers().await;
        let answer = match handlers {
            Ok(handlers) if is_event => event(&handlers.intake, request.body()).await,
            Ok(handlers) => Ok(hook(handlers.router.clone(), request).await),
            Err(failed) if is_event => Err(failed),
            Err(failed) => Ok(unavailable(&failed)),
        };
        self.emf.flush();
        answer
    }

    /// Creates both handlers with the document in force.
    async fn handlers(&self) -> Result<&Handlers, Diagnostic> {
        let configuration = self.platform.configuration(DOCUMENT_TIMEOUT).await.map_err(|error| {
            tracing::error!(code = error.code(), "cannot accept deliveries: {error}");
            failed(error.code(), &error)
        })?;
        let make = || async {
            let intake = Arc::new(self.platform.intake(configuration).await);
            Handlers {
                router: transship_http::router(Arc::clone(&intake)),
                intake,
            }
        };
        Ok(self.handlers.get_or_init(make).await)
    }
}

async fn hook(mut router: Router, request: Request) -> Response<Body> {
    router.call(request).await.unwrap_or_else(|never| match never {})
}

async fn event(intake: &Intake, body: &[u8]) -> Result<Response<Body>, Diagnostic> {
    match intake.accept_event(Provider::Ecr, body).await {
        Ok(Accepted::Tasks { events, executions }) => {
            tracing::info!(events, executions = executions.len(), "accepted an event");
            Ok(Json(json!({ "accepted": events, "executions": executions })).into_response())
        }
        // An event of ECR asks nothing.
        Ok(Accepted::Handshake { .. }) => Ok(StatusCode::OK.into_response()),
        Ok(Accepted::Nothing { code }) => {
            Ok(Json(json!({ "accepted": 0, "executions": [], "code": code.map(Code::as_str) })).into_response())
        }
        Err(refused) => {
            tracing::error!(code = refused.code(), "rejected an event: {refused}");
            Err(failed(refused.code(), &refused))
        }
    }
}

/// Why the invocation for an event failed.
fn failed(code: &str, error: &dyn Display) -> Diagnostic {
    Diagnostic {
        error_type: code.to_owned(),
        error_message: error.to_string(),
    }
}

fn unavailable(failed: &Diagnostic) -> Response<Body> {
    // The error may name a bucket, which a sender must not see.
    let message = "the configuration is not available now: send the delivery again";
    let body = json!({ "code": failed.error_type, "message": message });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}
