//! Behaviours of storage trees in archives; one of a real registry, packed by real programs, is read in `tests/`.

use std::collections::HashMap;

use bytes::Bytes;
use transship_oci::{Digest, Target};
use transship_testkit::layouts::{Tar, digest_of, gzip, read_image};

use super::*;
use crate::counting_store::store_of;
use crate::storage_tree::tests::Tree;
use crate::{Archive, Images, OpenSource, SourceRef};

/// The objects of a tree with two images of `a/b`, and the digest of the second.
fn tree() -> (HashMap<String, Bytes>, Digest) {
    let mut tree = Tree::new("");
    let (one, two) = (tree.files.image("one", None), tree.files.image("two", None));
    for (tag, image) in [("v1", &one), ("v2", &two)] {
        tree.revision(image);
        tree.tag(tag, &digest_of(image));
    }
    (tree.objects(), digest_of(&two))
}

fn packed(files: &HashMap<String, Bytes>, rename: impl Fn(&str) -> String) -> Tar {
    let mut names: Vec<&String> = files.keys().collect();
    names.sort();
    names
        .into_iter()
        .fold(Tar::new(), |tar, name| tar.file(&rename(name), &files[name]))
}

async fn opened(tar: Vec<u8>) -> Result<OpenSource, &'static str> {
    let store = store_of([("b/backup.tgz".to_owned(), Bytes::from(tar))]);
    let found = SourceRef::of_key("", "b/backup.tgz").unwrap();
    OpenSource::open(store, &found).await.map_err(|error| error.code())
}

fn tag(text: &str) -> Target {
    Target::Tag(text.parse().unwrap())
}

#[test]
fn a_tree_is_found_however_much_of_its_path_is_packed() {
    let link = "repositories/a/b/_manifests/tags/v1/current/link";
    for root in [
        "docker/registry/v2/",
        "var/lib/docker/registry/v2/",
        "registry/v2/",
        "v2/",
        "",
    ] {
        assert_eq!(split(&format!("{root}{link}")), (root, link));
    }
    let other = format!("other/v2/{link}");
    assert_eq!(repository_name(split(&other).1), None);
}

#[tokio::test]
async fn the_repositories_of_a_tree_are_read_wherever_the_tree_is_in_the_archive() {
    let (mut files, two) = tree();
    for (key, bytes) in files.clone() {
        files.insert(key.replace("repositories/a/b/", "repositories/c/"), bytes);
    }
    let below = |key: &str, from: &str| key.strip_prefix(from).unwrap().to_owned();
    let renames: [&dyn Fn(&str) -> String; 5] = [
        &|key| key.to_owned(),
        &|key| format!("./{key}"),
        &|key| format!("var/lib/registry/{key}"),
        &|key| below(key, "docker/"),
        &|key| format!("./{}", below(key, "docker/registry/v2/")),
    ];
    for rename in renames {
        let tar = packed(&files, rename)
            .file("./var/lib/registry/scheduler-state.json", b"{}")
            .end();
        for tar in [gzip(&tar), zstd::encode_all(&*tar, 1).unwrap(), tar] {
            let source = opened(tar).await.unwrap();
            let parts = source.parts();
            let paths: Vec<&str> = parts.iter().map(|part| part.path.as_str()).collect();
            assert_eq!(paths, ["b/backup/a/b", "b/backup/c"]);
            assert_eq!(parts[0].to_string(), "b/backup.tgz:a/b");
            assert!(parts.iter().all(|part| part.is_in_tree() && source.holds(part)));
            for part in &parts {
                let images = source.images(part).unwrap();
                let listing = images.images().await.unwrap();
                assert!(listing.refused.is_empty(), "{:?}", listing.refused);
                let targets: Vec<&Target> = listing.images.iter().map(|image| &image.target).collect();
                assert_eq!(targets, [&tag("v1"), &tag("v2")]);
                assert_eq!(read_image(images.as_ref(), &tag("v2")).await, Ok((two.clone(), 2)));
            }
        }
    }
}

