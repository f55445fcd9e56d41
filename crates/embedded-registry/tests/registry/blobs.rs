//! Reading and deleting blobs.

use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::Digest;

use crate::client::{Subject, code, header};

#[tokio::test]
async fn a_blob_is_read_whole_and_by_range() {
    let subject = Subject::new().await;
    subject.seed(b"0123456789");
    let digest = Digest::sha256(b"0123456789");
    let path = format!("a/b/blobs/{digest}");
    let head = subject.send("HEAD", &path).await;
    assert_eq!(
        (head.status().as_u16(), header(&head, "content-length").as_str()),
        (200, "10")
    );
    assert_eq!(header(&head, "docker-content-digest"), digest.to_string());
    assert_eq!(subject.send("GET", &path).await.text().await.unwrap(), "0123456789");
    for (range, status, text, content_range) in [
        ("bytes=3-5", 206, "345", "bytes 3-5/10"),
        ("bytes=8-", 206, "89", "bytes 8-9/10"),
        ("bytes=-1", 206, "9", "bytes 9-9/10"),
    ] {
        let part = subject
            .request("GET", &path)
            .header("range", range)
            .send()
            .await
            .unwrap();
        assert_eq!(part.status(), status);
        assert_eq!(header(&part, "content-range"), content_range);
        assert_eq!(part.text().await.unwrap(), text);
    }
    let beyond = subject
        .request("GET", &path)
        .header("range", "bytes=10-")
        .send()
        .await
        .unwrap();
    assert_eq!(beyond.status(), 416);
    assert_eq!(header(&beyond, "content-range"), "bytes */10");
}

#[tokio::test]
async fn a_blob_of_another_repository_is_not_visible() {
    let subject = Subject::new().await;
    subject.seed(b"x");
    let answer = subject
        .send("GET", &format!("other/blobs/{}", Digest::sha256(b"x")))
        .await;
    assert_eq!(answer.status(), 404);
    assert_eq!(code(answer).await, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn a_deleted_blob_is_gone_unless_deletes_are_off() {
    for (does, status, left) in [(true, 202, 404), (false, 405, 200)] {
        let subject = Subject::of(EmbeddedRegistry::builder().delete(does)).await;
        subject.seed(b"x");
        let path = format!("a/b/blobs/{}", Digest::sha256(b"x"));
        assert_eq!(subject.send("DELETE", &path).await.status(), status);
        assert_eq!(subject.send("HEAD", &path).await.status(), left);
    }
}

#[tokio::test]
async fn names_and_digests_that_break_the_grammar_are_refused() {
    let subject = Subject::new().await;
    let refused = subject.send("GET", "a/b/blobs/sha256:00").await;
    assert_eq!(
        (refused.status().as_u16(), code(refused).await.as_str()),
        (400, "DIGEST_INVALID")
    );
    let refused = subject.send("GET", "UPPER/tags/list").await;
    assert_eq!(
        (refused.status().as_u16(), code(refused).await.as_str()),
        (400, "NAME_INVALID")
    );
    assert_eq!(subject.send("GET", "").await.status(), 200);
}
