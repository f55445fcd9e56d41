//! `transship check`: validates the document and, with `--connect`, tests its registries and secrets.

mod deliver;
mod sources;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::join_all;
use serde::Serialize;
use transship_engine::{Configuration, Snapshot};
use transship_registry::Retries;
use transship_rules::{CredentialsRef, Document, Import, Tls, Webhook};
use transship_runtime::{Environment, process_secrets};

use self::sources::Source;
use crate::commands::ledger::Store;
use crate::credentials::Referred;
use crate::failure::{Exit, Failure};
use crate::output::Form;
use crate::table::table;
use crate::{document, expiry, logging, units};
use transship_oci::{Code, Result};
use url::Url;

/// Time limits for interactive use: fail fast.
const RETRIES: Retries = Retries {
    times: 1,
    max_wait: Duration::from_secs(2),
    first: Duration::from_millis(200),
};

/// Arguments of `transship check`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  transship check --config transship.yaml\n  transship check --config transship.yaml --connect\n  transship check --config transship.yaml --deliver https://hooks.example.com\n  transship check --config transship.yaml --data /var/lib/transship\n\nExit code 0: the document is valid. 1: a connection, secret or delivery failed, or the notifications of a source do not arrive. 2: the document is not valid."
)]
pub(crate) struct Arguments {
    /// Configuration document, YAML or JSON
    #[arg(long, value_name = "FILE", env = "TRANSSHIP_CONFIG", hide_env_values = true)]
    config: PathBuf,
    /// Connect to every registry with its credentials, and read every secret; those of AWS in a build with the feature `aws`
    #[arg(long)]
    connect: bool,
    /// Post trial deliveries, authentic and not, to the webhook at this address: `https://HOST` for all sources of the document, or
    /// `https://HOST/hooks/NAME` for one
    #[arg(long, value_name = "URL")]
    deliver: Option<Url>,
    /// Data folder of `serve`: reports each source whose notifications do not arrive
    #[arg(long, value_name = "DIR", conflicts_with = "table")]
    data: Option<PathBuf>,
    /// DynamoDB table of a deployed stack: the same
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// Folder below which the files of `file:` secrets must be
    #[arg(long, value_name = "DIR", env = "TRANSSHIP_SECRETS_DIR", hide_env_values = true)]
    secrets_dir: Option<PathBuf>,
}

/// Result of the check.
#[derive(Debug, Serialize)]
struct Findings {
    /// The document is for the stack deployed on AWS.
    stack: bool,
    registries: usize,
    rules: usize,
    imports: Vec<Imported>,
    warnings: Vec<Warning>,
    connections: Vec<Probe>,
    secrets: Vec<Probe>,
    deliveries: Vec<Probe>,
    /// Only with a ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<Vec<Source>>,
}

/// An import of the document.
#[derive(Debug, Serialize)]
struct Imported {
    name: String,
    enabled: bool,
    /// `s3://BUCKET/PREFIX`.
    source: String,
    /// `REGISTRY/NAMESPACE`.
    destination: String,
}

#[derive(Debug, Serialize)]
struct Warning {
    code: &'static str,
    path: String,
    line: Option<u64>,
    column: Option<u64>,
    message: String,
}

/// Result of one connection or secret.
#[derive(Debug, Serialize)]
struct Probe {
    registry: String,
    #[serde(flatten)]
    tried: Tried,
    ok: bool,
    code: Option<String>,
    message: Option<String>,
    elapsed_ms: u64,
}

/// What was tested: the address of a registry, or a reference to one of its secrets.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Tried {
    Endpoint(String),
    Secret(String),
    Delivery(String),
}

impl Tried {
    fn as_str(&self) -> &str {
        match self {
            Self::Endpoint(text) | Self::Secret(text) | Self::Delivery(text) => text,
        }
    }
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    logging::begin_command();
    let (_, parsed) = document::load(&arguments.config)?;
    let warnings = parsed
        .warnings
        .into_iter()
        .chain(parsed.document.platform_warnings())
        .map(Warning::of);
    let mut findings = Findings {
        stack: parsed.document.is_for_aws(),
        registries: parsed.document.registries.len(),
        rules: parsed.document.rules.len(),
        imports: parsed.document.imports.iter().map(Imported::of).collect(),
        warnings: warnings.collect(),
        connections: Vec::new(),
        secrets: Vec::new(),
        deliveries: Vec::new(),
        sources: None,
    };
    let of_process = process_secrets(Environment::process(), arguments.secrets_dir);
    let store = Store::of(arguments.data, arguments.table);
    if arguments.deliver.is_some() || arguments.connect || store.is_some() {
        let referred = Referred::everywhere(of_process).await;
        if cfg!(not(feature = "aws")) && parsed.document.refers_to_aws() {
            findings.warnings.push(Warning::aws_not_built());
        }
        if let Some(url) = &arguments.deliver {
            findings.warnings.extend(deliver::warning(url));
            findings.deliveries = deliver::deliver(&parsed.document, &referred.secrets, url).await?;
        }
        if let Some(store) = store {
            findings.sources = Some(sources::sources(&snapshot_of(&parsed.document, &referred), &store).await?);
        }
        if arguments.connect {
            (findings.secrets, findings.warnings) = read_secrets(&parsed.document, &referred, findings.warnings).await;
            findings.connections = connect(&parsed.document, &referred).await;
        }
    }
    form.print(&findings, text)?;
    verdict(&findings)
}

