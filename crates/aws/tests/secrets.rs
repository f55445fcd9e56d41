//! Secrets of AWS: cached, read again after a rejection, and never logged.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, in its helpers too"
)]

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_secretsmanager::primitives::Blob;
use aws_sdk_ssm::types::ParameterType;
use secrecy::ExposeSecret as _;
use transship_aws::{Aws, credentials_of, secrets};
use transship_embedded_registry::{Auth, EmbeddedRegistry};
use transship_engine::{Configuration, Secrets, Snapshot};
use transship_registry::Retries;
use transship_rules::Document;
use transship_testkit::clock::ManualClock;
use transship_testkit::faults::{Action, Fault, Script};
use transship_testkit::ministack::MiniStack;
use transship_testkit::proxy::FaultProxy;

const MINUTE: Duration = Duration::from_mins(1);

struct World {
    proxy: FaultProxy,
    aws: Aws,
    clock: ManualClock,
    secrets: Arc<dyn Secrets>,
    _stack: MiniStack,
}

impl World {
    async fn new() -> Self {
        let stack = MiniStack::start().await.unwrap();
        let proxy = FaultProxy::start(stack.host()).await.unwrap();
        let aws = Aws::emulated(&proxy.url()).await;
        let clock = ManualClock::default();
        let secrets = secrets(&aws, Arc::new(clock.clone()));
        Self {
            proxy,
            aws,
            clock,
            secrets: Arc::new(secrets),
            _stack: stack,
        }
    }

    async fn create(&self, name: &str, content: &str) {
        let request = self.aws.secretsmanager().create_secret().name(name);
        request.secret_string(content).send().await.unwrap();
    }

    async fn rotate(&self, name: &str, content: &str) {
        let request = self.aws.secretsmanager().put_secret_value().secret_id(name);
        request.secret_string(content).send().await.unwrap();
    }

    async fn parameter(&self, name: &str, value: &str) {
        let request = self.aws.ssm().put_parameter().name(name).value(value);
        let request = request.r#type(ParameterType::SecureString).overwrite(true);
        request.send().await.unwrap();
    }

    async fn read(&self, reference: &str) -> String {
        self.secrets
            .secret(&reference.parse().unwrap())
            .await
            .unwrap()
            .expose_secret()
            .to_owned()
    }

    async fn read_anew(&self, reference: &str) -> String {
        let secret = self
            .secrets
            .secret_anew(&reference.parse().unwrap(), MINUTE)
            .await
            .unwrap()
            .unwrap();
        secret.expose_secret().to_owned()
    }

    /// Requests since the last time.
    fn requests(&self) -> usize {
        let count = self.proxy.requests().len();
        self.proxy.reset_requests();
        count
    }

    /// What the document's only registry is to its clients.
    fn registry(&self, registry: &EmbeddedRegistry, fields: &str) -> Arc<Snapshot> {
        let text = format!(
            "version: 1\nregistries:\n  hub: {{ endpoint: \"{}\", {fields} }}\n",
            registry.url()
        );
        let document = Document::parse(&text).unwrap().document;
        let credentials = credentials_of(self.aws.clone(), Arc::clone(&self.secrets));
        let retries = Retries {
            times: 1,
            max_wait: Duration::from_millis(10),
            first: Duration::from_millis(1),
        };
        Configuration::new(document, credentials, Arc::clone(&self.secrets), retries).current()
    }
}

fn basic(user: &str, password: &str) -> Auth {
    Auth::Basic {
        user: user.into(),
        password: password.into(),
    }
}

