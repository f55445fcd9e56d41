//! What is known of a kind of registry beforehand: the place where special cases live.
//!
//! Sources are in docs/registries.md. What a registry turns out not to support is remembered per host while the process
//! lives, in `registry`.

/// How a blob is uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadForm {
    /// `POST`, then one streaming `PUT` of known length. Understood by every registry seen so far for blobs of moderate size.
    Put,
    /// `POST`, then `PATCH`es that the registry acknowledges one by one, then an empty `PUT`. What was acknowledged outlives
    /// the process that sent it. Never the form of an ordinary blob: it costs requests, and some lose bytes on it.
    Patch,
}

const PUT: &[UploadForm] = &[UploadForm::Put];
const PUT_OR_PATCH: &[UploadForm] = &[UploadForm::Put, UploadForm::Patch];
/// The largest chunk: what is sent again when a worker is killed.
const CHUNK_MAX: u64 = 64 * 1024 * 1024;

/// What is known of a kind of registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// The provider's name in the document.
    pub provider: &'static str,
    /// Upload forms that work, the best for an ordinary blob first.
    pub uploads: &'static [UploadForm],
    /// The largest `PATCH`, in bytes.
    pub chunk_max: u64,
    /// Blobs may be mounted from another repository. Docker Hub breaks on it in places (go-containerregistry 1741), but
    /// only for `from` of another registry, which is never sent.
    pub mounts: bool,
    /// Hosts, and parent domains beginning with `.`, that may be the realm beside the registry's own.
    pub realms: &'static [&'static str],
    /// Hosts, and parent domains beginning with `.`, that upload locations may lead to beside the registry's own; no
    /// credentials go there.
    pub storage: &'static [&'static str],
}

const PLAIN: Profile = Profile {
    provider: "generic",
    uploads: PUT_OR_PATCH,
    chunk_max: CHUNK_MAX,
    mounts: true,
    realms: &[],
    storage: &[],
};

impl Profile {
    /// The profile of a provider by its name in the document; an unknown name gets the plain one.
    pub fn of(provider: &str) -> Self {
        match provider {
            "distribution" => Self {
                provider: "distribution",
                ..PLAIN
            },
            "harbor" => Self {
                provider: "harbor",
                ..PLAIN
            },
            "dockerhub" => Self {
                provider: "dockerhub",
                realms: &["auth.docker.io"],
                ..PLAIN
            },
            "ghcr" => Self {
                provider: "ghcr",
                // Clients that tried chunks there went back to one PUT (kitops 780).
                uploads: PUT,
                ..PLAIN
            },
            "quay" => Self {
                provider: "quay",
                ..PLAIN
            },
            "ecr" => Self {
                provider: "ecr",
                // Every PATCH after the first is answered 201 and thrown away (aws/containers-roadmap 2831).
                uploads: PUT,
                mounts: false,
                ..PLAIN
            },
            "google-ar" => Self {
                provider: "google-ar",
                uploads: PUT,
                storage: &[".googleapis.com", ".pkg.dev"],
                ..PLAIN
            },
            "aliyun-acr" => Self {
                provider: "aliyun-acr",
                realms: &[".aliyuncs.com"],
                storage: &[".aliyuncs.com"],
                ..PLAIN
            },
            "tencent-tcr" => Self {
                provider: "tencent-tcr",
                realms: &[".tencentcloudcr.com"],
                ..PLAIN
            },
            "azure-acr" => Self {
                provider: "azure-acr",
                // Larger bodies are refused with 413 (harbor 6e4d8ad64c).
                chunk_max: 16 * 1024 * 1024,
                ..PLAIN
            },
            "artifactory" => Self {
                provider: "artifactory",
                ..PLAIN
            },
            "nexus" => Self {
                provider: "nexus",
                ..PLAIN
            },
            "zot" => Self {
                provider: "zot",
                ..PLAIN
            },
            "gitea" => Self {
                provider: "gitea",
                ..PLAIN
            },
            "gitlab" => Self {
                provider: "gitlab",
                ..PLAIN
            },
            _ => PLAIN,
        }
    }

    /// The profile a host name tells by itself, for commands that have no document.
    pub fn of_host(hostname: &str) -> Self {
        let ends = |suffix: &str| hostname.ends_with(suffix);
        Self::of(match hostname {
            "docker.io" | "registry-1.docker.io" => "dockerhub",
            "ghcr.io" => "ghcr",
            "quay.io" => "quay",
            _ if ends(".amazonaws.com") || ends(".amazonaws.com.cn") => "ecr",
            _ if ends(".pkg.dev") || hostname == "gcr.io" || ends(".gcr.io") => "google-ar",
            _ if ends(".azurecr.io") || ends(".azurecr.cn") => "azure-acr",
            _ if ends(".aliyuncs.com") => "aliyun-acr",
            _ if ends(".tencentcloudcr.com") => "tencent-tcr",
            _ => "generic",
        })
    }
}

/// True if `host` is one of `list`, or stands below one that begins with a dot.
pub(crate) fn is_listed(host: &str, list: &[&str]) -> bool {
    list.iter().any(|entry| {
        if entry.starts_with('.') {
            host.ends_with(entry)
        } else {
            host == *entry
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_loses_chunks_gets_none() {
        for provider in ["ecr", "ghcr", "google-ar"] {
            assert_eq!(Profile::of(provider).uploads, [UploadForm::Put], "{provider}");
        }
        for provider in [
            "distribution",
            "harbor",
            "zot",
            "quay",
            "azure-acr",
            "gitlab",
            "generic",
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
}
