//! A registry as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use transship_oci::{Network, Provider};

use super::{Rate, TextOr};

/// A registry: where it is, what it is called by, and how it is spoken to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registry {
    /// What kind of registry it is.
    pub(crate) provider: Provider,
    /// Its address: scheme, host and, if need be, port. An address that is a loopback or private one is thereby allowed.
    #[schemars(extend("examples" = ["https://registry.example.com", "http://127.0.0.1:5000"]))]
    pub(crate) endpoint: String,
    /// Other names it is called by, `host` or `host:port`, in references and in deliveries.
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
    /// Repository prefixes as deliveries name them, and as clients pull them. Not supported by this version.
    #[serde(default)]
    pub(crate) aliases: BTreeMap<String, String>,
    /// What it is for.
    #[serde(default)]
    pub(crate) description: Option<String>,
    /// The cloud region it is in.
    #[serde(default)]
    pub(crate) region: Option<String>,
    /// The part of the cloud it is in: `public` (default), `finance`, `gov`, or a name of your own. Nothing goes from
    /// `public` into another partition unless a link allows it.
    #[serde(default)]
    pub(crate) partition: Option<String>,
    /// The edition that is paid for. A `basic` one cannot be a source.
    #[serde(default)]
    pub(crate) edition: Option<Edition>,
    /// `private` allows a name that resolves to loopback or private addresses.
    #[serde(default)]
    pub(crate) network: Network,
    /// Where its credentials come from; absent: none, or for Amazon ECR a token that the stack deployed on AWS fetches under
    /// its own role.
    #[serde(default)]
    pub(crate) credentials: Option<Credentials>,
    /// How its notifications are known to be its own; absent: none are accepted. Events of Amazon ECR that `EventBridge` brings
    /// to the stack deployed on AWS need none.
    #[serde(default)]
    pub(crate) webhook: Option<TextOr<Webhook>>,
    /// What it can bear.
    #[serde(default)]
    pub(crate) limits: Limits,
}

/// The name of an edition, in any case.
pub(crate) type Edition = String;

/// `env:NAME`, `file:PATH`, `docker`, `secretsmanager:NAME`, `ssm:NAME`, or a mapping. References to AWS are read only
/// by the stack deployed there.
pub(crate) type Credentials = TextOr<CredentialsTable>;

/// Credentials that are fetched.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CredentialsTable {
    /// Tokens of Amazon ECR.
    pub(crate) ecr: EcrRole,
}

/// Under which role tokens of Amazon ECR are fetched.
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
    /// Where the secret comes from: `env:NAME`, `file:PATH`, `secretsmanager:NAME` or `ssm:NAME`. Its content is one
    /// line, or two while the secret is being changed.
    pub(crate) secret: String,
    /// The format of the deliveries, if it is not the provider's own. Not supported by this version.
    #[serde(default)]
    pub(crate) format: Option<String>,
}

/// What a registry can bear, from each process that speaks to it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Requests per second.
    #[serde(default)]
    pub(crate) requests_per_second: Option<f64>,
    /// Uploads at the same time.
    #[serde(default)]
    pub(crate) uploads: Option<u32>,
    /// Bytes per second, read and written.
    #[serde(default)]
    pub(crate) bandwidth: Option<Rate>,
}
