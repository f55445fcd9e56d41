//! A validated registry of the document: its endpoint, its other hosts, and its limits.

use transship_notifications::{Format, Identity, SignedUrl};
use transship_oci::{Limits, Network, Provider, RegistryHost};
use url::Url;

use crate::secret_reference::{CredentialsRef, SecretReference};

/// A registry: its endpoint, its other hosts, its credentials and its limits.
#[derive(Debug, Clone)]
pub struct Registry {
    /// The product or service that runs the registry.
    pub provider: Provider,
    /// The endpoint: `http` or `https`, a host and optionally a port; no user, path or query.
    pub endpoint: Url,
    /// Other hosts of the registry, as written.
    pub hosts: Vec<RegistryHost>,
    /// Repository prefixes in deliveries, and the prefixes that clients use instead; a longer prefix comes before a shorter one.
    pub aliases: Vec<(String, String)>,
    /// A description for readers of the document.
    pub description: Option<String>,
    /// The cloud region it is in.
    pub region: Option<String>,
    /// The part of the cloud it is in; [`PUBLIC_PARTITION`] if none is written.
    pub partition: String,
    /// The purchased edition.
    pub edition: Option<String>,
    /// Which addresses its name may resolve to.
    pub network: Network,
    /// The reference to its credentials; [`None`] for none, except that the stack deployed on AWS requests tokens of Amazon ECR
    /// with its own role.
    pub credentials: Option<CredentialsRef>,
    /// How its deliveries are authenticated; [`None`] means that none are accepted.
    pub webhook: Option<Webhook>,
    /// The format of its deliveries: that of its provider, unless `webhook.format` names another one.
    pub format: Format,
    /// Its limits.
    pub limits: Limits,
    /// The certificates of its connections; [`None`]: the default roots are trusted, and no client certificate is sent.
    pub tls: Option<Tls>,
    /// The host of `endpoint`, validated with the document.
    pub(crate) host: RegistryHost,
}

/// The names of Docker Hub. Source: distribution/reference, `normalize.go`; Docker, "Registry API".
const DOCKER_HUB: [&str; 4] = [
    "docker.io",
    "index.docker.io",
    "registry-1.docker.io",
    "registry.hub.docker.com",
];

/// The default partition of a registry.
pub const PUBLIC_PARTITION: &str = "public";

/// The certificates of the connections to a registry, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Authorities that are trusted in addition to the default roots.
    pub authorities: Option<SecretReference>,
    /// What this client authenticates with, where the registry asks for a certificate.
    pub identity: Option<TlsIdentity>,
}

/// A client certificate with its key, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The certificate, then those of intermediate authorities.
    pub certificate: SecretReference,
    /// Its private key.
    pub key: SecretReference,
}

/// How deliveries are authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Webhook {
    /// `webhook: none`: anyone may post.
    Anyone,
    /// The sender knows a secret.
    Secret {
        /// Its content is one line, or two while the secret is being changed.
        reference: SecretReference,
        /// What the signature of the event bus of Alibaba Cloud covers; [`None`]: it is not verified.
        signed_url: Option<SignedUrl>,
    },
    /// The sender shows a signed token of its cloud.
    Identity {
        /// The sender that the token must name, and the audience.
        identity: Identity,
        /// The keys of the tokens, as a JSON Web Key Set; [`None`]: they are fetched from the cloud.
        keys: Option<SecretReference>,
    },
}

impl Webhook {
    /// Every reference to a secret.
    pub fn references(&self) -> impl Iterator<Item = &SecretReference> {
        match self {
            Self::Anyone => None,
            Self::Secret { reference, .. } => Some(reference),
            Self::Identity { keys, .. } => keys.as_ref(),
        }
        .into_iter()
    }
}

impl Tls {
    /// Every reference, with its key in the document.
    pub fn references(&self) -> impl Iterator<Item = (&'static str, &SecretReference)> {
        let authorities = self.authorities.iter().map(|reference| ("authorities", reference));
        let identity = self.identity.iter();
        authorities
            .chain(identity.flat_map(|identity| [("certificate", &identity.certificate), ("key", &identity.key)]))
    }
}

impl Registry {
    /// The host of the endpoint, with its port unless that is the scheme's own.
    pub const fn host(&self) -> &RegistryHost {
        &self.host
    }

    /// True if `host` is the endpoint's host or one of the other names. Case does not matter, nor does a port that is the
    /// default of the endpoint's scheme.
    pub fn is_called(&self, host: &RegistryHost) -> bool {
        let wanted = self.canonical(host);
        std::iter::once(&self.host)
            .chain(&self.hosts)
            .any(|name| self.canonical(name) == wanted)
    }

    /// True if both are the same registry with different names in the document.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        std::iter::once(&other.host)
            .chain(&other.hosts)
            .any(|name| self.is_called(name))
    }

    /// Its hosts in a form that is the same for two names of one host.
    pub(crate) fn canonical_hosts(&self) -> impl Iterator<Item = String> {
        let hosts = std::iter::once(&self.host).chain(&self.hosts);
        hosts.map(|host| {
            let name = self.canonical(host);
            // The default port of https is written by others whose own scheme is http, too.
            name.strip_suffix(":443").map(str::to_owned).unwrap_or(name)
        })
    }

    fn canonical(&self, host: &RegistryHost) -> String {
        let default_port = if self.endpoint.scheme() == "http" {
            ":80"
        } else {
            ":443"
        };
        let name = host.as_str().to_ascii_lowercase();
        let name = match name.strip_suffix(default_port) {
            Some(bare) => bare.to_owned(),
            None => name,
        };
        match self.provider {
            // Clients write the first name, and connect to the others.
            Provider::DockerHub if DOCKER_HUB.contains(&name.as_str()) => DOCKER_HUB[0].to_owned(),
            // Names of one registry in its VPC and in Alibaba's own network; deliveries name the public one.
            Provider::AliyunAcr if name.ends_with(".aliyuncs.com") => name
                .replacen("registry-vpc.", "registry.", 1)
                .replacen("registry-internal.", "registry.", 1),
            _ => name,
        }
    }
}
