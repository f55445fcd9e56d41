//! The formats in which registries report what happened: one file each, and one table that names them.
//!
//! To add a format, write its file here with a `const FORMAT: FormatSpec`, and add its row to [`TABLE`]. The command line, the
//! document and the intake read the table and need no change. README.md lists the steps.

mod aliyun_acr;
mod aliyun_eventbridge;
mod artifactory;
mod azure_acr;
mod azure_eventgrid;
mod distribution;
mod dockerhub;
mod ecr;
mod ghcr;
mod gitea;
mod google_ar;
mod harbor;
mod nexus;
mod quay;
mod zot;

use std::fmt;
use std::str::FromStr;

use transship_oci::{Error, Provider};

use crate::authenticity::Proof;
use crate::{Delivery, Event, Origin};

/// Every format, in the order in which help and messages list them.
static TABLE: &[FormatSpec] = &[
    distribution::FORMAT,
    distribution::GITLAB,
    harbor::FORMAT,
    aliyun_acr::FORMAT,
    aliyun_eventbridge::FORMAT,
    harbor::TENCENT_TCR,
    ecr::FORMAT,
    azure_acr::FORMAT,
    azure_eventgrid::FORMAT,
    dockerhub::FORMAT,
    quay::FORMAT,
    ghcr::FORMAT,
    google_ar::FORMAT,
    artifactory::FORMAT,
    nexus::FORMAT,
    zot::FORMAT,
    gitea::FORMAT,
    distribution::GENERIC,
];

/// One row of the table.
pub(crate) struct FormatSpec {
    /// The name in the document and of `--provider`.
    name: &'static str,
    /// The provider that sends it unless the document names another format; [`None`] for a format that only a document names.
    provider: Option<Provider>,
    /// The events of a delivery in order; may be empty.
    parse: fn(&Delivery<'_>, &Origin<'_>) -> Result<Vec<Event>, Error>,
    /// How its sender proves that it knows the secret.
    proof: Proof,
    /// True if one push can arrive as several events that name the same tag: of several kinds, of several replicas of the
    /// registry, or one for each manifest of an index. False only if that is known not to happen.
    repeats: bool,
    /// What it expects in the response: see [`crate::handshake`].
    handshake: Option<fn(&Delivery<'_>) -> Option<String>>,
    /// A body that is valid and reports nothing, with which a webhook is tried.
    trial: &'static str,
}

/// A format of deliveries: a provider's own, or that of the bus that carries its events.
#[derive(Clone, Copy)]
pub struct Format(&'static FormatSpec);

impl Format {
    /// Every format.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(Self)
    }

    /// The format that `provider` sends unless the document names another one.
    pub fn of(provider: Provider) -> Self {
        let own = Self::all().find(|format| format.0.provider == Some(provider));
        // A test checks that every provider has a row.
        own.unwrap_or(Self(&distribution::GENERIC))
    }

    /// The name in the document and of `--provider`.
    pub const fn as_str(self) -> &'static str {
        self.0.name
    }

    /// True if its senders ask whether deliveries are wanted before they send the first one.
    pub const fn has_handshake(self) -> bool {
        self.0.handshake.is_some()
    }

    /// True if one push can arrive as several events that name the same tag.
    pub const fn repeats(self) -> bool {
        self.0.repeats
    }

    /// True if its senders sign the body.
    pub const fn is_signed(self) -> bool {
        matches!(self.0.proof, Proof::Signed(_))
    }

    /// A body that is valid and reports nothing, with which a webhook can be tried.
    pub const fn trial(self) -> &'static str {
        self.0.trial
    }

    pub(crate) const fn proof(self) -> Proof {
        self.0.proof
    }

    pub(crate) fn parse(self, delivery: &Delivery<'_>, origin: &Origin<'_>) -> Result<Vec<Event>, Error> {
        (self.0.parse)(delivery, origin)
    }

    pub(crate) fn handshake(self, delivery: &Delivery<'_>) -> Option<String> {
        self.0.handshake?(delivery)
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Format {}

impl fmt::Debug for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Format({})", self.0.name)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.name)
    }
}

/// The text is not the name of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a format of deliveries")]
pub struct UnknownFormat;

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        Self::all().find(|format| format.as_str() == name).ok_or(UnknownFormat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_found_by_its_name() {
        for format in Format::all() {
            assert_eq!(format.as_str().parse(), Ok(format));
        }
        assert_eq!("svn".parse::<Format>(), Err(UnknownFormat));
    }

    #[test]
    fn the_trial_of_every_format_is_valid_and_reports_nothing() {
        let headers = http::HeaderMap::new();
        for format in Format::all() {
            let body = format.trial().as_bytes();
            let delivery = Delivery {
                headers: &headers,
                body,
                token: None,
            };
            let events = crate::parse(format, &delivery, &Origin::default());
            assert_eq!(events.map(|events| events.len()).ok(), Some(0), "{format}");
        }
    }

    #[test]
    fn what_proves_a_secret_is_accepted_with_it_and_with_no_other() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        for format in Format::all() {
            let body = format.trial().as_bytes();
            for secret in ["s3cret", "X-Hook: s3cret"] {
                let (name, value) = crate::prove(format, secret, body).unwrap();
                let mut headers = http::HeaderMap::new();
                headers.insert(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
                let delivery = Delivery {
                    headers: &headers,
                    body,
                    token: None,
                };
                let is_authentic = |secret| {
                    let expected = crate::Expected {
                        secret: Some(secret),
                        now,
                        ..crate::Expected::default()
                    };
                    crate::authenticate(format, &delivery, crate::Part::Whole, &expected, &|_| None).is_ok()
                };
                assert!(is_authentic(secret) && !is_authentic("other"), "{format} {secret}");
            }
            assert_eq!(crate::prove(format, "\n", body), None);
        }
    }

    #[test]
    fn every_provider_has_a_format_of_its_own_name() {
        for provider in Provider::ALL {
            assert_eq!(Format::of(*provider).as_str(), provider.as_str());
        }
    }
}
