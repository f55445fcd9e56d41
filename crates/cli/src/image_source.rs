//! What `copy` may be told to read: a registry reference, or a layout under `oci:`.

use std::path::{Path, PathBuf};

use transship_oci::Reference;

use crate::failure::{Exit, Failure};

/// Where an image is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImageSource {
    /// A registry.
    Registry(Reference),
    /// An OCI image layout in a folder, and which of its images.
    Layout {
        /// The folder.
        folder: PathBuf,
        /// A name or digest that its index knows.
        reference: Option<String>,
    },
}

impl ImageSource {
    /// Reads `text`, looking at the disk to tell a folder's name from what follows it.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        Self::parse_with(text, Path::is_dir)
    }

    fn parse_with(text: &str, is_folder: impl Fn(&Path) -> bool) -> Result<Self, Failure> {
        if let Some(layout) = text.strip_prefix("oci:") {
            return layout_of(layout, is_folder);
        }
        if text.starts_with("s3://") {
            let sentence = format!("{text} lies in a bucket, and this build reads none");
            return Err(Failure::new(Exit::Input, "S3_NOT_BUILT", sentence));
        }
        if let Some(archive) = ["oci-archive:", "docker-archive:"]
            .iter()
            .find(|prefix| text.starts_with(**prefix))
        {
            let sentence =
                format!("{archive} is not read by this version: unpack it into an OCI layout and name that with oci:");
            return Err(Failure::new(Exit::Input, "NOT_YET_SUPPORTED", sentence));
        }
        reference(text).map(Self::Registry)
    }
}

/// A registry reference of the command line.
pub(crate) fn reference(text: &str) -> Result<Reference, Failure> {
    let text = text.strip_prefix("docker://").unwrap_or(text);
    text.parse()
        .map_err(|error: transship_oci::Error| Failure::of(Exit::Input, &error))
}

/// `DIR[:ref]`: both may hold colons, so the longest prefix that is a folder is one.
fn layout_of(text: &str, is_folder: impl Fn(&Path) -> bool) -> Result<ImageSource, Failure> {
    let colons = text.match_indices(':').map(|(at, _)| at);
    let mut ends: Vec<usize> = colons.chain([text.len()]).collect();
    ends.reverse();
    let found = ends.into_iter().find(|end| is_folder(Path::new(&text[..*end])));
    let Some(end) = found.filter(|end| *end > 0) else {
        let sentence = format!("{text:?} does not begin with a folder: write oci:DIR or oci:DIR:REFERENCE");
        return Err(Failure::new(Exit::Input, "LAYOUT_INVALID", sentence));
    };
    let reference = text[end..].strip_prefix(':').filter(|reference| !reference.is_empty());
    Ok(ImageSource::Layout {
        folder: text[..end].into(),
        reference: reference.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(text: &str, folders: &[&str]) -> Option<(String, Option<String>)> {
        let is_folder = |path: &Path| folders.iter().any(|folder| Path::new(folder) == path);
        match ImageSource::parse_with(text, is_folder) {
            Ok(ImageSource::Layout { folder, reference }) => Some((folder.display().to_string(), reference)),
            Ok(ImageSource::Registry(reference)) => panic!("{reference} is no layout"),
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
    fn other_sources_are_refused_under_their_own_codes() {
        for (text, code) in [
            ("s3://bucket/prefix:v1", "S3_NOT_BUILT"),
            ("oci-archive:a.tar", "NOT_YET_SUPPORTED"),
            ("docker-archive:a.tar:v1", "NOT_YET_SUPPORTED"),
            ("https://r.example/a", "INVALID_REFERENCE"),
            ("127.0.0.1:1/UPPER:v1", "INVALID_REFERENCE"),
        ] {
            let failure = ImageSource::parse(text).unwrap_err();
            assert_eq!((failure.code(), failure.exit()), (code, Exit::Input), "{text}");
        }
    }
}
