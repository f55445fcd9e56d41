//! The fixture of the demo: two registries on loopback ports, and the parts of `serve` with a temporary folder.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use transship_copy::{NoLocations, NoProgress, NoReplicas, Options};
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::notification::CONTENT_TYPE as EVENTS;
use transship_engine::ledger::{By, TaskQuery};
use transship_engine::operations::list_tasks;
use transship_engine::{TaskReceiver as _, TaskRecord};
use transship_local::{Database, SqliteLedger, SqliteQueue};
use transship_oci::media_type::OCI_INDEX;
use transship_oci::{Digest, Result, Target};
use transship_registry::Anonymous;
use transship_rules::Document;
use transship_runtime::Environment;

use super::counts::{Counts, Moved};
use super::image::{Release, Stage};
use super::transcript::failed;
use crate::failure::Failure;
use crate::output::Form;
use crate::registries::Registries;
use crate::service::{Configured, Service, Settings};

/// The tag that is pushed.
pub(super) const TAG: &str = "v1.0";
/// Repository that is pushed to.
pub(super) const SOURCE_REPOSITORY: &str = "shop/web";
/// Repository that the image is copied to.
pub(super) const DESTINATION_REPOSITORY: &str = "replica/web";
/// Reference to the webhook's secret.
const SECRET_NAME: &str = "DEMO_WEBHOOK";
/// Time limit of each step.
const STEP_TIMEOUT: Duration = Duration::from_mins(1);
/// How the service of the demo runs.
const SETTINGS: Settings = Settings {
    concurrency: 4,
    sweeps: false,
    dns_commands: BTreeMap::new(),
};
/// Interval between reads of the ledger.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// All running parts.
pub(super) struct Fixture {
    /// The source registry.
    pub(super) source: EmbeddedRegistry,
    /// The destination registry.
    pub(super) destination: EmbeddedRegistry,
    /// URL of the webhook.
    pub(super) hook: String,
    secret: String,
    client: reqwest::Client,
    ledger: Arc<SqliteLedger>,
    queue: SqliteQueue,
    counts: Arc<Counts>,
    deliveries: Arc<Mutex<Vec<Bytes>>>,
    told: Mutex<Vec<String>>,
    stop: oneshot::Sender<()>,
    service: JoinHandle<Result<(), Failure>>,
    folder: TempDir,
}

