//! Behaviours of [`Layout`] over files in memory.

use serde_json::json;
use transship_oci::media_type::{OCI_CONFIG, OCI_MANIFEST};

use bytes::Bytes;

use super::*;
use crate::MemoryStore;
use transship_oci::Result;

const REF_NAME: &str = "org.opencontainers.image.ref.name";

struct Files(HashMap<String, Bytes>);

impl Files {
    fn put(&mut self, bytes: &[u8]) -> (Digest, usize) {
        let digest = Digest::sha256(bytes);
        self.0
            .insert(format!("blobs/sha256/{}", digest.hex()), Bytes::copy_from_slice(bytes));
        (digest, bytes.len())
    }

    fn image(&mut self, text: &str, subject: Option<&Digest>) -> Digest {
        let (config, size) = self.put(text.as_bytes());
        let mut manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {"mediaType": OCI_CONFIG, "digest": config, "size": size}, "layers": []});
        if let Some(subject) = subject {
            manifest["subject"] = json!({"mediaType": OCI_MANIFEST, "digest": subject, "size": 1});
        }
        self.put(manifest.to_string().as_bytes()).0
    }
}

fn descriptor(digest: &Digest, name: Option<&str>) -> serde_json::Value {
    match name {
        Some(name) => {
            json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": 1, "annotations": {REF_NAME: name}})
        }
        None => json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": 1}),
    }
}

