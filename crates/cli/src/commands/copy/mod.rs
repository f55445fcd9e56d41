//! `transship copy`: copies one image.

mod source;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use transship_copy::{CompareRequest, Extent, NoReplicas, Options, Presence, Report, Request, compare};
use transship_engine::Snapshot;
use transship_local::DockerConfig;
use transship_oci::{Code, Existing, Platform, Platforms, Reference, Referrers, Target};
use transship_registry::RemoteRepository;

use super::image_end::{End, of_document};
use crate::copy_report::{CopyReport, Requests};
use crate::failure::{Exit, Failure};
use crate::image_source::{ImageSource, reference};
use crate::locations::RememberedLocations;
use crate::logging;
use crate::output::Form;
use crate::plan_report::{PlanReport, PlanRow};
use crate::policy::Policy;
use crate::progress::Shown;
use crate::registries::Registries;
use crate::units;
use source::{Opened, open, pinned};

/// Arguments of `transship copy`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  transship copy docker.io/library/alpine:3.20 registry.example.com/base/alpine:3.20\n  transship copy oci:./build/image:v1 localhost:5000/app:v1 --json\n\nCredentials are those of docker login, podman login and skopeo login."
)]
pub(crate) struct Arguments {
    /// HOST/REPOSITORY[:TAG|@DIGEST], oci:DIR[:REFERENCE], oci-archive:FILE[:REFERENCE], docker-archive:FILE[:REFERENCE],
    /// `s3://BUCKET/PREFIX[:REFERENCE]`
    #[arg(value_name = "SOURCE")]
    source: String,
    /// HOST/REPOSITORY[:TAG|@DIGEST]
    #[arg(value_name = "DESTINATION")]
    destination: String,
    #[command(flatten)]
    policy: Policy,
    /// Show what would be copied, without writing anything
    #[arg(long)]
    dry_run: bool,
    /// Copy only this platform. One becomes the tag itself; several (separated by commas, or the option again) become an index
    /// of only these, with a digest of its own
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',')]
    platform: Vec<Platform>,
    /// Folder that stores blob locations; by default the user's cache folder
    #[arg(long, value_name = "DIR", env = "TRANSSHIP_DATA", hide_env_values = true)]
    data: Option<PathBuf>,
}

/// Shows what a copy of `source` to `destination` would do: `transship plan SOURCE DESTINATION`.
pub(crate) async fn plan(
    (source, destination): (String, String),
    document: Option<&Snapshot>,
    bandwidth: Option<u64>,
    form: Form,
) -> Result<(), Failure> {
    let arguments = Arguments {
        source,
        destination,
        policy: Policy {
            existing: Existing::Overwrite,
            referrers: Referrers::Include,
        },
        dry_run: true,
        platform: Vec::new(),
        data: None,
    };
    run_with(arguments, document, bandwidth, form).await
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    run_with(arguments, None, None, form).await
}

async fn run_with(
    arguments: Arguments,
    document: Option<&Snapshot>,
    bandwidth: Option<u64>,
    form: Form,
) -> Result<(), Failure> {
    let begin = Instant::now();
    logging::begin_command();
    let named = |text: &str, otherwise: Option<&Target>| {
        let Some(snapshot) = document else { return Ok(None) };
        let image = of_document(&snapshot.document, text, otherwise)?;
        image.map(|image| End::of(snapshot, image)).transpose()
    };
    let mut registries = Registries::new(Arc::new(DockerConfig::load()?));
    let mut opened = match named(&arguments.source, None)? {
        Some(end) => Opened::from(end),
        None => open(ImageSource::parse(&arguments.source)?, &mut registries).await?,
    };
    let End {
        repository: remote,
        target: to,
        shown,
    } = if let Some(end) = named(&arguments.destination, Some(&opened.from))? {
        end
    } else {
        let (destination, target) = destination(&arguments.destination)?;
        End {
            repository: registries
                .client(&destination.host)?
                .repository(destination.repository.clone()),
            target,
            shown: destination.to_string(),
        }
    };
    let remote = remote.for_writing();
    if let Target::Digest(wanted) = &to {
        if !arguments.platform.is_empty() {
            let sentence =
                "--platform needs a tag at the destination, because the digest there is that of the selected platforms";
            return Err(Failure::usage(sentence));
        }
        opened.from = pinned(&opened, wanted).await?;
    }
    let way = Way {
        opened,
        destination: shown,
        locations: RememberedLocations::new(arguments.data.clone(), remote.registry().host().clone()),
        remote,
        to,
        options: arguments.policy.options(Platforms::new(arguments.platform, false)),
    };
    if arguments.dry_run {
        way.plan(bandwidth, form).await
    } else {
        way.copy(begin, form).await
    }
}

