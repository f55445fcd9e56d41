//! Amazon ECR, by way of `EventBridge`: one event each, in the bus's own envelope.
//!
//! Kept are pushes and deletions of images, and images that ECR's own replication brought: it writes them without a push.
//! Scans, archiving, referrers and pull-through caches are of no interest. Source: Amazon ECR user guide, "Amazon ECR
//! events and `EventBridge`"; recorded events have media types that the guide's samples lack.

use serde::Deserialize;
use transship_oci::{Error, MediaType, Provider};

use super::FormatSpec;
use crate::authenticity::Proof;
use crate::error::invalid;
use crate::event::{Event, EventAction, EventKind};
use crate::lenient::{List, Table, Text, object};
use crate::{Delivery, Origin};

/// The row of the table.
pub(super) const FORMAT: FormatSpec = FormatSpec {
    name: "ecr",
    provider: Some(Provider::Ecr),
    parse,
    proof: Proof::TEXT,
    repeats: true,
    handshake: None,
    trial: r#"{"source":"aws.ecr"}"#,
};

/// The type of a push that an input transformer of the bus made a `CloudEvent`, in the form that argocd-image-updater documents
/// and that is widely copied.
const TRANSFORMED: &str = "com.amazon.ecr.image.push";

/// What ECR calls itself on the bus. Anyone may put events of other sources there.
const SOURCE: &str = "aws.ecr";

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    source: Text,
    #[serde(default, rename = "detail-type")]
    detail_type: Text,
    #[serde(default)]
    id: Text,
    #[serde(default)]
    account: Text,
    #[serde(default)]
    region: Text,
    #[serde(default)]
    time: Text,
    #[serde(default)]
    resources: List<Text>,
    #[serde(default)]
    detail: Table<Detail>,
    /// CloudEvents that an input transformer made.
    #[serde(default, rename = "type")]
    kind: Text,
    #[serde(default)]
    data: Table<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    #[serde(default)]
    repository_name: Text,
    #[serde(default)]
    image_digest: Text,
    #[serde(default)]
    image_tag: Text,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Detail {
    #[serde(default)]
    action_type: Text,
    #[serde(default)]
    result: Text,
    #[serde(default)]
    repository_name: Text,
    #[serde(default)]
    image_digest: Text,
    #[serde(default)]
    image_tag: Text,
    #[serde(default)]
    manifest_media_type: Text,
    #[serde(default)]
    artifact_media_type: Text,
}

fn parse(delivery: &Delivery<'_>, origin: &Origin<'_>) -> Result<Vec<Event>, Error> {
    let envelope: Envelope = object(delivery.body)?;
    if envelope.kind.get() == Some(TRANSFORMED) {
        return Ok(transformed(&envelope, origin).into_iter().collect());
    }
    if envelope.source.get() != Some(SOURCE) {
        return Err(invalid("its source is not aws.ecr"));
    }
    Ok(event(&envelope, origin).into_iter().collect())
}

/// [`None`] for what is of no interest and for what cannot be used.
fn event(envelope: &Envelope, origin: &Origin<'_>) -> Option<Event> {
    let detail = envelope.detail.0.as_ref()?;
    let action = action(envelope.detail_type.get()?, detail)?;
    let repository = origin.repository(detail.repository_name.get()?)?;
    // An untagged push carries the empty text.
    let (tag, digest) = (detail.image_tag.parse(), detail.image_digest.parse());
    if tag.is_none() && digest.is_none() {
        return None;
    }
    let media_type = detail.manifest_media_type.get().map(MediaType::new);
    let config_type = detail.artifact_media_type.get().map(MediaType::new);
    Some(Event {
        action,
        registry_host: origin.host([host(envelope).as_deref()]),
        repository,
        kind: EventKind::of(
            tag.as_ref(),
            media_type.as_ref().map(MediaType::as_str),
            config_type.as_ref().map(MediaType::as_str),
        ),
        tag,
        digest,
        media_type: media_type.filter(MediaType::is_manifest).map(|media_type| media_type.0),
        time: envelope.time.time(),
        actor: None,
        event_id: envelope.id.word(),
    })
}

/// A push as a `CloudEvent`, whose source is `urn:aws:ecr:<region>:<account>:repository/<name>`.
fn transformed(envelope: &Envelope, origin: &Origin<'_>) -> Option<Event> {
    let data = envelope.data.0.as_ref()?;
    let (region, account) = envelope.source.get().and_then(place_of_resource)?;
    let (tag, digest) = (data.image_tag.parse(), data.image_digest.parse());
    if tag.is_none() && digest.is_none() {
        return None;
    }
    Some(Event {
        action: EventAction::Push,
        registry_host: origin.host([host_of(region, account).as_deref()]),
        repository: origin.repository(data.repository_name.get()?)?,
        kind: EventKind::of(tag.as_ref(), None, None),
        tag,
        digest,
        media_type: None,
        time: envelope.time.time(),
        actor: None,
        event_id: envelope.id.word(),
    })
}

/// The same type of event tells of pushes and of archiving: its action decides.
fn action(detail_type: &str, detail: &Detail) -> Option<EventAction> {
    if detail.result.get() != Some("SUCCESS") {
        return None;
    }
    match (detail_type, detail.action_type.get()?) {
        ("ECR Image Action", "PUSH") | ("ECR Replication Action", "REPLICATE") => Some(EventAction::Push),
        ("ECR Image Action", "DELETE") => Some(EventAction::Delete),
        _ => None,
    }
}

/// The private registry that the event is about: of the account and region in which it happened, or, for what replication
/// brought, of those in which it arrived.
fn host(envelope: &Envelope) -> Option<String> {
    let arrived = envelope.resources.0.as_ref().and_then(|resources| resources.first());
    match arrived.and_then(Text::get).and_then(place_of_resource) {
        Some((region, account)) => host_of(region, account),
        None => host_of(envelope.region.get()?, envelope.account.get()?),
    }
}

fn host_of(region: &str, account: &str) -> Option<String> {
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let is_region = !region.is_empty()
        && region
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    // Source: AWS General Reference, "Amazon ECR endpoints and quotas"; the China partition has its own domain.
    let domain = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    (is_account && is_region).then(|| format!("{account}.dkr.ecr.{region}.{domain}"))
}

/// Region and account of `arn:<partition>:ecr:<region>:<account>:repository/<name>`, or of the same with `urn`.
fn place_of_resource(name: &str) -> Option<(&str, &str)> {
    let mut parts = name.splitn(6, ':');
    let is_ecr = matches!(parts.next(), Some("arn" | "urn")) && parts.next().is_some() && parts.next() == Some("ecr");
    let place = (parts.next()?, parts.next()?);
    (is_ecr && parts.next()?.starts_with("repository/")).then_some(place)
}