fn bearer(user: &str, password: &str) -> Auth {
    Auth::Bearer {
        user: user.into(),
        password: password.into(),
        expiry: Duration::from_mins(5),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_read_once_in_a_while_and_anew_when_it_did_not_serve() {
    let world = World::new().await;
    world.create("transship/hub", "old\n").await;
    world.parameter("/transship/hub", "old").await;
    world.requests();
    for reference in ["secretsmanager:transship/hub", "ssm:/transship/hub"] {
        for _ in 0..10 {
            assert_eq!(world.read(reference).await, "old");
        }
        assert_eq!(world.requests(), 1, "{reference}");
    }
    world.rotate("transship/hub", "new").await;
    world.parameter("/transship/hub", "new").await;
    world.requests();
    for reference in ["secretsmanager:transship/hub", "ssm:/transship/hub"] {
        world.clock.advance(MINUTE);
        assert_eq!(world.read(reference).await, "old");
        for _ in 0..100 {
            assert_eq!(world.read_anew(reference).await, "new");
        }
        assert_eq!(world.read(reference).await, "new");
        assert_eq!(
            world.requests(),
            1,
            "a stranger makes us ask once a minute: {reference}"
        );
    }
    world.rotate("transship/hub", "newer").await;
    world.clock.advance(5 * MINUTE);
    assert_eq!(world.read("secretsmanager:transship/hub").await, "newer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_named_and_not_told() {
    let world = World::new().await;
    world.create("empty", "\n").await;
    let bytes = world.aws.secretsmanager().create_secret().name("bytes");
    bytes.secret_binary(Blob::new("canary")).send().await.unwrap();
    for (reference, why) in [
        ("secretsmanager:missing", "exists in this region"),
        ("secretsmanager:missing", "secretsmanager:GetSecretValue"),
        ("secretsmanager:empty", "is empty"),
        ("secretsmanager:bytes", "SecretString"),
        ("ssm:/missing", "exists in this region"),
        ("ssm:/missing", "ssm:GetParameter"),
        ("env:PATH", "write secretsmanager:NAME or ssm:NAME"),
        ("file:/proc/self/environ", "write secretsmanager:NAME or ssm:NAME"),
        ("file:/etc/hostname", "write secretsmanager:NAME or ssm:NAME"),
    ] {
        let error = world.secrets.secret(&reference.parse().unwrap()).await.unwrap_err();
        assert_eq!(error.code(), "SECRET_UNAVAILABLE");
        let text = error.to_string();
        assert!(text.contains(reference) && text.contains(why), "{reference}: {text}");
        assert!(!text.contains("canary"), "{text}");
    }

    let denied = Action::Status {
        code: 400,
        headers: vec![("content-type".into(), "application/x-amz-json-1.1".into())],
        body: r#"{"__type":"AccessDeniedException","message":"not yours"}"#.into(),
    };
    let script = Script::new([Fault::new("POST", "", denied).unwrap().always()]);
    world.proxy.set_faults(Some(Arc::new(script)));
    let error = world
        .secrets
        .secret(&"secretsmanager:other".parse().unwrap())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("policy of the role"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_secret_serves_while_aws_does_not_answer() {
    let world = World::new().await;
    world.create("hub", "old").await;
    assert_eq!(world.read("secretsmanager:hub").await, "old");
    let script = Script::new([Fault::new("POST", "", Action::Reset).unwrap().always()]);
    world.proxy.set_faults(Some(Arc::new(script)));
    world.clock.advance(10 * MINUTE);
    assert_eq!(world.read("secretsmanager:hub").await, "old");
    assert!(
        world
            .secrets
            .secret(&"secretsmanager:other".parse().unwrap())
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_login_counts_at_the_first_refusal_and_a_wrong_one_is_refused() {
    let world = World::new().await;
    world.create("hub", r#"{"username":"robot","password":"old"}"#).await;
    for auth in [basic("robot", "new"), bearer("robot", "new")] {
        let registry = EmbeddedRegistry::builder().auth(auth).start().await.unwrap();
        let snapshot = world.registry(&registry, "provider: distribution, credentials: \"secretsmanager:hub\"");
        let client = snapshot.registry("hub").unwrap();
        world.rotate("hub", "robot:old").await;
        world.clock.advance(5 * MINUTE);
        let error = client.ping().await.unwrap_err();
        assert_eq!(error.code(), "AUTH_FAILED");

        world.rotate("hub", "robot:new").await;
        world.clock.advance(MINUTE);
        client.ping().await.unwrap();
    }

    let registry = EmbeddedRegistry::builder().auth(basic("a", "b")).start().await.unwrap();
    let fields = "provider: distribution, credentials: \"secretsmanager:missing\"";
    let error = world
        .registry(&registry, fields)
        .registry("hub")
        .unwrap()
        .ping()
        .await
        .unwrap_err();
    assert_eq!(error.code(), "CREDENTIALS_UNAVAILABLE");
    assert!(
        !error.persistence().is_permanent(),
        "somebody may put it there: {error}"
    );
    let fields = "provider: distribution, credentials: docker";
    let error = world
        .registry(&registry, fields)
        .registry("hub")
        .unwrap()
        .ping()
        .await
        .unwrap_err();
    assert_eq!(error.code(), "CREDENTIALS_UNAVAILABLE");

    let script = Script::new([Fault::new("POST", "", Action::Reset).unwrap().always()]);
    world.proxy.set_faults(Some(Arc::new(script)));
    let fields = "provider: distribution, credentials: \"ssm:/later\"";
    let error = world
        .registry(&registry, fields)
        .registry("hub")
        .unwrap()
        .ping()
        .await
        .unwrap_err();
    assert_eq!(error.code(), "CREDENTIALS_UNAVAILABLE");
    assert!(!error.persistence().is_permanent(), "AWS may answer later: {error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_ecr_opens_its_registries_under_our_role_or_another() {
    let world = World::new().await;
    // MiniStack gives everyone this token.
    let auth = basic("AWS", "ministack-auth-token");
    let registry = EmbeddedRegistry::builder().auth(auth).start().await.unwrap();
    for (fields, requests) in [
        ("provider: ecr", 1),
        ("provider: ecr, region: cn-north-1", 1),
        (
            "provider: generic, region: eu-west-1, credentials: { ecr: { role: \"arn:aws:iam::123456789012:role/pull\" } }",
            2,
        ),
    ] {
        let client = world.registry(&registry, fields).registry("hub").unwrap();
        world.requests();
        for _ in 0..3 {
            client.ping().await.unwrap();
        }
        assert_eq!(world.requests(), requests, "{fields}");
    }
}
