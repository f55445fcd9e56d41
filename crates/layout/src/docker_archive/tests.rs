//! Behaviours of archives as docker saves them.

use bytes::Bytes;
use serde_json::{Value, json};
use transship_oci::{Digest, Target};

use crate::counting_store::store_of;
use crate::{Archive, Images};
use transship_testkit::layouts::read_image;
use transship_testkit::layouts::{Tar, gzip};

async fn open(tar: Vec<u8>) -> Archive {
    let store = store_of([("a.tar".to_owned(), Bytes::from(tar))]);
    Archive::open(store, "a.tar").await.unwrap()
}

fn tag(text: &str) -> Target {
    Target::Tag(text.parse().unwrap())
}

fn layer(text: &str) -> Vec<u8> {
    Tar::new().file(text, text.repeat(300).as_bytes()).end()
}

fn config(layers: &[&[u8]]) -> (String, Vec<u8>) {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::sha256(layer)).collect();
    let diff_ids = serde_json::to_string(&diff_ids).unwrap();
    // Written out, because the order of its fields is part of a digest below.
    let config =
        format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{"diff_ids":{diff_ids},"type":"layers"}}}}"#);
    let config = config.into_bytes();
    (format!("{}.json", Digest::sha256(&config).hex()), config)
}

fn entry(config: &str, tags: &[&str], layers: &[&str]) -> Value {
    json!({"Config": config, "RepoTags": tags, "Layers": layers})
}

fn refused(listing: &crate::Listing) -> Vec<(&str, &'static str)> {
    listing
        .refused
        .iter()
        .map(|one| (one.name.as_str(), one.error.code()))
        .collect()
}

#[tokio::test]
async fn a_saved_image_always_gets_the_same_manifest() {
    let (one, two) = (layer("one"), layer("two"));
    let (name, bytes) = config(&[&one, &two]);
    let manifest = json!([entry(
        &name,
        &["r.example/app:v1", "app:v2"],
        &["a/layer.tar", "b/layer.tar"]
    )])
    .to_string();
    let tar = Tar::new()
        .file("a/layer.tar", &one)
        .file("b/layer.tar", &two)
        .file(&name, &bytes)
        .file("manifest.json", manifest.as_bytes())
        .end();
    let elsewhere = json!([entry(&name, &[], &["2.tar", "1.tar"])]).to_string();
    let other = Tar::new()
        .file("manifest.json", elsewhere.as_bytes())
        .file("1.tar", &two)
        .file("2.tar", &one)
        .file(&name, &bytes)
        .end();
    let mut digests = Vec::new();
    for tar in [gzip(&tar), tar, gzip(&other), other] {
        let archive = open(tar).await;
        let listing = archive.images().await.unwrap();
        assert!(listing.refused.is_empty(), "{:?}", listing.refused);
        let (digest, blobs) = read_image(&archive, &listing.images[0].target).await.unwrap();
        assert_eq!(blobs, 3);
        assert_eq!(archive.target_of(None).await.ok(), Some(Target::Digest(digest.clone())));
        digests.push(digest);
    }
    digests.dedup();
    assert_eq!(
        digests.iter().map(Digest::to_string).collect::<Vec<_>>(),
        ["sha256:ccb4960e0a5eb7d7fd70c2c08fa3e684aee97fa71f39d20e9bae30031e934826"],
        "the bytes of an assembled manifest never change"
    );
}

#[tokio::test]
async fn packed_layers_stay_packed() {
    let one = layer("one");
    let (name, bytes) = config(&[&one]);
    let manifest = json!([entry(&name, &["app:v1"], &["1.tar"])]).to_string();
    let packed = gzip(&one);
    let tar = Tar::new()
        .file("1.tar", &packed)
        .file(&name, &bytes)
        .file("manifest.json", manifest.as_bytes())
        .end();
    for tar in [gzip(&tar), tar] {
        let archive = open(tar).await;
        let manifest = transship_copy::source_manifest(&archive, &tag("v1")).await.unwrap();
        let layer = manifest.blobs().last().unwrap();
        assert_eq!(layer.digest, Digest::sha256(&packed));
        assert!(layer.media_type.as_str().ends_with("tar+gzip"));
        assert_eq!(read_image(&archive, &tag("v1")).await.map(|read| read.1), Ok(2));
    }
}

