//! Behaviours of archives in both formats.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::{Value, json};
use transship_oci::media_type::{OCI_CONFIG, OCI_MANIFEST};
use transship_oci::{Digest, Target};
use transship_testkit::layouts::{Files, LAYER, REF_NAME, Tar, digest_of, gzip, read_image};

use crate::counting_store::store_of;
use crate::{Archive, Images};

/// An archive that is being made: a layout, and the entries of `manifest.json`.
#[derive(Default)]
struct Saved {
    files: Files,
    listed: Vec<Value>,
}

impl Saved {
    /// An image that could be loaded: its descriptor, with a platform, and its entry in `manifest.json`.
    fn image(&mut self, text: &str, architecture: &str, tags: &Value) -> (Value, Value) {
        let layer = Tar::new().file(text, text.as_bytes()).end();
        let (layer, size) = self.files.put(&layer);
        let config =
            json!({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer]}});
        let (config, config_size) = self.files.put(config.to_string().as_bytes());
        let mut descriptor = self
            .files
            .manifest(&json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": config, "size": config_size},
            "layers": [{"mediaType": LAYER, "digest": layer, "size": size}]}));
        descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
        let blob = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
        let entry = json!({"Config": blob(&config), "RepoTags": tags, "Layers": [blob(&layer)]});
        (descriptor, entry)
    }

    /// An image of which the archive has nothing.
    fn absent(text: &str, architecture: &str) -> Value {
        Self::default().image(text, architecture, &Value::Null).0
    }

    /// An entry of `index.json` with a tag and containerd's name.
    fn name(&mut self, descriptor: &Value, tag: &str, whole: &str) {
        let mut entry = descriptor.clone();
        entry["annotations"] = json!({REF_NAME: tag, "io.containerd.image.name": whole});
        self.files.entries.push(entry);
    }

    fn forget(&mut self, digest: &str) {
        let key = format!("blobs/{}", digest.replace(':', "/"));
        self.files.all.remove(&key).unwrap();
    }

    fn tar(&self) -> Vec<u8> {
        let mut files: HashMap<String, Bytes> = self.files.finished("");
        if !self.listed.is_empty() {
            files.insert(
                "manifest.json".into(),
                Value::from(self.listed.clone()).to_string().into(),
            );
        }
        let tar = files
            .iter()
            .fold(Tar::new(), |tar, (name, bytes)| tar.file(name, bytes));
        tar.end()
    }

    async fn open(&self) -> Archive {
        open(self.tar()).await
    }
}

async fn open(tar: Vec<u8>) -> Archive {
    let store = store_of([("a.tar".to_owned(), Bytes::from(tar))]);
    Archive::open(store, "a.tar").await.unwrap()
}

fn tag(text: &str) -> Target {
    Target::Tag(text.parse().unwrap())
}

async fn target(archive: &Archive, reference: Option<&str>) -> Result<Target, &'static str> {
    archive.target_of(reference).await.map_err(|error| error.code())
}

