//! OCI layouts of many images, as the objects a bucket holds or as archives; and corpora of them.
//!
//! Here because the tests say themselves what a layout is (image-spec, image-layout.md), and what must become of it:
//! [`Layout::expected`] is what a repository holds once it is imported.

mod corpus;
mod upload;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::Image;

pub use corpus::{Corpus, Expected};
pub use upload::{Objects, events_of};

/// Where an entry of an index keeps its name.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Where containerd does.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Images that share their blobs.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    entries: Vec<(Named, Image)>,
}

/// How an image is named in `index.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// Not at all: it is known by its digest.
    Nothing,
    /// By this, in the field of the specification.
    Reference(String),
    /// By this, in the field of containerd.
    Containerd(String),
}

impl Named {
    /// A tag in the field of the specification.
    pub fn tag(tag: &str) -> Self {
        Self::Reference(tag.to_owned())
    }

    /// The tag it has at a destination: what follows the last colon of its last component, or all of it.
    fn tag_part(&self) -> Option<&str> {
        let (Self::Reference(name) | Self::Containerd(name)) = self else {
            return None;
        };
        let last = name.rsplit('/').next().unwrap_or(name);
        Some(last.rsplit(':').next().unwrap_or(last))
    }
}

impl Layout {
    /// One image under one tag.
    pub fn of(tag: &str, image: Image) -> Self {
        Self::default().with(Named::tag(tag), image)
    }

    /// The same with one more image.
    #[must_use]
    pub fn with(mut self, named: Named, image: Image) -> Self {
        self.entries.push((named, image));
        self
    }

    /// Its images.
    pub fn images(&self) -> impl Iterator<Item = &Image> {
        self.entries.iter().map(|(_, image)| image)
    }

    /// Its files by their paths.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        files.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
        let entries: Vec<Value> = self.entries.iter().map(|(named, image)| entry(named, image)).collect();
        let index = json!({ "schemaVersion": 2, "manifests": entries });
        files.insert("index.json".to_owned(), index.to_string().into_bytes());
        for content in self
            .images()
            .flat_map(|image| image.blobs.iter().chain(&image.manifests))
        {
            let path = format!("blobs/{}", content.digest.replace(':', "/"));
            files.insert(path, content.bytes.clone());
        }
        files
    }

    /// What a repository holds after the import: the digest of each tag, or of itself.
    pub fn expected(&self) -> BTreeMap<String, String> {
        let of_entry = |(named, image): &(Named, Image)| {
            let digest = image.root().digest.clone();
            let reference = named.tag_part().map_or_else(|| digest.clone(), str::to_owned);
            (reference, digest)
        };
        self.entries.iter().map(of_entry).collect()
    }

    /// It as an archive, made by `tar` with these options, such as `--gzip`.
    pub fn archive(&self, options: &[&str]) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        self.write(folder.path());
        let made = Command::new("tar")
            .arg("--create")
            .args(options)
            .arg("--directory")
            .arg(folder.path())
            .args(["oci-layout", "index.json", "blobs"])
            .output()
            .expect("tar can be started");
        assert!(made.status.success(), "tar: {}", String::from_utf8_lossy(&made.stderr));
        made.stdout
    }

    /// Writes it into a folder.
    pub fn write(&self, folder: &Path) {
        for (path, bytes) in self.files() {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("it lies in the folder")).expect("folders can be made");
            fs::write(path, bytes).expect("a file can be written");
        }
    }
}

fn entry(named: &Named, image: &Image) -> Value {
    let mut entry = image.root().descriptor();
    match named {
        Named::Nothing => {}
        Named::Reference(name) => entry["annotations"] = json!({ REF_NAME: name }),
        Named::Containerd(name) => entry["annotations"] = json!({ CONTAINERD_NAME: name }),
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_tag_that_follows_its_last_colon() {
        let part = |name: &str| Named::tag(name).tag_part().unwrap().to_owned();
        assert_eq!(part("v1"), "v1");
        assert_eq!(part("registry.example:5000/team/app:v2"), "v2");
        assert_eq!(Named::Nothing.tag_part(), None);
    }

    #[test]
    fn what_images_share_is_there_once() {
        let image = Image::single(1, &[10, 20]);
        let layout = Layout::of("v1", image.clone()).with(Named::tag("v2"), image.clone());
        assert_eq!(layout.files().len(), 2 + image.blobs.len() + 1);
        assert_eq!(layout.expected().len(), 2);
    }
}