impl Fixture {
    /// Starts all parts.
    pub(super) async fn build(form: Form) -> Result<Self, Failure> {
        let secret = format!("Bearer {:016x}{:016x}", random(), random());
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| failed(&error))?;
        let address = listener.local_addr().map_err(|error| failed(&error))?;
        let hook = format!("http://{address}/hooks/source");
        let source = EmbeddedRegistry::builder()
            .notify_url(&hook, &[(AUTHORIZATION.as_str(), &secret)])
            .start()
            .await?;
        let destination = EmbeddedRegistry::builder().start().await?;
        let document =
            Document::parse(&document(&source, &destination)).map_err(|errors| Failure::document(&errors))?;
        let folder = TempDir::with_prefix("transship-demo-").map_err(|error| failed(&error))?;
        let database = Database::open(&folder.path().join("data"))?;
        let counts = Arc::new(Counts::new(form));
        let environment = Environment::of([(SECRET_NAME, secret.clone())]);
        let mut service = Service::build(
            Configured::new(document.document, environment, None),
            database,
            Arc::clone(&counts) as _,
            SETTINGS,
        );
        let deliveries = Arc::default();
        service.router = service
            .router
            .layer(middleware::from_fn_with_state(Arc::clone(&deliveries), record));
        let (ledger, queue) = (Arc::clone(&service.ledger), service.queue.clone());
        let (stop, stopped) = oneshot::channel();
        let service = tokio::spawn(service.run(listener, async {
            // An error means that the demo was aborted, which also means stop.
            let _ = stopped.await;
            Ok(())
        }));
        Ok(Self {
            source,
            destination,
            hook,
            secret,
            client: super::client(),
            ledger,
            queue,
            counts,
            deliveries,
            told: Mutex::default(),
            stop,
            service,
            folder,
        })
    }

    /// `127.0.0.1:1234/shop/web:v1.0`.
    pub(super) fn source_name(&self) -> String {
        format!("{}/{SOURCE_REPOSITORY}:{TAG}", self.source.host())
    }

    /// `127.0.0.1:1235/replica/web:v1.0`.
    pub(super) fn destination_name(&self) -> String {
        format!("{}/{DESTINATION_REPOSITORY}:{TAG}", self.destination.host())
    }

    /// Pushes a release to the source over HTTP, as far as it is built.
    pub(super) async fn push(&self, release: &Release, stage: Stage) -> Result<(), Failure> {
        let layout = release.layout(stage).await?;
        let client = Registries::new(Arc::new(Anonymous)).client(self.source.host())?;
        let remote = client.repository(SOURCE_REPOSITORY.parse()?).for_writing();
        transship_copy::copy(transship_copy::Request {
            source: &layout,
            from: Target::Digest(release.root.clone()),
            destination: &remote,
            to: Target::Tag(TAG.parse()?),
            options: Options::default(),
            locations: &NoLocations,
            replicas: &NoReplicas,
            lease: None,
            continuations: None,
            budget: None,
            progress: Arc::new(NoProgress),
        })
        .await?;
        Ok(())
    }

    /// Puts the tag again, like a push of an image that the registry already has.
    pub(super) async fn push_manifest_again(&self, release: &Release) -> Result<(), Failure> {
        let url = format!("{}/v2/{SOURCE_REPOSITORY}/manifests/{TAG}", self.source.url());
        let put = self.client.put(url).header(CONTENT_TYPE, OCI_INDEX);
        let answer = put.body(release.root_bytes.clone()).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        answer.map(drop).map_err(|error| failed(&error))
    }

    /// All deliveries so far.
    pub(super) fn deliveries(&self) -> Vec<Bytes> {
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Posts the delivery about `digest` again, and returns the executions of the response.
    pub(super) async fn deliver_again(&self, digest: &Digest) -> Result<Vec<String>, Failure> {
        let names = |body: &Bytes| {
            let event: Value = serde_json::from_slice(body).unwrap_or_default();
            let target = &event["events"][0]["target"];
            target["digest"] == digest.to_string() && target["tag"] == TAG
        };
        let body = self.deliveries().into_iter().find(names);
        let body = body.ok_or_else(|| failed("the source sent no notification of the push"))?;
        let post = self.client.post(&self.hook).header(AUTHORIZATION, &self.secret);
        let answer = post.header(CONTENT_TYPE, EVENTS).body(body).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        let answer = answer.map_err(|error| failed(&error))?.bytes().await;
        let answer: Value = serde_json::from_slice(&answer.map_err(|error| failed(&error))?).unwrap_or_default();
        let executions = answer["executions"].as_array().into_iter().flatten();
        Ok(executions.filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// All tasks so far.
    pub(super) async fn tasks(&self) -> Result<Vec<TaskRecord>, Failure> {
        Ok(list_tasks(self.ledger.as_ref(), &TaskQuery::new(By::Newest), 0).await?)
    }

    /// Waits for the next new task of the tag to end, and returns it.
    pub(super) async fn task_of_tag(&self) -> Result<TaskRecord, Failure> {
        self.task_of(&format!(":{TAG}")).await
    }

    /// Like [`Self::task_of_tag`], for the given tag or digest.
    pub(super) async fn task_of(&self, target: &str) -> Result<TaskRecord, Failure> {
        let source = format!("source/{SOURCE_REPOSITORY}{target}");
        let begin = Instant::now();
        while begin.elapsed() < STEP_TIMEOUT {
            let found = self.tasks().await?.into_iter().find(|task| {
                let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                task.source == source && task.state.is_terminal() && !told.contains(&task.id)
            });
            if let Some(task) = found {
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                told.push(task.id.clone());
                return if task.state.is_success() {
                    Ok(task)
                } else {
                    Err(failed(&format!("task {} ended {}", task.id, task.state)))
                };
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Err(failed(&format!("no task of {source} ended within the time limit")))
    }

    /// Waits until the queue is empty.
    pub(super) async fn at_rest(&self) -> Result<(), Failure> {
        let begin = Instant::now();
        while self.queue.depth().await? > 0 {
            if begin.elapsed() > STEP_TIMEOUT {
                return Err(failed("the queue did not become empty within the time limit"));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Returns what was transferred since the last call.
    pub(super) fn take_counts(&self) -> Moved {
        self.counts.take()
    }

    /// Stops all parts and removes the folder.
    pub(super) async fn close(self) -> Result<(), Failure> {
        // An error means that the service stopped by itself, which its result reports.
        let _ = self.stop.send(());
        self.service.await.map_err(|error| failed(&error))??;
        self.folder.close().map_err(|error| failed(&error))
    }
}

/// Keeps a copy of every delivery that is received.
async fn record(State(deliveries): State<Arc<Mutex<Vec<Bytes>>>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match axum::body::to_bytes(body, transship_http::MAX_BODY_BYTES).await {
        Ok(body) => {
            keep(&deliveries, body.clone());
            next.run(Request::from_parts(parts, body.into())).await
        }
        Err(_) => http::StatusCode::BAD_REQUEST.into_response(),
    }
}

fn keep(deliveries: &Mutex<Vec<Bytes>>, body: Bytes) {
    deliveries.lock().unwrap_or_else(PoisonError::into_inner).push(body);
}

fn document(source: &EmbeddedRegistry, destination: &EmbeddedRegistry) -> String {
    format!(
        r#"version: 1
registries:
  source: {{ provider: distribution, endpoint: "{}", webhook: {{ secret: "env:{SECRET_NAME}" }} }}
  destination: {{ provider: distribution, endpoint: "{}" }}
rules:
  - name: shop
    source: {{ registry: source, namespace: shop, tag: {{ regex: "^v" }} }}
    destination: {{ registry: destination, namespace: replica }}
"#,
        source.url(),
        destination.url()
    )
}

/// An unpredictable text, for a secret that lives as long as this process.
fn random() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0_u8)
}
