//! The bulk import function: receives uploads to buckets and orders of operators.

mod bulk_import;

use bulk_import::BulkImport;
use lambda_runtime::service_fn;
use transship_aws::Platform;
use transship_aws::emf::Emf;
use transship_runtime::logging;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    logging::begin(&transship_aws::LOG_VARIABLES);
    let emf = Emf::install().unwrap_or_default();
    let function = BulkImport::new(Platform::from_environment()?, emf);
    let function = &function;
    lambda_runtime::run(service_fn(async |event| function.answer(event).await))
        .await
        .map_err(anyhow::Error::from_boxed)
}
