//! `transship import`: copies every image of a layout, an archive, a storage tree, or a folder or bucket of them to a
//! registry.
//!
//! An image that cannot be copied is reported with its code and does not affect the others. Nothing that is already there
//! is moved again, so an interrupted run can be repeated.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use transship_engine::{Import, SharedBlobs};
use transship_local::DockerConfig;
use transship_oci::{Platforms, Reference, RegistryHost, Repository, Result};

use super::ledger;
use crate::bucket::InBucket;
use crate::failure::{Exit, Failure};
use crate::image_source::reference;
use crate::import_report::ImportReport;
use crate::import_source::ImportSource;
use crate::local_import::LocalImport;
use crate::locations::RememberedLocations;
use crate::logging;
use crate::output::Form;
use crate::policy::Policy;
use crate::progress::ImagesShown;
use crate::registries::Registries;
use crate::stack_import::{PollIntervals, StackImport};

/// Arguments of `transship import`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  transship import ./images --to registry.example.com/mirror\n  transship import ./app.tar --to localhost:5000/app --json\n  transship import s3://layouts/seed/ --to registry.example.com/mirror\n  transship import s3://layouts/seed/ --to hangzhou/core --table TABLE --queue URL\n\nA layout or archive at ./images/team/app is copied to mirror/team/app, with the tag of its name,\nor by digest if it has no name. Run the command again after a failure: nothing that is already\nthere is moved again."
)]
pub(crate) struct Arguments {
    /// Folder or `s3://BUCKET/PREFIX` to search for layouts, archives and storage trees; or one archive
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Destination registry and path; with --table also NAME/PATH, where NAME is a registry in the stack's document
    #[arg(long, value_name = "HOST/PATH")]
    to: String,
    #[command(flatten)]
    policy: Policy,
    /// Folder that stores blob locations; by default the user's cache folder
    #[arg(long, value_name = "DIR", env = "TRANSSHIP_DATA", hide_env_values = true)]
    data: Option<PathBuf>,
    #[command(flatten)]
    stack: Stack,
}

/// The deployed stack that runs the import. Environment variables do not select it, so that a user with a stack can still
/// import from the local machine.
#[derive(Debug, Args)]
struct Stack {
    /// Run the import in the deployed stack that uses this DynamoDB table
    #[arg(long, value_name = "NAME", requires = "queue")]
    table: Option<String>,
    /// URL of the stack's SQS queue
    #[arg(long, value_name = "URL", requires = "table")]
    queue: Option<String>,
    /// Return as soon as the order is in the queue
    #[arg(long, requires = "table")]
    no_wait: bool,
}

/// The result of an order with `--no-wait`.
#[derive(Debug, Serialize)]
struct Ordered {
    execution: String,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    let begin = Instant::now();
    logging::begin_command();
    let report = match (&arguments.stack.table, &arguments.stack.queue) {
        (Some(table), Some(queue)) => {
            let (source, import) = order(&arguments)?;
            let (history, queue) = ledger::of_stack(table.clone(), queue.clone()).await?;
            let fleet = StackImport {
                history,
                queue,
                pace: PollIntervals::default(),
            };
            let execution = fleet.order(import, &source).await?;
            if arguments.stack.no_wait {
                return form.print(&Ordered { execution }, |ordered| {
                    format!(
                        "ordered: run `transship tasks {}` to see its progress",
                        ordered.execution
                    )
                });
            }
            let shown = ImagesShown::suitable(form);
            let report = fleet.follow(&execution, &shown).await;
            shown.end();
            report
        }
        _ => here(arguments, form).await,
    };
    let mut report = report?;
    report.elapsed_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    form.print(&report, ImportReport::text)?;
    report.end(form)
}

/// Runs the import in this process.
async fn here(arguments: Arguments, form: Form) -> Result<ImportReport, Failure> {
    let source = ImportSource::open(&arguments.source).await?;
    let (host, path) = destination(&arguments.to)?;
    let import = import(host.to_string(), path, arguments.policy);
    let client = Registries::new(Arc::new(DockerConfig::load()?)).client(&host)?;
    let now = Timestamp::now();
    let shown = Arc::new(ImagesShown::suitable(form));
    let local_import = LocalImport {
        execution: import.execution(&now.to_string(), now),
        store: source.store,
        import,
        options: arguments.policy.options(Platforms::default()),
        locations: RememberedLocations::new(arguments.data, client.host().clone()),
        client,
        shared: SharedBlobs::default(),
        shown: Arc::clone(&shown),
    };
    let report = local_import.all(source.sources).await;
    shown.end();
    report
}

