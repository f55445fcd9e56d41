//! Behaviours of [`inspect`] and [`arrived_since`]: what they answer, and when it changes.

mod arriving;

use bytes::Bytes;
use serde_json::json;
use transship_oci::Algorithm;
use transship_oci::media_type::{OCI_CONFIG, OCI_MANIFEST};

use super::*;
use crate::counting_store::store_of;
use crate::storage_tree::tests::Tree;
use crate::{MemoryStore, ObjectMeaning, Put};
use transship_testkit::layouts::Tar;
use transship_testkit::layouts::{Files, LAYER, digest_of, read_image};

type One = (SourceRef, Option<Target>);

fn layout() -> Files {
    let mut files = Files::default();
    let (one, two) = (files.image("one", None), files.image("two", None));
    let index = files.index(&[one, two]);
    let about = files.image("about", Some(&index));
    files.list(&index, Some("v1"));
    files.list(&about, None);
    files
}

/// An index with a tag, a referrer, and a layer under its sha512.
fn tree() -> (Tree, Digest) {
    let mut tree = Tree::new("copy/");
    let (one, two) = (tree.files.image("one", None), tree.files.image("two", None));
    let layer = b"a layer by another name";
    let long = Digest::of(Algorithm::Sha512, layer);
    let (config, config_size) = tree.files.put(b"{}");
    let (bytes, size) = tree.files.put(layer);
    tree.place(&format!("_layers/sha512/{}/link", long.hex()), &bytes.to_string());
    let three = tree
        .files
        .manifest(&json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": config, "size": config_size},
        "layers": [{"mediaType": LAYER, "digest": long, "size": size}]}));
    let index = tree.files.index(&[one.clone(), two.clone(), three.clone()]);
    let about = tree.files.image("about", Some(&index));
    for manifest in [&one, &two, &three, &index, &about] {
        tree.revision(manifest);
    }
    tree.tag("v1", &digest_of(&index));
    (tree, digest_of(&about))
}

fn one(key: &str) -> One {
    match ObjectMeaning::of_key("", key) {
        Some(ObjectMeaning::Names { found, target }) => (found, target),
        other => panic!("{key} names nothing: {other:?}"),
    }
}

async fn version(store: &Arc<MemoryStore>, one: &One) -> String {
    match inspect(Arc::clone(store) as _, &one.0, one.1.as_ref()).await.unwrap() {
        Inspection::Complete { version, .. } => version,
        Inspection::Incomplete { missing } => panic!("{missing:?} is missing"),
        Inspection::Nothing => panic!("nothing is there"),
    }
}

async fn uploaded_again(store: &MemoryStore, key: &str, bytes: &Bytes) {
    let etag = store.head(key).await.unwrap().unwrap().etag.unwrap();
    let put = store.put_if_match(key, bytes.clone(), &etag).await.unwrap();
    assert!(matches!(put, Put::Written(_)));
}

#[tokio::test]
async fn the_same_upload_has_one_version_and_another_one_another() {
    let (tree, about) = tree();
    let tar = layout()
        .finished("")
        .iter()
        .fold(Tar::new(), |tar, (key, bytes)| tar.file(key, bytes))
        .end();
    let mut objects = layout().finished("p/");
    objects.extend(tree.objects());
    objects.insert("a.tar".into(), tar.into());
    let repository = "copy/docker/registry/v2/repositories/a/b/_manifests";
    for key in [
        "p/index.json".to_owned(),
        "a.tar".to_owned(),
        format!("{repository}/tags/v1/current/link"),
        format!("{repository}/revisions/sha256/{}/link", about.hex()),
    ] {
        let store = store_of(objects.clone());
        let one = one(&key);
        let first = version(&store, &one).await;
        assert_eq!(version(&store, &one).await, first, "{key}");
        assert!(first.len() < 128, "{first}");
        uploaded_again(&store, &key, &objects[&key]).await;
        assert_ne!(version(&store, &one).await, first, "{key}");
    }
}

