//! GitHub Container Registry: the events `package` and `registry_package` of a GitHub webhook, as JSON or as a form.
//!
//! A push of an image causes an event for each child, and both events if both are subscribed. Packages of other kinds are of no
//! interest; what is a container shows in `container_metadata`, because GitHub's own samples contradict themselves in every
//! type. Times are those of the year 1. Source: GitHub, "Webhook events and payloads" and "Validating webhook deliveries".

use std::borrow::Cow;

use serde::Deserialize;
use transship_oci::{Error, MediaType, Provider, Tag};

use super::FormatSpec;
use crate::authenticity::{Proof, Signature};
use crate::error::invalid;
use crate::event::{Event, EventAction, EventKind};
use crate::image_reference;
use crate::lenient::{Table, Text, object};
use crate::{Delivery, Origin};

/// The row of the table.
pub(super) const FORMAT: FormatSpec = FormatSpec {
    name: "ghcr",
    provider: Some(Provider::Ghcr),
    parse,
    proof: Proof::Signed(&[Signature::sha256("x-hub-signature-256").with_prefix("sha256=")]),
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
    registry_package: Table<Package>,
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
    #[serde(default)]
    name: Text,
    #[serde(default)]
    namespace: Text,
    #[serde(default)]
    owner: Table<User>,
    #[serde(default, rename = "package_version")]
    version: Table<Version>,
}

#[derive(Deserialize)]
struct Version {
    /// The digest.
    #[serde(default, rename = "version")]
    digest: Text,
    #[serde(default)]
    name: Text,
    #[serde(default)]
    package_url: Text,
    #[serde(default)]
    container_metadata: Table<Container>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default)]
    tag: Table<ContainerTag>,
    #[serde(default)]
    manifest: Table<Manifest>,
}

#[derive(Deserialize, Default)]
struct ContainerTag {
    #[serde(default)]
    name: Text,
    #[serde(default)]
    digest: Text,
}

#[derive(Deserialize, Default)]
struct Manifest {
    #[serde(default)]
    digest: Text,
    #[serde(default)]
    media_type: Text,
    #[serde(default)]
    config: Table<Config>,
}

#[derive(Deserialize, Default)]
struct Config {
    #[serde(default)]
    media_type: Text,
}

fn parse(delivery: &Delivery<'_>, origin: &Origin<'_>) -> Result<Vec<Event>, Error> {
    let envelope: Envelope = object(&json_of(delivery)?)?;
    let is_package = |event| matches!(event, "package" | "registry_package");
    match delivery.header("x-github-event") {
        Some(event) if !is_package(event) => return Ok(Vec::new()),
        None if envelope.action.get().is_none() => return Err(invalid("it has no action")),
        _ => {}
    }
    if !matches!(envelope.action.get(), Some("published" | "updated")) {
        return Ok(Vec::new());
    }
    let package = envelope.registry_package.0.or(envelope.package.0);
    let Some(event) = package.and_then(|package| event(package, origin)) else {
        return Ok(Vec::new());
    };
    let event = Event {
        actor: envelope.sender.0.unwrap_or_default().login.word(),
        event_id: Text::from(delivery.header("x-github-delivery")).word(),
        ..event
    };
    Ok(vec![event])
}

/// The JSON of a delivery, which a form has in its field `payload`.
pub(super) fn json_of<'a>(delivery: &Delivery<'a>) -> Result<Cow<'a, [u8]>, Error> {
    // JSON never begins with this, so a form is recognised without its header as well.
    if !delivery.is_form() && !delivery.body.starts_with(b"payload=") {
        return Ok(delivery.body.into());
    }
    url::form_urlencoded::parse(delivery.body)
        .find(|(name, _)| name == "payload")
        .map(|(_, payload)| payload.into_owned().into_bytes().into())
        .ok_or_else(|| invalid("it is a form without the field payload"))
}

/// [`None`] for what is not an image and for what cannot be used.
fn event(package: Package, origin: &Origin<'_>) -> Option<Event> {
    let version = package.version.0?;
    let container = version.container_metadata.0?;
    let url = version.package_url.get().and_then(image_reference::split);
    // Docker's clients write the names of owners and repositories in lower case, which GitHub does not.
    let name = match (url, package.owner.0.unwrap_or_default().login.lower()) {
        (Some(url), _) => url.repository.to_lowercase(),
        (None, owner) => {
            let owner = owner.or_else(|| package.namespace.lower())?;
            format!("{owner}/{}", package.name.lower()?)
        }
    };
    let tag_field = container.tag.0.unwrap_or_default();
    let manifest = container.manifest.0.unwrap_or_default();
    let tag: Option<Tag> = tag_field.name.parse();
    let digests = [&manifest.digest, &tag_field.digest, &version.digest, &version.name];
    let digest = digests.into_iter().find_map(Text::parse);
    if tag.is_none() && digest.is_none() {
        return None;
    }
    let media_type = manifest.media_type.get().map(MediaType::new);
    let config_type = manifest
        .config
        .0
        .unwrap_or_default()
        .media_type
        .get()
        .map(MediaType::new);
    Some(Event {
        action: EventAction::Push,
        registry_host: origin.host_or([url.map(|url| url.host)], Some("ghcr.io")),
        repository: origin.repository(&name)?,
        kind: EventKind::of(
            tag.as_ref(),
            media_type.as_ref().map(MediaType::as_str),
            config_type.as_ref().map(MediaType::as_str),
        ),
        tag,
        digest,
        media_type: media_type.filter(MediaType::is_manifest).map(|media_type| media_type.0),
        time: None,
        actor: None,
        event_id: None,
    })
}