fn snapshot_of(document: &Document, referred: &Referred) -> Arc<Snapshot> {
    let (credentials, secrets) = (Arc::clone(&referred.credentials), Arc::clone(&referred.secrets));
    Configuration::new(document.clone(), credentials, secrets, RETRIES).current()
}

async fn connect(document: &Document, referred: &Referred) -> Vec<Probe> {
    let snapshot = snapshot_of(document, referred);
    let names = snapshot.document.registries.keys();
    join_all(names.map(|name| probe(&snapshot, name))).await
}

async fn probe(snapshot: &Snapshot, name: &str) -> Probe {
    let begin = Instant::now();
    let endpoint = snapshot.document.registries.get(name).map(|entry| &entry.endpoint);
    let failure = match snapshot.registry(name) {
        Ok(registry) => registry
            .ping()
            .await
            .err()
            .map(|error| (error.code().to_owned(), error.message().to_owned())),
        Err(error) => Some((error.code().to_owned(), error.message().to_owned())),
    };
    let endpoint = endpoint.map_or_else(String::new, |url| url.as_str().trim_end_matches('/').to_owned());
    Probe::new(name, Tried::Endpoint(endpoint), failure, begin)
}

/// Reads every secret, including those that a registry may not ask for yet: a registry with anonymous reads asks for
/// credentials only at the first push.
///
/// Adds a warning for each login that expires.
async fn read_secrets(
    document: &Document,
    Referred { secrets, credentials }: &Referred,
    mut warnings: Vec<Warning>,
) -> (Vec<Probe>, Vec<Warning>) {
    let mut probes = Vec::new();
    for (name, registry) in &document.registries {
        if let Some(reference) = &registry.credentials {
            let begin = Instant::now();
            let login = credentials(registry).login(registry.host(), None).await;
            // What Docker's configuration has comes from a helper or a login that the user renews.
            let is_fixed = matches!(reference, CredentialsRef::Secret(_));
            if let Some(message) = login.as_ref().ok().filter(|_| is_fixed).and_then(expiry::why) {
                warnings.push(Warning {
                    code: Code::CredentialsExpire.as_str(),
                    path: format!("registries.{name}.credentials"),
                    line: None,
                    column: None,
                    message,
                });
            }
            let failure = login
                .err()
                .map(|error| (error.code().to_owned(), error.message().to_owned()));
            probes.push(Probe::new(name, Tried::Secret(reference.to_string()), failure, begin));
        }
        let webhook = registry.webhook.iter().flat_map(Webhook::references);
        let tls = registry
            .tls
            .iter()
            .flat_map(Tls::references)
            .map(|(_, reference)| reference);
        for reference in webhook.chain(tls) {
            let begin = Instant::now();
            let failure = secrets.secret(reference).await.err();
            let failure = failure.map(|error| (error.code().to_owned(), error.message().to_owned()));
            probes.push(Probe::new(name, Tried::Secret(reference.to_string()), failure, begin));
        }
    }
    (probes, warnings)
}

impl Warning {
    fn aws_not_built() -> Self {
        Self {
            code: "AWS_NOT_BUILT",
            path: "registries".to_owned(),
            line: None,
            column: None,
            message: "this build does not read secrets and tokens of AWS: install one that does with `cargo install --path crates/cli --features aws`".to_owned(),
        }
    }

    fn of(warning: transship_rules::Warning) -> Self {
        Self {
            code: warning.code.as_str(),
            path: warning.path,
            line: warning.position.map(|position| position.line),
            column: warning.position.map(|position| position.column),
            message: warning.message,
        }
    }
}

impl Imported {
    fn of(import: &Import) -> Self {
        let to = &import.destination;
        Self {
            name: import.name.clone(),
            enabled: import.enabled,
            source: format!("s3://{}/{}", import.bucket, import.prefix),
            destination: format!("{}/{}", to.registry, to.namespace)
                .trim_end_matches('/')
                .to_owned(),
        }
    }

    fn row(&self) -> [String; 3] {
        let name = if self.enabled {
            self.name.clone()
        } else {
            format!("{} (not enabled)", self.name)
        };
        [name, self.source.clone(), self.destination.clone()]
    }
}

