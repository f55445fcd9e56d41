//! Lists of tags and of referrers.

use serde_json::{Value, json};
use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::{Digest, media_type};

use crate::client::{Subject, code, header, manifest_of, repository};

async fn json_of(answer: reqwest::Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

#[tokio::test]
async fn tags_come_in_order_and_in_pages() {
    let subject = Subject::new().await;
    let digest = Digest::sha256(b"x");
    for tag in ["v2", "v1", "v10", "latest"] {
        subject.registry.tag(&repository(), &tag.parse().unwrap(), &digest);
    }
    let whole = subject.send("GET", "a/b/tags/list").await;
    assert!(!whole.headers().contains_key("link"));
    let expected = json!({ "name": "a/b", "tags": ["latest", "v1", "v10", "v2"] });
    assert_eq!(json_of(whole).await, expected);

    let first = subject.send("GET", "a/b/tags/list?n=3").await;
    assert_eq!(header(&first, "link"), "</v2/a/b/tags/list?n=3&last=v10>; rel=\"next\"");
    assert_eq!(json_of(first).await["tags"], json!(["latest", "v1", "v10"]));
    let second = subject.send("GET", "a/b/tags/list?n=3&last=v10").await;
    assert!(!second.headers().contains_key("link"));
    assert_eq!(json_of(second).await["tags"], json!(["v2"]));
    let exact = subject.send("GET", "a/b/tags/list?n=4").await;
    assert!(!exact.headers().contains_key("link"), "there is no next page");
    assert_eq!(
        json_of(subject.send("GET", "a/b/tags/list?n=0").await).await["tags"],
        json!([])
    );
    assert_eq!(
        code(subject.send("GET", "nowhere/tags/list").await).await,
        "NAME_UNKNOWN"
    );
}

#[tokio::test]
async fn repositories_come_in_order_and_in_pages() {
    let subject = Subject::of(EmbeddedRegistry::builder().page_size(2)).await;
    let digest = Digest::sha256(b"x");
    for name in ["core/b", "core/a", "other"] {
        let repository = name.parse().unwrap();
        subject.registry.tag(&repository, &"v1".parse().unwrap(), &digest);
    }
    let first = subject.send("GET", "_catalog?n=1000").await;
    assert_eq!(header(&first, "link"), "</v2/_catalog?n=2&last=core/b>; rel=\"next\"");
    assert_eq!(json_of(first).await, json!({ "repositories": ["core/a", "core/b"] }));
    let second = subject.send("GET", "_catalog?n=2&last=core/b").await;
    assert!(!second.headers().contains_key("link"));
    assert_eq!(json_of(second).await, json!({ "repositories": ["other"] }));

    let closed = Subject::of(EmbeddedRegistry::builder().catalog(false)).await;
    assert_eq!(closed.send("GET", "_catalog").await.status(), 401);
}

#[tokio::test]
async fn referrers_are_listed_with_type_and_annotations_and_filtered() {
    let subject = Subject::new().await;
    let about = Digest::sha256(b"subject");
    let config = subject.seed(b"{}");
    for kind in ["application/spdx+json", "application/vnd.example.signature"] {
        let mut manifest = manifest_of(&config);
        manifest["artifactType"] = json!(kind);
        manifest["annotations"] = json!({ "kind": kind });
        manifest["subject"] = json!({ "mediaType": media_type::OCI_MANIFEST, "digest": about, "size": 7 });
        let reference = crate::client::digest_of(&manifest).to_string();
        assert_eq!(subject.put_manifest(&reference, &manifest).await.status(), 201);
    }
    let all = subject.send("GET", &format!("a/b/referrers/{about}")).await;
    assert_eq!(header(&all, "content-type"), media_type::OCI_INDEX);
    assert!(!all.headers().contains_key("oci-filters-applied"));
    assert_eq!(json_of(all).await["manifests"].as_array().unwrap().len(), 2);

    let path = format!("a/b/referrers/{about}?artifactType=application%2Fspdx%2Bjson");
    let some = subject.send("GET", &path).await;
    assert_eq!(header(&some, "oci-filters-applied"), "artifactType");
    let listed = json_of(some).await["manifests"].clone();
    assert_eq!(listed[0]["artifactType"], "application/spdx+json");
    assert_eq!(listed[0]["annotations"]["kind"], "application/spdx+json");
    assert_eq!(listed.as_array().unwrap().len(), 1);

    let none = subject
        .send("GET", &format!("a/b/referrers/{}", Digest::sha256(b"other")))
        .await;
    assert_eq!(json_of(none).await["manifests"], json!([]));
}

#[tokio::test]
async fn without_the_api_the_path_is_not_known() {
    let subject = Subject::of(EmbeddedRegistry::builder().referrers_api(false)).await;
    let answer = subject
        .send("GET", &format!("a/b/referrers/{}", Digest::sha256(b"x")))
        .await;
    assert_eq!(answer.status(), 404);
}
