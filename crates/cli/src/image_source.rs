//! The sources of `copy`: a registry reference, a layout with `oci:`, an archive with `oci-archive:` or `docker-archive:`,
//! or either of them with `s3://`.
//!
//! The format of an archive is detected from its content. Both prefixes are accepted for compatibility with other tools, and
//! have the same meaning.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use transship_layout::ObjectStore;
use transship_local::ObjectFolder;
use transship_oci::{Reference, Result};

use crate::bucket::InBucket;
use crate::failure::{Exit, Failure};

/// The source of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImageSource {
    /// A registry.
    Registry(Reference),
    /// An image of an OCI layout in a folder.
    Layout {
        /// The folder.
        folder: PathBuf,
        /// Name or digest in its index.
        reference: Option<String>,
    },
    /// An image of an archive in a file.
    Archive {
        /// The prefix that was used.
        transport: &'static str,
        /// The file.
        file: PathBuf,
        /// Name or digest in its index.
        reference: Option<String>,
    },
    /// An image of an OCI layout or an archive in a bucket.
    Bucket {
        /// Key prefix of the layout, or key of the archive.
        place: InBucket,
        /// Name or digest in its index.
        reference: Option<String>,
    },
}

impl ImageSource {
    /// Parses `text`. It checks the disk to separate a folder's name from the reference after it.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        Self::parse_with(text, Path::is_dir, Path::is_file)
    }

    fn parse_with(
        text: &str,
        is_folder: impl Fn(&Path) -> bool,
        is_file: impl Fn(&Path) -> bool,
    ) -> Result<Self, Failure> {
        if let Some(layout) = text.strip_prefix("oci:") {
            return layout_of(layout, is_folder);
        }
        if let Some(named) = InBucket::parse_with_reference(text) {
            return named.map(|(place, reference)| Self::Bucket { place, reference });
        }
        let named = |transport| Some((transport, text.strip_prefix(transport)?.strip_prefix(':')?));
        match ["oci-archive", "docker-archive"].into_iter().find_map(named) {
            Some((transport, archive)) => archive_of(transport, archive, is_file),
            None => reference(text).map(Self::Registry),
        }
    }
}

/// The store that contains a file, and the file's key. A symbolic link is followed, because the user named it explicitly.
pub(crate) fn file_in_store(file: &Path) -> Result<(Arc<dyn ObjectStore>, String), Failure> {
    let refuse = |why: &str| Failure::new(Exit::Input, "OBJECT_UNREADABLE", format!("{}: {why}", file.display()));
    let whole = file.canonicalize().map_err(|error| refuse(&error.to_string()))?;
    let name = whole.file_name().and_then(|name| name.to_str());
    let (Some(folder), Some(name)) = (whole.parent(), name) else {
        return Err(refuse("its name is not UTF-8"));
    };
    let store = ObjectFolder::open(folder).map_err(|error| Failure::of(Exit::Input, &error))?;
    Ok((Arc::new(store), name.to_owned()))
}

/// A registry reference of the command line.
pub(crate) fn reference(text: &str) -> Result<Reference, Failure> {
    let text = text.strip_prefix("docker://").unwrap_or(text);
    text.parse()
        .map_err(|error: transship_oci::Error| Failure::of(Exit::Input, &error))
}

fn layout_of(text: &str, is_folder: impl Fn(&Path) -> bool) -> Result<ImageSource, Failure> {
    let Some((folder, reference)) = split(text, is_folder) else {
        let sentence =
            format!("{text:?} does not start with an existing folder: expected oci:DIR or oci:DIR:REFERENCE");
        return Err(Failure::new(Exit::Input, "LAYOUT_INVALID", sentence));
    };
    Ok(ImageSource::Layout { folder, reference })
}

fn archive_of(transport: &'static str, text: &str, is_file: impl Fn(&Path) -> bool) -> Result<ImageSource, Failure> {
    let Some((file, reference)) = split(text, is_file) else {
        let sentence = format!(
            "{text:?} does not start with an existing file: expected {transport}:FILE or {transport}:FILE:REFERENCE"
        );
        return Err(Failure::new(Exit::Input, "ARCHIVE_INVALID", sentence));
    };
    Ok(ImageSource::Archive {
        transport,
        file,
        reference,
    })
}