async fn layout(files: Files, entries: &[serde_json::Value]) -> Result<Layout> {
    let mut files = files.0;
    files
        .entry("oci-layout".into())
        .or_insert_with(|| r#"{"imageLayoutVersion":"1.0.0"}"#.into());
    files.insert(
        "index.json".into(),
        json!({"schemaVersion": 2, "manifests": entries}).to_string().into(),
    );
    Layout::open(Arc::new(MemoryStore::new(files)), "").await
}

#[tokio::test]
async fn images_are_found_by_name_tag_part_digest_or_alone() {
    let mut files = Files(HashMap::new());
    let (one, two) = (files.image("1", None), files.image("2", None));
    let layout = layout(
        files,
        &[
            descriptor(&one, Some("v1")),
            descriptor(&two, Some("docker.io/library/app:v2")),
        ],
    )
    .await
    .unwrap();
    let find = |wanted: Option<&str>| {
        layout
            .resolve(wanted)
            .map(|entry| entry.descriptor.digest.clone())
            .map_err(|error| error.code())
    };
    assert_eq!(find(Some("v1")), Ok(one));
    assert_eq!(find(Some("v2")), Ok(two.clone()));
    assert_eq!(find(Some(&two.to_string())), Ok(two));
    assert_eq!(find(Some("v3")), Err("LAYOUT_REFERENCE_NOT_FOUND"));
    assert_eq!(find(None), Err("LAYOUT_REFERENCE_AMBIGUOUS"));
}

#[tokio::test]
async fn an_unnamed_entry_with_a_subject_is_a_referrer() {
    let mut files = Files(HashMap::new());
    let image = files.image("image", None);
    let signature = files.image("signature", Some(&image));
    let layout = layout(files, &[descriptor(&image, Some("v1")), descriptor(&signature, None)])
        .await
        .unwrap();
    let referrers = layout.referrers(&image).await.unwrap();
    assert_eq!(
        referrers.iter().map(|referrer| &referrer.digest).collect::<Vec<_>>(),
        [&signature]
    );
    assert!(layout.referrers(&signature).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_no_layout_is_refused() {
    for marker in ["{}", r#"{"imageLayoutVersion":"2.0.0"}"#, "x"] {
        let files = Files(HashMap::from([(
            "oci-layout".to_owned(),
            Bytes::copy_from_slice(marker.as_bytes()),
        )]));
        assert_eq!(layout(files, &[]).await.err().unwrap().code(), "LAYOUT_INVALID");
    }
    assert_eq!(
        Layout::open(Arc::new(MemoryStore::default()), "")
            .await
            .err()
            .unwrap()
            .code(),
        "LAYOUT_INVALID"
    );
}

#[tokio::test]
async fn changed_bytes_and_missing_blobs_are_told_apart() {
    let mut files = Files(HashMap::new());
    let image = files.image("image", None);
    let key = format!("blobs/sha256/{}", image.hex());
    let gone = Digest::sha256(b"gone");
    files.0.insert(key, Bytes::from_static(b"{}"));
    let layout = layout(files, &[descriptor(&image, Some("v1")), descriptor(&gone, Some("v2"))])
        .await
        .unwrap();
    let (image, gone) = (Target::Digest(image), Target::Digest(gone));
    assert_eq!(
        transship_copy::source_manifest(&layout, &image)
            .await
            .unwrap_err()
            .code(),
        "MANIFEST_DIGEST_MISMATCH"
    );
    assert_eq!(
        transship_copy::source_manifest(&layout, &gone)
            .await
            .unwrap_err()
            .code(),
        "SOURCE_NOT_FOUND"
    );
}

mod arriving {
    //! Layouts that arrive piece by piece, and lists with bad entries.

    use std::collections::HashMap;

    use bytes::Bytes;
    use futures_util::TryStreamExt;
    use serde_json::json;
    use transship_oci::Digest;

    use crate::counting_store::{Counting, store_of};
    use crate::{Completeness, Images, Layout, MemoryStore, Missing, SourceKind, SourceRef, discover};
    use std::sync::Arc;
    use transship_testkit::layouts::{Files, digest_of, read_image};

    fn sample() -> Files {
        let mut files = Files::default();
        let (one, two) = (files.image("one", None), files.image("two", None));
        let index = files.index(&[one, two]);
        let about = files.image("about", Some(&index));
        files.list(&index, Some("v1"));
        files.list(&about, None);
        files
    }

    async fn missing(objects: HashMap<String, Bytes>) -> Vec<Missing> {
        match Layout::completeness(store_of(objects), "p/").await.unwrap() {
            Completeness::Complete(_) => Vec::new(),
            Completeness::Incomplete { missing } => missing,
        }
    }

    #[tokio::test]
    async fn a_layout_waits_for_whatever_of_it_is_not_there() {
        let all = sample().finished("p/");
        assert!(missing(all.clone()).await.is_empty());
        for key in all.keys() {
            let mut some = all.clone();
            some.remove(key);
            let missing = missing(some).await;
            let name = key.strip_prefix("p/").unwrap();
            let expected = match name.strip_prefix("blobs/sha256/") {
                None => Missing::File(name.to_owned()),
                Some(hex) => Missing::Blob {
                    digest: format!("sha256:{hex}").parse().unwrap(),
                    size_bytes: all[key].len() as u64,
                    found_bytes: None,
                },
            };
            assert_eq!(missing, [expected], "{name}");
        }
    }

    #[tokio::test]
    async fn blobs_of_another_size_are_still_arriving() {
        let mut files = sample();
        // Enough of them for a listing instead of questions one by one.
        let many: Vec<_> = (0..60).map(|at| files.image(&format!("many {at}"), None)).collect();
        let index = files.index(&many);
        files.list(&index, Some("many"));
        let mut all = files.finished("p/");
        assert!(missing(all.clone()).await.is_empty());
        let layer = Digest::sha256("layer of many 7".repeat(500).as_bytes());
        let key = format!("p/blobs/sha256/{}", layer.hex());
        let whole = all[&key].len() as u64;
        all.insert(key, Bytes::from_static(b"half"));
        let half = Missing::Blob {
            digest: layer,
            size_bytes: whole,
            found_bytes: Some(4),
        };
        assert_eq!(missing(all).await, [half]);
    }

    #[tokio::test]
    async fn one_bad_entry_leaves_the_others_alone() {
        let mut files = sample();
        let good = files.image("good", None);
        let other = files.image("other", None);
        files.list(&good, Some("good"));
        files.list(&good, Some("twice"));
        files.list(&other, Some("r.example/app:twice"));
        files.list(&good, Some("no/tag"));
        files
            .entries
            .push(json!({"mediaType": "a/b", "digest": "sha256:../../etc/passwd", "size": 1}));
        files.entries.push(json!({"mediaType": "a/b", "digest": digest_of(&good), "size": -1, "annotations": {"org.opencontainers.image.ref.name": "negative"}}));
        files.entries.push(json!(7));
        let gone = Digest::sha256(b"gone");
        files.list(
            &json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": gone, "size": 1}),
            None,
        );
        let layout = Layout::open(store_of(files.finished("")), "").await.unwrap();
        let listing = layout.images().await.unwrap();
        let targets: Vec<String> = listing.images.iter().map(|image| image.target.to_string()).collect();
        assert_eq!(targets, ["good", "v1"]);
        for image in &listing.images {
            read_image(&layout, &image.target).await.unwrap();
        }
        let gone = gone.to_string();
        let mut refused: Vec<(&str, &str)> = listing
            .refused
            .iter()
            .map(|one| (one.name.as_str(), one.error.code()))
            .collect();
        refused.sort_unstable();
        let mut expected = [
            ("entry 6 of index.json", "INVALID_DIGEST"),
            ("entry 8 of index.json", "MANIFEST_INVALID"),
            ("negative", "MANIFEST_INVALID"),
            ("no/tag", "LAYOUT_NAME_UNMAPPABLE"),
            (gone.as_str(), "SOURCE_NOT_FOUND"),
            ("twice", "LAYOUT_NAME_CONFLICT"),
        ];
        expected.sort_unstable();
        assert_eq!(refused, expected);
        assert_eq!(
            layout.resolve(Some("twice")).unwrap().name.as_deref(),
            Some("twice"),
            "the exact name tells them apart"
        );
    }

    #[tokio::test]
    async fn children_with_names_are_found_in_an_index_without() {
        let mut files = Files::default();
        let mut one = files.image("one", None);
        one["annotations"] = json!({"io.containerd.image.name": "docker.io/library/app:v1"});
        let index = files.index(&[one.clone()]);
        files.list(&index, None);
        let layout = Layout::open(store_of(files.finished("")), "").await.unwrap();
        let targets: Vec<String> = layout
            .images()
            .await
            .unwrap()
            .images
            .iter()
            .map(|image| image.target.to_string())
            .collect();
        assert_eq!(targets, ["v1".to_owned(), digest_of(&index).to_string()]);
        assert_eq!(layout.resolve(Some("v1")).unwrap().descriptor.digest, digest_of(&one));
    }

    async fn found(objects: HashMap<String, Bytes>, prefix: &str) -> (Vec<(SourceKind, String)>, u64) {
        let store = Arc::new(Counting::new(MemoryStore::new(objects)));
        let found: Vec<SourceRef> = discover(Arc::clone(&store) as _, prefix).try_collect().await.unwrap();
        let found = found.into_iter().map(|found| (found.kind, found.path)).collect();
        (found, store.taken().0)
    }

    #[tokio::test]
    async fn everything_under_a_prefix_is_found_and_blobs_are_jumped_over() {
        let layout = sample();
        let mut objects = layout.finished("p/");
        for folder in ["p/team/app+1/", "p/team/app+1/nested/", "p/ü%2B/", "elsewhere/"] {
            objects.extend(layout.finished(folder));
        }
        // Half of one each, and what is none.
        objects.insert("p/half/oci-layout".into(), Bytes::new());
        objects.insert("p/page/index.json".into(), Bytes::new());
        for archive in ["p/a.tar", "p/team/b.tar.gz", "p/team/readme.txt"] {
            objects.insert(archive.into(), Bytes::new());
        }
        for number in 0..5000 {
            let hex = Digest::sha256(format!("{number}").as_bytes()).hex().to_owned();
            let tree = "p/reg/docker/registry/v2/";
            objects.insert(format!("{tree}blobs/sha256/{}/{hex}/data", &hex[..2]), Bytes::new());
            objects.insert(
                format!("{tree}repositories/a/b/_layers/sha256/{hex}/link"),
                Bytes::new(),
            );
            objects.insert(
                format!("{tree}repositories/a/b/_manifests/revisions/sha256/{hex}/link"),
                Bytes::new(),
            );
            objects.insert(
                format!("{tree}repositories/a/b/0c/_manifests/revisions/sha256/{hex}/link"),
                Bytes::new(),
            );
            objects.insert(
                format!("{tree}repositories/z/_uploads/{number}/startedat"),
                Bytes::new(),
            );
            objects.insert(format!("p/team/app+1/blobs/sha256/{hex}"), Bytes::new());
        }
        let (mut all, requests) = found(objects.clone(), "p/").await;
        all.sort();
        let expect = |kind, path: &str| (kind, path.to_owned());
        let mut expected = vec![
            expect(SourceKind::Layout, ""),
            expect(SourceKind::Layout, "half"),
            expect(SourceKind::Layout, "team/app+1"),
            expect(SourceKind::Layout, "team/app+1/nested"),
            expect(SourceKind::Layout, "ü%2B"),
            expect(SourceKind::Archive, "a"),
            expect(SourceKind::Archive, "team/b"),
            expect(SourceKind::Repository, "reg/a/b"),
            expect(SourceKind::Repository, "reg/a/b/0c"),
        ];
        expected.sort();
        assert_eq!(all, expected);
        assert!(requests <= 10, "{requests} pages of 30,000 objects");
        assert_eq!(found(objects.clone(), "p").await.0.len(), all.len());
        assert_eq!(found(objects, "p/a.tar").await.0, [expect(SourceKind::Archive, "")]);
    }

    #[tokio::test]
    async fn where_nothing_lies_an_error_says_where_it_looked() {
        let store = store_of([("other/index.json".to_owned(), Bytes::new())]);
        let found: transship_oci::Result<Vec<SourceRef>> = discover(store, "there/").try_collect().await;
        let error = found.unwrap_err();
        assert_eq!(error.code(), "SOURCE_EMPTY");
        assert!(error.to_string().contains("memory/there/"), "{error}");
    }
}

#[tokio::test]
async fn a_descriptor_that_calls_a_docker_manifest_oci_is_no_error_and_one_of_another_shape_is() {
    use transship_oci::media_type::{DOCKER_CONFIG, DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX};
    let mut files = Files(HashMap::new());
    let (config, size) = files.put(b"{}");
    let manifest = |media_type: &str, config_type: &str| json!({"schemaVersion": 2, "mediaType": media_type, "config": {"mediaType": config_type, "digest": config, "size": size}, "layers": []});
    let (docker, oci) = (
        manifest(DOCKER_MANIFEST, DOCKER_CONFIG),
        manifest(OCI_MANIFEST, OCI_CONFIG),
    );
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": null});
    for (at, (body, said, own)) in [
        (&docker, OCI_MANIFEST, Ok(DOCKER_MANIFEST)),
        (&oci, DOCKER_MANIFEST, Ok(OCI_MANIFEST)),
        (&index, DOCKER_LIST, Ok(OCI_INDEX)),
        (&index, OCI_MANIFEST, Err("MEDIA_TYPE_MISMATCH")),
        (&docker, OCI_INDEX, Err("MEDIA_TYPE_MISMATCH")),
    ]
    .into_iter()
    .enumerate()
    {
        let mut files = Files(files.0.clone());
        let (digest, size) = files.put(body.to_string().as_bytes());
        let entry = json!({"mediaType": said, "digest": digest, "size": size, "annotations": {REF_NAME: "v1"}});
        let layout = layout(files, &[entry]).await.unwrap();
        let read = layout.manifest_get(&Target::Tag("v1".parse().unwrap())).await;
        let read = read
            .map(|found| found.unwrap().media_type().to_string())
            .map_err(|error| error.code());
        assert_eq!(read, own.map(str::to_owned), "{at}");
    }
}

#[tokio::test]
async fn null_is_an_empty_list_and_annotations_refuse_nothing() {
    let mut files = Files(HashMap::new());
    let image = files.image("1", None);
    let mut entry = descriptor(&image, Some("v1"));
    entry["annotations"]["other"] = serde_json::Value::Null;
    entry["platform"] = json!({"os": null, "architecture": 7});
    let mut nameless = descriptor(&image, None);
    nameless["annotations"] = serde_json::Value::Null;
    let found = layout(files, &[entry, nameless]).await.unwrap();
    let listing = crate::Images::images(&found).await.unwrap();
    assert!(listing.refused.is_empty(), "{:?}", listing.refused);
    assert_eq!(found.resolve(Some("v1")).unwrap().descriptor.digest, image);
    for (index, count) in [
        (r#"{"schemaVersion":2,"manifests":null}"#, Some(0)),
        (r#"{"schemaVersion":2}"#, None),
    ] {
        let files = [
            ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
            ("index.json", index),
        ];
        let files = files.map(|(name, text)| (name.to_owned(), Bytes::from_static(text.as_bytes())));
        let opened = Layout::open(Arc::new(MemoryStore::new(HashMap::from(files))), "").await;
        assert_eq!(opened.ok().map(|layout| layout.entries().count()), count, "{index}");
    }
}
