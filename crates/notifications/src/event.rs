//! The normalized event, which has the same form for every sender.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_oci::{Digest, DigestTag, Kind, RegistryHost, Tag};

use crate::ReportedRepository;

/// An event at a registry. [`None`] means that the delivery has no usable value. The order of the fields is part of the
/// contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    pub action: EventAction,
    /// The registry's host: from the configuration, otherwise from the delivery.
    pub registry_host: Option<RegistryHost>,
    /// The repository.
    pub repository: ReportedRepository,
    /// The tag; [`None`] for a push by digest.
    pub tag: Option<Tag>,
    /// The digest.
    pub digest: Option<Digest>,
    /// What was pushed, as far as the delivery says.
    pub kind: EventKind,
    /// The media type of the manifest.
    pub media_type: Option<String>,
    /// The time by the sender's clock, in UTC (RFC 3339 in JSON).
    pub time: Option<Timestamp>,
    /// The user, as reported by the sender. It has no effect on decisions.
    pub actor: Option<String>,
    /// The sender's id of the event, which is the same for a repeated delivery.
    pub event_id: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventAction {
    /// A manifest was written or a tag was set.
    Push,
    /// A manifest or a tag was removed according to the sender; the source must be checked.
    Delete,
}

/// What was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// A container image.
    Image,
    /// An index or manifest list.
    Index,
    /// A Helm chart.
    Chart,
    /// A digest tag: a cosign tag or the fallback tag.
    Signature,
    /// Something else, recognised by its config or artifact type.
    Artifact,
    /// An OCI image manifest of unknown purpose.
    Manifest,
    /// The delivery does not say.
    Unknown,
}

impl EventKind {
    /// The kind of content in rules, if the event is unambiguous.
    pub const fn certain(self) -> Option<Kind> {
        match self {
            Self::Image => Some(Kind::Image),
            Self::Chart => Some(Kind::Chart),
            Self::Artifact => Some(Kind::Artifact),
            Self::Index | Self::Signature | Self::Manifest | Self::Unknown => None,
        }
    }

    /// What a push of a manifest of `media_type` under `tag` is. `config_type` is that of its config, if known.
    pub(crate) fn of(tag: Option<&Tag>, media_type: Option<&str>, config_type: Option<&str>) -> Self {
        use transship_oci::media_type as types;
        if tag.is_some_and(|tag| DigestTag::of(tag).is_some()) {
            return Self::Signature;
        }
        match (media_type, config_type) {
            (Some(types::OCI_INDEX | types::DOCKER_LIST), _) => Self::Index,
            (Some(types::OCI_ARTIFACT), _) => Self::Artifact,
            (Some(types::OCI_MANIFEST | types::DOCKER_MANIFEST), Some(config)) => match config {
                types::OCI_CONFIG | types::DOCKER_CONFIG => Self::Image,
                types::HELM_CONFIG => Self::Chart,
                _ => Self::Artifact,
            },
            (None, Some(types::HELM_CONFIG)) => Self::Chart,
            (Some(types::OCI_MANIFEST), None) => Self::Manifest,
            (Some(types::DOCKER_MANIFEST | types::DOCKER_SCHEMA1 | types::DOCKER_SCHEMA1_SIGNED), _)
            | (None, Some(types::OCI_CONFIG | types::DOCKER_CONFIG)) => Self::Image,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_told_by_tag_manifest_type_and_config_in_this_order() {
        use transship_oci::media_type::*;
        let hex = "a".repeat(64);
        for (tag, media_type, config, kind) in [
            ("v1", Some(OCI_INDEX), None, EventKind::Index),
            ("v1", Some(DOCKER_LIST), Some(OCI_MANIFEST), EventKind::Index),
            ("v1", Some(OCI_MANIFEST), None, EventKind::Manifest),
            ("v1", Some(OCI_MANIFEST), Some(OCI_CONFIG), EventKind::Image),
            ("v1", Some(OCI_MANIFEST), Some(HELM_CONFIG), EventKind::Chart),
            (
                "v1",
                Some(OCI_MANIFEST),
                Some("application/vnd.oci.empty.v1+json"),
                EventKind::Artifact,
            ),
            ("v1", Some(DOCKER_MANIFEST), None, EventKind::Image),
            ("v1", Some(OCI_ARTIFACT), None, EventKind::Artifact),
            ("v1", None, Some(HELM_CONFIG), EventKind::Chart),
            ("v1", None, Some(DOCKER_CONFIG), EventKind::Image),
            ("v1", None, Some(OCI_MANIFEST), EventKind::Unknown),
            ("v1", None, None, EventKind::Unknown),
            (&format!("sha256-{hex}"), Some(OCI_INDEX), None, EventKind::Signature),
            (&format!("sha512-{hex}"), Some(OCI_INDEX), None, EventKind::Signature),
            (
                &format!("sha256-{hex}.sig"),
                Some(OCI_MANIFEST),
                Some(OCI_CONFIG),
                EventKind::Signature,
            ),
            (&format!("sha256-{hex}.sbom"), None, None, EventKind::Signature),
            (&format!("sha256-{hex}.tar"), None, None, EventKind::Unknown),
            ("sha256-beef.sig", None, None, EventKind::Unknown),
        ] {
            let tag: Tag = tag.parse().unwrap();
            assert_eq!(
                EventKind::of(Some(&tag), media_type, config),
                kind,
                "{tag} {media_type:?} {config:?}"
            );
        }
    }
}