#[tokio::test]
async fn what_is_gone_or_nothing_of_its_own_is_nothing() {
    let (tree, _) = tree();
    let objects = tree.objects();
    let child = digest_of(&Files::default().image("one", None));
    let revision = format!(
        "copy/docker/registry/v2/repositories/a/b/_manifests/revisions/sha256/{}/link",
        child.hex()
    );
    assert!(objects.contains_key(&revision));
    let store = store_of(objects);
    for key in [
        revision.as_str(),
        "copy/docker/registry/v2/repositories/a/b/_manifests/tags/gone/current/link",
        "nowhere/index.json",
        "nowhere.tar",
    ] {
        let one = one(key);
        let looked = inspect(Arc::clone(&store) as _, &one.0, one.1.as_ref()).await.unwrap();
        assert!(matches!(looked, Inspection::Nothing), "{key}");
    }
}

#[tokio::test]
async fn a_repository_as_a_whole_lists_what_it_has() {
    let (tree, about) = tree();
    let (found, _) = one("copy/docker/registry/v2/repositories/a/b/_manifests/tags/v1/current/link");
    let store = store_of(tree.objects());
    let Inspection::Complete { source, version } = inspect(store, &found, None).await.unwrap() else {
        panic!("a repository is complete as it is");
    };
    assert_eq!(source.parts(), std::slice::from_ref(&found));
    let images = source.images(&found).unwrap();
    assert_eq!(version, "");
    let listing = images.images().await.unwrap();
    let targets: Vec<String> = listing.images.iter().map(|image| image.target.to_string()).collect();
    assert_eq!(targets, ["v1".to_owned(), about.to_string()]);
    for image in &listing.images {
        read_image(images.as_ref(), &image.target).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_there_and_wrong_is_told_and_not_waited_for() {
    let repository = "copy/docker/registry/v2/repositories/a/b/_manifests";
    let (tree, about) = tree();
    let hex = about.hex();
    let data = format!("copy/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
    let (tag, revision) = (
        format!("{repository}/tags/v1/current/link"),
        format!("{repository}/revisions/sha256/{hex}/link"),
    );
    for (key, bytes, inspected, code) in [
        (tag.as_str(), "sha256:../../x", tag.as_str(), "STORAGE_LINK_INVALID"),
        (data.as_str(), "{}", revision.as_str(), "MANIFEST_DIGEST_MISMATCH"),
        (
            "p/oci-layout",
            r#"{"imageLayoutVersion":"2.0.0"}"#,
            "p/index.json",
            "LAYOUT_INVALID",
        ),
        ("p/index.json", "[]", "p/index.json", "LAYOUT_INVALID"),
        ("a.tar", &"no tar".repeat(200), "a.tar", "ARCHIVE_INVALID"),
    ] {
        let mut objects = layout().finished("p/");
        objects.extend(tree.objects());
        objects.insert(key.into(), Bytes::copy_from_slice(bytes.as_bytes()));
        let one = one(inspected);
        let error = inspect(store_of(objects), &one.0, one.1.as_ref()).await.err().unwrap();
        assert_eq!(error.code(), code, "{key}");
        assert!(error.is_permanent(), "{key}");
    }
}

#[tokio::test]
async fn what_arrived_since_the_look_is_present_and_the_rest_is_not() {
    for count in [1, 60] {
        let mut files = Files::default();
        let images: Vec<_> = (0..count).map(|at| files.image(&format!("image {at}"), None)).collect();
        let index = files.index(&images);
        files.list(&index, Some("v1"));
        let all = files.finished("p/");
        let layers: Vec<Digest> = (0..count)
            .map(|at| Digest::sha256(format!("layer of image {at}").repeat(500).as_bytes()))
            .collect();
        let key = |digest: &Digest| format!("p/blobs/sha256/{}", digest.hex());
        let mut some = all.clone();
        for layer in &layers {
            some.remove(&key(layer));
        }
        let store = store_of(some);
        // A partial object is not reported again while its size is unchanged.
        store
            .put_if_absent(&key(&layers[0]), Bytes::from_static(b"half"))
            .await
            .unwrap();
        let (found, _) = one("p/index.json");
        let Inspection::Incomplete { missing } = inspect(Arc::clone(&store) as _, &found, None).await.unwrap() else {
            panic!("layers are missing");
        };
        assert_eq!(missing.len(), layers.len());
        let present = async || arrived_since(Arc::clone(&store) as _, &found, &missing).await.unwrap();
        assert!(present().await.is_empty());
        for layer in layers.iter().skip(1).take(2) {
            store
                .put_if_absent(&key(layer), all[&key(layer)].clone())
                .await
                .unwrap();
        }
        uploaded_again(&store, &key(&layers[0]), &all[&key(&layers[0])]).await;
        let mut arrived = present().await;
        arrived.sort();
        let mut expected: Vec<Digest> = layers.iter().take(3).cloned().collect();
        expected.sort();
        assert_eq!(arrived, expected, "{count} images");
    }
}

#[tokio::test]
async fn links_of_a_tree_that_arrived_since_the_look_are_present() {
    let (tree, about) = tree();
    let all = tree.objects();
    let long = Digest::of(Algorithm::Sha512, b"a layer by another name");
    let repository = "copy/docker/registry/v2/repositories/a/b";
    let tag = one(&format!("{repository}/_manifests/tags/v1/current/link"));
    let referrer = one(&format!(
        "{repository}/_manifests/revisions/sha256/{}/link",
        about.hex()
    ));
    let config = Digest::sha256(b"{\"text\":\"about\"}");
    for (inspected, key, digest) in [
        (
            &tag,
            format!("{repository}/_layers/sha512/{}/link", long.hex()),
            long.clone(),
        ),
        (
            &tag,
            format!("{repository}/_manifests/revisions/sha256/{}/link", child().hex()),
            child(),
        ),
        (
            &referrer,
            format!(
                "copy/docker/registry/v2/blobs/sha256/{}/{}/data",
                &config.hex()[..2],
                config.hex()
            ),
            config.clone(),
        ),
    ] {
        let mut some = all.clone();
        let bytes = some.remove(&key).unwrap();
        let store = store_of(some);
        let Inspection::Incomplete { missing } = inspect(Arc::clone(&store) as _, &inspected.0, inspected.1.as_ref())
            .await
            .unwrap()
        else {
            panic!("{key} is missing");
        };
        let digests: Vec<&Digest> = missing.iter().filter_map(Missing::digest).collect();
        assert_eq!(digests, [&digest], "{key}");
        let present = async || {
            arrived_since(Arc::clone(&store) as _, &inspected.0, &missing)
                .await
                .unwrap()
        };
        assert!(present().await.is_empty(), "{key}");
        store.put_if_absent(&key, bytes).await.unwrap();
        assert_eq!(present().await, [digest], "{key}");
    }
}

fn child() -> Digest {
    digest_of(&Files::default().image("one", None))
}

#[tokio::test]
async fn a_task_of_its_own_may_look() {
    let (tree, _) = tree();
    let store = store_of(tree.objects());
    let (found, target) = one("copy/docker/registry/v2/repositories/a/b/_manifests/tags/v1/current/link");
    let looked = tokio::spawn(async move {
        let looked = inspect(Arc::clone(&store) as _, &found, target.as_ref()).await;
        let present = arrived_since(Arc::clone(&store) as _, &found, &[]).await.unwrap();
        let mut search = crate::Discovery::new("copy");
        let found = search.next(store.as_ref()).await.unwrap();
        matches!(looked, Ok(Inspection::Complete { .. })) && present.is_empty() && found.is_some()
    });
    assert!(looked.await.unwrap());
}