/// `PATH[:ref]`: both may contain colons, so the longest prefix that exists is the path.
fn split(text: &str, is_there: impl Fn(&Path) -> bool) -> Option<(PathBuf, Option<String>)> {
    let colons = text.match_indices(':').map(|(at, _)| at);
    let mut ends: Vec<usize> = colons.chain([text.len()]).collect();
    ends.reverse();
    let end = ends
        .into_iter()
        .find(|end| *end > 0 && is_there(Path::new(&text[..*end])))?;
    let reference = text[end..].strip_prefix(':').filter(|reference| !reference.is_empty());
    Some((text[..end].into(), reference.map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(text: &str, folders: &[&str]) -> Option<(String, Option<String>)> {
        let is_folder = |path: &Path| folders.iter().any(|folder| Path::new(folder) == path);
        match ImageSource::parse_with(text, is_folder, |_| false) {
            Ok(ImageSource::Layout { folder, reference }) => Some((folder.display().to_string(), reference)),
            Ok(other) => panic!("{other:?} is not a layout"),
            Err(failure) => {
                assert_eq!((failure.code(), failure.exit()), ("LAYOUT_INVALID", Exit::Input));
                None
            }
        }
    }

    #[test]
    fn the_longest_folder_is_the_layout() {
        let found = |folder: &str, reference: Option<&str>| Some((folder.to_owned(), reference.map(str::to_owned)));
        assert_eq!(layout("oci:/x/app", &["/x/app"]), found("/x/app", None));
        assert_eq!(layout("oci:/x/app:v1", &["/x/app"]), found("/x/app", Some("v1")));
        assert_eq!(layout("oci:/x/app:", &["/x/app"]), found("/x/app", None));
        assert_eq!(layout("oci:C:app:v1", &["C", "C:app"]), found("C:app", Some("v1")));
        assert_eq!(
            layout("oci:app:docker.io/library/nginx:1", &["app"]),
            found("app", Some("docker.io/library/nginx:1"))
        );
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(
            layout(&format!("oci:app:{digest}"), &["app"]),
            found("app", Some(&digest))
        );
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        assert_eq!(layout("oci:", &[]), None);
        assert_eq!(layout("oci::v1", &[]), None);
        assert_eq!(layout("oci:nowhere:v1", &["elsewhere"]), None);
    }

    #[test]
    fn the_longest_file_is_the_archive() {
        let is_file = |path: &Path| ["a.tar", "a.tar:b"].iter().any(|file| Path::new(file) == path);
        for (text, expected) in [
            ("oci-archive:a.tar", ("oci-archive", "a.tar", None)),
            ("oci-archive:a.tar:v1", ("oci-archive", "a.tar", Some("v1"))),
            ("docker-archive:a.tar:b", ("docker-archive", "a.tar:b", None)),
            (
                "docker-archive:a.tar:docker.io/library/nginx:1",
                ("docker-archive", "a.tar", Some("docker.io/library/nginx:1")),
            ),
        ] {
            let (transport, file, reference) = expected;
            let expected = ImageSource::Archive {
                transport,
                file: file.into(),
                reference: reference.map(str::to_owned),
            };
            assert_eq!(ImageSource::parse_with(text, |_| false, is_file).unwrap(), expected);
        }
    }

    #[test]
    fn other_sources_are_refused_under_their_own_codes() {
        for (text, code) in [
            ("s3:///prefix:v1", "USAGE"),
            ("oci-archive:/nowhere/a.tar", "ARCHIVE_INVALID"),
            ("docker-archive:", "ARCHIVE_INVALID"),
            ("docker-archive::v1", "ARCHIVE_INVALID"),
            ("https://r.example/a", "INVALID_REFERENCE"),
            ("127.0.0.1:1/UPPER:v1", "INVALID_REFERENCE"),
        ] {
            let failure = ImageSource::parse(text).unwrap_err();
            assert_eq!((failure.code(), failure.exit()), (code, Exit::Input), "{text}");
        }
    }
}
