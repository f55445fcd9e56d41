//! A deployed stack and the webhook.

use std::time::Duration;

use serde_json::{Value, json};
use transship_engine::{CopyTask, Envelope, Job};
use transship_testkit::deployment::Deployment;
use transship_testkit::lambda_runtime::{Ended, Function, Lambda, events};

/// The secret of the deliveries.
pub const SECRET: &str = "Bearer canary-of-the-hook";
pub const DIGEST: &str = "sha256:7dc66294dc545ec68cba211e1627866be17e25f3ddf7094a7033d5cf4ad2d57e";

pub struct Fixture {
    pub deployment: Deployment,
    pub lambda: Lambda,
}

/// The response to a request.
#[derive(Debug)]
pub struct Answer {
    pub status: u64,
    pub body: Value,
}

impl Fixture {
    pub async fn start() -> Self {
        let fixture = Self::without_document().await;
        fixture.deployment.document_put(&document()).await.unwrap();
        fixture
    }

    pub async fn without_document() -> Self {
        let deployment = Deployment::start().await.unwrap();
        deployment.secret_create("hook", SECRET).await.unwrap();
        Self {
            lambda: instance(&deployment),
            deployment,
        }
    }

    /// The same deployment with an instance of the function that has not been invoked.
    pub fn with_another_instance(self) -> Self {
        Self {
            lambda: instance(&self.deployment),
            ..self
        }
    }

    /// Posts a delivery with the right secret.
    pub async fn deliver(&self, body: &str) -> Answer {
        self.post("/hooks/hub", SECRET, body, false).await
    }

    pub async fn post(&self, path: &str, secret: &str, body: &str, is_base64: bool) -> Answer {
        self.post_with(path, &[("Authorization", secret)], body, is_base64)
            .await
    }

    pub async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &str, is_base64: bool) -> Answer {
        let event = events::function_url("POST", path, headers, body, is_base64);
        let ended = self.invoke(&event).await;
        let Ended::Answered(answer) = ended else {
            panic!("{ended:?}\n{}", self.lambda.log());
        };
        Answer {
            status: answer["statusCode"].as_u64().unwrap(),
            body: serde_json::from_str(answer["body"].as_str().unwrap()).unwrap(),
        }
    }

    pub async fn invoke(&self, event: &Value) -> Ended {
        self.lambda.invoke(event).await.unwrap()
    }

    /// The tasks in the queue.
    pub async fn sent(&self) -> Vec<CopyTask> {
        let bodies = self
            .deployment
            .queue_receive(self.deployment.queue_url())
            .await
            .unwrap();
        let task = |body: &String| match Envelope::parse(body).map(|envelope| envelope.job) {
            Ok(Job::Copy(task)) => task,
            other => panic!("{other:?}"),
        };
        bodies.iter().map(task).collect()
    }
}

fn instance(deployment: &Deployment) -> Lambda {
    let function = Function {
        program: env!("CARGO_BIN_EXE_transship-webhook").into(),
        environment: deployment.environment(),
        timeout: Duration::from_secs(20),
    };
    Lambda::new(function, 1).unwrap()
}

