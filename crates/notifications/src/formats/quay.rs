//! Quay.io and Red Hat Quay: the tags of one push each, without a digest and without an id.
//!
//! Nothing but the URL can hold a secret. All notifications share one frame and do not say what happened: only a push has
//! `updated_tags`. A push by digest is not reported. The test button sends tags that may not exist. Source: quay/quay,
//! notifications; Red Hat Quay documentation, "Repository events".

use serde::Deserialize;
use transship_oci::{Error, Provider};

use super::FormatSpec;
use crate::authenticity::Proof;
use crate::error::invalid;
use crate::event::{Event, EventAction, EventKind};
use crate::image_reference;
use crate::lenient::{Names, Text, object};
use crate::{Delivery, Origin};

/// The row of the table.
pub(super) const FORMAT: FormatSpec = FormatSpec {
    name: "quay",
    provider: Some(Provider::Quay),
    parse,
    proof: Proof::TEXT,
    repeats: true,
    handshake: None,
    trial: r#"{"repository":"trial/trial"}"#,
};

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    repository: Text,
    #[serde(default)]
    docker_url: Text,
    /// A list; in 2013 an object whose keys were the tags.
    #[serde(default)]
    updated_tags: Names,
}

fn parse(delivery: &Delivery<'_>, origin: &Origin<'_>) -> Result<Vec<Event>, Error> {
    let envelope: Envelope = object(delivery.body)?;
    let url = envelope.docker_url.get().and_then(image_reference::split);
    let name = envelope.repository.get().or(url.map(|url| url.repository));
    let name = name.ok_or_else(|| invalid("it names no repository"))?;
    let Some(repository) = origin.repository(name) else {
        return Ok(Vec::new());
    };
    let registry_host = origin.host([url.map(|url| url.host)]);
    let tags = envelope.updated_tags.0.unwrap_or_default();
    let event = |tag: &Text| {
        let tag = tag.parse()?;
        Some(Event {
            action: EventAction::Push,
            registry_host: registry_host.clone(),
            repository: repository.clone(),
            kind: EventKind::of(Some(&tag), None, None),
            tag: Some(tag),
            digest: None,
            media_type: None,
            time: None,
            actor: None,
            event_id: None,
        })
    };
    Ok(tags.iter().filter_map(event).collect())
}