/// From where to where, opened.
struct Way {
    opened: Opened,
    destination: String,
    remote: RemoteRepository,
    to: Target,
    locations: RememberedLocations,
    options: Options,
}

impl Way {
    async fn copy(self, begin: Instant, form: Form) -> Result<(), Failure> {
        let shown = Shown::suitable(form);
        let report = transship_copy::copy(Request {
            source: self.opened.source.as_ref(),
            from: self.opened.from.clone(),
            destination: &self.remote,
            to: self.to.clone(),
            options: self.options,
            locations: &self.locations,
            replicas: &NoReplicas,
            lease: None,
            continuations: None,
            budget: None,
            progress: shown.listener(),
        })
        .await;
        shown.end();
        let report = report?;
        warn(&report);
        let report = CopyReport {
            source: self.opened.name,
            destination: self.destination,
            digest: report.digest,
            state: report.state,
            manifests: report.manifests,
            blobs: report.blobs,
            bytes: report.bytes,
            requests: Requests {
                source: self.opened.remote.as_ref().map_or(0, RemoteRepository::requests),
                destination: self.remote.requests(),
            },
            elapsed_ms: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        form.print(&report, CopyReport::text)
    }

    async fn plan(self, bandwidth: Option<u64>, form: Form) -> Result<(), Failure> {
        let comparison = compare(&CompareRequest {
            source: self.opened.source.as_ref(),
            from: self.opened.from.clone(),
            destination: &self.remote,
            to: self.to.clone(),
            options: self.options,
            locations: &self.locations,
            replicas: &NoReplicas,
            digest_tags: None,
            extent: Extent::Everything,
            presence: Presence::Unknown,
        })
        .await;
        let requests = Requests {
            source: self.opened.remote.as_ref().map_or(0, RemoteRepository::requests),
            destination: self.remote.requests(),
        };
        let (source, destination) = (self.opened.name, self.destination);
        let row = match &comparison {
            Ok(comparison) => PlanRow::of(source, destination, comparison, &requests, self.opened.remote.is_some()),
            Err(error) if error.persistence().is_permanent() => PlanRow::refused(source, destination, error, &requests),
            Err(_) => return Ok(comparison.map(drop)?),
        };
        let report = PlanReport::from(vec![row]).with_bandwidth(bandwidth);
        form.print(&report, PlanReport::text)?;
        // A copy of one image is asked for, so that an image without the platforms is an error there.
        let comparison = comparison?;
        match comparison.why_skipped {
            Some(why) => Err(Failure::new(Exit::Failed, Code::PlatformMissing.as_str(), why)),
            None => Ok(()),
        }
    }
}

/// The destination reference, and the target to write there.
fn destination(text: &str) -> Result<(Reference, Target), Failure> {
    let mut destination = reference(text)?;
    if destination.tag.is_some() && destination.digest.is_some() {
        return Err(Failure::usage(
            "the destination has both a tag and a digest: use only one of them",
        ));
    }
    let to = destination.target().map_err(|error| Failure::of(Exit::Input, &error))?;
    if let Target::Tag(tag) = &to {
        destination.tag = Some(tag.clone());
    }
    Ok((destination, to))
}

/// Logs notes of a successful copy.
fn warn(report: &Report) {
    if !report.kept_tags.is_empty() {
        let tags = report.kept_tags.join(", ");
        tracing::warn!("SIGNATURE_TAG_KEPT: the destination already has {tags}, which was kept");
    }
    let missing = report.selection.iter().flat_map(|selection| &selection.missing);
    let missing: Vec<String> = missing.map(ToString::to_string).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        tracing::warn!("PLATFORMS_INCOMPLETE: the image has no {missing}; its other platforms were copied");
    }
    if report.foreign_layers > 0 {
        let layers = units::count(report.foreign_layers, "layer");
        tracing::warn!(
            "FOREIGN_LAYER_SKIPPED: {layers} not copied, because they are non-distributable; clients fetch them from their urls"
        );
    }
}

#[cfg(test)]
mod tests {
    use transship_oci::Digest;

    use super::*;

    #[test]
    fn a_destination_without_a_tag_is_latest() {
        let (reference, to) = destination("r.example/a").unwrap();
        assert_eq!(reference.to_string(), "r.example/a:latest");
        assert_eq!(to, Target::Tag("latest".parse().unwrap()));
    }

    #[test]
    fn a_destination_has_one_name() {
        let text = format!("r.example/a:v1@{}", Digest::sha256(b"x"));
        assert_eq!(destination(&text).unwrap_err().code(), "USAGE");
    }
}
