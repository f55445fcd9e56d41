//! Whether clients could use a site now: asked from this process, at the address of the site's record, by the clients' name and
//! with their login. What the name resolves to now does not matter.
//!
//! Nothing is written. What cannot be seen from here is unknown, and a later question is not asked where an earlier one failed.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use transship_copy::{Destination as _, Manifests as _};
use transship_oci::{Code, Descriptor, Error, Result, Target, Verb};
use transship_registry::{Registry, SiteTarget};
use transship_rules::{Failover, RecordKind, Site};

use super::Reason;
use super::facts::reason;
use crate::Snapshot;
use crate::ledger::Sample;

/// The longest time that a site is asked. A site that does not answer is down for clients too.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// How far the clock of a site may differ. Tokens and signatures are valid for minutes.
const CLOCK_SKEW_MAX_SECONDS: i64 = 300;
/// A certificate that ends earlier is reported.
const CERTIFICATE_DAYS_MIN: i64 = 14;
/// Manifests below an index that are asked for.
const CHILDREN_MAX: usize = 50;

/// What a question found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Seen {
    /// It is as it should be.
    Yes,
    /// It is not.
    No,
    /// It cannot be seen from here, or was not asked.
    #[default]
    Unknown,
}

/// What was found at a site.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SiteProbe {
    /// The addresses of the site's record, resolved here.
    pub addresses: Vec<IpAddr>,
    /// Something answers there.
    pub reachable: Seen,
    /// The certificate covers the clients' name and is trusted.
    pub certificate: Seen,
    /// The end of the certificate.
    pub certificate_end: Option<Timestamp>,
    /// The clients' login is accepted.
    pub login: Seen,
    /// The image that was pulled, or was to be.
    pub pulled: Option<String>,
    /// It could be pulled by the clients' name and login.
    pub pull: Seen,
    /// The clock of the site less that of this process, in seconds.
    pub clock_ahead_seconds: Option<i64>,
    /// What speaks against leading clients to the site.
    #[serde(skip)]
    pub reasons: Vec<Reason>,
    /// What an operator should know.
    #[serde(skip)]
    pub warnings: Vec<Reason>,
}

/// Where the record of a site leads.
fn target_of(site: &Site) -> SiteTarget {
    match (site.record.kind, site.record.values.first()) {
        (RecordKind::Cname, Some(alias)) => SiteTarget::Alias(alias.clone()),
        _ => SiteTarget::Addresses(site.record.addresses().collect()),
    }
}

/// Asks the site of `group`. `sample` is an image that the site should have.
pub async fn probe(
    snapshot: &Snapshot,
    group: &Failover,
    site: &Site,
    sample: Option<&Sample>,
    now: Timestamp,
) -> SiteProbe {
    let mut probe = SiteProbe::default();
    let asked = tokio::time::timeout(PROBE_TIMEOUT, probe.ask(snapshot, group, site, sample, now)).await;
    if asked.is_err() {
        let seconds = PROBE_TIMEOUT.as_secs();
        let why = format!("{} did not answer everything within {seconds} s", site.registry);
        probe.reasons.push(reason(Code::SiteUnreachable, why));
    }
    probe
}

impl SiteProbe {
    async fn ask(
        &mut self,
        snapshot: &Snapshot,
        group: &Failover,
        site: &Site,
        sample: Option<&Sample>,
        now: Timestamp,
    ) {
        let (name, host) = (site.registry.as_str(), &group.host);
        let target = target_of(site);
        match target.addresses().await {
            Ok(addresses) => self.addresses = addresses,
            Err(error) => {
                self.reachable = Seen::No;
                let why = format!("{name}: {} does not lead anywhere from here: {error}", site.record);
                return self.reasons.push(reason(Code::SiteUnreachable, why));
            }
        }
        let client = match snapshot.site_client(group, name, target) {
            Ok(client) => client,
            Err(error) => {
                let why = format!("{name} cannot be asked: {error}");
                return self.reasons.push(reason(Code::SiteUnreachable, why));
            }
        };
        match client.ask_site().await {
            Ok(answer) => {
                (self.reachable, self.certificate, self.login) = (Seen::Yes, Seen::Yes, Seen::Yes);
                self.certificate_end = answer.certificate_end.and_then(|end| Timestamp::try_from(end).ok());
                self.judge_certificate(name, now);
                self.clock_ahead_seconds = answer.clock_ahead_seconds;
                self.judge_clock(name);
            }
            Err(error) => return self.refuse(name, host.as_str(), &error),
        }
        let Some(sample) = sample else {
            let why = format!("{name}: no image is known to be there, so none was pulled");
            return self.warnings.push(reason(Code::SitePullFailed, why));
        };
        let image = format!("{host}/{}:{}", sample.repository, sample.tag);
        self.pulled = Some(image.clone());
        match pull(&client, sample).await {
            Ok(()) => self.pull = Seen::Yes,
            Err(error) => {
                self.pull = Seen::No;
                let why = format!("{name}: {image} cannot be pulled there: {error}");
                self.reasons.push(reason(Code::SitePullFailed, why));
            }
        }
    }

