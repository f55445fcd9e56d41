//! zot: one `CloudEvent` each, in binary mode (attributes in headers, data in the body) or structured.
//!
//! Types are compared by their last parts, because their first ones can be configured. Changes that zot itself makes have no
//! actor. The manifest is part of the event as a text, and tells what was pushed. Source: project-zot/zot,
//! pkg/extensions/events; zotregistry.dev, "Events".

use serde::Deserialize;
use transship_oci::{Digest, Error, MediaType, Provider, Tag};

use super::FormatSpec;
use crate::authenticity::Proof;
use crate::error::invalid;
use crate::event::{Event, EventAction, EventKind};
use crate::image_reference::authority;
use crate::lenient::{Table, Text, object};
use crate::{Delivery, Origin};

/// The row of the table.
pub(super) const FORMAT: FormatSpec = FormatSpec {
    name: "zot",
    provider: Some(Provider::Zot),
    parse,
    proof: Proof::TEXT,
    repeats: false,
    handshake: None,
    trial: r#"{"type":"trial"}"#,
};

/// The attributes of a `CloudEvent`.
#[derive(Deserialize)]
struct Attributes {
    #[serde(default)]
    id: Text,
    #[serde(default, rename = "type")]
    kind: Text,
    #[serde(default)]
    source: Text,
    #[serde(default)]
    time: Text,
    /// Of the structured mode.
    #[serde(default)]
    data: Table<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    #[serde(default)]
    name: Text,
    #[serde(default)]
    reference: Text,
    #[serde(default)]
    digest: Text,
    #[serde(default)]
    media_type: Text,
    #[serde(default)]
    manifest: Text,
    #[serde(default)]
    actor: Table<Actor>,
}

#[derive(Deserialize, Default)]
struct Actor {
    #[serde(default)]
    name: Text,
}

#[derive(Deserialize, Default)]
struct Manifest {
    #[serde(default)]
    config: Table<Config>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    media_type: Text,
}

fn parse(delivery: &Delivery<'_>, origin: &Origin<'_>) -> Result<Vec<Event>, Error> {
    let header = |name| Text::from(delivery.header(name));
    let attributes = if delivery.header("ce-type").is_some() {
        Attributes {
            id: header("ce-id"),
            kind: header("ce-type"),
            source: header("ce-source"),
            time: header("ce-time"),
            data: Table(Some(object(delivery.body)?)),
        }
    } else {
        object(delivery.body)?
    };
    let kind = attributes.kind.get().ok_or_else(|| invalid("it has no type"))?;
    let Some(action) = action(kind) else {
        return Ok(Vec::new());
    };
    let data = attributes.data.0.as_ref();
    let data = data.ok_or_else(|| invalid("it has no data"))?;
    let event = event(action, data, origin).map(|event| Event {
        registry_host: origin.host([attributes.source.get().and_then(authority)]),
        time: attributes.time.time(),
        event_id: attributes.id.word(),
        ..event
    });
    Ok(event.into_iter().collect())
}

fn action(kind: &str) -> Option<EventAction> {
    let (rest, last) = kind.rsplit_once('.')?;
    if rest.rsplit('.').next() != Some("image") {
        return None;
    }
    match last {
        "updated" => Some(EventAction::Push),
        "deleted" => Some(EventAction::Delete),
        _ => None,
    }
}

/// [`None`] for what cannot be used.
fn event(action: EventAction, data: &Data, origin: &Origin<'_>) -> Option<Event> {
    let tag: Option<Tag> = data.reference.parse();
    let digest: Option<Digest> = data.digest.parse().or_else(|| data.reference.parse());
    if tag.is_none() && digest.is_none() {
        return None;
    }
    let media_type = data.media_type.get().map(MediaType::new);
    let config_type = data.config_type();
    Some(Event {
        action,
        registry_host: None,
        repository: origin.repository(data.name.get()?)?,
        kind: EventKind::of(
            tag.as_ref(),
            media_type.as_ref().map(MediaType::as_str),
            config_type.as_ref().map(MediaType::as_str),
        ),
        tag,
        digest,
        media_type: media_type.filter(MediaType::is_manifest).map(|media_type| media_type.0),
        time: None,
        actor: data.actor.0.as_ref().and_then(|actor| actor.name.word()),
        event_id: None,
    })
}

impl Data {
    fn config_type(&self) -> Option<MediaType> {
        let manifest: Manifest = serde_json::from_str(self.manifest.get()?).ok()?;
        manifest.config.0?.media_type.get().map(MediaType::new)
    }
}
