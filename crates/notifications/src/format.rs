//! The formats in which registries report what happened, by the names of the configuration and of `--provider`.

use std::fmt;
use std::str::FromStr;

macro_rules! formats {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// A format of deliveries: a provider's own, or that of the bus that carries its events.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Format { $($(#[$doc])* $variant),+ }

        impl Format {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in the configuration.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl FromStr for Format {
            type Err = UnknownFormat;

            fn from_str(name: &str) -> Result<Self, UnknownFormat> {
                match name { $($name => Ok(Self::$variant),)+ _ => Err(UnknownFormat) }
            }
        }
    };
}

formats! {
    /// CNCF Distribution.
    Distribution = "distribution",
    /// GitLab's registry: the envelope of Distribution.
    GitLab = "gitlab",
    /// Harbor, its own format and CloudEvents.
    Harbor = "harbor",
    /// Alibaba Cloud Container Registry.
    AliyunAcr = "aliyun-acr",
    /// The same by way of the event bus of Alibaba Cloud.
    AliyunEventBridge = "aliyun-eventbridge",
    /// Tencent Container Registry.
    TencentTcr = "tencent-tcr",
    /// Amazon ECR, by way of the event bus of AWS.
    Ecr = "ecr",
    /// Azure Container Registry.
    AzureAcr = "azure-acr",
    /// The same by way of Azure Event Grid.
    AzureEventGrid = "azure-eventgrid",
    /// Docker Hub.
    DockerHub = "dockerhub",
    /// Quay.
    Quay = "quay",
    /// GitHub Container Registry.
    Ghcr = "ghcr",
    /// Google Artifact Registry.
    GoogleAr = "google-ar",
    /// Artifactory.
    Artifactory = "artifactory",
    /// Sonatype Nexus.
    Nexus = "nexus",
    /// zot.
    Zot = "zot",
    /// Gitea and Forgejo.
    Gitea = "gitea",
    /// Any other registry: the envelope of Distribution.
    Generic = "generic",
}

/// A name that is no format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such format of deliveries")]
pub struct UnknownFormat;

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_found_by_its_name() {
        for format in Format::ALL {
            assert_eq!(format.as_str().parse(), Ok(*format));
        }
        assert_eq!("svn".parse::<Format>(), Err(UnknownFormat));
    }
}
