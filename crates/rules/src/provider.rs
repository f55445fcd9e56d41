//! The kinds of registry there are, and the few facts about each that a document is checked against.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of registry stands behind an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// CNCF Distribution (`registry:2`, `registry:3`) and what embeds it.
    Distribution,
    /// Harbor.
    Harbor,
    /// Alibaba Cloud Container Registry.
    AliyunAcr,
    /// Tencent Container Registry.
    TencentTcr,
    /// Amazon Elastic Container Registry.
    Ecr,
    /// Azure Container Registry.
    AzureAcr,
    /// Docker Hub.
    #[serde(rename = "dockerhub")]
    DockerHub,
    /// Quay.io and Red Hat Quay.
    Quay,
    /// GitHub Container Registry.
    Ghcr,
    /// Google Artifact Registry.
    GoogleAr,
    /// Artifactory.
    Artifactory,
    /// Sonatype Nexus.
    Nexus,
    /// zot.
    Zot,
    /// Gitea and Forgejo.
    Gitea,
    /// The registry of GitLab.
    #[serde(rename = "gitlab")]
    GitLab,
    /// Any other registry that follows the distribution specification; its deliveries are read as Distribution's.
    Generic,
}

impl Provider {
    /// The name in the document; also the name of the format of its notifications.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Distribution => "distribution",
            Self::Harbor => "harbor",
            Self::AliyunAcr => "aliyun-acr",
            Self::TencentTcr => "tencent-tcr",
            Self::Ecr => "ecr",
            Self::AzureAcr => "azure-acr",
            Self::DockerHub => "dockerhub",
            Self::Quay => "quay",
            Self::Ghcr => "ghcr",
            Self::GoogleAr => "google-ar",
            Self::Artifactory => "artifactory",
            Self::Nexus => "nexus",
            Self::Zot => "zot",
            Self::Gitea => "gitea",
            Self::GitLab => "gitlab",
            Self::Generic => "generic",
        }
    }

    /// True if this version reads the notifications of such a registry.
    pub const fn is_read(self) -> bool {
        matches!(
            self,
            Self::Distribution | Self::Ecr | Self::Harbor | Self::GitLab | Self::Generic
        )
    }
}

impl std::fmt::Display for Provider {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}
