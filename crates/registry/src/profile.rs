//! Profiles of providers: all special cases for a kind of registry are here.
//!
//! Sources are in docs/registries.md. What a registry turns out not to support is stored per host and process, in `registry`.

use transship_oci::Provider;

use crate::exchange::failure::ErrorBody;

/// Forms of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadForm {
    /// `POST`, then one streaming `PUT` of known length. Every known registry supports it for blobs of moderate size.
    Put,
    /// `POST`, then `PATCH` requests that the registry acknowledges one by one, then an empty `PUT`. The acknowledged part
    /// outlives the process that sent it. It is not used for ordinary blobs, because it costs requests and some registries lose
    /// bytes.
    Patch,
}

const PUT: &[UploadForm] = &[UploadForm::Put];
const PUT_OR_PATCH: &[UploadForm] = &[UploadForm::Put, UploadForm::Patch];
/// Maximum size of a chunk in bytes, which is sent again when a worker is killed.
const CHUNK_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The profile of a provider.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// Supported upload forms, the preferred one for ordinary blobs first.
    pub uploads: &'static [UploadForm],
    /// Maximum size of a `PATCH` in bytes.
    pub chunk_max: u64,
    /// Whether blobs may be mounted from another repository. Docker Hub fails in some cases (go-containerregistry 1741), but only
    /// if `from` is in another registry, which is never sent.
    pub mounts: bool,
    /// Whether GETs of manifests count against a quota and HEADs do not. Then HEAD has the last word.
    pub are_gets_limited: bool,
    /// Hosts that may be the realm in addition to the registry's own host, see [`is_listed`]. Never the whole domain of a cloud.
    pub realms: &'static [&'static str],
    /// Hosts, and parent domains that start with `.`, which upload locations may use in addition to the registry's own host. No
    /// credentials are sent there.
    pub storage: &'static [&'static str],
    /// The codes by which a 404 of a manifest says that the repository has no such manifest.
    pub manifest_unknown: &'static [&'static str],
    /// Recognises a refusal (400, 409 or 412) that says that the tag is immutable.
    pub is_tag_immutable: fn(&ErrorBody) -> bool,
}

const PLAIN: Profile = Profile {
    uploads: PUT_OR_PATCH,
    chunk_max: CHUNK_BYTES_MAX,
    mounts: true,
    are_gets_limited: false,
    realms: &[],
    storage: &[],
    manifest_unknown: &["MANIFEST_UNKNOWN"],
    is_tag_immutable: mentions_immutable,
};

impl Profile {
    /// The profile of a kind of registry.
    pub const fn of(provider: Provider) -> Self {
        match provider {
            Provider::DockerHub => Self {
                realms: &["auth.docker.io"],
                are_gets_limited: true,
                ..PLAIN
            },
            Provider::Ghcr => Self {
                // Clients that tried chunks there went back to one PUT (kitops 780).
                uploads: PUT,
                ..PLAIN
            },
            Provider::Ecr => Self {
                // Every PATCH after the first is answered 201 and discarded (aws/containers-roadmap 2831).
                uploads: PUT,
                mounts: false,
                is_tag_immutable: is_existing_ecr_tag,
                ..PLAIN
            },
            Provider::GoogleAr => Self {
                uploads: PUT,
                storage: &[".googleapis.com", ".pkg.dev"],
                ..PLAIN
            },
            Provider::AliyunAcr => Self {
                // `dockerauth`, `dockerauth-vpc`, `dockerauth-ee` and `dockerauth-ee-vpc` of each region. Customers' own hosts are
                // below the same domain.
                realms: &["dockerauth*.*.aliyuncs.com"],
                storage: &[".aliyuncs.com"],
                ..PLAIN
            },
            Provider::TencentTcr => Self { ..PLAIN },
            Provider::AzureAcr => Self {
                // Larger bodies are rejected with 413 (harbor 6e4d8ad64c).
                chunk_max: 16 * 1024 * 1024,
                ..PLAIN
            },
            Provider::Harbor => Self {
                // Harbor answers for the registry behind it, with a code of its own (src/server/registry/manifest.go).
                manifest_unknown: &["MANIFEST_UNKNOWN", "NOT_FOUND"],
                ..PLAIN
            },
            Provider::Distribution
            | Provider::Quay
            | Provider::Artifactory
            | Provider::Nexus
            | Provider::Zot
            | Provider::Gitea
            | Provider::GitLab
            | Provider::Generic => PLAIN,
        }
    }

