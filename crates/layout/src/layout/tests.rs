//! Behaviours of [`Layout`] over files in memory.

use serde_json::json;
use transship_oci::media_type::{OCI_CONFIG, OCI_MANIFEST};

use bytes::Bytes;

use super::*;
use crate::MemoryStore;

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
        layout.manifest_get(&image).await.unwrap_err().code(),
        "MANIFEST_DIGEST_MISMATCH"
    );
    assert_eq!(layout.manifest_get(&gone).await.unwrap_err().code(), "SOURCE_NOT_FOUND");
}
