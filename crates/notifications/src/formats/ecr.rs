//! Amazon ECR, by way of `EventBridge`: one event each, in the bus's own envelope.
//!
//! Kept are pushes and deletions of images, and images that ECR's own replication brought: it writes them without a push.
//! Scans, archiving, referrers and pull-through caches are of no interest. Source: Amazon ECR user guide, "Amazon ECR
//! events and `EventBridge`"; recorded events have media types that the guide's samples lack.

use serde::Deserialize;
use transship_oci::{Error, MediaType, Provider};

use super::{FormatSpec, Reader};
use crate::authenticity::fixed_text;
use crate::error::{invalid, not_json};
use crate::event::{Event, EventAction, EventKind};
use crate::lenient::{List, Table, Text, is_object};
use crate::{Delivery, Origin};

/// The row of the table.
pub(super) const FORMAT: FormatSpec = FormatSpec {
    name: "ecr",
    provider: Some(Provider::Ecr),
    reader: Some(Reader {
        parse,
        authenticate: fixed_text,
        is_proof_in_head: true,
    }),
};

/// What ECR calls itself on the bus. Anyone may put events of other sources there.
const SOURCE: &str = "aws.ecr";

#[derive(Deserialize)]
struct Envelope {
    source: Text,
    #[serde(rename = "detail-type")]
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
    let body = delivery.body;
    if !is_object(body) {
        return Err(invalid("it is not a JSON object"));
    }
    let envelope: Envelope = serde_json::from_slice(body).map_err(not_json)?;
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
        media_type: media_type.map(|media_type| media_type.0),
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
    let (region, account) = match arrived.and_then(Text::get).and_then(place_of_arn) {
        Some(arrived) => arrived,
        None => (envelope.region.get()?, envelope.account.get()?),
    };
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

/// Region and account of `arn:<partition>:ecr:<region>:<account>:repository/<name>`.
fn place_of_arn(arn: &str) -> Option<(&str, &str)> {
    let mut parts = arn.splitn(6, ':');
    let is_ecr = parts.next() == Some("arn") && parts.next().is_some() && parts.next() == Some("ecr");
    let place = (parts.next()?, parts.next()?);
    (is_ecr && parts.next()?.starts_with("repository/")).then_some(place)
}
