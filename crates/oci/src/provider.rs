//! The kinds of registry that Transship knows: the one list that the document, the notification formats and the registry
//! profiles share.
//!
//! The special behaviour of a provider is elsewhere: its notifications in `notifications`, its HTTP behaviour in the profiles
//! of `registry`. This module has only the facts that are needed to validate a document.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! providers {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// The product or service that runs a registry.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub enum Provider { $($(#[$doc])* #[serde(rename = $name)] $variant),+ }

        impl Provider {
            /// Every provider, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in the document.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

providers! {
    /// CNCF Distribution (`registry:2`, `registry:3`) and products that embed it.
    Distribution = "distribution",
    /// Harbor.
    Harbor = "harbor",
    /// Alibaba Cloud Container Registry.
    AliyunAcr = "aliyun-acr",
    /// Tencent Container Registry.
    TencentTcr = "tencent-tcr",
    /// Amazon Elastic Container Registry.
    Ecr = "ecr",
    /// Azure Container Registry.
    AzureAcr = "azure-acr",
    /// Docker Hub.
    DockerHub = "dockerhub",
    /// Quay.io and Red Hat Quay.
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
    /// The registry of GitLab.
    GitLab = "gitlab",
    /// Any other registry that follows the distribution specification; its deliveries have Distribution's format.
    Generic = "generic",
}

/// A cloud whose services a registry depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cloud {
    /// Amazon Web Services.
    Aws,
}

impl Provider {
    /// The cloud that issues the registry's credentials and delivers its events to a stack deployed there, so that the document
    /// needs neither credentials nor a webhook secret for it.
    pub const fn cloud(self) -> Option<Cloud> {
        match self {
            Self::Ecr => Some(Cloud::Aws),
            _ => None,
        }
    }

    /// The least and the largest number of path components that the registry's repositories have; [`None`] for no limit.
    ///
    /// Docker Hub: <https://docs.docker.com/docker-hub/repos/create/>. Alibaba Cloud: a repository is in a namespace, and its name
    /// has no slash (harbor `src/pkg/reg/adapter/aliacr`). The others need an owner, project or namespace.
    pub const fn repository_levels(self) -> (usize, Option<usize>) {
        match self {
            Self::DockerHub | Self::AliyunAcr => (2, Some(2)),
            Self::Harbor | Self::TencentTcr | Self::Quay | Self::Ghcr | Self::GoogleAr | Self::Gitea | Self::GitLab => {
                (2, None)
            }
            Self::Distribution
            | Self::Ecr
            | Self::AzureAcr
            | Self::Artifactory
            | Self::Nexus
            | Self::Zot
            | Self::Generic => (1, None),
        }
    }
}

/// The text is not the name of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a provider")]
pub struct UnknownProvider;

impl FromStr for Provider {
    type Err = UnknownProvider;

    fn from_str(name: &str) -> Result<Self, UnknownProvider> {
        Self::ALL
            .iter()
            .copied()
            .find(|provider| provider.as_str() == name)
            .ok_or(UnknownProvider)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_is_found_by_its_name_as_text_and_as_json() {
        for provider in Provider::ALL {
            assert_eq!(provider.as_str().parse(), Ok(*provider));
            assert_eq!(serde_json::to_value(provider).unwrap(), provider.as_str());
        }
        assert_eq!("svn".parse::<Provider>(), Err(UnknownProvider));
    }
}