    /// The profile that follows from a host name, for commands without a document.
    pub fn of_host(hostname: &str) -> Self {
        let ends = |suffix: &str| hostname.ends_with(suffix);
        Self::of(match hostname {
            "docker.io" | "registry-1.docker.io" => Provider::DockerHub,
            "ghcr.io" => Provider::Ghcr,
            "quay.io" => Provider::Quay,
            _ if ends(".amazonaws.com") || ends(".amazonaws.com.cn") => Provider::Ecr,
            _ if ends(".pkg.dev") || hostname == "gcr.io" || ends(".gcr.io") => Provider::GoogleAr,
            _ if ends(".azurecr.io") || ends(".azurecr.cn") => Provider::AzureAcr,
            _ if ends(".aliyuncs.com") => Provider::AliyunAcr,
            _ if ends(".tencentcloudcr.com") => Provider::TencentTcr,
            _ => Provider::Generic,
        })
    }
}

/// The specification has no code for it; registries say it in their message (Harbor with 412).
fn mentions_immutable(body: &ErrorBody) -> bool {
    body.message.to_ascii_lowercase().contains("immutable")
}

/// ECR calls such a tag invalid because it exists already.
fn is_existing_ecr_tag(body: &ErrorBody) -> bool {
    mentions_immutable(body) || body.says("TAG_INVALID") && body.message.contains("exist")
}

/// True if `host` is in `list`, or below an entry that starts with a dot. A `*` at the end of a label stands for its rest, and a
/// label `*` for any one: `auth*.*.example.com`.
pub(crate) fn is_listed(host: &str, list: &[&str]) -> bool {
    list.iter().any(|entry| {
        if entry.starts_with('.') {
            return host.ends_with(entry);
        }
        let (labels, wanted) = (host.split('.'), entry.split('.'));
        let is_label = |(label, wanted): (&str, &str)| match wanted.strip_suffix('*') {
            Some(start) => label.starts_with(start),
            None => label == wanted,
        };
        labels.clone().count() == wanted.clone().count() && labels.zip(wanted).all(is_label)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realms_of_a_cloud_are_its_own_hosts() {
        let realms = Profile::of(Provider::AliyunAcr).realms;
        for host in [
            "dockerauth.cn-hangzhou.aliyuncs.com",
            "dockerauth-ee-vpc.cn-beijing.aliyuncs.com",
        ] {
            assert!(is_listed(host, realms), "{host}");
        }
        for host in [
            "evil.oss-cn-hangzhou.aliyuncs.com",
            "dockerauth.evil.oss-cn-hangzhou.aliyuncs.com",
            "evil.cn-hangzhou.fc.aliyuncs.com",
            "x.dockerauth.cn-hangzhou.aliyuncs.com",
            "dockerauth.cn-hangzhou.aliyuncs.com.evil.com",
        ] {
            assert!(!is_listed(host, realms), "{host}");
        }
    }

    #[test]
    fn a_registry_that_loses_chunks_gets_none() {
        for provider in [Provider::Ecr, Provider::Ghcr, Provider::GoogleAr] {
            assert_eq!(Profile::of(provider).uploads, [UploadForm::Put], "{provider}");
        }
        for provider in [
            Provider::Distribution,
            Provider::Harbor,
            Provider::Zot,
            Provider::Quay,
            Provider::AzureAcr,
            Provider::GitLab,
            Provider::Generic,
        ] {
            let uploads = Profile::of(provider).uploads;
            assert_eq!(uploads, [UploadForm::Put, UploadForm::Patch], "{provider}");
        }
    }

    #[test]
    fn a_domain_lists_what_stands_below_it_and_nothing_that_only_ends_like_it() {
        assert!(is_listed("dockerauth.cn-hangzhou.aliyuncs.com", &[".aliyuncs.com"]));
        assert!(!is_listed("evilaliyuncs.com", &[".aliyuncs.com"]));
        assert!(is_listed("auth.docker.io", &["auth.docker.io"]));
        assert!(!is_listed("x.auth.docker.io", &["auth.docker.io"]));
    }

    #[test]
    fn an_immutable_tag_of_ecr_is_one_that_exists_already() {
        let body = ErrorBody {
            codes: vec!["TAG_INVALID".to_owned()],
            message: "TAG_INVALID: the image tag 'v1' already exists in the 'app' repository".to_owned(),
        };
        assert!((Profile::of(Provider::Ecr).is_tag_immutable)(&body));
        assert!(!(Profile::of(Provider::Distribution).is_tag_immutable)(&body));
    }
}
