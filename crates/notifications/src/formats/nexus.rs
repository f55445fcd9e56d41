//! Sonatype Nexus Repository: one component each, without a host and without a digest.
//!
//! The version of a component is a tag or a digest. Events of assets (each blob is one) and of other formats are of no interest.
//! With path-based routing, clients write the name of the Nexus repository before that of the image; an alias of the document
//! for that name says so. Source: Sonatype, "Webhooks"; fluxcd/flux-recv, nexus.go.

use serde::Deserialize;
use transship_oci::{Digest, Error, Provider, Tag};

use super::FormatSpec;
use crate::authenticity::{Proof, Signature};
use crate::error::invalid;
use crate::event::{Event, EventAction, EventKind};
use crate::lenient::{Table, Text, object};
use crate::{Delivery, Origin, ReportedRepository};

/// The row of the table.
pub(super) const FORMAT: FormatSpec = FormatSpec {
    name: "nexus",
    provider: Some(Provider::Nexus),
    parse,
    proof: Proof::Signed(&[Signature::sha1("x-nexus-webhook-signature")]),
    repeats: true,
    handshake: None,
    trial: r#"{"action":"trial"}"#,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    #[serde(default)]
    timestamp: Text,
    #[serde(default)]
    initiator: Text,
    #[serde(default)]
    repository_name: Text,
    #[serde(default)]
    action: Text,
    #[serde(default)]
    component: Table<Component>,
}

#[derive(Deserialize)]
struct Component {
    #[serde(default)]
    format: Text,
    #[serde(default)]
    name: Text,
    #[serde(default)]
    version: Text,
}

fn parse(delivery: &Delivery<'_>, origin: &Origin<'_>) -> Result<Vec<Event>, Error> {
    let envelope: Envelope = object(delivery.body)?;
    match delivery.header("x-nexus-webhook-id") {
        Some(kind) if kind != "rm:repository:component" => return Ok(Vec::new()),
        None if envelope.action.get().is_none() => return Err(invalid("it has no action")),
        _ => {}
    }
    let action = match envelope.action.get() {
        Some("CREATED" | "UPDATED") => EventAction::Push,
        Some("DELETED") => EventAction::Delete,
        _ => return Ok(Vec::new()),
    };
    let component = envelope.component.0.as_ref();
    let event = component.and_then(|component| event(action, component, &envelope.repository_name, origin));
    let event = event.map(|event| Event {
        time: envelope.timestamp.time(),
        actor: envelope.initiator.word(),
        event_id: Text::from(delivery.header("x-nexus-webhook-delivery")).word(),
        ..event
    });
    Ok(event.into_iter().collect())
}

/// [`None`] for what is not an image and for what cannot be used.
fn event(action: EventAction, component: &Component, repository: &Text, origin: &Origin<'_>) -> Option<Event> {
    if component.format.get() != Some("docker") {
        return None;
    }
    let tag: Option<Tag> = component.version.parse();
    let digest: Option<Digest> = component.version.parse();
    if tag.is_none() && digest.is_none() {
        return None;
    }
    Some(Event {
        action,
        registry_host: origin.host([]),
        repository: name_of(component.name.get()?, repository.get(), origin)?,
        kind: EventKind::of(tag.as_ref(), None, None),
        tag,
        digest,
        media_type: None,
        time: None,
        actor: None,
        event_id: None,
    })
}

/// The name of an image, below the Nexus repository if an alias of the document begins with that.
fn name_of(image: &str, repository: Option<&str>, origin: &Origin<'_>) -> Option<ReportedRepository> {
    let routed = repository.and_then(|repository| origin.aliased(&format!("{repository}/{image}")));
    match routed {
        Some(routed) => Some(ReportedRepository::from(
            routed.parse::<transship_oci::Repository>().ok()?,
        )),
        None => origin.repository(image),
    }
}
