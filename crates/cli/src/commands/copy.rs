//! `transship copy`: one image, now, from where it is to where it is wanted.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, ValueEnum};
use transship_copy::{NoReplicas, Options, Report, Request, Source};
use transship_layout::Layout;
use transship_local::{DockerConfig, ObjectFolder};
use transship_oci::{Digest, Reference, Target};
use transship_registry::RemoteRepository;

use crate::copy_report::{CopyReport, Requests};
use crate::failure::{Exit, Failure};
use crate::image_source::{ImageSource, reference};
use crate::locations::RememberedLocations;
use crate::logging;
use crate::output::Form;
use crate::progress::Shown;
use crate::registries::Registries;
use crate::units;

/// The arguments.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  transship copy docker.io/library/alpine:3.20 registry.example.com/base/alpine:3.20\n  transship copy oci:./build/image:v1 localhost:5000/app:v1 --json\n\nLogins are those of docker login, podman login and skopeo login."
)]
pub(crate) struct Arguments {
    /// HOST/REPOSITORY[:TAG|@DIGEST], or oci:DIR[:REFERENCE]
    #[arg(value_name = "SOURCE")]
    source: String,
    /// HOST/REPOSITORY[:TAG|@DIGEST]
    #[arg(value_name = "DESTINATION")]
    destination: String,
    /// What happens if the destination tag names another image
    #[arg(long, value_enum, default_value_t = Existing::Overwrite)]
    existing: Existing,
    /// What happens to signatures, SBOMs and other referrers
    #[arg(long, value_enum, default_value_t = Referrers::Include)]
    referrers: Referrers,
    /// Only this platform (not in this version)
    #[arg(long, value_name = "OS/ARCH")]
    platform: Vec<String>,
    /// Where blob locations are remembered, by default the user's cache folder
    #[arg(long, value_name = "DIR", env = "TRANSSHIP_DATA", hide_env_values = true)]
    data: Option<PathBuf>,
}

/// `--existing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Existing {
    /// Replace what we wrote; this command remembers none, so it is as keep
    Follow,
    /// Never replace
    Keep,
    /// Replace
    Overwrite,
    /// Replace, after the old image got a tag of its own
    Backup,
}

/// `--referrers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Referrers {
    /// They go with the image
    Include,
    /// They stay
    Exclude,
    /// They go with it, and there must be one
    Require,
}

impl Arguments {
    fn options(&self) -> Options {
        Options {
            existing: match self.existing {
                Existing::Follow => transship_copy::Existing::Follow,
                Existing::Keep => transship_copy::Existing::Keep,
                Existing::Overwrite => transship_copy::Existing::Overwrite,
                Existing::Backup => transship_copy::Existing::Backup,
            },
            referrers: match self.referrers {
                Referrers::Include => transship_copy::Referrers::Include,
                Referrers::Exclude => transship_copy::Referrers::Exclude,
                Referrers::Require => transship_copy::Referrers::Require,
            },
            ..Options::default()
        }
    }
}

/// Where an image is read, opened.
struct Opened {
    source: Box<dyn Source>,
    remote: Option<RemoteRepository>,
    from: Target,
    name: String,
}

