//! Replication policies of Harbor, as `GET /api/v2.0/replication/policies` lists them (goharbor/harbor `api/v2.0/swagger.yaml`).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use transship_oci::{Provider, Result};

use super::draft::{Draft, Registry, Rule, schedule, variable, word};
use super::{invalid, read};
use crate::failure::Failure;

/// Bytes per second of one unit of `speed`, which is one kilobit per second (goharbor/harbor `src/lib/iothrottler.go`).
const SPEED_BYTES: i64 = 128;

/// A list of policies, one policy, or both lists of an export.
#[derive(Deserialize)]
struct Export {
    #[serde(default)]
    policies: Vec<Policy>,
    #[serde(default)]
    registries: Vec<Remote>,
}

#[derive(Deserialize)]
struct Policy {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    src_registry: Option<Remote>,
    #[serde(default)]
    dest_registry: Option<Remote>,
    #[serde(default)]
    dest_namespace: Option<String>,
    #[serde(default)]
    dest_namespace_replace_count: Option<i64>,
    #[serde(default)]
    trigger: Option<Trigger>,
    #[serde(default)]
    filters: Option<Vec<Filter>>,
    #[serde(default)]
    replicate_deletion: Option<bool>,
    #[serde(default)]
    deletion: Option<bool>,
    #[serde(rename = "override", default)]
    overrides: Option<bool>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    speed: Option<i64>,
}

#[derive(Clone, Default, Deserialize)]
struct Remote {
    #[serde(default)]
    id: i64,
    #[serde(default)]
    name: String,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    credential: Option<Value>,
    #[serde(default)]
    insecure: bool,
}

#[derive(Deserialize)]
struct Trigger {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    trigger_settings: Option<TriggerSettings>,
}

#[derive(Deserialize)]
struct TriggerSettings {
    #[serde(default)]
    cron: Option<String>,
}

#[derive(Deserialize)]
struct Filter {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    decoration: Option<String>,
}

pub(super) fn draft(text: &str) -> Result<Draft, Failure> {
    let export = match read::<Vec<Policy>>(text) {
        Ok(policies) => Export {
            policies,
            registries: Vec::new(),
        },
        Err(_) => match read::<Export>(text)? {
            export if export.policies.is_empty() && export.registries.is_empty() => Export {
                policies: vec![read::<Policy>(text)?],
                registries: Vec::new(),
            },
            export => export,
        },
    };
    if export.policies.is_empty() {
        return Err(invalid(
            "the file has no replication policies: export GET /api/v2.0/replication/policies",
        ));
    }
    let known: BTreeMap<i64, Remote> = export
        .registries
        .into_iter()
        .map(|remote| (remote.id, remote))
        .collect();
    let mut draft = Draft::default();
    for policy in &export.policies {
        convert(policy, &known, &mut draft);
    }
    Ok(draft)
}

fn convert(policy: &Policy, known: &BTreeMap<i64, Remote>, draft: &mut Draft) {
    let name = word(&policy.name);
    let from = registry(policy.src_registry.as_ref(), known, draft);
    let to = registry(policy.dest_registry.as_ref(), known, draft);
    let mut rule = Rule::new(name.clone());
    rule.description = policy.description.clone().filter(|text| !text.is_empty());
    rule.enabled = policy.enabled.unwrap_or(true);
    let mut namespace = String::new();
    let mut repository = None;
    let (mut tag, mut kinds) = (None, None);
    for filter in policy.filters.iter().flatten() {
        let is_exclusion = filter.decoration.as_deref() == Some("excludes");
        match (filter.kind.as_str(), filter.value.as_str()) {
            ("name", Some(pattern)) => (namespace, repository) = name_filter(pattern),
            ("tag", Some(pattern)) if matches!(pattern, "" | "*" | "**") && !is_exclusion => {}
            ("tag", Some(pattern)) => {
                let glob = simple(pattern);
                tag = Some(if is_exclusion { json!({ "exclude": { "glob": glob } }) } else { json!({ "glob": glob }) });
            }
            ("resource", Some("image")) => kinds = Some(json!(["image"])),
            ("resource", Some("chart")) => kinds = Some(json!(["chart"])),
            ("resource", _) => {}
            ("label", _) => draft.lose(format!(
                "rule {name}: the filter by Harbor's labels {}. They are not part of an image; source.labels selects by labels of the image",
                filter.value
            )),
            (kind, _) => draft.lose(format!("rule {name}: the filter {kind} {}", filter.value)),
        }
    }
    rule.source = vec![("registry", json!(from)), ("namespace", json!(namespace))];
    rule.source
        .extend(repository.map(|glob| ("repository", json!({ "glob": glob }))));
    rule.source.extend(tag.map(|tag| ("tag", tag)));
    rule.destination = vec![("registry", json!(to))];
    if let Some(into) = policy.dest_namespace.as_deref().filter(|into| !into.is_empty()) {
        let flatten = match policy.dest_namespace_replace_count {
            Some(count) if count < 0 => json!("all"),
            Some(count) => json!(count),
            None => json!(1),
        };
        rule.destination
            .extend([("namespace", json!(into)), ("flatten", flatten)]);
    }
    trigger(policy, &name, &mut rule, draft);
    rule.more.extend(kinds.map(|kinds| ("kinds", kinds)));
    let existing = if policy.overrides.unwrap_or(true) {
        "overwrite"
    } else {
        "keep"
    };
    rule.more.push(("existing", json!(existing)));
    if policy.deletion.or(policy.replicate_deletion).unwrap_or(false) {
        draft.lose(format!(
            "rule {name}: deletes are propagated there (deletes: propagate), which this version does not support"
        ));
    }
    if let Some(speed) = policy.speed.filter(|speed| *speed > 0) {
        let bytes = speed.saturating_mul(SPEED_BYTES).max(1024);
        rule.more.push(("bandwidth", json!(format!("{bytes}B/s"))));
    }
    draft.rule(rule);
}