#[tokio::test]
async fn a_layer_that_is_shared_is_found_by_its_link() {
    let (one, two) = (layer("one"), layer("two"));
    let ((first, first_bytes), (second, second_bytes)) = (config(&[&one, &two]), config(&[&one]));
    let manifest = json!([
        entry(&first, &["team/app:v0"], &["x/layer.tar", "y/layer.tar"]),
        entry(&second, &["team/app:v1"], &["z/layer.tar"]),
    ])
    .to_string();
    let with = |tar: Tar| {
        tar.file("x/layer.tar", &one)
            .file("y/layer.tar", &two)
            .file(&first, &first_bytes)
            .file(&second, &second_bytes)
            .file("manifest.json", manifest.as_bytes())
            .end()
    };
    for (kind, target) in [(b'2', "../x/layer.tar"), (b'1', "x/layer.tar")] {
        let tar = with(Tar::new().link(kind, "z/layer.tar", target));
        for tar in [gzip(&tar), tar] {
            let archive = open(tar).await;
            assert!(archive.images().await.unwrap().refused.is_empty());
            assert_eq!(read_image(&archive, &tag("v0")).await.map(|read| read.1), Ok(3));
            assert_eq!(read_image(&archive, &tag("v1")).await.map(|read| read.1), Ok(2));
        }
    }
    for target in ["/x/layer.tar", "../../x/layer.tar", "layer.tar"] {
        let archive = open(with(Tar::new().link(b'2', "z/layer.tar", target))).await;
        assert_eq!(
            read_image(&archive, &tag("v1")).await,
            Err("ARCHIVE_ENTRY_UNSAFE"),
            "{target}"
        );
        assert!(read_image(&archive, &tag("v0")).await.is_ok());
    }
}

#[tokio::test]
async fn a_configuration_may_have_any_name_outside_the_blobs_of_a_layout() {
    let one = layer("one");
    let (_, bytes) = config(&[&one]);
    let other = "0".repeat(64);
    for (name, is_read) in [
        (format!("{other}.json"), true),
        (other.clone(), true),
        (format!("sha256:{other}"), true),
        ("config.json".to_owned(), true),
        (format!("blobs/sha256/{other}"), false),
    ] {
        let manifest = json!([entry(&name, &["app:v1"], &["1.tar"])]).to_string();
        let tar = Tar::new()
            .file("1.tar", &one)
            .file(&name, &bytes)
            .file("manifest.json", manifest.as_bytes())
            .end();
        let read = read_image(&open(tar).await, &tag("v1")).await;
        assert_eq!(read.is_ok(), is_read, "{name}: {read:?}");
    }
}

#[tokio::test]
async fn null_is_an_empty_list() {
    let bytes = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":null}}"#;
    let manifest = r#"[{"Config":"c.json","RepoTags":null,"Layers":null}]"#;
    let tar = Tar::new()
        .file("c.json", bytes)
        .file("manifest.json", manifest.as_bytes())
        .end();
    let archive = open(tar).await;
    let listing = archive.images().await.unwrap();
    assert!(listing.refused.is_empty(), "{:?}", listing.refused);
    assert_eq!(
        read_image(&archive, &listing.images[0].target).await.map(|read| read.1),
        Ok(1)
    );
    let nameless = json!([{"Config": "c.json", "RepoTags": [null, "app:v1"], "Layers": []}]).to_string();
    let tar = Tar::new()
        .file("c.json", bytes)
        .file("manifest.json", nameless.as_bytes())
        .end();
    assert_eq!(read_image(&open(tar).await, &tag("v1")).await.map(|read| read.1), Ok(1));
}

#[tokio::test]
async fn one_bad_image_leaves_the_others_alone() {
    let (one, two) = (layer("one"), layer("two"));
    let (name, bytes) = config(&[&one]);
    let (lying, lying_bytes) = config(&[&two]);
    let manifest = json!([
        entry(&name, &["app:good", "library/untagged", "app:twice"], &["1.tar"]),
        entry(&lying, &["app:lying"], &["1.tar"]),
        entry(&name, &["app:climbs"], &["../../etc/passwd"]),
        entry(&name, &["app:missing"], &["3.tar"]),
        entry(&name, &["app:more"], &["1.tar", "1.tar"]),
        entry("gone.json", &["app:gone"], &["1.tar"]),
        entry("wrong/blobs/sha256/x", &["app:twice"], &["1.tar"]),
        {"RepoTags": ["app:broken"], "Config": 7},
        7,
    ])
    .to_string();
    let tar = Tar::new()
        .file("1.tar", &one)
        .file(&name, &bytes)
        .file(&lying, &lying_bytes)
        .file("manifest.json", manifest.as_bytes())
        .end();
    let archive = open(gzip(&tar)).await;
    let listing = archive.images().await.unwrap();
    let targets: Vec<String> = listing.images.iter().map(|image| image.target.to_string()).collect();
    assert_eq!(targets, ["good", "twice"]);
    let invalid = |name| (name, "DOCKER_ARCHIVE_INVALID");
    let refused = refused(&listing);
    assert_eq!(refused[0], ("library/untagged", "LAYOUT_NAME_UNMAPPABLE"));
    for name in [
        "app:lying",
        "app:climbs",
        "app:missing",
        "app:more",
        "app:gone",
        "app:twice",
        "app:broken",
    ] {
        assert!(refused.contains(&invalid(name)), "{name}: {refused:?}");
    }
    assert_eq!(refused.len(), 9);
    // A plain archive is not read through: there a layer that is another is found out when it is copied.
    let archive = open(tar).await;
    assert_eq!(read_image(&archive, &tag("lying")).await, Err("BLOB_DIGEST_MISMATCH"));
    assert_eq!(read_image(&archive, &tag("gone")).await, Err("DOCKER_ARCHIVE_INVALID"));
    assert!(read_image(&archive, &tag("good")).await.is_ok());
}

