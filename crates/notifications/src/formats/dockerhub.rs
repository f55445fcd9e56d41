//! Docker Hub: one push each, without a digest and without an id.
//!
//! Nothing but the URL can hold a secret. One push of a multi-platform image is reported several times. `callback_url` is never
//! requested. Source: Docker, "Webhooks"; docker/hub-feedback#2148.

use serde::Deserialize;
use transship_oci::{Error, MediaType, Provider};

use super::FormatSpec;
use crate::authenticity::Proof;
use crate::error::invalid;
use crate::event::{Event, EventAction, EventKind};
use crate::lenient::{Seconds, Table, Text, object};
use crate::{Delivery, Origin};

/// The row of the table.
pub(super) const FORMAT: FormatSpec = FormatSpec {
    name: "dockerhub",
    provider: Some(Provider::DockerHub),
    parse,
    proof: Proof::TEXT,
    repeats: true,
    handshake: None,
    trial: r#"{"push_data":{},"repository":{}}"#,
};

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    push_data: Table<PushData>,
    #[serde(default)]
    repository: Table<Repository>,
}

#[derive(Deserialize)]
struct PushData {
    #[serde(default)]
    tag: Text,
    #[serde(default)]
    pushed_at: Seconds,
    #[serde(default)]
    pusher: Text,
    /// The type of the config, although its name promises that of the manifest (akuity/kargo, dockerhub.go).
    #[serde(default)]
    media_type: Text,
}

#[derive(Deserialize)]
struct Repository {
    #[serde(default)]
    repo_name: Text,
    #[serde(default)]
    namespace: Text,
    #[serde(default)]
    name: Text,
}

fn parse(delivery: &Delivery<'_>, origin: &Origin<'_>) -> Result<Vec<Event>, Error> {
    let envelope: Envelope = object(delivery.body)?;
    let (Some(push), Some(repository)) = (envelope.push_data.0, envelope.repository.0) else {
        return Err(invalid("it has no push_data or no repository"));
    };
    Ok(event(&push, &repository, origin).into_iter().collect())
}

/// [`None`] for what cannot be used.
fn event(push: &PushData, repository: &Repository, origin: &Origin<'_>) -> Option<Event> {
    let tag = push.tag.parse()?;
    let config_type = push.media_type.get().map(MediaType::new);
    let name = match repository.repo_name.get() {
        Some(name) => name.to_owned(),
        None => format!("{}/{}", repository.namespace.get()?, repository.name.get()?),
    };
    // The images of Docker itself are below `library`, which most names of them leave out.
    let name = if name.contains('/') {
        name
    } else {
        format!("library/{name}")
    };
    Some(Event {
        action: EventAction::Push,
        registry_host: origin.host_or([], Some("docker.io")),
        repository: origin.repository(&name)?,
        kind: EventKind::of(Some(&tag), None, config_type.as_ref().map(MediaType::as_str)),
        tag: Some(tag),
        digest: None,
        media_type: None,
        time: push.pushed_at.time(),
        actor: push.pusher.word(),
        event_id: None,
    })
}
