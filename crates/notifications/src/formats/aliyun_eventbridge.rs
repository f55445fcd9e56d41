//! Alibaba Cloud Container Registry, Enterprise Edition, by way of the event bus of Alibaba Cloud: one `CloudEvent` each.
//!
//! Only completed pushes are used; builds, scans, signatures and calls of the API have types of their own. The vendor's pages
//! list the type of a push but show no sample of its data, so the digest is looked for under the names that are likely. Source:
//! Alibaba Cloud, `EventBridge`, "Container Registry events".

use serde::Deserialize;
use transship_oci::Error;

use super::FormatSpec;
use super::aliyun_acr::is_region;
use crate::authenticity::Proof;
use crate::error::invalid;
use crate::event::{Event, EventAction, EventKind};
use crate::lenient::{Table, Text, object};
use crate::{Delivery, Origin};

/// The row of the table.
pub(super) const FORMAT: FormatSpec = FormatSpec {
    name: "aliyun-eventbridge",
    provider: None,
    parse,
    proof: Proof::Text(&["x-eventbridge-signature-token"]),
    repeats: true,
    handshake: None,
    trial: r#"{"type":"trial"}"#,
};

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    id: Text,
    #[serde(default)]
    source: Text,
    #[serde(default, rename = "type")]
    kind: Text,
    #[serde(default)]
    time: Text,
    #[serde(default)]
    aliyunregionid: Text,
    #[serde(default)]
    data: Table<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Data {
    #[serde(default)]
    instance_name: Text,
    #[serde(default)]
    region_id: Text,
    #[serde(default)]
    repo_namespace_name: Text,
    #[serde(default)]
    repo_name: Text,
    #[serde(default)]
    tag: Text,
    #[serde(default)]
    digest: Text,
    #[serde(default)]
    digest_id: Text,
    #[serde(default)]
    image_digest: Text,
}

fn parse(delivery: &Delivery<'_>, origin: &Origin<'_>) -> Result<Vec<Event>, Error> {
    let envelope: Envelope = object(delivery.body)?;
    let kind = envelope.kind.get().ok_or_else(|| invalid("it has no type"))?;
    if envelope.source.get() != Some("acs.cr") || kind != "cr:Artifact:PushCompleted" {
        return Ok(Vec::new());
    }
    Ok(event(&envelope, origin).into_iter().collect())
}

/// [`None`] for what cannot be used.
fn event(envelope: &Envelope, origin: &Origin<'_>) -> Option<Event> {
    let data = envelope.data.0.as_ref()?;
    let digests = [&data.digest, &data.digest_id, &data.image_digest];
    let (tag, digest) = (data.tag.parse(), digests.into_iter().find_map(Text::parse));
    if tag.is_none() && digest.is_none() {
        return None;
    }
    let name = format!("{}/{}", data.repo_namespace_name.get()?, data.repo_name.get()?);
    let region = data.region_id.get().or_else(|| envelope.aliyunregionid.get());
    // Source: Alibaba Cloud, Container Registry, "Access a Container Registry Enterprise Edition instance".
    let host = data
        .instance_name
        .get()
        .zip(region.filter(|region| is_region(region)))
        .map(|(instance, region)| format!("{instance}-registry.{region}.cr.aliyuncs.com"));
    Some(Event {
        action: EventAction::Push,
        registry_host: origin.host([host.as_deref()]),
        repository: origin.repository_with_capitals(&name)?,
        kind: EventKind::of(tag.as_ref(), None, None),
        tag,
        digest,
        media_type: None,
        time: envelope.time.time(),
        actor: None,
        event_id: envelope.id.word(),
    })
}