/// Copies.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    let begin = Instant::now();
    logging::begin_command();
    if !arguments.platform.is_empty() {
        let sentence = "--platform is not supported by this version: leave it out to copy every platform";
        return Err(Failure::new(Exit::Input, "NOT_YET_SUPPORTED", sentence));
    }
    let source = ImageSource::parse(&arguments.source)?;
    let (destination, to) = destination(&arguments.destination)?;
    let mut registries = Registries::new(Arc::new(DockerConfig::load()?));
    let mut opened = open(source, &mut registries).await?;
    let client = registries.client(&destination.host)?;
    let remote = client.repository(destination.repository.clone()).for_writing();
    if let Target::Digest(wanted) = &to {
        opened.from = pinned(&opened, wanted).await?;
    }
    let locations = RememberedLocations::new(arguments.data.clone(), client.host().clone());
    let shown = Shown::suitable(form);
    let report = transship_copy::copy(Request {
        source: opened.source.as_ref(),
        from: opened.from.clone(),
        destination: &remote,
        to,
        options: arguments.options(),
        locations: &locations,
        replicas: &NoReplicas,
        lease: None,
        continuations: None,
        slot: None,
        progress: shown.listener(),
    })
    .await;
    shown.end();
    let report = report?;
    warn(&report);
    let report = CopyReport {
        source: opened.name,
        destination: destination.to_string(),
        digest: report.digest,
        state: report.state,
        manifests: report.manifests,
        blobs: report.blobs,
        bytes: report.bytes,
        requests: Requests {
            source: opened.remote.as_ref().map_or(0, RemoteRepository::requests),
            destination: remote.requests(),
        },
        elapsed_ms: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    form.print(&report, CopyReport::text)
}

/// The destination with its tag, and what is written there.
fn destination(text: &str) -> Result<(Reference, Target), Failure> {
    let mut destination = reference(text)?;
    if destination.tag.is_some() && destination.digest.is_some() {
        return Err(Failure::usage(
            "the destination is named by a tag or by a digest, not both",
        ));
    }
    let to = destination.target().map_err(|error| Failure::of(Exit::Input, &error))?;
    if let Target::Tag(tag) = &to {
        destination.tag = Some(tag.clone());
    }
    Ok((destination, to))
}

async fn open(source: ImageSource, registries: &mut Registries) -> Result<Opened, Failure> {
    match source {
        ImageSource::Registry(reference) => {
            let remote = registries
                .client(&reference.host)?
                .repository(reference.repository.clone());
            let from = reference.target().map_err(|error| Failure::of(Exit::Input, &error))?;
            Ok(Opened {
                source: Box::new(remote.clone()),
                remote: Some(remote),
                from,
                name: reference.to_string(),
            })
        }
        ImageSource::Layout { folder, reference } => {
            let input = |error: transship_layout::Error| Failure::of(Exit::Input, &error);
            let store = Arc::new(ObjectFolder::open(&folder).map_err(input)?);
            let layout = Layout::open(store, "").await.map_err(input)?;
            let digest = layout.resolve(reference.as_deref())?.descriptor.digest.clone();
            let name = [Some(format!("oci:{}", folder.display())), reference];
            Ok(Opened {
                source: Box::new(layout),
                remote: None,
                from: Target::Digest(digest),
                name: name.into_iter().flatten().collect::<Vec<_>>().join(":"),
            })
        }
    }
}

/// The source by the digest that the destination is to be called by: it must be the image's own.
async fn pinned(opened: &Opened, wanted: &Digest) -> Result<Target, Failure> {
    let found = match &opened.from {
        Target::Digest(digest) => Some(digest.clone()),
        tag @ Target::Tag(_) => opened.source.manifest_head(tag).await?.map(|found| found.digest),
    };
    match found {
        Some(found) if found != *wanted => Err(Failure::usage(format!(
            "the destination is named {wanted} and the source is {found}: a digest can only name its own image"
        ))),
        Some(_) => Ok(Target::Digest(wanted.clone())),
        None => Ok(opened.from.clone()),
    }
}

/// What went well and is worth knowing.
fn warn(report: &Report) {
    if !report.kept_tags.is_empty() {
        let tags = report.kept_tags.join(", ");
        tracing::warn!("SIGNATURE_TAG_KEPT: the destination has its own {tags}; it was kept");
    }
    if report.foreign_layers > 0 {
        let layers = units::count(report.foreign_layers, "layer");
        tracing::warn!("FOREIGN_LAYER_SKIPPED: {layers} that may not be distributed stay at their urls");
    }
}

#[cfg(test)]
mod tests {
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
