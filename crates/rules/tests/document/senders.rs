//! How a document says which deliveries a registry sends, and who may send them.

use transship_notifications::{EntraCloud, Identity, SignedUrl};
use transship_rules::{Document, Registry, Webhook};

fn text(fields: &str) -> String {
    format!("version: 1\nregistries:\n  a: {{ {fields} }}\n")
}

fn registry(fields: &str) -> Registry {
    let parsed = Document::parse(&text(fields)).unwrap_or_else(|errors| panic!("{errors}\n{fields}"));
    parsed.document.registries["a"].clone()
}

fn refused(fields: &str) -> String {
    match Document::parse(&text(fields)) {
        Ok(_) => panic!("accepted: {fields}"),
        Err(errors) => errors.to_string(),
    }
}

const ACR: &str = "provider: aliyun-acr, endpoint: \"https://a-registry.cn-hangzhou.cr.aliyuncs.com\"";
const GAR: &str = "provider: google-ar, endpoint: \"https://europe-docker.pkg.dev\"";
const TENANT: &str = "00000000-0000-0000-0000-00000000000a";

#[test]
fn the_format_is_that_of_the_provider_unless_the_webhook_names_another() {
    assert_eq!(registry(ACR).format.as_str(), "aliyun-acr");
    let named = registry(&format!(
        "{ACR}, webhook: {{ secret: \"env:X\", format: aliyun-eventbridge }}"
    ));
    assert_eq!(named.format.as_str(), "aliyun-eventbridge");
    let refusal = refused(&format!("{ACR}, webhook: {{ secret: \"env:X\", format: cloudevents }}"));
    assert!(
        refusal.starts_with("CONFIG_INVALID: registries.a.webhook.format "),
        "{refusal}"
    );
    assert!(refusal.contains("azure-eventgrid"), "{refusal}");
}

#[test]
fn aliases_are_prefixes_and_a_longer_one_comes_first() {
    let aliased = registry(&format!(
        "{ACR}, aliases: {{ docker: d, docker-local: \"\", docker/a/b: x/y }}"
    ));
    let names: Vec<(&str, &str)> = aliased
        .aliases
        .iter()
        .map(|(from, to)| (from.as_str(), to.as_str()))
        .collect();
    assert_eq!(names, [("docker-local", ""), ("docker/a/b", "x/y"), ("docker", "d")]);
    for bad in [
        "{ \"\": x }",
        "{ /a: x }",
        "{ a/: x }",
        "{ a: B }",
        "{ a: x/ }",
        "{ a: ../b }",
    ] {
        let refusal = refused(&format!("{ACR}, aliases: {bad}"));
        assert!(
            refusal.starts_with("CONFIG_INVALID: registries.a.aliases"),
            "{bad}: {refusal}"
        );
    }
}

#[test]
fn a_signature_covers_a_url_and_is_made_in_a_region() {
    let bus = "secret: \"env:X\", format: aliyun-eventbridge, url: \"https://Hooks.example.com/hooks/a?b\"";
    let signed = registry(&format!("{ACR}, region: cn-hangzhou, webhook: {{ {bus} }}"));
    let Some(Webhook::Secret { signed_url, .. }) = signed.webhook else {
        panic!("{:?}", signed.webhook)
    };
    let expected = SignedUrl {
        url: "https://Hooks.example.com/hooks/a?b".to_owned(),
        region: "cn-hangzhou".to_owned(),
    };
    assert_eq!(signed_url, Some(expected), "as it is written");
    for fields in [
        format!("webhook: {{ {bus} }}"),
        format!("region: evil.example/, webhook: {{ {bus} }}"),
        "region: cn-hangzhou, webhook: { secret: \"env:X\", url: \"https://x\" }".to_owned(),
        "region: cn-hangzhou, webhook: { secret: \"env:X\", format: aliyun-eventbridge, url: hooks }".to_owned(),
    ] {
        let refusal = refused(&format!("{ACR}, {fields}"));
        assert!(
            refusal.starts_with("CONFIG_INVALID: registries.a.webhook.url "),
            "{fields}: {refusal}"
        );
    }
}

