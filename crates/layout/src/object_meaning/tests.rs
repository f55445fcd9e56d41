//! Behaviours of [`ObjectMeaning`].

use proptest::prelude::*;

use super::*;
use crate::SourceKind;

const TREE: &str = "docker/registry/v2/";

/// What a key means, in short: kind, source and target, or place and digest.
fn meaning(prefix: &str, key: &str) -> Option<(String, String)> {
    match ObjectMeaning::of_key(prefix, key)? {
        ObjectMeaning::Names { found, target } => {
            let kind = match found.kind {
                SourceKind::Layout => "layout",
                SourceKind::Archive => "archive",
                SourceKind::Repository => "repository",
            };
            let target = target.map(|target| target.to_string()).unwrap_or_default();
            Some((format!("{kind} {} {}", found.key, found.path), target))
        }
        ObjectMeaning::Content { place, digest } => Some((format!("content {place}"), digest.to_string())),
    }
}

#[test]
fn a_key_names_images_or_is_content_or_means_nothing() {
    let (hex, long) = ("ab".repeat(32), "cd".repeat(64));
    let (digest, long_digest) = (format!("sha256:{hex}"), format!("sha512:{long}"));
    let link = |path: &str| format!("p/r/{TREE}repositories/a/b/_manifests/{path}/link");
    let repository = format!("repository p/r/{TREE}repositories/a/b/ r/a/b");
    let cases: Vec<(String, &str, &str)> = vec![
        ("p/index.json".into(), "layout p/ ", ""),
        ("p/oci-layout".into(), "layout p/ ", ""),
        ("p/a+b%2Bü/x/index.json".into(), "layout p/a+b%2Bü/x/ a+b%2Bü/x", ""),
        (format!("p/blobs/sha256/{hex}"), "content p/", &digest),
        (
            format!("p/a+b%2Bü/x/blobs/sha512/{long}"),
            "content p/a+b%2Bü/x/",
            &long_digest,
        ),
        ("p/a+b%2Bü.tar.zst".into(), "archive p/a+b%2Bü.tar.zst a+b%2Bü", ""),
        (link("tags/v1.2_x/current"), &repository, "v1.2_x"),
        (link(&format!("revisions/sha256/{hex}")), &repository, &digest),
        (link(&format!("revisions/sha512/{long}")), &repository, &long_digest),
        (
            format!("p/r/{TREE}blobs/sha256/ab/{hex}/data"),
            "content p/r/docker/registry/v2/",
            &digest,
        ),
        (
            format!("p/r/{TREE}repositories/a/b/_layers/sha512/{long}/link"),
            "content p/r/docker/registry/v2/",
            &long_digest,
        ),
    ];
    for (key, what, detail) in cases {
        assert_eq!(meaning("p/", &key), Some((what.to_owned(), detail.to_owned())), "{key}");
        assert_eq!(meaning("q/", &key), None, "{key} is elsewhere");
        assert_eq!(meaning("p", &key), None, "{key} below a file");
    }
    for key in [
        "p/readme.txt".to_owned(),
        "p/.tar".to_owned(),
        "p/".to_owned(),
        format!("p/r/{TREE}repositories/a/b/_layers/sha256/{hex}/link"),
        format!("p/r/{TREE}repositories/a/b/_uploads/1/data"),
        link(&format!("tags/v1/index/sha256/{hex}")),
    ] {
        assert_eq!(meaning("p/", &key), None, "{key}");
    }
}

#[test]
fn what_no_honest_writer_writes_means_nothing() {
    let hex = "ab".repeat(32);
    let link = |path: &str| format!("{TREE}repositories/a/_manifests/{path}/link");
    for key in [
        format!("blobs/sha256/{}", hex.to_uppercase()),
        format!("blobs/sha256/{}", &hex[1..]),
        format!("blobs/md5/{hex}"),
        "blobs/sha256/../../etc/passwd".to_owned(),
        format!("../blobs/sha256/{hex}"),
        format!("a/../blobs/sha256/{hex}"),
        "../index.json".to_owned(),
        "a/../../index.json".to_owned(),
        "../a.tar".to_owned(),
        format!("{TREE}blobs/sha256/cd/{hex}/data"),
        format!("{TREE}blobs/sha256/ab/{hex}/data/more"),
        format!("{TREE}blobs/sha256/ab/{}/data", &hex[2..]),
        link("tags/-bad-/current"),
        link("tags/a/b/current"),
        link(&format!("tags/{}/current", "a".repeat(129))),
        link("tags/../current"),
        link("revisions/sha256/xyz"),
        link(&format!("revisions/md5/{hex}")),
        format!("{TREE}repositories/../_manifests/tags/v1/current/link"),
        format!("{TREE}repositories/a//b/_manifests/tags/v1/current/link"),
        format!("{TREE}repositories/_manifests/tags/v1/current/link"),
    ] {
        assert_eq!(meaning("", &key), None, "{key}");
    }
}

proptest! {
    #[test]
    fn content_lies_at_the_place_of_what_it_belongs_to(
        prefix in prop::sample::select(vec!["", "p/", "to/docker/", "docker/registry/v2/x/"]),
        folders in prop::collection::vec("[a-z+%ü]{1,3}|docker|registry|blobs", 0..4),
        name in "[a-z]{1,2}(/[a-z]{1,2}){0,2}|docker/registry/v2/repositories/x",
    ) {
        let folder: String = folders.iter().flat_map(|folder| [folder.as_str(), "/"]).collect();
        let hex = "0f".repeat(32);
        let below = |rest: String| format!("{prefix}{folder}{rest}");
        for (names, content) in [
            ("index.json".to_owned(), format!("blobs/sha256/{hex}")),
            (format!("{TREE}repositories/{name}/_manifests/tags/v1/current/link"), format!("{TREE}blobs/sha256/0f/{hex}/data")),
        ] {
            let Some(ObjectMeaning::Names { found, .. }) = ObjectMeaning::of_key(prefix, &below(names)) else {
                panic!("it names images");
            };
            let Some(ObjectMeaning::Content { place, digest }) = ObjectMeaning::of_key(prefix, &below(content)) else {
                panic!("it is content");
            };
            prop_assert_eq!(found.place(), place);
            prop_assert_eq!(digest.hex(), &hex);
        }
    }
}
