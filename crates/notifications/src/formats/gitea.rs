//! Gitea and Forgejo: the event `package` of a webhook, as JSON or as a form.
//!
//! The event names a tag or a digest in `version`, never both, and a tag in lower case. Gitea sends the headers of GitHub and
//! Gogs as well as its own. Source: go-gitea/gitea, services/webhook/deliver.go, modules/structs/package.go and
//! services/convert/package.go.

use serde::Deserialize;
use transship_oci::{Digest, Error, Provider, Tag};

use super::FormatSpec;
use super::ghcr::json_of;
use crate::authenticity::{Proof, Signature};
use crate::error::invalid;
use crate::event::{Event, EventAction, EventKind};
use crate::image_reference::authority;
use crate::lenient::{Table, Text, object};
use crate::{Delivery, Origin};

/// The row of the table.
pub(super) const FORMAT: FormatSpec = FormatSpec {
    name: "gitea",
    provider: Some(Provider::Gitea),
    parse,
    proof: Proof::Signed(&[
        Signature::sha256("x-gitea-signature"),
        Signature::sha256("x-forgejo-signature"),
        Signature::sha256("x-hub-signature-256").with_prefix("sha256="),
    ]),
    repeats: true,
    handshake: None,
    trial: r#"{"action":"trial"}"#,
};

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    action: Text,
    #[serde(default)]
    package: Table<Package>,
    #[serde(default)]
    sender: Table<User>,
}

#[derive(Deserialize, Default)]
struct User {
    #[serde(default)]
    login: Text,
}

#[derive(Deserialize)]
struct Package {
    #[serde(default, rename = "type")]
    kind: Text,
    #[serde(default)]
    name: Text,
    #[serde(default)]
    version: Text,
    #[serde(default)]
    owner: Table<User>,
    #[serde(default)]
    html_url: Text,
    #[serde(default)]
    created_at: Text,
}

fn parse(delivery: &Delivery<'_>, origin: &Origin<'_>) -> Result<Vec<Event>, Error> {
    let envelope: Envelope = object(&json_of(delivery)?)?;
    match delivery
        .header("x-gitea-event")
        .or_else(|| delivery.header("x-forgejo-event"))
    {
        Some(event) if event != "package" => return Ok(Vec::new()),
        None if envelope.action.get().is_none() => return Err(invalid("it has no action")),
        _ => {}
    }
    let action = match envelope.action.get() {
        Some("created") => EventAction::Push,
        Some("deleted") => EventAction::Delete,
        _ => return Ok(Vec::new()),
    };
    let Some(event) = envelope.package.0.and_then(|package| event(action, package, origin)) else {
        return Ok(Vec::new());
    };
    let id = delivery
        .header("x-gitea-delivery")
        .or_else(|| delivery.header("x-forgejo-delivery"));
    let event = Event {
        actor: envelope.sender.0.unwrap_or_default().login.word(),
        event_id: Text::from(id).word(),
        ..event
    };
    Ok(vec![event])
}

/// [`None`] for what is not an image and for what cannot be used.
fn event(action: EventAction, package: Package, origin: &Origin<'_>) -> Option<Event> {
    if package.kind.get() != Some("container") {
        return None;
    }
    let digest: Option<Digest> = package.version.parse();
    let tag: Option<Tag> = package.version.parse();
    if tag.is_none() && digest.is_none() {
        return None;
    }
    // The names of images have the owner in lower case.
    let name = format!(
        "{}/{}",
        package.owner.0.unwrap_or_default().login.lower()?,
        package.name.lower()?
    );
    Some(Event {
        action,
        registry_host: origin.host([package.html_url.get().and_then(authority)]),
        repository: origin.repository(&name)?,
        kind: EventKind::of(tag.as_ref(), None, None),
        tag,
        digest,
        media_type: None,
        time: package.created_at.time(),
        actor: None,
        event_id: None,
    })
}
