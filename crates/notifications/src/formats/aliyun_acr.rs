//! Alibaba Cloud Container Registry, Personal and Enterprise Edition: one push each, without a host and without an id.
//!
//! Nothing but the URL can hold a secret. The time has no zone, so it is not used; digests are sometimes damaged. Names of old
//! repositories have capital letters. Source: Alibaba Cloud, Container Registry, "Manage webhooks".

use serde::Deserialize;
use transship_oci::{Error, Provider};

use super::FormatSpec;
use crate::authenticity::Proof;
use crate::error::invalid;
use crate::event::{Event, EventAction, EventKind};
use crate::lenient::{Table, Text, object};
use crate::{Delivery, Origin};

/// The row of the table.
pub(super) const FORMAT: FormatSpec = FormatSpec {
    name: "aliyun-acr",
    provider: Some(Provider::AliyunAcr),
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
    digest: Text,
    #[serde(default)]
    tag: Text,
}

#[derive(Deserialize)]
struct Repository {
    #[serde(default)]
    repo_full_name: Text,
    #[serde(default)]
    namespace: Text,
    #[serde(default)]
    name: Text,
    #[serde(default)]
    region: Text,
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
    let (tag, digest) = (push.tag.parse(), push.digest.parse());
    if tag.is_none() && digest.is_none() {
        return None;
    }
    let name = match repository.repo_full_name.get() {
        Some(full) => full.to_owned(),
        None => format!("{}/{}", repository.namespace.get()?, repository.name.get()?),
    };
    // The host of the Personal Edition; that of an instance of the Enterprise Edition cannot be derived.
    let assumed = repository
        .region
        .get()
        .filter(|region| is_region(region))
        .map(|region| format!("registry.{region}.aliyuncs.com"));
    Some(Event {
        action: EventAction::Push,
        registry_host: origin.host_or([], assumed.as_deref()),
        repository: origin.repository_with_capitals(&name)?,
        kind: EventKind::of(tag.as_ref(), None, None),
        tag,
        digest,
        media_type: None,
        time: None,
        actor: None,
        event_id: None,
    })
}

/// True for the name of a region, such as `cn-hangzhou`.
pub(super) fn is_region(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(is_part)
}