fn import(registry: String, path: Option<Repository>, policy: Policy) -> Import {
    Import {
        name: "import".to_owned(),
        registry,
        path,
        existing: policy.existing,
        referrers: policy.referrers,
    }
}

/// The source and destination of an order.
fn order(arguments: &Arguments) -> Result<(InBucket, Import), Failure> {
    let source = InBucket::parse(&arguments.source).unwrap_or_else(|| {
        Err(Failure::usage(
            "a deployed stack can only read buckets: use s3://BUCKET/PREFIX, or omit --table and --queue",
        ))
    })?;
    let (registry, path) = stack_destination(&arguments.to)?;
    Ok((source, import(registry, path, arguments.policy)))
}

/// `NAME-OR-HOST/PATH`; the stack resolves the name with its document.
fn stack_destination(text: &str) -> Result<(String, Option<Repository>), Failure> {
    let (registry, path) = text.split_once('/').unwrap_or((text, ""));
    if registry.is_empty() {
        return Err(Failure::usage("--to must start with the name or host of a registry"));
    }
    let path = Some(path.trim_end_matches('/')).filter(|path| !path.is_empty());
    let path = path.map(str::parse).transpose();
    let path = path.map_err(|error: transship_oci::Error| Failure::of(Exit::Input, &error))?;
    Ok((registry.to_owned(), path))
}

/// `HOST/PATH`, parsed as if a repository below it followed, so that a path of one part is not mistaken for an official
/// image of Docker Hub.
fn destination(text: &str) -> Result<(RegistryHost, Option<Repository>), Failure> {
    let input = |error: &transship_oci::Error| Failure::of(Exit::Input, error);
    let Reference { host, repository, .. } = reference(&format!("{}/x", text.trim_end_matches('/')))?;
    let path = repository.as_str().strip_suffix("/x");
    let path = path.map(str::parse).transpose().map_err(|error| input(&error))?;
    Ok((host, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_of_a_stack_is_a_name_or_host_and_what_stands_before_every_repository() {
        let read = |text: &str| {
            let (registry, path) = stack_destination(text).unwrap();
            (registry, path.map(|path| path.to_string()))
        };
        let expected = |registry: &str, path: Option<&str>| (registry.to_owned(), path.map(str::to_owned));
        assert_eq!(read("hangzhou"), expected("hangzhou", None));
        assert_eq!(read("hangzhou/core/"), expected("hangzhou", Some("core")));
        assert_eq!(
            read("r.example:5000/core/team"),
            expected("r.example:5000", Some("core/team"))
        );
        assert_eq!(stack_destination("/core").unwrap_err().code(), "USAGE");
        assert_eq!(
            stack_destination("hangzhou/Core").unwrap_err().code(),
            "INVALID_REFERENCE"
        );
    }

    #[test]
    fn a_destination_is_a_host_and_what_stands_before_every_repository() {
        let read = |text: &str| {
            let (host, path) = destination(text).unwrap();
            (host.to_string(), path.map(|path| path.to_string()))
        };
        let expected = |host: &str, path: Option<&str>| (host.to_owned(), path.map(str::to_owned));
        assert_eq!(read("r.example/a/b"), expected("r.example", Some("a/b")));
        assert_eq!(read("r.example:5000/a/"), expected("r.example:5000", Some("a")));
        assert_eq!(read("localhost:5000"), expected("localhost:5000", None));
        assert_eq!(read("docker.io/team"), expected("docker.io", Some("team")));
        for text in ["r.example/a:v1", "r.example/UPPER", "https://r.example/a", ""] {
            let failure = destination(text).unwrap_err();
            assert_eq!(
                (failure.code(), failure.exit()),
                ("INVALID_REFERENCE", Exit::Input),
                "{text}"
            );
        }
    }
}