/// The targets of the images that can be read, and the names and codes of the others.
async fn listed(archive: &Archive) -> (Vec<String>, Vec<(String, &'static str)>) {
    let listing = archive.images().await.unwrap();
    let images = listing.images.iter().map(|image| image.target.to_string());
    let refused = listing.refused.iter().map(|one| (one.name.clone(), one.error.code()));
    (images.collect(), refused.collect())
}

/// An index of which the archive has one platform.
fn one_platform() -> (Saved, Value) {
    let mut saved = Saved::default();
    let (here, entry) = saved.image("here", "amd64", &json!(["team/app:v1"]));
    let mut attestation = Saved::absent("attestation", "unknown");
    attestation["platform"]["os"] = "unknown".into();
    let index = saved
        .files
        .index(&[here.clone(), Saved::absent("elsewhere", "arm64"), attestation]);
    saved.name(&index, "v1", "docker.io/team/app:v1");
    saved.listed.push(entry);
    (saved, here)
}

#[tokio::test]
async fn of_an_index_without_its_platforms_the_image_of_manifest_json_is_used() {
    let (saved, here) = one_platform();
    let tar = saved.tar();
    for tar in [gzip(&tar), tar] {
        let archive = open(tar).await;
        assert_eq!(listed(&archive).await, (vec!["v1".to_owned()], Vec::new()));
        let digest = digest_of(&here);
        assert_eq!(
            read_image(&archive, &tag("v1")).await,
            Ok((digest.clone(), 2)),
            "the registry's manifest, byte for byte"
        );
        for reference in [None, Some("v1"), Some("team/app:v1"), Some("docker.io/team/app:v1")] {
            assert_eq!(target(&archive, reference).await, Ok(Target::Digest(digest.clone())));
        }
    }
}

#[tokio::test]
async fn a_child_without_its_layers_is_as_absent_as_one_without_its_manifest() {
    let (mut saved, here) = one_platform();
    let (part, _) = saved.image("part", "s390x", &Value::Null);
    let manifest = &saved.files.all[&format!("blobs/sha256/{}", digest_of(&part).hex())];
    let manifest: Value = serde_json::from_slice(manifest).unwrap();
    saved.forget(manifest["layers"][0]["digest"].as_str().unwrap());
    saved.files.entries.clear();
    let index = saved.files.index(&[here.clone(), part]);
    saved.name(&index, "v1", "docker.io/team/app:v1");
    let archive = saved.open().await;
    assert_eq!(
        read_image(&archive, &tag("v1")).await.map(|read| read.0),
        Ok(digest_of(&here))
    );
}

#[tokio::test]
async fn an_index_without_its_platforms_fails_at_once_and_names_them() {
    let (mut saved, _) = one_platform();
    saved.listed.clear();
    let (other, _) = saved.image("other", "amd64", &Value::Null);
    saved.name(&other, "v2", "docker.io/team/app:v2");
    let archive = saved.open().await;
    let code = "ARCHIVE_PLATFORMS_MISSING";
    assert_eq!(
        listed(&archive).await,
        (vec!["v2".to_owned()], vec![("v1".to_owned(), code)])
    );
    for reference in ["v1", "team/app:v1"] {
        let error = archive.target_of(Some(reference)).await.unwrap_err();
        let said = error.to_string();
        assert_eq!((error.code(), error.is_permanent()), (code, true));
        for word in [
            "only linux/amd64 of",
            "not linux/arm64:",
            "docker save --platform linux/amd64",
        ] {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert!(!said.contains("unknown"), "{said}");
    }
    assert!(target(&archive, Some("v2")).await.is_ok());
    assert!(read_image(&archive, &tag("v2")).await.is_ok());
}

#[tokio::test]
async fn a_complete_index_stays_whole_beside_manifest_json() {
    let mut saved = Saved::default();
    let (one, entry) = saved.image("one", "amd64", &json!(["team/app:v1", "team/app:v2"]));
    let (two, _) = saved.image("two", "arm64", &Value::Null);
    let index = saved.files.index(&[one, two]);
    saved.name(&index, "v1", "docker.io/team/app:v1");
    saved.listed.push(entry);
    let archive = saved.open().await;
    assert_eq!(listed(&archive).await.0, ["v1", "v2"]);
    for name in ["v1", "v2"] {
        let read = read_image(&archive, &tag(name)).await;
        assert_eq!(read, Ok((digest_of(&index), 4)), "{name}: every platform");
    }
}

#[tokio::test]
async fn an_image_that_only_manifest_json_names_is_an_image() {
    for names in [json!(["team/other:v2"]), Value::Null] {
        let mut saved = Saved::default();
        let (one, entry) = saved.image("one", "amd64", &json!(["team/app:v1"]));
        saved.name(&one, "v1", "docker.io/team/app:v1");
        let (other, other_entry) = saved.image("other", "amd64", &names);
        saved.forget(other["digest"].as_str().unwrap());
        saved.listed.extend([entry, other_entry]);
        let tar = saved.tar();
        for tar in [gzip(&tar), tar] {
            let archive = open(tar).await;
            let (images, refused) = listed(&archive).await;
            assert_eq!((images.len(), refused.len()), (2, 0), "{images:?} {refused:?}");
            for image in &images {
                let target: Target = image
                    .parse()
                    .map_or_else(|_| Target::Digest(image.parse().unwrap()), Target::Tag);
                assert_eq!(read_image(&archive, &target).await.map(|read| read.1), Ok(2), "{image}");
            }
            if !names.is_null() {
                assert_eq!(images, ["v1", "v2"]);
                assert!(target(&archive, Some("team/other:v2")).await.is_ok());
            }
        }
    }
}

#[tokio::test]
async fn an_image_saved_by_its_digest_is_read_although_the_index_is_null() {
    let mut saved = Saved::default();
    let (image, entry) = saved.image("one", "amd64", &Value::Null);
    saved.forget(image["digest"].as_str().unwrap());
    saved.listed.push(entry);
    let index = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":null}"#;
    saved.files.all.insert("index.json".into(), Bytes::from_static(index));
    let archive = saved.open().await;
    let (images, refused) = listed(&archive).await;
    assert_eq!((images.len(), refused), (1, Vec::new()));
    let found = target(&archive, None).await.unwrap();
    assert_eq!(found.to_string(), images[0]);
    assert_eq!(read_image(&archive, &found).await.map(|read| read.1), Ok(2));
}

#[tokio::test]
async fn two_images_of_one_tag_are_told_apart_by_their_whole_names() {
    let mut saved = Saved::default();
    let (one, first) = saved.image("one", "amd64", &json!(["team/app:v1"]));
    let (two, second) = saved.image("two", "amd64", &json!(["team/other:v1"]));
    saved.name(&one, "v1", "docker.io/team/app:v1");
    saved.name(&two, "v1", "docker.io/team/other:v1");
    saved.listed.extend([first, second]);
    let archive = saved.open().await;
    assert_eq!(
        target(&archive, Some("team/app:v1")).await,
        Ok(Target::Digest(digest_of(&one)))
    );
    assert_eq!(
        target(&archive, Some("docker.io/team/other:v1")).await,
        Ok(Target::Digest(digest_of(&two)))
    );
    let error = archive.target_of(Some("v1")).await.unwrap_err();
    assert_eq!(error.code(), "LAYOUT_NAME_CONFLICT");
    assert!(error.to_string().contains("docker.io/team/other:v1@sha256:"), "{error}");
    assert_eq!(
        listed(&archive).await,
        (Vec::new(), vec![("v1".to_owned(), "LAYOUT_NAME_CONFLICT")])
    );
}

#[tokio::test]
async fn a_name_of_two_different_images_is_refused_for_both() {
    let mut saved = Saved::default();
    let (one, _) = saved.image("one", "amd64", &Value::Null);
    let (other, entry) = saved.image("other", "amd64", &json!(["team/app:v1"]));
    saved.forget(other["digest"].as_str().unwrap());
    saved.name(&one, "v1", "docker.io/team/app:v1");
    saved.listed.push(entry);
    let archive = saved.open().await;
    let code = "LAYOUT_NAME_CONFLICT";
    assert_eq!(listed(&archive).await, (Vec::new(), vec![("v1".to_owned(), code)]));
    assert_eq!(target(&archive, Some("team/app:v1")).await, Err(code));
    assert_eq!(read_image(&archive, &tag("v1")).await, Err(code));
}

#[tokio::test]
async fn a_damaged_platform_is_no_absent_one() {
    let mut saved = Saved::default();
    let (one, entry) = saved.image("one", "amd64", &json!(["team/app:v1"]));
    let (two, _) = saved.image("two", "arm64", &Value::Null);
    let index = saved.files.index(&[one, two.clone()]);
    saved.name(&index, "v1", "docker.io/team/app:v1");
    saved.listed.push(entry);
    let key = format!("blobs/sha256/{}", digest_of(&two).hex());
    for damaged in [&b"{}"[..], b""] {
        saved.files.all.insert(key.clone(), Bytes::copy_from_slice(damaged));
        let archive = saved.open().await;
        assert_eq!(read_image(&archive, &tag("v1")).await, Err("MANIFEST_DIGEST_MISMATCH"));
    }
}

#[tokio::test]
async fn of_an_archive_whose_index_is_damaged_the_images_of_manifest_json_are_read() {
    let (mut saved, _) = one_platform();
    saved.files.all.insert("index.json".into(), Bytes::from_static(b"{"));
    let archive = saved.open().await;
    let refused = vec![("index.json".to_owned(), "LAYOUT_INVALID")];
    assert_eq!(listed(&archive).await, (vec!["v1".to_owned()], refused));
    assert_eq!(read_image(&archive, &tag("v1")).await.map(|read| read.1), Ok(2));
    assert!(target(&archive, Some("team/app:v1")).await.is_ok());
}

#[tokio::test]
async fn in_a_cut_archive_nothing_counts_as_absent() {
    let (saved, _) = one_platform();
    let finished = saved.files.finished("");
    let listing = Value::from(saved.listed.clone()).to_string();
    let mut tar = Tar::new().file("manifest.json", listing.as_bytes());
    for name in ["oci-layout", "index.json"] {
        tar = tar.file(name, &finished[name]);
    }
    let index = digest_of(&saved.files.entries[0]);
    let key = format!("blobs/sha256/{}", index.hex());
    let mut cut = tar.file(&key, &finished[&key]).unended();
    cut.extend_from_slice(&[b'x'; 100]);
    let archive = open(cut).await;
    assert_eq!(read_image(&archive, &tag("v1")).await, Err("ARCHIVE_TRUNCATED"));
}
