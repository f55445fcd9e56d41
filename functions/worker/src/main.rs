//! The worker function: processes batches of the task queue and of its dead-letter queue.

mod worker;

use lambda_runtime::service_fn;
use transship_aws::Platform;
use transship_aws::emf::Emf;
use transship_runtime::logging;
use worker::Worker;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    logging::begin(&transship_aws::LOG_VARIABLES);
    let emf = Emf::install().unwrap_or_default();
    let worker = Worker::new(Platform::from_environment()?.recording_the_document(), emf);
    let worker = &worker;
    lambda_runtime::run(service_fn(async |event| worker.work(event).await))
        .await
        .map_err(anyhow::Error::from_boxed)
}
