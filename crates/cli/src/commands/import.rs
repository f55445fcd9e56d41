//! `transship import`: every image of a layout, an archive, a storage tree, or a folder of them, into one registry.
//!
//! What must hold: one image that cannot be brought is told with its code and leaves the others alone; what is there
//! already is not moved again, so a run that was broken off is simply repeated.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use jiff::Timestamp;
use transship_engine::{Arrivals, Import};
use transship_layout::{Found, FoundKind, ObjectStore};
use transship_local::{DockerConfig, ObjectFolder};
use transship_oci::{Reference, RegistryHost, Repository};

use crate::crossing::Crossing;
use crate::failure::{Exit, Failure};
use crate::image_source::{BUCKET, file_in_store, no_buckets, reference};
use crate::import_report::ImportReport;
use crate::locations::RememberedLocations;
use crate::logging;
use crate::output::Form;
use crate::policy::Policy;
use crate::progress::ImagesShown;
use crate::registries::Registries;

/// The arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  transship import ./images --to registry.example.com/mirror\n  transship import ./app.tar --to localhost:5000/app --json\n\nA layout or archive at ./images/team/app goes to mirror/team/app, under the tag part of its name, or by digest\nonly if it has none. Run it again after a failure: what is there is not moved again."
)]
pub(crate) struct Arguments {
    /// A folder, searched for layouts, archives and storage trees, or one archive
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where everything goes
    #[arg(long, value_name = "HOST/PATH")]
    to: String,
    #[command(flatten)]
    policy: Policy,
    /// Where blob locations are remembered, by default the user's cache folder
    #[arg(long, value_name = "DIR", env = "TRANSSHIP_DATA", hide_env_values = true)]
    data: Option<PathBuf>,
}

/// Imports.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    let begin = Instant::now();
    logging::begin_command();
    let source = Searched::parse(&arguments.source)?;
    let (host, path) = destination(&arguments.to)?;
    let import = Import {
        name: "import".to_owned(),
        registry: host.to_string(),
        path,
        existing: arguments.policy.existing(),
        referrers: arguments.policy.referrers(),
    };
    let client = Registries::new(Arc::new(DockerConfig::load()?)).client(&host)?;
    let now = Timestamp::now();
    let shown = Arc::new(ImagesShown::suitable(form));
    let crossing = Crossing {
        execution: import.execution(&now.to_string(), now),
        store: Arc::clone(&source.store),
        import,
        options: arguments.policy.options(),
        locations: RememberedLocations::new(arguments.data, client.host().clone()),
        client,
        arrivals: Arrivals::default(),
        shown: Arc::clone(&shown),
    };
    let report = crossing.all(source.archive).await;
    shown.end();
    let mut report = report?;
    report.elapsed_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    form.print(&report, ImportReport::text)?;
    report.end(form)
}

/// Where sources are looked for.
struct Searched {
    store: Arc<dyn ObjectStore>,
    /// The one archive that was named; [`None`]: everything below the folder.
    archive: Option<Found>,
}

impl Searched {
    fn parse(text: &str) -> Result<Self, Failure> {
        if text.starts_with(BUCKET) {
            return Err(no_buckets(text));
        }
        let path = Path::new(text);
        if path.is_file() {
            let (store, key) = file_in_store(path)?;
            let archive = Found {
                kind: FoundKind::Archive,
                key,
                path: String::new(),
            };
            return Ok(Self {
                store,
                archive: Some(archive),
            });
        }
        let store = ObjectFolder::open(path).map_err(|error| Failure::of(Exit::Input, &error))?;
        Ok(Self {
            store: Arc::new(store),
            archive: None,
        })
    }
}

/// `HOST/PATH`, read as the name of something below it: so a path of one part is not taken for an image of Docker Hub's own.
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
