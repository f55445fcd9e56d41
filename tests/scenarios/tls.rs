//! Registries with TLS, and invalid certificates that are fixed later.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

use std::time::Duration;

use transship_testkit::proxy::{Authority, Certificate, TlsProxy};
use transship_tests::docker_registry::Options;
use transship_tests::{DockerRegistry, Document, Image, Scenario, wait};

/// A source and a destination that are reached only by TLS. The destination has `certificate`; the source's certificate is
/// signed by the authority.
struct Stage {
    runtime: tokio::runtime::Runtime,
    authority: Authority,
    scenario: Scenario,
    source: TlsProxy,
    destination: TlsProxy,
}

impl Stage {
    fn begin(certificate: Certificate) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let authority = Authority::new().unwrap();
        let scenario = Scenario::prepare(&Options::default());
        let before = |host: String, certificate| {
            let host = host.parse().unwrap();
            runtime
                .block_on(TlsProxy::start(&host, &authority, certificate))
                .unwrap()
        };
        let source = before(scenario.source.host(), Certificate::Right);
        let destination = before(scenario.destination.host(), certificate);
        let mut stage = Self {
            runtime,
            authority,
            scenario,
            source,
            destination,
        };
        stage.scenario.serve.trust(stage.authority.roots());
        // What it is called by who pushes, without TLS, is another name of it.
        let names = format!(
            "webhook: {{ secret: \"env:HOOK\" }}, hosts: [\"{}\"]",
            stage.scenario.source.host()
        );
        let document = Document::between("", &stage.destination.url())
            .registry("a", &stage.source.url(), &names)
            .rule("core", "core", "copy", "");
        stage.scenario.serve.start(&document);
        stage
    }

    fn push(&self, tag: &str) {
        Image::multi_platform(7, 300_000).push(&self.scenario.source.host(), "core/app", tag);
    }
}

#[test]
fn images_pass_by_tls() {
    if DockerRegistry::skipped() {
        return;
    }
    let stage = Stage::begin(Certificate::Right);
    stage.push("v1");
    stage.scenario.assert_arrives("app", "v1");
    drop(stage.runtime);
}

#[test]
fn a_certificate_that_is_not_right_is_waited_for() {
    if DockerRegistry::skipped() {
        return;
    }
    let wrong = [
        Certificate::Expired,
        Certificate::OfAnotherHost,
        Certificate::SelfSigned,
    ];
    let stage = Stage::begin(wrong[0]);
    for (number, certificate) in wrong.into_iter().enumerate() {
        stage.destination.show(&stage.authority, certificate).unwrap();
        let tag = format!("v{number}");
        stage.push(&tag);
        let told = wait::until(Duration::from_secs(30), || {
            let tasks = stage.scenario.serve.tasks_to(&format!("copy/app:{tag}"));
            match tasks.first() {
                Some(task) if task["code"] == "TLS_ERROR" => Ok(task.clone()),
                found => Err(format!("no TLS_ERROR: {found:?}")),
            }
        });
        let task = told.unwrap_or_else(|reason| panic!("{certificate:?}: {reason}"));
        assert_eq!(task["state"], "waiting", "{certificate:?}: {task}");
    }
    stage.destination.show(&stage.authority, Certificate::Right).unwrap();
    for number in 0..wrong.len() {
        stage.scenario.assert_arrives("app", &format!("v{number}"));
    }
}
