//! Behaviours of storage trees; one written by a real registry is read in `tests/`.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::Value;
use transship_copy::Source;
use transship_oci::{Digest, Target};

use super::{ROOT, TreeRepository};
use crate::Images;
use crate::counting_store::store_of;
use transship_testkit::layouts::{Files, digest_of, read_image};

/// A tree of one repository `a/b`, below `before`.
pub(crate) struct Tree {
    before: &'static str,
    pub(crate) files: Files,
    pub(crate) links: HashMap<String, Bytes>,
}

impl Tree {
    pub(crate) fn new(before: &'static str) -> Self {
        Self {
            before,
            files: Files::default(),
            links: HashMap::new(),
        }
    }

    fn link(&mut self, path: &str, digest: &str) {
        self.place(&format!("_manifests/{path}/link"), digest);
    }

    /// A file of the repository.
    pub(crate) fn place(&mut self, path: &str, digest: &str) {
        let key = format!("{}{ROOT}repositories/a/b/{path}", self.before);
        self.links.insert(key, Bytes::copy_from_slice(digest.as_bytes()));
    }

    pub(crate) fn revision(&mut self, manifest: &Value) -> Digest {
        let digest = digest_of(manifest);
        self.link(&format!("revisions/sha256/{}", digest.hex()), &digest.to_string());
        digest
    }

    pub(crate) fn tag(&mut self, tag: &str, digest: &Digest) {
        self.link(&format!("tags/{tag}/current"), &digest.to_string());
        self.link(
            &format!("tags/{tag}/index/sha256/{}", digest.hex()),
            &digest.to_string(),
        );
    }

    pub(crate) fn objects(&self) -> HashMap<String, Bytes> {
        let blob = |(key, bytes): (&String, &Bytes)| {
            let hex = key.rsplit('/').next().unwrap();
            let key = format!("{}{ROOT}blobs/sha256/{}/{hex}/data", self.before, &hex[..2]);
            (key, bytes.clone())
        };
        self.files.all.iter().map(blob).chain(self.links.clone()).collect()
    }

    fn repository(&self) -> TreeRepository {
        let root = format!("{}{ROOT}", self.before);
        TreeRepository::new(store_of(self.objects()), root, "a/b".parse().unwrap())
    }
}

#[tokio::test]
async fn tags_and_what_is_untagged_are_listed() {
    for before in ["", "copy/of/"] {
        let mut tree = Tree::new(before);
        let (one, two) = (tree.files.image("one", None), tree.files.image("two", None));
        let index = tree.files.index(&[one.clone(), two.clone()]);
        let about = tree.files.image("about", Some(&index));
        let old = tree.files.image("old", None);
        let elsewhere = Files::default().image("elsewhere", None);
        let lonely = tree.files.image("lonely", Some(&elsewhere));
        for manifest in [&one, &two, &index, &about, &old, &lonely] {
            tree.revision(manifest);
        }
        tree.tag("v1", &digest_of(&index));
        let repository = tree.repository();
        let listing = repository.images().await.unwrap();
        assert!(listing.refused.is_empty(), "{:?}", listing.refused);
        let targets: Vec<Target> = listing.images.iter().map(|image| image.target.clone()).collect();
        let mut untagged = [digest_of(&old), digest_of(&about), digest_of(&lonely)];
        untagged.sort();
        let v1 = Target::Tag("v1".parse().unwrap());
        let expected: Vec<Target> = [v1].into_iter().chain(untagged.map(Target::Digest)).collect();
        assert_eq!(targets, expected, "children of an index come along, referrers do not");
        let refer: Vec<&Target> = listing
            .images
            .iter()
            .filter(|image| image.refers)
            .map(|image| &image.target)
            .collect();
        let mut referrers = [digest_of(&about), digest_of(&lonely)];
        referrers.sort();
        let referrers = referrers.map(Target::Digest);
        assert_eq!(refer, referrers.iter().collect::<Vec<_>>());
        for target in &targets {
            read_image(&repository, target).await.unwrap();
        }
        let referrers = repository.referrers(&digest_of(&index)).await.unwrap();
        assert_eq!(
            referrers.iter().map(|one| one.digest.clone()).collect::<Vec<_>>(),
            [digest_of(&about)]
        );
    }
}

#[tokio::test]
async fn a_link_that_leads_nowhere_costs_its_tag_only() {
    let mut tree = Tree::new("");
    let (good, gone, broken) = (
        tree.files.image("good", None),
        tree.files.image("gone", None),
        tree.files.image("broken", None),
    );
    let digest = tree.revision(&good);
    tree.tag("good", &digest);
    tree.tag("unlinked", &digest_of(&gone));
    let digest = tree.revision(&broken);
    tree.tag("broken", &digest);
    let key = format!("blobs/sha256/{}", digest.hex());
    tree.files.all.insert(key, Bytes::from_static(b"{}"));
    let absent = Digest::sha256(b"absent");
    tree.link(&format!("revisions/sha256/{}", absent.hex()), &absent.to_string());
    for (tag, link) in [
        ("climbs", "sha256:../../../../x"),
        ("empty", ""),
        ("long", &"a".repeat(10_000)),
        ("two", &format!("{absent}\n{absent}")),
    ] {
        tree.link(&format!("tags/{tag}/current"), link);
    }
    tree.link("tags/-bad-/current", &digest.to_string());
    tree.link("revisions/sha256/xyz", "x");
    let repository = tree.repository();
    let listing = repository.images().await.unwrap();
    let targets: Vec<String> = listing.images.iter().map(|image| image.target.to_string()).collect();
    assert_eq!(targets, ["good"]);
    let refused: HashMap<&str, &str> = listing
        .refused
        .iter()
        .map(|one| (one.name.as_str(), one.error.code()))
        .collect();
    let absent = absent.to_string();
    for (name, code) in [
        ("unlinked", "STORAGE_LINK_DANGLING"),
        (absent.as_str(), "STORAGE_LINK_DANGLING"),
        ("broken", "MANIFEST_DIGEST_MISMATCH"),
        ("climbs", "STORAGE_LINK_INVALID"),
        ("empty", "STORAGE_LINK_INVALID"),
        ("long", "LAYOUT_INVALID"),
        ("two", "STORAGE_LINK_INVALID"),
        ("-bad-", "INVALID_REFERENCE"),
        ("sha256:xyz", "INVALID_DIGEST"),
    ] {
        assert_eq!(refused.get(name), Some(&code), "{name}");
    }
    assert_eq!(refused.len(), 9);
    let read = |tag: &str| Target::Tag(tag.parse().unwrap());
    assert_eq!(
        read_image(&repository, &read("unlinked")).await,
        Err("STORAGE_LINK_DANGLING")
    );
    assert_eq!(read_image(&repository, &read("nowhere")).await, Err("SOURCE_NOT_FOUND"));
}