fn document() -> String {
    let destination = json!({ "provider": "distribution", "endpoint": "https://mirror.example.com" });
    let rule = |name: &str, source: &str, namespace: &str| {
        json!({
            "name": name,
            "source": { "registry": source, "namespace": "core" },
            "destination": { "registry": "mirror", "namespace": namespace },
        })
    };
    let document = json!({
        "version": 1,
        "registries": {
            "hub": {
                "provider": "distribution",
                "endpoint": "https://registry.example.com",
                "webhook": { "secret": "secretsmanager:hook" },
            },
            "ecr": {
                "provider": "ecr",
                "endpoint": "https://111122223333.dkr.ecr.eu-west-1.amazonaws.com",
            },
            "ghcr": {
                "provider": "ghcr",
                "endpoint": "https://ghcr.io",
                "webhook": { "secret": "secretsmanager:hook" },
            },
            "grid": {
                "provider": "azure-acr",
                "endpoint": "https://example.azurecr.io",
                "webhook": { "secret": "secretsmanager:hook", "format": "azure-eventgrid" },
            },
            "harbor": {
                "provider": "harbor",
                "endpoint": "https://harbor.example.com",
                "webhook": { "secret": "secretsmanager:hook" },
            },
            "dockerhub": {
                "provider": "dockerhub",
                "endpoint": "https://registry-1.docker.io",
                "webhook": { "secret": "secretsmanager:hook" },
            },
            "mirror": destination,
        },
        "rules": [
            rule("core", "hub", "hub"),
            rule("ecr", "ecr", "copy"),
            rule("harbor", "harbor", "harbor"),
            rule("dockerhub", "dockerhub", "dockerhub"),
            {
                "name": "ghcr",
                "source": { "registry": "ghcr", "namespace": "example" },
                "destination": { "registry": "mirror", "namespace": "ghcr" },
            },
        ],
    });
    document.to_string()
}

/// Distribution's notification of a push to `core/app:{tag}` of the registry `hub`.
pub fn push(tag: &str) -> String {
    let url = format!("https://registry.example.com/v2/core/app/manifests/{DIGEST}");
    let event = json!({
        "id": format!("0f8a2a5e-{tag}"),
        "timestamp": "2026-03-14T09:26:53.589793238Z",
        "action": "push",
        "target": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": DIGEST,
            "size": 1024,
            "repository": "core/app",
            "url": url,
            "tag": tag,
        },
        "request": { "host": "registry.example.com", "method": "PUT" },
        "actor": {},
        "source": {},
    });
    json!({ "events": [event] }).to_string()
}

/// Harbor's notification of a push to `core/app:v1` in its default format.
pub fn harbor_default(digest: &str) -> Value {
    let resource = json!({ "digest": digest, "tag": "v1", "resource_url": "harbor.example.com/core/app:v1" });
    json!({
        "type": "PUSH_ARTIFACT",
        "occur_at": 1_700_000_000,
        "operator": "ci",
        "event_data": {
            "resources": [resource],
            "repository": { "name": "app", "namespace": "core", "repo_full_name": "core/app", "repo_type": "private" },
        },
    })
}

/// The same push as a `CloudEvent`, with an id and a time of its own.
pub fn harbor_cloud_event(digest: &str, id: &str) -> Value {
    json!({
        "specversion": "1.0",
        "id": id,
        "source": "/projects/2/webhook/policies/1",
        "type": "harbor.artifact.pushed",
        "datacontenttype": "application/json",
        "time": "2023-11-14T22:13:25Z",
        "operator": "ci",
        "data": harbor_default(digest)["event_data"],
    })
}

/// Docker Hub's notification of a push to `core/app:v1`, which names no digest.
pub fn hub(pushed_at: i64) -> Value {
    json!({
        "push_data": { "tag": "v1", "pushed_at": pushed_at, "pusher": "ci" },
        "repository": { "repo_name": "core/app", "namespace": "core", "name": "app" },
    })
}

/// An event of ECR as `EventBridge` passes it to a function.
pub fn ecr(account: &str, action: &str) -> Value {
    json!({
        "version": "0",
        "id": "6a1f0a3c-0000-4000-8000-000000000001",
        "detail-type": "ECR Image Action",
        "source": "aws.ecr",
        "account": account,
        "time": "2026-01-02T03:04:05Z",
        "region": "eu-west-1",
        "resources": [],
        "detail": {
            "result": "SUCCESS",
            "repository-name": "core/app",
            "image-digest": DIGEST,
            "action-type": action,
            "image-tag": "v1.0.0",
            "manifest-media-type": "application/vnd.oci.image.manifest.v1+json",
        },
    })
}