fn trigger(policy: &Policy, name: &str, rule: &mut Rule, draft: &mut Draft) {
    let Some(trigger) = &policy.trigger else { return };
    match trigger.kind.as_str() {
        "event_based" => rule.on_event = true,
        "scheduled" => {
            let cron = trigger
                .trigger_settings
                .as_ref()
                .and_then(|settings| settings.cron.as_deref());
            // The first of six fields is the second, which is 0.
            rule.schedule = cron.and_then(|cron| schedule(cron.trim().strip_prefix("0 ")?));
            if rule.schedule.is_none() {
                draft.lose(format!(
                    "rule {name}: the schedule {:?}. The rule is started by hand",
                    cron.unwrap_or_default()
                ));
            }
        }
        _ => {}
    }
}

/// The longest literal path in front of the pattern, and the pattern of what is below it.
fn name_filter(pattern: &str) -> (String, Option<String>) {
    let pattern = simple(pattern);
    if matches!(pattern.as_str(), "" | "**") {
        return (String::new(), None);
    }
    let parts: Vec<&str> = pattern.split('/').collect();
    let is_literal = |part: &&&str| !part.contains(['*', '?', '[', ']', '{', '}', '\\']);
    let literal = parts.iter().take(parts.len() - 1).take_while(is_literal).count();
    // A slash within braces belongs to the pattern.
    let rest = parts[literal..].join("/");
    let rest = (rest != "**").then_some(rest);
    (parts[..literal].join("/"), rest)
}

/// `**` within a component matches there as `*` does.
fn simple(pattern: &str) -> String {
    let parts = pattern.split('/').map(|part| match part {
        "**" => "**".to_owned(),
        part => {
            let mut part = part.to_owned();
            while part.contains("**") {
                part = part.replace("**", "*");
            }
            part
        }
    });
    parts.collect::<Vec<_>>().join("/")
}

/// The name of the registry in the document. Harbor itself has the id 0.
fn registry(remote: Option<&Remote>, known: &BTreeMap<i64, Remote>, draft: &mut Draft) -> String {
    let written = remote.cloned().unwrap_or_default();
    let remote = known
        .get(&written.id)
        .filter(|_| written.url.is_empty())
        .unwrap_or(&written);
    if remote.id == 0 {
        draft.lose("the address of Harbor itself is not in the export: write it under registries.harbor.endpoint, with its credentials");
        return draft.registry("harbor", Registry::new(Provider::Harbor, "https://harbor.invalid"));
    }
    let (provider, endpoint) = match remote.kind.as_str() {
        "docker-hub" => (Provider::DockerHub, "https://registry-1.docker.io".to_owned()),
        kind => (provider(kind), endpoint(&remote.url)),
    };
    let mut registry = Registry::new(provider, endpoint);
    let has_credentials = remote
        .credential
        .as_ref()
        .and_then(|credential| credential.get("access_key"));
    if has_credentials
        .and_then(Value::as_str)
        .is_some_and(|key| !key.is_empty())
    {
        let variable = format!("{}_CREDENTIALS", variable(&word(&remote.name)));
        draft.lose(format!(
            "registry {}: its password is not in the export: set {variable} to user:password",
            word(&remote.name)
        ));
        registry.credentials = Some(format!("env:{variable}"));
    }
    if remote.insecure {
        draft.lose(format!(
            "registry {}: certificates are not verified there. Transship always verifies them: add its authority under tls",
            word(&remote.name)
        ));
    }
    draft.registry(&remote.name, registry)
}

/// Scheme, host and port of an address.
fn endpoint(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let host = rest.split('/').next().unwrap_or_default();
    let host = if host.is_empty() { "registry.invalid" } else { host };
    format!("{scheme}://{host}")
}

/// Harbor's types of registries: goharbor/harbor `src/pkg/reg/model/registry.go`.
fn provider(kind: &str) -> Provider {
    match kind {
        "harbor" => Provider::Harbor,
        "docker-registry" => Provider::Distribution,
        "aws-ecr" => Provider::Ecr,
        "azure-acr" => Provider::AzureAcr,
        "ali-acr" => Provider::AliyunAcr,
        "google-gcr" => Provider::GoogleAr,
        "jfrog-artifactory" => Provider::Artifactory,
        "quay" => Provider::Quay,
        "gitlab" => Provider::GitLab,
        "tencent-tcr" => Provider::TencentTcr,
        "github-ghcr" => Provider::Ghcr,
        _ => Provider::Generic,
    }
}
