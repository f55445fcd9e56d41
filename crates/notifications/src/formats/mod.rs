//! The formats in which registries report what happened: one file each, and one table that names them.
//!
//! To add a format, write its file here with a `const FORMAT: FormatSpec`, and replace its [`FormatSpec::not_yet`] row. The
//! command line, the document and the intake read the table and need no change.

mod distribution;
mod ecr;
mod harbor;

use std::fmt;
use std::str::FromStr;

use transship_oci::{Code, Error, Operation, Provider};

use crate::{Delivery, Event, Origin};

/// Every format, in the order in which help and messages list them.
static TABLE: &[FormatSpec] = &[
    distribution::FORMAT,
    distribution::GITLAB,
    harbor::FORMAT,
    FormatSpec::not_yet("aliyun-acr", Some(Provider::AliyunAcr)),
    // The same by way of the event bus of Alibaba Cloud.
    FormatSpec::not_yet("aliyun-eventbridge", None),
    FormatSpec::not_yet("tencent-tcr", Some(Provider::TencentTcr)),
    ecr::FORMAT,
    FormatSpec::not_yet("azure-acr", Some(Provider::AzureAcr)),
    // The same by way of Azure Event Grid.
    FormatSpec::not_yet("azure-eventgrid", None),
    FormatSpec::not_yet("dockerhub", Some(Provider::DockerHub)),
    FormatSpec::not_yet("quay", Some(Provider::Quay)),
    FormatSpec::not_yet("ghcr", Some(Provider::Ghcr)),
    FormatSpec::not_yet("google-ar", Some(Provider::GoogleAr)),
    FormatSpec::not_yet("artifactory", Some(Provider::Artifactory)),
    FormatSpec::not_yet("nexus", Some(Provider::Nexus)),
    FormatSpec::not_yet("zot", Some(Provider::Zot)),
    FormatSpec::not_yet("gitea", Some(Provider::Gitea)),
    distribution::GENERIC,
];

/// One row of the table.
pub(crate) struct FormatSpec {
    /// The name in the document and of `--provider`.
    name: &'static str,
    /// The provider that sends it unless the document names another format; [`None`] for a format that only a document names.
    provider: Option<Provider>,
    /// How it is read; [`None`] if this version does not read it.
    reader: Option<Reader>,
}

/// How deliveries of a format are read.
#[derive(Clone, Copy)]
pub(crate) struct Reader {
    /// The events of a delivery in order; may be empty.
    parse: fn(&Delivery<'_>, &Origin<'_>) -> Result<Vec<Event>, Error>,
    /// Checks that a delivery knows the secret: see [`crate::authenticate`].
    authenticate: fn(&Delivery<'_>, &str) -> Result<(), Error>,
    /// The proof is in the headers or the URL, so `authenticate` does not read the body.
    is_proof_in_head: bool,
}

impl FormatSpec {
    /// A format that is part of the language and that this version does not read.
    const fn not_yet(name: &'static str, provider: Option<Provider>) -> Self {
        Self {
            name,
            provider,
            reader: None,
        }
    }
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
    pub fn of(provider: Provider) -> Option<Self> {
        Self::all().find(|format| format.0.provider == Some(provider))
    }

    /// The name in the document and of `--provider`.
    pub const fn as_str(self) -> &'static str {
        self.0.name
    }

    /// True if this version reads deliveries of this format.
    pub const fn is_read(self) -> bool {
        self.0.reader.is_some()
    }

    /// True if a delivery can be authenticated before its body is read. False for a format that is not read.
    pub fn is_proof_in_head(self) -> bool {
        self.0.reader.is_some_and(|reader| reader.is_proof_in_head)
    }

    pub(crate) fn parse(self, delivery: &Delivery<'_>, origin: &Origin<'_>) -> Result<Vec<Event>, Error> {
        (self.reader()?.parse)(delivery, origin)
    }

    pub(crate) fn authenticate(self, delivery: &Delivery<'_>, secret: &str) -> Result<(), Error> {
        (self.reader()?.authenticate)(delivery, secret)
    }

    fn reader(self) -> Result<Reader, Error> {
        self.0.reader.ok_or_else(|| {
            let message = format!("{} {self}", Code::FormatNotYetSupported.meaning());
            Error::new(Code::FormatNotYetSupported, Operation::default(), message)
        })
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
    fn every_provider_has_a_format_of_its_own_name() {
        for provider in Provider::ALL {
            assert_eq!(Format::of(*provider).unwrap().as_str(), provider.as_str());
        }
    }
}
