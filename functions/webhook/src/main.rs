//! The webhook function: receives deliveries through its URL, and Amazon ECR's events from `EventBridge`.

mod webhook;

use lambda_http::service_fn;
use transship_aws::Platform;
use transship_aws::emf::Emf;
use transship_runtime::logging;
use webhook::Webhook;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    logging::begin(&transship_aws::LOG_VARIABLES);
    let emf = Emf::install().unwrap_or_default();
    let webhook = Webhook::new(Platform::from_environment()?, emf);
    let webhook = &webhook;
    lambda_http::run(service_fn(async |request| webhook.answer(request).await))
        .await
        .map_err(anyhow::Error::from_boxed)
}
