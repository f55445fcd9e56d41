//! Every way in which a blob can be pushed.

use std::sync::Arc;

use transship_embedded_registry::faults::Action;
use transship_embedded_registry::{EmbeddedRegistry, UploadRanges};
use transship_oci::{Algorithm, Digest, Repository};

use crate::client::{Subject, code, header, repository};
use crate::faults::Always;

#[tokio::test]
async fn a_blob_is_pushed_by_post_and_put() {
    let subject = Subject::new().await;
    let digest = Digest::sha256(b"whole");
    let location = subject.open().await;
    assert_eq!(subject.registry.open_uploads(), 1);
    let answer = subject
        .send_with("PUT", &format!("{location}&digest={digest}"), "whole")
        .await;
    assert_eq!(answer.status(), 201);
    assert_eq!(header(&answer, "docker-content-digest"), digest.to_string());
    assert_eq!(header(&answer, "location"), format!("/v2/a/b/blobs/{digest}"));
    assert_eq!(subject.registry.blob(&repository(), &digest).unwrap(), "whole");
    assert_eq!(subject.registry.open_uploads(), 0);
}

#[tokio::test]
async fn a_blob_is_pushed_in_one_post() {
    let subject = Subject::new().await;
    let digest = Digest::of(Algorithm::Sha512, b"whole");
    let path = format!("a/b/blobs/uploads/?digest={digest}");
    assert_eq!(subject.send_with("POST", &path, "whole").await.status(), 201);
    assert_eq!(subject.registry.blob(&repository(), &digest).unwrap(), "whole");
    let refused = subject.send_with("POST", &path, "other").await;
    assert_eq!(code(refused).await, "DIGEST_INVALID");
}

#[tokio::test]
async fn a_blob_is_pushed_in_chunks_that_must_follow_one_another() {
    let subject = Subject::new().await;
    let mut location = subject.open().await;
    for (range, body, acknowledged) in [("0-2", "abc", "0-2"), ("3-6", "defg", "0-6")] {
        let chunk = subject.request("PATCH", &location).header("content-range", range);
        let answer = chunk.body(body).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "range").as_str()),
            (202, acknowledged)
        );
        location = header(&answer, "location");
    }
    let gap = subject.request("PATCH", &location).header("content-range", "9-9");
    let refused = gap.body("x").send().await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), header(&refused, "range").as_str()),
        (416, "0-6")
    );
    let status = subject.send("GET", &location).await;
    assert_eq!(
        (status.status().as_u16(), header(&status, "range").as_str()),
        (204, "0-6")
    );
    let digest = Digest::sha256(b"abcdefgh");
    let commit = format!("{}&digest={digest}", header(&status, "location"));
    assert_eq!(subject.send_with("PUT", &commit, "h").await.status(), 201);
    assert_eq!(subject.registry.blob(&repository(), &digest).unwrap(), "abcdefgh");
}

#[tokio::test]
async fn a_session_that_is_cut_in_the_middle_of_a_chunk_goes_on_or_is_forgotten() {
    for forgets in [false, true] {
        let registry = EmbeddedRegistry::builder().forgets_cut_uploads(forgets);
        let subject = Subject::of(registry).await;
        let answer = subject.send_with("PATCH", &subject.open().await, "abc").await;
        let location = header(&answer, "location");
        let cut = Action::CutRequest { after_bytes: 2 };
        subject.registry.set_faults(Some(Arc::new(Always(cut))));
        assert!(subject.request("PATCH", &location).body("defg").send().await.is_err());
        subject.registry.set_faults(None);
        let status = subject.send("GET", &location).await;
        if forgets {
            assert_eq!(status.status(), 404);
        } else {
            assert_eq!(header(&status, "range"), "0-4");
        }
    }
}

