//! Where `copy` reads an image: a registry, a layout, an archive, or either of them in a bucket.

use std::path::Path;
use std::sync::Arc;

use transship_copy::Source;
use transship_layout::{Archive, Layout, ObjectStore, SourceKind, SourceRef};
use transship_local::ObjectFolder;
use transship_oci::{Digest, Target};
use transship_registry::RemoteRepository;

use crate::commands::image_end::End;
use crate::failure::{Exit, Failure};
use crate::image_source::{ImageSource, file_in_store};
use crate::registries::Registries;

/// An opened source of one image.
pub(super) struct Opened {
    pub(super) source: Box<dyn Source>,
    /// [`None`] for files.
    pub(super) remote: Option<RemoteRepository>,
    pub(super) from: Target,
    /// The source in the syntax of the command line.
    pub(super) name: String,
}

impl From<End> for Opened {
    fn from(end: End) -> Self {
        Self {
            source: Box::new(end.repository.clone()),
            remote: Some(end.repository),
            from: end.target,
            name: end.shown,
        }
    }
}

/// Opens `source` and finds the image it names.
pub(super) async fn open(source: ImageSource, registries: &mut Registries) -> Result<Opened, Failure> {
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
            let (source, from) = archive.find(reference.as_deref()).await?;
            Ok(Opened {
                source,
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
        return Ok(archive.find(reference).await?);
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
    let has_name = SourceRef::of_key("", key).is_some_and(|found| found.kind == SourceKind::Archive);
    has_name || store.head(key).await.is_ok_and(|object| object.is_some())
}

/// The source in the syntax of the command line.
fn named(transport: &str, path: &Path, reference: Option<String>) -> String {
    let name = [Some(format!("{transport}:{}", path.display())), reference];
    name.into_iter().flatten().collect::<Vec<_>>().join(":")
}

/// Checks that a digest in the destination is the digest of the source image.
pub(super) async fn pinned(opened: &Opened, wanted: &Digest) -> Result<Target, Failure> {
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