    /// The meaning of an error of the first request.
    fn refuse(&mut self, name: &str, host: &str, error: &Error) {
        let (code, why) = match error.kind() {
            Code::Tls => {
                (self.reachable, self.certificate) = (Seen::Yes, Seen::No);
                (
                    Code::SiteCertificate,
                    format!("{name} does not prove to be {host}: {error}"),
                )
            }
            Code::AuthFailed
            | Code::AccessDenied
            | Code::TokenInvalid
            | Code::RealmRejected
            | Code::ChallengeInvalid => {
                (self.reachable, self.certificate, self.login) = (Seen::Yes, Seen::Yes, Seen::No);
                (
                    Code::SiteLoginRefused,
                    format!("{name} does not accept the clients' login: {error}"),
                )
            }
            Code::CredentialsUnavailable | Code::SecretUnavailable => (
                Code::SiteLoginRefused,
                format!("the clients' login cannot be read here: {error}"),
            ),
            _ => {
                self.reachable = Seen::No;
                (
                    Code::SiteUnreachable,
                    format!("{name} cannot be used from here: {error}"),
                )
            }
        };
        self.reasons.push(reason(code, why));
    }

    fn judge_certificate(&mut self, name: &str, now: Timestamp) {
        let Some(end) = self.certificate_end else { return };
        let days = end.duration_since(now).as_hours() / 24;
        if days < CERTIFICATE_DAYS_MIN {
            let why = format!("{name}: the certificate ends in {days} days");
            self.warnings.push(reason(Code::SiteCertificate, why));
        }
    }

    fn judge_clock(&mut self, name: &str) {
        let Some(ahead) = self
            .clock_ahead_seconds
            .filter(|ahead| ahead.abs() > CLOCK_SKEW_MAX_SECONDS)
        else {
            return;
        };
        let direction = if ahead > 0 { "ahead of" } else { "behind" };
        let why = format!(
            "{name}: its clock is {} s {direction} that of this machine",
            ahead.abs()
        );
        self.reasons.push(reason(Code::SiteClockSkew, why));
    }
}

/// Pulls `sample` as clients would at `target`, by the clients' name and login. Without an image, only the login is tried.
pub(super) async fn pull_at(
    snapshot: &Snapshot,
    group: &Failover,
    site: &str,
    target: SiteTarget,
    sample: Option<&Sample>,
) -> Result<()> {
    let client = snapshot.site_client(group, site, target)?;
    client.ask_site().await?;
    match sample {
        Some(sample) => pull(&client, sample).await,
        None => Ok(()),
    }
}

/// Reads the manifests of an image, and asks for each of its blobs.
async fn pull(client: &Registry, sample: &Sample) -> Result<()> {
    let repository = client.repository(sample.repository.clone());
    let missing = |what: String| Err(Error::of(Code::NotFound, Verb::ManifestGet.on(what)));
    let mut rest = vec![Target::Tag(sample.tag.clone())];
    let mut read = 0;
    while let Some(target) = rest.pop() {
        let Some(manifest) = repository.manifest_get(&target).await? else {
            if read == 0 {
                return missing(format!("{}{}{target}", sample.repository, target.separator()));
            }
            // An index may name platforms that no site has.
            continue;
        };
        read += 1;
        let blobs: Vec<Descriptor> = manifest
            .blobs()
            .filter(|blob| !blob.media_type.is_non_distributable())
            .cloned()
            .collect();
        for blob in blobs {
            if !repository.blob_head(&blob).await? {
                return Err(Error::of(Code::BlobMissing, Verb::BlobHead.on(&blob.digest)));
            }
        }
        let children = manifest.children().iter().take(CHILDREN_MAX);
        rest.extend(children.map(|child| Target::Digest(child.digest.clone())));
        rest.truncate(CHILDREN_MAX);
    }
    Ok(())
}