impl Probe {
    fn new(registry: &str, tried: Tried, failure: Option<(String, String)>, begin: Instant) -> Self {
        let (code, message) = failure.unzip();
        Self {
            registry: registry.to_owned(),
            tried,
            ok: code.is_none(),
            code,
            message,
            elapsed_ms: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl Findings {
    fn probes(&self) -> impl Iterator<Item = &Probe> {
        self.connections.iter().chain(&self.secrets).chain(&self.deliveries)
    }
}

fn verdict(findings: &Findings) -> Result<(), Failure> {
    let probes = || findings.probes();
    let failed: Vec<String> = probes()
        .filter(|probe| !probe.ok)
        .map(|probe| {
            let code = probe.code.as_deref().unwrap_or_default();
            format!("{} ({} {code})", probe.registry, probe.tried.as_str())
        })
        .collect();
    let sources = || findings.sources.iter().flatten();
    let silent = sources().filter(|source| !source.ok).map(|source| {
        let code = source.code.unwrap_or_default();
        format!("{} (rule {} {code})", source.registry, source.rule)
    });
    let failed: Vec<String> = failed.into_iter().chain(silent).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let tried = probes().count() + sources().count();
    let sentence = format!("{} of {tried} failed: {}", failed.len(), failed.join(", "));
    Err(Failure::new(Exit::Failed, "CHECK_FAILED", sentence))
}

fn text(findings: &Findings) -> String {
    let mut text = format!(
        "the document is valid{}: {}, {}{}\n",
        if findings.stack { " for a stack on AWS" } else { "" },
        match findings.registries {
            1 => "1 registry".to_owned(),
            many => format!("{many} registries"),
        },
        units::count(findings.rules as u64, "rule"),
        match findings.imports.len() as u64 {
            0 => String::new(),
            imports => format!(", {}", units::count(imports, "import")),
        }
    );
    if !findings.imports.is_empty() {
        let rows: Vec<_> = findings.imports.iter().map(Imported::row).collect();
        text.push_str(&table(["import", "from", "to"], &rows));
    }
    for warning in &findings.warnings {
        let place = match (warning.line, warning.column) {
            (Some(line), Some(column)) => format!("{} (line {line}, column {column})", warning.path),
            _ => warning.path.clone(),
        };
        let _ = writeln!(text, "warning: {}: {place}: {}", warning.code, warning.message);
    }
    let row = |probe: &Probe| {
        [
            probe.registry.clone(),
            probe.tried.as_str().to_owned(),
            if probe.ok {
                "ok".to_owned()
            } else {
                probe.code.clone().unwrap_or_default()
            },
            units::duration(Duration::from_millis(probe.elapsed_ms)),
            probe.message.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = findings.probes().map(row).collect();
    if !rows.is_empty() {
        text.push_str(&table(["registry", "what", "result", "time", "note"], &rows));
    }
    if let Some(sources) = &findings.sources {
        let rows: Vec<_> = sources.iter().map(Source::row).collect();
        text.push_str(&table(["source", "rule", "last delivery", "result", "note"], &rows));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(ok: bool) -> Findings {
        let probe = |tried: Tried, ok: bool| Probe {
            registry: "hub".into(),
            tried,
            ok,
            code: (!ok).then(|| "AUTH_FAILED".into()),
            message: (!ok).then(|| "the registry rejected the credentials".into()),
            elapsed_ms: 12,
        };
        Findings {
            stack: false,
            registries: 1,
            rules: 2,
            imports: vec![
                Imported {
                    name: "seed".into(),
                    enabled: true,
                    source: "s3://layouts/seed/".into(),
                    destination: "hub/core".into(),
                },
                Imported {
                    name: "rest".into(),
                    enabled: false,
                    source: "s3://layouts/".into(),
                    destination: "hub".into(),
                },
            ],
            warnings: vec![Warning {
                code: "RULE_NEVER_MATCHES",
                path: "rules[0]".into(),
                line: Some(7),
                column: Some(3),
                message: "it does nothing".into(),
            }],
            connections: vec![probe(Tried::Endpoint("https://r.example".into()), ok)],
            secrets: vec![probe(Tried::Secret("env:HOOK".into()), true)],
            deliveries: vec![probe(
                Tried::Delivery("https://hooks.example/hooks/hub with its secret".into()),
                true,
            )],
            sources: Some(vec![Source {
                registry: "hub".into(),
                rule: "core".into(),
                last_delivery: None,
                found_by_sweep: if ok { 0 } else { 2 },
                since: (!ok).then_some(jiff::Timestamp::UNIX_EPOCH),
                ok,
                code: (!ok).then_some("SOURCE_SILENT"),
                message: (!ok).then(|| "since 1970-01-01 00:00:00Z only the sweep found pushes (2)".into()),
                verified: None,
            }]),
        }
    }

    #[test]
    fn a_source_that_is_silent_fails_the_check() {
        let silent = Findings {
            sources: findings(false).sources,
            ..findings(true)
        };
        let failure = verdict(&silent).unwrap_err();
        assert_eq!(failure.exit(), Exit::Failed);
        let shown = format!("{failure:?}");
        assert!(shown.contains("hub (rule core SOURCE_SILENT)"), "{shown}");
    }

    #[test]
    fn what_fails_decides_the_exit() {
        assert!(verdict(&findings(true)).is_ok());
        let failure = verdict(&findings(false)).unwrap_err();
        assert_eq!((failure.code(), failure.exit()), ("CHECK_FAILED", Exit::Failed));
    }

    #[test]
    fn findings_are_told_in_both_forms() {
        insta::assert_snapshot!(text(&findings(false)));
        insta::assert_json_snapshot!(findings(false));
    }
}
