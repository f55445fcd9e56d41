//! Two hundred images in twenty sources: what a registry of some years looks like, with small blobs.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Layout, Named};
use crate::Image;
use crate::images::Content;
use crate::random::Random;

/// Layouts as folders.
const FOLDERS: usize = 18;
/// Images in each of these.
const IN_FOLDER: usize = 6;
/// Images in each of the two archives.
const IN_ARCHIVE: usize = 46;
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What repositories hold: by their names the digests of their references.
pub type Expected = BTreeMap<String, BTreeMap<String, String>>;

/// Sources by the repositories they become.
#[derive(Debug, Clone)]
pub struct Corpus {
    folders: BTreeMap<String, Layout>,
    archives: BTreeMap<String, Layout>,
}

impl Corpus {
    /// 18 layouts, a plain archive and one by gzip. Layers are shared within and between them.
    pub fn two_hundred(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let base: Vec<Content> = [9_000, 2_000]
            .map(|size| Content::new(LAYER, random.bytes(size)))
            .to_vec();
        let mut layout = |number: usize, images: usize| -> Layout {
            (0..images).fold(Layout::default(), |layout, at| {
                let (named, image) = entry(number, at, &base, &layout, random.next());
                layout.with(named, image)
            })
        };
        let folders = (0..FOLDERS)
            .map(|number| (name(number), layout(number, IN_FOLDER)))
            .collect();
        let archives = (0..2).map(|number| (format!("packed/app{number}"), layout(FOLDERS + number, IN_ARCHIVE)));
        Self {
            archives: archives.collect(),
            folders,
        }
    }

    /// How many images there are.
    pub fn images(&self) -> usize {
        self.layouts().map(|(_, layout)| layout.images().count()).sum()
    }

    /// How many tasks they become: a referrer comes along with its subject.
    pub fn tasks(&self) -> usize {
        self.images() - self.referrers("").len()
    }

    /// The objects below `prefix`.
    pub fn objects(&self, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        let mut objects = BTreeMap::new();
        for (path, layout) in &self.folders {
            for (file, bytes) in layout.files() {
                objects.insert(format!("{prefix}{path}/{file}"), bytes);
            }
        }
        for ((path, layout), (suffix, options)) in self
            .archives
            .iter()
            .zip([("tar", [].as_slice()), ("tar.gz", &["--gzip"])])
        {
            objects.insert(format!("{prefix}{path}.{suffix}"), layout.archive(options));
        }
        objects
    }

    /// What the repositories below `namespace` hold once all is imported.
    pub fn expected(&self, namespace: &str) -> Expected {
        self.layouts()
            .map(|(path, layout)| (format!("{namespace}/{path}"), layout.expected()))
            .collect()
    }

    /// Each referrer with its repository below `namespace` and its subject: repository, subject, referrer.
    pub fn referrers(&self, namespace: &str) -> Vec<[String; 3]> {
        let of_layout = |(path, layout): (&String, &Layout)| -> Vec<[String; 3]> {
            let of_image = |image: &Image| {
                let manifest: serde_json::Value = serde_json::from_slice(&image.root().bytes).ok()?;
                let subject = manifest["subject"]["digest"].as_str()?.to_owned();
                Some([format!("{namespace}/{path}"), subject, image.root().digest.clone()])
            };
            layout.images().filter_map(of_image).collect()
        };
        self.layouts().flat_map(of_layout).collect()
    }

    fn layouts(&self) -> impl Iterator<Item = (&String, &Layout)> {
        self.folders.iter().chain(&self.archives)
    }
}

fn name(number: usize) -> String {
    match number % 3 {
        0 => format!("app{number}"),
        1 => format!("team/app{number}"),
        _ => format!("team/deep/er/app{number}"),
    }
}

/// One image of a layout: most are single ones that differ in one manifest only, so that the emulator is not asked for more
/// objects than it must.
fn entry(layout_number: usize, at: usize, base: &[Content], before: &Layout, seed: u64) -> (Named, Image) {
    let single = |more: Vec<Content>| {
        let layers = base.iter().cloned().chain(more).collect();
        Image::of_layers("amd64", layers, &json!({ "number": format!("{layout_number}-{at}") }))
    };
    let tag = Named::tag(&format!("v{at}"));
    match (at, layout_number % 3) {
        (1, 0) => (tag, platforms(base, seed)),
        (1, 1) => (tag, Image::chart(seed)),
        (1, _) => (tag, single(vec![Content::new(LAYER, Random::new(seed).bytes(500))])),
        (2, _) => (Named::Nothing, single(Vec::new())),
        (3, _) => (
            Named::Reference(format!("registry.example:5000/old/app:v{at}")),
            single(Vec::new()),
        ),
        (4, _) => (
            Named::Containerd(format!("docker.io/library/app:v{at}")),
            single(Vec::new()),
        ),
        // Of the first, which is there by now.
        (5, 0 | 2) => (
            Named::Nothing,
            Image::referrer(seed, before.images().next().expect("it is not the first").root()),
        ),
        _ => (tag, single(Vec::new())),
    }
}

fn platforms(base: &[Content], seed: u64) -> Image {
    let child = |architecture| {
        let image = Image::of_layers(architecture, base.to_vec(), &json!({ "seed": seed.to_string() }));
        (image, Some(architecture))
    };
    Image::index_of(vec![child("amd64"), child("arm64")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_two_hundred_images_in_twenty_sources() {
        let corpus = Corpus::two_hundred(1);
        assert_eq!(corpus.images(), 200);
        assert_eq!(corpus.layouts().count(), 20);
        let expected = corpus.expected("core");
        assert_eq!(expected.values().map(BTreeMap::len).sum::<usize>(), 200);
        assert!(corpus.referrers("core").len() > 10);
        let archives = corpus.objects("a/").into_keys().filter(|key| key.contains(".tar"));
        assert_eq!(
            archives.collect::<Vec<_>>(),
            ["a/packed/app0.tar", "a/packed/app1.tar.gz"]
        );
    }
}