#[tokio::test]
async fn one_image_of_a_tree_is_named_by_its_repository() {
    let (mut files, two) = tree();
    let target = Target::Digest(two);
    let store = |files: &HashMap<String, Bytes>| {
        store_of([("backup.tar".to_owned(), Bytes::from(packed(files, str::to_owned).end()))])
    };
    let archive = Archive::open(store(&files), "backup.tar").await.unwrap();
    for name in ["a/b:v2", "v2"] {
        let (source, found) = archive.clone().find(Some(name)).await.unwrap();
        assert_eq!(found, target, "{name}");
        assert!(read_image(source.as_ref(), &found).await.is_ok(), "{name}");
    }
    for (key, bytes) in files.clone() {
        files.insert(key.replace("repositories/a/b/", "repositories/a/"), bytes);
    }
    let archive = Archive::open(store(&files), "backup.tar").await.unwrap();
    let find = |name: &'static str| {
        let archive = archive.clone();
        async move {
            archive
                .find(Some(name))
                .await
                .map(|found| found.1)
                .map_err(|error| error.code())
        }
    };
    assert_eq!(find("a/b:v2").await, Ok(target.clone()));
    assert_eq!(find("a:v2").await, Ok(target.clone()));
    assert_eq!(find("a").await, Err("LAYOUT_REFERENCE_AMBIGUOUS"));
    assert_eq!(
        find("v2").await,
        Err("LAYOUT_REFERENCE_AMBIGUOUS"),
        "two repositories have it"
    );
    assert_eq!(find("a/b:v3").await, Err("LAYOUT_REFERENCE_NOT_FOUND"));
    assert_eq!(
        archive.images().await.err().unwrap().code(),
        "LAYOUT_REFERENCE_AMBIGUOUS"
    );
}

#[tokio::test]
async fn a_tree_that_cannot_be_read_whole_is_refused() {
    let (files, _) = tree();
    let tar = packed(&files, str::to_owned).unended();
    assert!(opened(tar.clone()).await.is_ok(), "the end may be left out");
    assert_eq!(
        opened(tar[..tar.len() - 700].to_vec()).await.err(),
        Some("ARCHIVE_TRUNCATED")
    );
    let two = packed(&files, |key| format!("one/{key}"));
    let two = files
        .iter()
        .fold(two, |tar, (key, bytes)| tar.file(&format!("two/{key}"), bytes));
    assert_eq!(opened(two.end()).await.err(), Some("ARCHIVE_INVALID"));
    let both = packed(&files, str::to_owned).file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    assert_eq!(opened(both.end()).await.err(), Some("ARCHIVE_INVALID"));
}

#[tokio::test]
async fn a_link_of_a_tag_that_cannot_be_read_costs_its_tag_and_no_other() {
    let (mut files, _) = tree();
    let key = "docker/registry/v2/repositories/a/b/_manifests/tags/v1/current/link";
    files.remove(key).unwrap();
    for (kind, target) in [(b'3', ""), (b'2', "gone"), (b'2', "/absolute")] {
        let source = opened(packed(&files, str::to_owned).link(kind, key, target).end())
            .await
            .unwrap();
        let listing = source.images(&source.parts()[0]).unwrap().images().await.unwrap();
        let refused: Vec<(&str, &str)> = listing
            .refused
            .iter()
            .map(|one| (one.name.as_str(), one.error.code()))
            .collect();
        assert_eq!(refused, [("v1", "ARCHIVE_ENTRY_UNSAFE")], "{target:?}");
        // The revision has no tag left, so it is an image by its digest.
        assert_eq!(listing.images.len(), 2);
    }
}

#[tokio::test]
async fn a_repository_whose_name_is_not_valid_costs_no_other() {
    let (mut files, _) = tree();
    for (key, bytes) in files.clone() {
        files.insert(key.replace("repositories/a/b/", "repositories/Team/"), bytes);
    }
    let source = opened(packed(&files, str::to_owned).end()).await.unwrap();
    let [upper, lower] = source.parts().try_into().unwrap();
    assert_eq!(
        source.images(&upper).err().map(|error| error.code()),
        Some("INVALID_REFERENCE")
    );
    assert!(source.images(&lower).is_ok());
}
