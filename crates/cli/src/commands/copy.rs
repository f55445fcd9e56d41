//! `transship copy`: copies one image.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use transship_copy::{NoReplicas, Report, Request, Source};
use transship_layout::{Archive, Found, FoundKind, Images as _, Layout, ObjectStore};
use transship_local::{DockerConfig, ObjectFolder};
use transship_oci::{Digest, Reference, Result, Target};
use transship_registry::RemoteRepository;

use crate::copy_report::{CopyReport, Requests};
use crate::failure::{Exit, Failure};
use crate::image_source::{ImageSource, file_in_store, reference};
use crate::locations::RememberedLocations;
use crate::logging;
use crate::output::Form;
use crate::policy::Policy;
use crate::progress::Shown;
use crate::registries::Registries;
use crate::units;

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
    /// Copy only this platform (not supported yet)
    #[arg(long, value_name = "OS/ARCH")]
    platform: Vec<String>,
    /// Folder that stores blob locations; by default the user's cache folder
    #[arg(long, value_name = "DIR", env = "TRANSSHIP_DATA", hide_env_values = true)]
    data: Option<PathBuf>,
}

/// An opened source of one image.
struct Opened {
    source: Box<dyn Source>,
    remote: Option<RemoteRepository>,
    from: Target,
    name: String,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    let begin = Instant::now();
    logging::begin_command();
    if !arguments.platform.is_empty() {
        let sentence = "--platform is not supported by this version: omit it to copy every platform";
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
        options: arguments.policy.options(),
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

async fn open(source: ImageSource, registries: &mut Registries) -> Result<Opened, Failure> {
    let input = |error: transship_oci::Error| Failure::of(Exit::Input, &error);
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
            let store = Arc::new(ObjectFolder::open(&folder).map_err(input)?);
            let layout = Layout::open(store, "").await.map_err(input)?;
            let digest = layout.resolve(reference.as_deref())?.descriptor.digest.clone();
            Ok(Opened {
                source: Box::new(layout),
                remote: None,
                from: Target::Digest(digest),
                name: named("oci", &folder, reference),
            })
        }
        ImageSource::Archive {
            transport,
            file,
            reference,
        } => {
            let (store, key) = file_in_store(&file)?;
            let archive = Archive::open(store, &key).await.map_err(input)?;
            let from = archive.target_of(reference.as_deref()).await?;
            Ok(Opened {
                source: Box::new(archive),
                remote: None,
                from,
                name: named(transport, &file, reference),
            })
        }
        ImageSource::Bucket { place, reference } => {
            let store = place.store().await?;
            let name = [Some(format!("s3://{}/{}", place.bucket, place.key)), reference.clone()];
            let (source, from) = open_in_bucket(store, &place.key, reference.as_deref()).await?;
            Ok(Opened {
                source,
                remote: None,
                from,
                name: name.into_iter().flatten().collect::<Vec<_>>().join(":"),
            })
        }
    }
}

/// The archive with the key `key`, or the layout below that prefix.
async fn open_in_bucket(
    store: Arc<dyn ObjectStore>,
    key: &str,
    reference: Option<&str>,
) -> Result<(Box<dyn Source>, Target), Failure> {
    let input = |error: transship_oci::Error| Failure::of(Exit::Input, &error);
    if is_archive(store.as_ref(), key).await {
        let archive = Archive::open(store, key).await.map_err(input)?;
        let from = archive.target_of(reference).await?;
        return Ok((Box::new(archive), from));
    }
    let prefix = match key.trim_end_matches('/') {
        "" => String::new(),
        folder => format!("{folder}/"),
    };
    let layout = Layout::open(store, &prefix).await.map_err(input)?;
    let digest = layout.resolve(reference)?.descriptor.digest.clone();
    Ok((Box::new(layout), Target::Digest(digest)))
}

/// True for a key with the extension of an archive, and for an existing object of any other name. If access is denied, the
/// error is reported when the source is opened.
async fn is_archive(store: &dyn ObjectStore, key: &str) -> bool {
    if key.is_empty() || key.ends_with('/') {
        return false;
    }
    let has_name = Found::of_key("", key).is_some_and(|found| found.kind == FoundKind::Archive);
    has_name || store.head(key).await.is_ok_and(|object| object.is_some())
}

/// The source in the syntax of the command line.
fn named(transport: &str, path: &Path, reference: Option<String>) -> String {
    let name = [Some(format!("{transport}:{}", path.display())), reference];
    name.into_iter().flatten().collect::<Vec<_>>().join(":")
}

/// Checks that a digest in the destination is the digest of the source image.
async fn pinned(opened: &Opened, wanted: &Digest) -> Result<Target, Failure> {
    let found = match &opened.from {
        Target::Digest(digest) => Some(digest.clone()),
        tag @ Target::Tag(_) => opened.source.manifest_head(tag).await?.map(|found| found.digest),
    };
    match found {
        Some(found) if found != *wanted => Err(Failure::usage(format!(
            "the destination has the digest {wanted} but the source has {found}: use the source's digest or a tag"
        ))),
        Some(_) => Ok(Target::Digest(wanted.clone())),
        None => Ok(opened.from.clone()),
    }
}

/// Logs notes of a successful copy.
fn warn(report: &Report) {
    if !report.kept_tags.is_empty() {
        let tags = report.kept_tags.join(", ");
        tracing::warn!("SIGNATURE_TAG_KEPT: the destination already has {tags}, which was kept");
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
