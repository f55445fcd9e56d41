//! `JFrog` Artifactory: one event of the domain `docker` each.
//!
//! `sha256` is that of the manifest's file, which is the manifest's digest. The repository is the repository key and the path
//! without its last two parts; the key is that of a local or remote repository, while clients often pull through a virtual one,
//! which an alias of the document says. A promotion makes a tag appear in another repository, so it is a push there. Source:
//! `JFrog`, "Webhook event types", domain docker.

use serde::Deserialize;
use transship_oci::media_type::{DOCKER_LIST, DOCKER_MANIFEST};
use transship_oci::{Digest, Error, Provider, Tag};

use super::FormatSpec;
use crate::authenticity::{Proof, Signature};
use crate::error::invalid;
use crate::event::{Event, EventAction, EventKind};
use crate::image_reference::authority;
use crate::lenient::{Table, Text, object};
use crate::{Delivery, Origin};

/// The row of the table. A webhook sends its secret as it is unless "Use secret for payload signing" is set.
pub(super) const FORMAT: FormatSpec = FormatSpec {
    name: "artifactory",
    provider: Some(Provider::Artifactory),
    parse,
    proof: Proof::Signed(&[Signature::sha256("x-jfrog-event-auth").or_secret()]),
    repeats: true,
    handshake: None,
    trial: r#"{"domain":"trial","event_type":"trial"}"#,
};

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    domain: Text,
    #[serde(default)]
    event_type: Text,
    #[serde(default)]
    data: Table<Data>,
    #[serde(default)]
    jpd_origin: Text,
    #[serde(default)]
    source: Text,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    repo_key: Text,
    #[serde(default)]
    path: Text,
    #[serde(default)]
    name: Text,
    #[serde(default)]
    sha256: Text,
    #[serde(default)]
    image_name: Text,
    #[serde(default)]
    image_type: Text,
    #[serde(default)]
    tag: Text,
}

fn parse(delivery: &Delivery<'_>, origin: &Origin<'_>) -> Result<Vec<Event>, Error> {
    let envelope: Envelope = object(delivery.body)?;
    let (Some(domain), Some(event_type)) = (envelope.domain.get(), envelope.event_type.get()) else {
        return Err(invalid("it has no domain or no event_type"));
    };
    let action = match (domain, event_type) {
        ("docker", "pushed" | "promoted") => EventAction::Push,
        ("docker", "deleted") => EventAction::Delete,
        _ => return Ok(Vec::new()),
    };
    let event = envelope.data.0.and_then(|data| event(action, &data, origin));
    let event = event.map(|event| Event {
        registry_host: origin.host([envelope.jpd_origin.get().and_then(authority)]),
        actor: envelope.source.word(),
        ..event
    });
    Ok(event.into_iter().collect())
}

/// [`None`] for what cannot be used.
fn event(action: EventAction, data: &Data, origin: &Origin<'_>) -> Option<Event> {
    let digest: Option<Digest> = data.sha256.get().and_then(|hex| format!("sha256:{hex}").parse().ok());
    // The children of an index are kept in folders that are named by their digests.
    let tag: Option<Tag> = data
        .tag
        .parse()
        .filter(|tag: &Tag| !tag.as_str().starts_with("sha256__"));
    if tag.is_none() && digest.is_none() {
        return None;
    }
    let folder = data.path.get().and_then(folder_of).or_else(|| data.image_name.get())?;
    Some(Event {
        action,
        registry_host: None,
        repository: origin.repository(&format!("{}/{folder}", data.repo_key.get()?))?,
        kind: kind(tag.as_ref(), data),
        tag,
        digest,
        media_type: None,
        time: None,
        actor: None,
        event_id: None,
    })
}

/// `team/app` of `team/app/v1/manifest.json`.
fn folder_of(path: &str) -> Option<&str> {
    let (folder, _file) = path.rsplit_once('/')?;
    let (repository, _tag) = folder.rsplit_once('/')?;
    Some(repository)
}

/// The name of the file tells an index from a manifest, and the type of image a chart from an image.
fn kind(tag: Option<&Tag>, data: &Data) -> EventKind {
    let file = data.name.get().or_else(|| data.path.get()?.rsplit('/').next());
    let media_type = match (file, data.image_type.get()) {
        (Some("list.manifest.json"), _) => Some(DOCKER_LIST),
        (Some("manifest.json"), None | Some("docker")) => Some(DOCKER_MANIFEST),
        _ => None,
    };
    match EventKind::of(tag, media_type, None) {
        EventKind::Unknown if data.image_type.get().is_some_and(|kind| kind.contains("helm")) => EventKind::Chart,
        kind => kind,
    }
}
