//! Pushing, reading and deleting manifests.

use serde_json::json;
use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::{Digest, Target, media_type};

use crate::client::{Subject, code, descriptor_of, digest_of, header, manifest_of, repository};

#[tokio::test]
async fn a_manifest_is_read_back_byte_for_byte_by_tag_and_digest() {
    let subject = Subject::new().await;
    let manifest = manifest_of(&subject.seed(b"{}"));
    let answer = subject.put_manifest("v1", &manifest).await;
    assert_eq!(answer.status(), 201);
    let digest = digest_of(&manifest).to_string();
    assert_eq!(header(&answer, "docker-content-digest"), digest);
    for reference in ["v1", &digest] {
        let path = format!("a/b/manifests/{reference}");
        let head = subject.send("HEAD", &path).await;
        assert_eq!(header(&head, "content-type"), media_type::OCI_MANIFEST);
        assert_eq!(header(&head, "docker-content-digest"), digest);
        assert_eq!(header(&head, "content-length"), manifest.to_string().len().to_string());
        assert_eq!(
            subject.send("GET", &path).await.text().await.unwrap(),
            manifest.to_string()
        );
    }
}

#[tokio::test]
async fn a_manifest_waits_for_all_it_needs() {
    let subject = Subject::new().await;
    let absent = json!({ "mediaType": "a/b", "digest": Digest::sha256(b"absent"), "size": 6 });
    let refused = subject.put_manifest("v1", &manifest_of(&absent)).await;
    assert_eq!(code(refused).await, "MANIFEST_BLOB_UNKNOWN");

    let child = manifest_of(&subject.seed(b"{}"));
    let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [descriptor_of(&child)] });
    let refused = subject.put_manifest("v1", &index).await;
    assert_eq!(code(refused).await, "MANIFEST_UNKNOWN");
    assert!(subject.registry.tags(&repository()).is_empty());
    assert_eq!(
        subject
            .put_manifest(&digest_of(&child).to_string(), &child)
            .await
            .status(),
        201
    );
    assert_eq!(subject.put_manifest("v1", &index).await.status(), 201);
}

#[tokio::test]
async fn a_layer_that_may_not_be_distributed_is_not_waited_for() {
    let subject = Subject::new().await;
    let mut manifest = manifest_of(&subject.seed(b"{}"));
    manifest["layers"] = json!([{
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "digest": Digest::sha256(b"elsewhere"), "size": 9, "urls": ["https://store.example.com/x"],
    }]);
    assert_eq!(subject.put_manifest("v1", &manifest).await.status(), 201);
}

#[tokio::test]
async fn what_misleads_is_refused() {
    let subject = Subject::new().await;
    let manifest = manifest_of(&subject.seed(b"{}"));
    let wrong = Digest::sha256(b"something else").to_string();
    assert_eq!(
        code(subject.put_manifest(&wrong, &manifest).await).await,
        "DIGEST_INVALID"
    );
    let mistyped = subject
        .request("PUT", "a/b/manifests/v1")
        .header("content-type", media_type::DOCKER_MANIFEST)
        .body(manifest.to_string());
    assert_eq!(code(mistyped.send().await.unwrap()).await, "MANIFEST_INVALID");
    let large = vec![b' '; 4 * 1024 * 1024 + 1];
    assert_eq!(subject.send_with("PUT", "a/b/manifests/v1", large).await.status(), 413);
    assert!(subject.registry.manifests(&repository()).is_empty());
}

#[tokio::test]
async fn a_tag_moves_and_is_deleted_alone() {
    let subject = Subject::new().await;
    let first = manifest_of(&subject.seed(b"1"));
    let second = manifest_of(&subject.seed(b"2"));
    subject.put_manifest("v1", &first).await;
    subject.put_manifest("v1", &second).await;
    let tag = "v1".parse().unwrap();
    assert_eq!(subject.registry.digest(&repository(), &tag), Some(digest_of(&second)));
    assert_eq!(subject.send("DELETE", "a/b/manifests/v1").await.status(), 202);
    assert_eq!(subject.send("GET", "a/b/manifests/v1").await.status(), 404);
    assert_eq!(subject.registry.manifests(&repository()).len(), 2);
}

#[tokio::test]
async fn a_deleted_manifest_takes_its_tags_along() {
    let subject = Subject::new().await;
    let manifest = manifest_of(&subject.seed(b"{}"));
    subject.put_manifest("v1", &manifest).await;
    subject.put_manifest("v2", &manifest).await;
    let path = format!("a/b/manifests/{}", digest_of(&manifest));
    assert_eq!(subject.send("DELETE", &path).await.status(), 202);
    assert!(subject.registry.tags(&repository()).is_empty());
    let target = Target::Tag("v1".parse().unwrap());
    assert!(subject.registry.manifest(&repository(), &target).is_none());
}

#[tokio::test]
async fn a_subject_is_acknowledged_only_with_the_api_and_need_not_be_there() {
    for has in [true, false] {
        let subject = Subject::of(EmbeddedRegistry::builder().referrers_api(has)).await;
        let mut manifest = manifest_of(&subject.seed(b"{}"));
        let absent = Digest::sha256(b"absent");
        manifest["subject"] = json!({ "mediaType": media_type::OCI_MANIFEST, "digest": absent, "size": 6 });
        let answer = subject.put_manifest("v1", &manifest).await;
        assert_eq!(answer.status(), 201);
        let acknowledged = answer.headers().get("oci-subject").map(|value| value.to_str().unwrap());
        assert_eq!(acknowledged, has.then_some(absent.to_string()).as_deref());
    }
}