#[tokio::test]
async fn a_registry_says_how_much_it_has_in_the_way_it_was_told() {
    for (form, of_chunk, of_status) in [
        (UploadRanges::Plain, Some("0-2"), Some("0-2")),
        (UploadRanges::WithUnit, Some("bytes=0-2"), Some("0-2")),
        (UploadRanges::OnlyInStatus, None, Some("0-2")),
        (UploadRanges::Never, None, None),
    ] {
        let subject = Subject::of(EmbeddedRegistry::builder().upload_ranges(form)).await;
        let range = |answer: &reqwest::Response| Some(answer.headers().get("range")?.to_str().unwrap().to_owned());
        let answer = subject.send_with("PATCH", &subject.open().await, "abc").await;
        assert_eq!(range(&answer).as_deref(), of_chunk, "{form:?}");
        let status = subject.send("GET", &header(&answer, "location")).await;
        assert_eq!(range(&status).as_deref(), of_status, "{form:?}");
    }
}

#[tokio::test]
async fn an_old_location_is_not_taken_for_the_newest() {
    let subject = Subject::new().await;
    let old = subject.open().await;
    assert_eq!(subject.send_with("PATCH", &old, "abc").await.status(), 202);
    let refused = subject.send_with("PATCH", &old, "def").await;
    assert_eq!(code(refused).await, "BLOB_UPLOAD_INVALID");
    let bare = old.split('?').next().unwrap();
    assert_eq!(subject.send_with("PATCH", bare, "def").await.status(), 400);
}

#[tokio::test]
async fn what_does_not_have_its_digest_is_never_stored() {
    let subject = Subject::new().await;
    let location = subject.open().await;
    let digest = Digest::sha256(b"right");
    let refused = subject
        .send_with("PUT", &format!("{location}&digest={digest}"), "wrong")
        .await;
    assert_eq!(
        (refused.status().as_u16(), code(refused).await.as_str()),
        (400, "DIGEST_INVALID")
    );
    assert!(subject.registry.blob(&repository(), &digest).is_none());
    assert_eq!(subject.registry.open_uploads(), 0);
}

#[tokio::test]
async fn a_sha512_commit_ends_a_session_that_did_not_announce_it() {
    let subject = Subject::new().await;
    let digest = Digest::of(Algorithm::Sha512, b"abc");
    let answer = subject.send_with("PATCH", &subject.open().await, "abc").await;
    let commit = format!("{}&digest={digest}", header(&answer, "location"));
    assert_eq!(subject.send("PUT", &commit).await.status(), 201);
    assert!(subject.registry.blob(&repository(), &digest).is_some());
}

#[tokio::test]
async fn a_cancelled_upload_is_unknown() {
    let subject = Subject::new().await;
    let location = subject.open().await;
    assert_eq!(subject.send("DELETE", &location).await.status(), 204);
    let answer = subject.send("GET", &location).await;
    assert_eq!(code(answer).await, "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository() {
    let subject = Subject::new().await;
    let location = subject.open().await.replace("/a/b/", "/c/");
    assert_eq!(subject.send("GET", &location).await.status(), 404);
}

#[tokio::test]
async fn a_blob_is_mounted_from_a_repository_that_has_it() {
    let subject = Subject::new().await;
    subject.seed(b"x");
    let digest = Digest::sha256(b"x");
    let mount = |from: &str| format!("c/blobs/uploads/?mount={digest}&from={from}");
    assert_eq!(subject.send("POST", &mount("nowhere")).await.status(), 202);
    assert_eq!(subject.send("POST", &mount("a/b")).await.status(), 201);
    let target: Repository = "c".parse().unwrap();
    assert_eq!(subject.registry.blob(&target, &digest).unwrap(), "x");
}

#[tokio::test]
async fn without_mounts_an_upload_is_opened_instead() {
    let subject = Subject::of(EmbeddedRegistry::builder().mounts(false)).await;
    subject.seed(b"x");
    let digest = Digest::sha256(b"x");
    let answer = subject
        .send("POST", &format!("c/blobs/uploads/?mount={digest}&from=a/b"))
        .await;
    assert_eq!(answer.status(), 202);
    let commit = format!("{}&digest={digest}", header(&answer, "location"));
    assert_eq!(subject.send_with("PUT", &commit, "x").await.status(), 201);
}
