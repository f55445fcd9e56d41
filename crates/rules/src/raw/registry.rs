//! A registry in the document.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use transship_notifications::{EntraCloud, Format};
use transship_oci::{Network, Provider};

use super::{Rate, TextOr};

/// A registry: its endpoint, its other hosts, its credentials and its limits.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registry {
    /// The product or service that runs the registry.
    pub(crate) provider: Provider,
    /// Its address: scheme, host and optionally port. A literal loopback or private address is thereby allowed.
    #[schemars(extend("examples" = ["https://registry.example.com", "http://127.0.0.1:5000"]))]
    pub(crate) endpoint: String,
    /// Other hosts of the registry in references and deliveries, as `host` or `host:port`.
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
    /// Repository prefixes of whole path components in deliveries, and the prefixes that clients use instead. For Artifactory, the
    /// key of the local repository and the virtual repository; for Nexus with path-based routing, the name of the repository
    /// and the prefix of the path. An empty value removes the prefix.
    #[serde(default)]
    #[schemars(extend("examples" = [{ "docker-local": "docker" }]))]
    pub(crate) aliases: BTreeMap<String, String>,
    /// A description for readers of the document.
    #[serde(default)]
    pub(crate) description: Option<String>,
    /// The cloud region it is in.
    #[serde(default)]
    pub(crate) region: Option<String>,
    /// The part of the cloud it is in: `public` (default), `finance`, `gov`, or any other name. Nothing is copied from `public`
    /// to another partition unless a link allows it.
    #[serde(default)]
    pub(crate) partition: Option<String>,
    /// The purchased edition. A `basic` registry cannot be a source.
    #[serde(default)]
    pub(crate) edition: Option<Edition>,
    /// `private` allows a name that resolves to loopback or private addresses.
    #[serde(default)]
    pub(crate) network: Network,
    /// The reference to its credentials. Absent: none, or for Amazon ECR a token that the stack deployed on AWS requests with its
    /// own role.
    #[serde(default)]
    pub(crate) credentials: Option<Credentials>,
    /// How its deliveries are authenticated. Absent: none are accepted. Not needed for events of Amazon ECR that the stack
    /// deployed on AWS receives from `EventBridge`.
    #[serde(default)]
    pub(crate) webhook: Option<TextOr<Webhook>>,
    /// Its limits.
    #[serde(default)]
    pub(crate) limits: Limits,
    /// The certificates of the connections to it. Absent: the default roots are trusted, and no client certificate is sent.
    #[serde(default)]
    pub(crate) tls: Option<Tls>,
}

/// The name of an edition, in any case.
pub(crate) type Edition = String;

/// `env:NAME`, `file:PATH`, `docker`, `secretsmanager:NAME`, `ssm:NAME`, or a mapping. References to AWS are read only
/// by the stack deployed there.
pub(crate) type Credentials = TextOr<CredentialsTable>;

/// Credentials that are requested from a service.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CredentialsTable {
    /// Tokens of Amazon ECR.
    pub(crate) ecr: EcrRole,
}

/// The role for requesting tokens of Amazon ECR.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EcrRole {
    /// The ARN of the role.
    pub(crate) role: String,
}

/// How deliveries are authenticated. In place of this mapping, the word `none` lets anyone post.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhook {
    /// The reference to the secret: `env:NAME`, `file:PATH`, `secretsmanager:NAME` or `ssm:NAME`. Its content is one line, or two
    /// while the secret is being changed.
    #[serde(default)]
    pub(crate) secret: Option<String>,
    /// The signed token of a cloud that the sender shows, in place of a secret.
    #[serde(default)]
    pub(crate) identity: Option<Identity>,
    /// The format of the deliveries, if it is not the provider's own: `aliyun-eventbridge` or `azure-eventgrid`, or any other.
    #[serde(default)]
    #[schemars(schema_with = "formats")]
    pub(crate) format: Option<String>,
    /// The public URL of this webhook, exactly as the target of Alibaba Cloud's event bus names it. With it, the signatures of the
    /// bus are verified as well as the secret. Requires `region`.
    #[serde(default)]
    pub(crate) url: Option<String>,
}

/// A signed token of a cloud (JSON Web Token). Write `email` for Google, or `tenant` for Microsoft Entra.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// The audience of the token, as configured at the sender.
    pub(crate) audience: String,
    /// The service account in whose name Pub/Sub pushes.
    #[serde(default)]
    pub(crate) email: Option<String>,
    /// The id of the tenant.
    #[serde(default)]
    pub(crate) tenant: Option<String>,
    /// The cloud of the tenant: `public`, `us-government` or `china`. Absent: `public`.
    #[serde(default)]
    #[schemars(schema_with = "clouds")]
    pub(crate) cloud: Option<String>,
    /// The id of the application that sends. Absent: Event Grid of the public cloud or of that of the United States government.
    #[serde(default)]
    pub(crate) application: Option<String>,
    /// The reference to the keys of the tokens as a JSON Web Key Set. Absent: they are fetched from the cloud.
    #[serde(default)]
    pub(crate) keys: Option<String>,
}

/// The names of all clouds of Microsoft.
fn clouds(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let names = EntraCloud::ALL.map(EntraCloud::as_str);
    schemars::json_schema!({ "enum": names, "type": ["string", "null"] })
}

/// The names of all formats.
fn formats(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let names: Vec<&str> = Format::all().map(Format::as_str).collect();
    schemars::json_schema!({ "enum": names, "type": ["string", "null"] })
}

/// Certificates as PEM, each by a reference: `env:NAME`, `file:PATH`, `secretsmanager:NAME` or `ssm:NAME`. They are read again
/// when they changed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// Authorities that are trusted in addition to the default roots: one or more certificates.
    #[serde(default)]
    pub(crate) authorities: Option<String>,
    /// The client certificate, then those of intermediate authorities. Requires `key`.
    #[serde(default)]
    pub(crate) certificate: Option<String>,
    /// The private key of the client certificate. Requires `certificate`.
    #[serde(default)]
    pub(crate) key: Option<String>,
}

/// Limits of a registry, for each process that connects to it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Requests per second, from 0.001 to 100000.
    #[serde(default)]
    pub(crate) requests_per_second: Option<f64>,
    /// Maximum number of concurrent uploads, from 1 to 10000.
    #[serde(default)]
    pub(crate) uploads: Option<u32>,
    /// Bytes per second, read and written, from 1KiB/s to 100GiB/s.
    #[serde(default)]
    pub(crate) bandwidth: Option<Rate>,
}