#[tokio::test]
async fn one_tag_of_two_images_is_refused_for_both() {
    let (one, two) = (layer("one"), layer("two"));
    let ((first, first_bytes), (second, second_bytes)) = (config(&[&one]), config(&[&two]));
    let manifest = json!([
        entry(&first, &["nginx:1", "nginx:2"], &["1.tar"]),
        entry(&second, &["redis:1"], &["2.tar"]),
    ])
    .to_string();
    let tar = Tar::new()
        .file("1.tar", &one)
        .file("2.tar", &two)
        .file(&first, &first_bytes)
        .file(&second, &second_bytes)
        .file("manifest.json", manifest.as_bytes())
        .end();
    let archive = open(tar).await;
    let listing = archive.images().await.unwrap();
    assert_eq!(refused(&listing), [("1", "LAYOUT_NAME_CONFLICT")]);
    assert_eq!(listing.images.len(), 1);
    assert_eq!(read_image(&archive, &tag("1")).await, Err("LAYOUT_NAME_CONFLICT"));
    assert!(
        archive.target_of(Some("redis:1")).await.is_ok(),
        "its whole name still tells it"
    );
}

#[tokio::test]
async fn an_image_of_before_1_10_is_made_of_its_chain() {
    let (one, two) = (layer("one"), layer("two"));
    let (base, top) = ("a".repeat(64), "b".repeat(64));
    let command = json!({"Cmd": ["/bin/sh", "-c", "x"]});
    let written = |id: &str, parent: Option<&str>| {
        json!({"id": id, "parent": parent, "os": "linux", "architecture": "amd64", "created": "2015-01-01T00:00:00Z",
            "container_config": command, "config": {"Env": ["A=b"]}, "Size": 3})
        .to_string()
    };
    let chain = |parent: Option<&str>| {
        Tar::new()
            .file(&format!("{base}/json"), written(&base, parent).as_bytes())
            .file(&format!("{base}/layer.tar"), &one)
            .file(&format!("{top}/json"), written(&top, Some(&base)).as_bytes())
            .file(&format!("{top}/layer.tar"), &two)
            .file(
                "repositories",
                json!({"r.example/app": {"v1": top}}).to_string().as_bytes(),
            )
            .end()
    };
    let archive = open(chain(None)).await;
    let (digest, blobs) = read_image(&archive, &tag("v1")).await.unwrap();
    assert_eq!(blobs, 3);
    let manifest = transship_copy::source_manifest(&archive, &tag("v1")).await.unwrap();
    let layers: Vec<&Digest> = manifest.blobs().skip(1).map(|layer| &layer.digest).collect();
    assert_eq!(layers, [&Digest::sha256(&one), &Digest::sha256(&two)]);
    assert_eq!(
        read_image(&open(gzip(&chain(None))).await, &tag("v1")).await.unwrap().0,
        digest
    );
    let archive = open(chain(Some(&top))).await;
    assert_eq!(
        read_image(&archive, &tag("v1")).await,
        Err("DOCKER_ARCHIVE_INVALID"),
        "a chain that bites its tail"
    );
    assert_eq!(
        archive.target_of(None).await.err().unwrap().code(),
        "DOCKER_ARCHIVE_INVALID"
    );
}

#[tokio::test]
async fn of_an_archive_that_is_both_the_layout_is_read() {
    let mut files = transship_testkit::layouts::Files::default();
    let image = files.image("x", None);
    files.list(&image, Some("v1"));
    let tar = files
        .finished("")
        .into_iter()
        .fold(Tar::new(), |tar, (name, bytes)| tar.file(&name, &bytes));
    let archive = open(tar.file("manifest.json", b"[7]").end()).await;
    let (digest, _) = read_image(&archive, &tag("v1")).await.unwrap();
    assert_eq!(digest, transship_testkit::layouts::digest_of(&image));
}
