//! CNCF Distribution 2 and 3, GitLab, and other products that embed it: an envelope with events of one form.
//!
//! One push of an image causes many events: for every blob, every child of an index, and every pull. Only pushes and
//! deletes of manifests are used. Source: distribution/distribution, notifications/event.go and
//! docs/content/about/notifications.md; GitLab's registry sends the same with a wider actor.

use serde::Deserialize;
use serde_json::value::RawValue;
use transship_oci::{Error, MediaType, Provider};

use super::FormatSpec;
use crate::authenticity::Proof;
use crate::event::{Event, EventAction, EventKind};
use crate::image_reference::authority;
use crate::lenient::{List, Table, Text, is_object, object};
use crate::{Delivery, Origin};

/// Distribution's own format.
pub(super) const FORMAT: FormatSpec = FormatSpec {
    name: "distribution",
    provider: Some(Provider::Distribution),
    parse,
    proof: Proof::TEXT,
    repeats: false,
    handshake: None,
    trial: r#"{"events":[]}"#,
};
/// GitLab sends the same envelope.
pub(super) const GITLAB: FormatSpec = FormatSpec {
    name: "gitlab",
    provider: Some(Provider::GitLab),
    ..FORMAT
};
/// Any other registry is expected to.
pub(super) const GENERIC: FormatSpec = FormatSpec {
    name: "generic",
    provider: Some(Provider::Generic),
    ..FORMAT
};

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

/// One event, which Azure sends without an envelope.
#[derive(Deserialize)]
pub(super) struct Notification {
    #[serde(default)]
    id: Text,
    #[serde(default)]
    timestamp: Text,
    #[serde(default)]
    action: Text,
    #[serde(default)]
    target: Table<Target>,
    #[serde(default)]
    request: Table<Request>,
    #[serde(default)]
    actor: Table<Actor>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Target {
    #[serde(default)]
    media_type: Text,
    #[serde(default)]
    digest: Text,
    #[serde(default)]
    repository: Text,
    #[serde(default)]
    tag: Text,
    #[serde(default)]
    url: Text,
    #[serde(default)]
    references: List<Table<Referenced>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Referenced {
    #[serde(default)]
    media_type: Text,
}

#[derive(Deserialize, Default)]
struct Request {
    #[serde(default)]
    host: Text,
}

#[derive(Deserialize, Default)]
struct Actor {
    #[serde(default)]
    name: Text,
}

fn parse(delivery: &Delivery<'_>, origin: &Origin<'_>) -> Result<Vec<Event>, Error> {
    let envelope: Envelope<'_> = object(delivery.body)?;
    Ok(envelope
        .events
        .into_iter()
        .filter(|raw| is_object(raw.get().as_bytes()))
        .filter_map(|raw| serde_json::from_str::<Notification>(raw.get()).ok())
        .filter(|notification| !notification.is_blob_push())
        .filter_map(|notification| event(notification, origin))
        .collect())
}

/// [`None`] for what is of no interest and for what cannot be used.
pub(super) fn event(notification: Notification, origin: &Origin<'_>) -> Option<Event> {
    let action = match notification.action()? {
        "push" => EventAction::Push,
        "delete" => EventAction::Delete,
        _ => return None,
    };
    let target = notification.target.0?;
    let media_type = target.media_type.get().map(MediaType::new);
    if action == EventAction::Push && !media_type.as_ref().is_none_or(is_kept) {
        return None;
    }
    let repository = origin.repository(target.repository.get()?)?;
    let (tag, digest) = (target.tag.parse(), target.digest.parse());
    if tag.is_none() && digest.is_none() {
        return None;
    }
    let request = notification.request.0.unwrap_or_default();
    let kind = match action {
        EventAction::Push => EventKind::of(
            tag.as_ref(),
            media_type.as_ref().map(MediaType::as_str),
            target.config_type().as_deref(),
        ),
        EventAction::Delete => EventKind::of(tag.as_ref(), media_type.as_ref().map(MediaType::as_str), None),
    };
    Some(Event {
        action,
        registry_host: origin.host([target.url.get().and_then(authority), request.host.get()]),
        repository,
        tag,
        digest,
        kind,
        media_type: media_type.filter(is_kept).map(|media_type| media_type.0),
        time: notification.timestamp.time(),
        actor: notification.actor.0.unwrap_or_default().name.word(),
        event_id: notification.id.word(),
    })
}

impl Notification {
    pub(super) fn action(&self) -> Option<&str> {
        self.action.get()
    }

    /// Blobs are pushed too. A sender that leaves the type out is judged by the address it gives, or by there being a tag.
    fn is_blob_push(&self) -> bool {
        let Some(target) = self.target.0.as_ref().filter(|_| self.action() == Some("push")) else {
            return false;
        };
        match (target.media_type.get(), target.url.get()) {
            (Some(_), _) => false,
            (None, Some(url)) if url.contains("/blobs/") => true,
            (None, Some(url)) if url.contains("/manifests/") => false,
            (None, _) => target.tag.get().is_none(),
        }
    }
}

fn is_kept(media_type: &MediaType) -> bool {
    media_type.is_manifest() || media_type.is_schema1()
}

impl Target {
    /// With `includereferences`, an image manifest's first reference is its config.
    fn config_type(&self) -> Option<String> {
        let first = self.references.0.as_ref()?.first()?.0.as_ref()?;
        first.media_type.get().map(|text| MediaType::new(text).0)
    }
}
