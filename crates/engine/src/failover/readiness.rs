//! Whether a site can take over now, and what would be lost.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use transship_oci::{Digest, Repository, Result, Tag};
use transship_rules::Failover;

/// What is known of a site as the target of a switch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Readiness {
    /// The site, by its registry.
    pub site: String,
    /// True if clients can be switched to this site. False if a fact is unknown.
    pub ready: bool,
    /// What speaks against a switch.
    pub reasons: Vec<Reason>,
    /// The age of the oldest event or order whose image is not at the site; [`None`]: not known.
    #[serde(rename = "lag_seconds", serialize_with = "seconds")]
    pub lag: Option<Duration>,
    /// The longest lag that the document accepts.
    #[serde(rename = "rpo_seconds", serialize_with = "all_seconds")]
    pub rpo: Duration,
    /// The images that clients would not find as they are at the writer.
    pub at_risk: Vec<ImageAtRisk>,
    /// When the facts were gathered; [`None`]: never.
    pub checked: Option<Timestamp>,
}

/// What speaks against a switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// A stable code.
    pub code: String,
    /// A sentence for people.
    pub text: String,
    /// Only images are at risk: `--accept-data-loss` overrides the reason, and no other.
    pub is_loss: bool,
}

/// An image that a switch would lose, or would serve as an older version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageAtRisk {
    /// The repository, which has the same name at every site.
    pub repository: Repository,
    /// The tag.
    pub tag: Tag,
    /// The digest at the writer; [`None`]: not known.
    pub source_digest: Option<Digest>,
    /// The digest at the site; [`None`]: the site has no such tag, or it is not known.
    pub destination_digest: Option<Digest>,
    /// When the image was pushed, as far as it is known.
    pub since: Option<Timestamp>,
}

/// Assesses a site.
#[async_trait]
pub trait Assess: Send + Sync {
    /// What is known of `site` as the target of a switch from `writer`, the writer now. It changes nothing. Facts that cannot be
    /// read are reasons; an error means that not even the ledger answers.
    async fn readiness(&self, group: &Failover, writer: &str, site: &str) -> Result<Readiness>;
}

impl Readiness {
    /// A site with these reasons, and no other fact.
    pub fn new(site: &str, rpo: Duration, reasons: Vec<Reason>) -> Self {
        Self {
            site: site.to_owned(),
            ready: reasons.is_empty(),
            reasons,
            lag: None,
            rpo,
            at_risk: Vec::new(),
            checked: None,
        }
    }
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
pub(super) fn seconds<S: Serializer>(lag: &Option<Duration>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    lag.map(|lag| lag.as_secs()).serialize(serializer)
}

fn all_seconds<S: Serializer>(rpo: &Duration, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    rpo.as_secs().serialize(serializer)
}
