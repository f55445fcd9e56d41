//! Harbor: its own format, the CloudEvents of 2.8 and later, and the words of Harbor 1, which Tencent Cloud sends as well.
//!
//! One body is one happening with one or more resources. A push by digest carries the digest as its tag; charts pushed as
//! OCI artifacts look like images; the old chart repository is not a registry and is ignored. Source: goharbor/harbor,
//! src/pkg/notifier/formats and src/controller/event/handler/webhook/artifact; goharbor.io, Configure Webhook
//! Notifications.

use serde::Deserialize;
use transship_oci::{Error, Provider};

use super::FormatSpec;
use crate::authenticity::Proof;
use crate::error::invalid;
use crate::event::{Event, EventAction, EventKind};
use crate::image_reference::{self, ImageReference};
use crate::lenient::{List, Seconds, Table, Text, object};
use crate::{Delivery, Origin};

/// The row of the table.
pub(super) const FORMAT: FormatSpec = FormatSpec {
    name: "harbor",
    provider: Some(Provider::Harbor),
    parse,
    proof: Proof::TEXT,
    repeats: true,
    handshake: None,
    trial: r#"{"type":"TRIAL"}"#,
};
/// Tencent Container Registry sends the body of Harbor 1, with the header that its trigger is given. Source: Tencent Cloud,
/// Container Registry, "Managing Triggers".
pub(super) const TENCENT_TCR: FormatSpec = FormatSpec {
    name: "tencent-tcr",
    provider: Some(Provider::TencentTcr),
    ..FORMAT
};

#[derive(Deserialize)]
struct Envelope {
    #[serde(default, rename = "type")]
    kind: Text,
    #[serde(default)]
    operator: Text,
    /// Harbor's own format.
    #[serde(default)]
    occur_at: Seconds,
    #[serde(default)]
    event_data: Table<Data>,
    /// CloudEvents.
    #[serde(default)]
    specversion: Text,
    #[serde(default)]
    id: Text,
    #[serde(default)]
    time: Text,
    #[serde(default)]
    data: Table<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    resources: List<Table<Resource>>,
    #[serde(default)]
    repository: Table<Repository>,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(default)]
    digest: Text,
    #[serde(default)]
    tag: Text,
    #[serde(default, rename = "resource_url")]
    url: Text,
}

#[derive(Deserialize, Default)]
struct Repository {
    #[serde(default)]
    repo_full_name: Text,
    #[serde(default)]
    namespace: Text,
    #[serde(default)]
    name: Text,
}

fn parse(delivery: &Delivery<'_>, origin: &Origin<'_>) -> Result<Vec<Event>, Error> {
    let envelope: Envelope = object(delivery.body)?;
    let kind = envelope.kind.get().ok_or_else(|| invalid("it has no type"))?;
    let Some(action) = action(kind) else {
        return Ok(Vec::new());
    };
    let is_cloud_event = envelope.specversion.get().is_some();
    let data = if is_cloud_event {
        envelope.data.0
    } else {
        envelope.event_data.0
    };
    let data = data.ok_or_else(|| invalid("it names no resources"))?;
    let resources = data.resources.0.ok_or_else(|| invalid("it names no resources"))?;
    let repository = data.repository.0.unwrap_or_default();
    let (time, event_id) = if is_cloud_event {
        (envelope.time.time(), envelope.id.word())
    } else {
        (envelope.occur_at.time(), None)
    };
    let actor = envelope.operator.word();
    Ok(resources
        .into_iter()
        .filter_map(|resource| {
            let event = event(action, &resource.0?, &repository, origin)?;
            Some(Event {
                time,
                actor: actor.clone(),
                event_id: event_id.clone(),
                ..event
            })
        })
        .collect())
}

/// Everything else is a pull, a scan, a quota, a replication, or a chart of the old chart repository.
fn action(kind: &str) -> Option<EventAction> {
    match kind {
        "PUSH_ARTIFACT" | "pushImage" | "harbor.artifact.pushed" => Some(EventAction::Push),
        "DELETE_ARTIFACT" | "deleteImage" | "harbor.artifact.deleted" => Some(EventAction::Delete),
        _ => None,
    }
}

fn event(action: EventAction, resource: &Resource, repository: &Repository, origin: &Origin<'_>) -> Option<Event> {
    let parts = resource.url.get().and_then(image_reference::split);
    let name = match parts {
        Some(ImageReference { repository, .. }) => repository.to_owned(),
        None => repository.full_name()?,
    };
    let repository = origin.repository(&name)?;
    // The fields come first; the address fills in what they leave out.
    let tag = match resource.tag.get() {
        Some(_) => resource.tag.parse(),
        None => parts.and_then(|parts| parts.tag?.parse().ok()),
    };
    let digest = resource
        .digest
        .parse()
        .or_else(|| parts.and_then(|parts| parts.digest?.parse().ok()));
    if tag.is_none() && digest.is_none() {
        return None;
    }
    Some(Event {
        action,
        registry_host: origin.host([parts.map(|parts| parts.host)]),
        repository,
        kind: EventKind::of(tag.as_ref(), None, None),
        tag,
        digest,
        media_type: None,
        time: None,
        actor: None,
        event_id: None,
    })
}

impl Repository {
    fn full_name(&self) -> Option<String> {
        match (self.repo_full_name.get(), self.namespace.get(), self.name.get()) {
            (Some(full), ..) => Some(full.to_owned()),
            (None, Some(namespace), Some(name)) => Some(format!("{namespace}/{name}")),
            (None, None, name) => name.map(str::to_owned),
            (None, Some(_), None) => None,
        }
    }
}
