//! Google Artifact Registry and Container Registry: messages of the Pub/Sub topic `gcr`, wrapped in Pub/Sub's envelope or not.
//!
//! A message names a digest, a tag, or both, each as a whole reference. Messages arrive at least once and in any order. Source:
//! Google Cloud, Artifact Registry, "Configure Pub/Sub notifications"; Pub/Sub, "Push subscriptions".

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Deserialize;
use transship_oci::{Digest, Error, Provider, Tag};

use super::FormatSpec;
use crate::authenticity::Proof;
use crate::error::invalid;
use crate::event::{Event, EventAction, EventKind};
use crate::image_reference::{self, ImageReference};
use crate::lenient::{Table, Text, object};
use crate::{Delivery, Origin};

/// The row of the table.
pub(super) const FORMAT: FormatSpec = FormatSpec {
    name: "google-ar",
    provider: Some(Provider::GoogleAr),
    parse,
    proof: Proof::TEXT,
    repeats: true,
    handshake: None,
    trial: r#"{"action":"trial"}"#,
};

/// Pub/Sub's envelope.
#[derive(Deserialize)]
struct Wrapped {
    #[serde(default)]
    message: Table<Message>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    #[serde(default)]
    data: Text,
    #[serde(default, rename = "messageId")]
    id: Text,
    #[serde(default)]
    publish_time: Text,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    action: Text,
    #[serde(default)]
    digest: Text,
    #[serde(default)]
    tag: Text,
}

fn parse(delivery: &Delivery<'_>, origin: &Origin<'_>) -> Result<Vec<Event>, Error> {
    let wrapped: Wrapped = object(delivery.body)?;
    let (data, event_id, time) = if let Some(message) = wrapped.message.0 {
        let data = message.data.get().ok_or_else(|| invalid("its message has no data"))?;
        let data = BASE64_STANDARD.decode(data);
        let data: Data = object(&data.map_err(|_| invalid("the data of its message is not base64"))?)?;
        (data, message.id.word(), message.publish_time.time())
    } else {
        let header = |name| Text::from(delivery.header(name));
        let (id, time) = (header("x-goog-pubsub-message-id"), header("x-goog-pubsub-publish-time"));
        (object(delivery.body)?, id.word(), time.time())
    };
    let action = data.action.get().ok_or_else(|| invalid("it has no action"))?;
    let action = match action {
        "INSERT" => EventAction::Push,
        "DELETE" => EventAction::Delete,
        _ => return Ok(Vec::new()),
    };
    let event = event(action, &data, origin).map(|event| Event {
        time,
        event_id,
        ..event
    });
    Ok(event.into_iter().collect())
}

/// [`None`] for what cannot be used.
fn event(action: EventAction, data: &Data, origin: &Origin<'_>) -> Option<Event> {
    let by_tag = data.tag.get().and_then(image_reference::split);
    let by_digest = data.digest.get().and_then(image_reference::split);
    let tag: Option<Tag> = by_tag.and_then(|reference| reference.tag?.parse().ok());
    let digest: Option<Digest> = by_digest.and_then(|reference| reference.digest?.parse().ok());
    if tag.is_none() && digest.is_none() {
        return None;
    }
    let ImageReference { host, repository, .. } = by_tag.filter(|_| tag.is_some()).or(by_digest)?;
    // A digest of another repository would be expected at the tag, and not be found there.
    let digest = digest.filter(|_| by_digest.is_some_and(|reference| reference.repository == repository));
    Some(Event {
        action,
        registry_host: origin.host([Some(host)]),
        repository: origin.repository(repository)?,
        kind: EventKind::of(tag.as_ref(), None, None),
        tag,
        digest,
        media_type: None,
        time: None,
        actor: None,
        event_id: None,
    })
}
