//! `check` of a document for a stack: it has no warnings, and its secrets and tokens are read from AWS.

use std::io::Write as _;

use serde_json::Value;
use transship_embedded_registry::{Auth, EmbeddedRegistry};

use crate::Stack;

/// The token that MiniStack's ECR issues.
const ECR_TOKEN: &str = "ministack-auth-token";

async fn registry(user: &str, password: &str) -> EmbeddedRegistry {
    let auth = Auth::Basic {
        user: user.into(),
        password: password.into(),
    };
    EmbeddedRegistry::builder().auth(auth).start().await.unwrap()
}

/// What was tried and failed, as `registry code`.
fn failures(findings: &Value) -> Vec<String> {
    let probes = ["secrets", "connections"].map(|list| findings[list].as_array().unwrap().clone());
    let failed = probes.into_iter().flatten().filter(|probe| probe["ok"] == false);
    failed
        .map(|probe| {
            format!(
                "{} {}",
                probe["registry"].as_str().unwrap(),
                probe["code"].as_str().unwrap()
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_for_the_stack_is_checked_with_what_aws_keeps() {
    let stack = Stack::start().await;
    let (hub, mirror, ecr) = (
        registry("robot", "one").await,
        registry("robot", "two").await,
        registry("AWS", ECR_TOKEN).await,
    );
    let document = format!(
        "version: 1
registries:
  hub: {{ provider: distribution, endpoint: \"{}\", credentials: \"secretsmanager:transship/hub\", webhook: {{ secret: \"secretsmanager:transship/hook\" }} }}
  mirror: {{ provider: distribution, endpoint: \"{}\", credentials: \"ssm:/transship/mirror\" }}
  images: {{ provider: ecr, endpoint: \"{}\", region: eu-west-1 }}
rules:
  - {{ name: out, source: {{ registry: hub, namespace: core }}, destination: {{ registry: mirror, namespace: core }} }}
  - {{ name: back, source: {{ registry: images, namespace: apps }}, destination: {{ registry: mirror, namespace: apps }} }}
",
        hub.url(),
        mirror.url(),
        ecr.url()
    );
    let mut file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    file.write_all(document.as_bytes()).unwrap();
    let path = file.path().to_str().unwrap();
    let check = |expected: i32| {
        let (code, out, error) = stack.run(&["check", "--config", path, "--connect", "--json"]);
        assert_eq!(code, expected, "{out}{error}");
        let findings: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(findings["stack"], true, "{findings}");
        assert_eq!(findings["warnings"], serde_json::json!([]), "{findings}");
        findings
    };

    // Nothing is in AWS yet.
    let failed = failures(&check(1));
    assert_eq!(
        failed,
        [
            "hub CREDENTIALS_UNAVAILABLE",
            "hub SECRET_UNAVAILABLE",
            "mirror CREDENTIALS_UNAVAILABLE",
            "hub CREDENTIALS_UNAVAILABLE",
            "mirror CREDENTIALS_UNAVAILABLE",
        ]
    );

    let deployment = &stack.deployment;
    deployment.secret_create("transship/hub", "robot:one").await.unwrap();
    deployment.secret_create("transship/hook", "Bearer x").await.unwrap();
    deployment
        .parameter_create("/transship/mirror", "robot:wrong")
        .await
        .unwrap();
    assert_eq!(failures(&check(1)), ["mirror AUTH_FAILED"], "a wrong password");
    deployment
        .parameter_create("/transship/mirror", "robot:two")
        .await
        .unwrap();
    let findings = check(0);
    assert_eq!(findings["connections"].as_array().unwrap().len(), 3, "{findings}");
    assert_eq!(findings["secrets"].as_array().unwrap().len(), 3, "{findings}");
    for secret in ["one", "two", ECR_TOKEN] {
        assert!(!findings.to_string().contains(&format!("\"{secret}\"")), "{findings}");
    }
}