#[test]
fn an_identity_is_that_of_google_or_of_entra() {
    let webhook = |identity: &str| {
        registry(&format!(
            "{GAR}, webhook: {{ identity: {{ audience: x, {identity} }} }}"
        ))
        .webhook
    };
    let google = Identity::Google {
        audience: "x".to_owned(),
        email: "a@b".to_owned(),
    };
    assert_eq!(
        webhook("email: a@b"),
        Some(Webhook::Identity {
            identity: google.clone(),
            keys: None
        })
    );
    assert_eq!(
        webhook("email: a@b, keys: \"file:/keys\""),
        Some(Webhook::Identity {
            identity: google,
            keys: Some("file:/keys".parse().unwrap())
        })
    );
    for (fields, cloud, application) in [
        ("", EntraCloud::Public, "4962773b-9cdb-44cf-a8bf-237846a00ab7"),
        (
            ", cloud: public",
            EntraCloud::Public,
            "4962773b-9cdb-44cf-a8bf-237846a00ab7",
        ),
        (
            ", cloud: us-government",
            EntraCloud::UsGovernment,
            "54316b56-3481-47f9-8f30-0300f5542a7b",
        ),
        (
            ", cloud: china, application: 00000000-0000-0000-0000-000000000002",
            EntraCloud::China,
            "00000000-0000-0000-0000-000000000002",
        ),
    ] {
        let Some(Webhook::Identity { identity, .. }) = webhook(&format!("tenant: {TENANT}{fields}")) else {
            panic!("it is not an identity: {fields}");
        };
        let expected = Identity::Entra {
            audience: "x".to_owned(),
            tenant: TENANT.to_owned(),
            application: application.to_owned(),
            cloud,
        };
        assert_eq!(identity, expected, "{fields}");
    }
    for identity in [
        "audience: x".to_owned(),
        "audience: \"\", email: a@b".to_owned(),
        "audience: x, email: nobody".to_owned(),
        format!("audience: x, email: a@b, tenant: {TENANT}"),
        format!("audience: x, email: a@b, application: {TENANT}"),
        "audience: x, tenant: common".to_owned(),
        format!("audience: x, tenant: {TENANT}/../evil"),
        format!("audience: x, tenant: {TENANT}, application: x"),
        format!("audience: x, tenant: {TENANT}, cloud: germany"),
        format!("audience: x, tenant: {TENANT}, cloud: china"),
        "audience: x, email: a@b, cloud: public".to_owned(),
    ] {
        let refusal = refused(&format!("{GAR}, webhook: {{ identity: {{ {identity} }} }}"));
        assert!(
            refusal.starts_with("CONFIG_INVALID: registries.a.webhook.identity "),
            "{identity}: {refusal}"
        );
    }
}

#[test]
fn a_sender_shows_either_a_secret_or_a_token() {
    for webhook in [
        "{ secret: \"env:X\", identity: { audience: x, email: a@b } }",
        "{}",
        "{ format: google-ar }",
    ] {
        let refusal = refused(&format!("{GAR}, webhook: {webhook}"));
        assert!(
            refusal.starts_with("CONFIG_INVALID: registries.a.webhook "),
            "{webhook}: {refusal}"
        );
    }
}

#[test]
fn docker_hub_and_alibaba_cloud_are_known_by_their_own_other_names() {
    let is_called = |fields: &str, host: &str| registry(fields).is_called(&host.parse().unwrap());
    let hub = "provider: dockerhub, endpoint: \"https://registry-1.docker.io\"";
    for host in [
        "docker.io",
        "index.docker.io",
        "registry-1.docker.io",
        "DOCKER.IO",
        "docker.io:443",
    ] {
        assert!(is_called(hub, host), "{host}");
    }
    assert!(!is_called(hub, "docker.io.evil.example"));
    let other = "provider: distribution, endpoint: \"https://registry-1.docker.io\"";
    assert!(!is_called(other, "docker.io"));
    let vpc = "provider: aliyun-acr, endpoint: \"https://a-registry-vpc.cn-hangzhou.cr.aliyuncs.com\"";
    assert!(is_called(vpc, "a-registry.cn-hangzhou.cr.aliyuncs.com"));
    assert!(!is_called(vpc, "b-registry.cn-hangzhou.cr.aliyuncs.com"));
    assert!(!is_called(vpc, "a-registry.cn-shanghai.cr.aliyuncs.com"));
    let personal = "provider: aliyun-acr, endpoint: \"https://registry-internal.cn-hangzhou.aliyuncs.com\"";
    assert!(is_called(personal, "registry.cn-hangzhou.aliyuncs.com"));
}
