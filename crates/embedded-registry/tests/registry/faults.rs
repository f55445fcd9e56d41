//! The execution of faults, seen from the other end of the wire.

use std::sync::Arc;

use transship_embedded_registry::faults::{Action, Ending, Faults, RequestHead};
use transship_embedded_registry::records::Class;
use transship_oci::Digest;

use crate::client::{Subject, digest_of, header, manifest_of, repository};

/// The same fault for every request.
pub struct Always(pub Action);

impl Faults for Always {
    fn action(&self, _: &RequestHead<'_>) -> Option<Action> {
        Some(self.0.clone())
    }
}

async fn suffering(action: Action) -> (Subject, String) {
    let subject = Subject::new().await;
    subject.seed(b"0123456789");
    subject.registry.set_faults(Some(Arc::new(Always(action))));
    (subject, format!("a/b/blobs/{}", Digest::sha256(b"0123456789")))
}

#[tokio::test]
async fn an_answer_can_be_scripted() {
    let (subject, path) = suffering(Action::too_many_requests(7)).await;
    let answer = subject.send("GET", &path).await;
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "retry-after").as_str()),
        (429, "7")
    );
    assert_eq!(subject.registry.requests()[0].status, 429);
    subject.registry.set_faults(None);
    assert_eq!(subject.send("GET", &path).await.status(), 200);
}

#[tokio::test]
async fn a_reset_comes_before_anything_is_done() {
    let (subject, _) = suffering(Action::Reset).await;
    let manifest = manifest_of(&subject.seed(b"{}"));
    let path = "a/b/manifests/v1";
    assert!(
        subject
            .request("PUT", path)
            .body(manifest.to_string())
            .send()
            .await
            .is_err()
    );
    assert!(subject.registry.tags(&repository()).is_empty());
    assert!(subject.registry.requests().iter().all(|record| record.status == 0));
}

#[tokio::test]
async fn a_lost_response_comes_after_everything_was_done() {
    let (subject, _) = suffering(Action::LoseResponse).await;
    let manifest = manifest_of(&subject.seed(b"{}"));
    let put = subject.request("PUT", "a/b/manifests/v1").body(manifest.to_string());
    assert!(put.send().await.is_err());
    let tag = "v1".parse().unwrap();
    assert_eq!(subject.registry.digest(&repository(), &tag), Some(digest_of(&manifest)));
}

#[tokio::test]
async fn a_body_is_cut_loudly_or_quietly() {
    for ending in [Ending::Reset, Ending::Close] {
        let (subject, path) = suffering(Action::CutBody { after_bytes: 4, ending }).await;
        let mut answer = subject.send("GET", &path).await;
        assert_eq!(header(&answer, "content-length"), "10");
        let mut read = Vec::new();
        let error = loop {
            match answer.chunk().await {
                Ok(Some(chunk)) => read.extend_from_slice(&chunk),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        assert!(error.is_some(), "{ending:?}");
        assert_eq!(read, b"0123", "{ending:?}");
        assert_eq!(subject.registry.requests()[0].bytes_out, 4);
    }
    let quiet = Action::CutBody {
        after_bytes: 4,
        ending: Ending::Unnoticed,
    };
    let (subject, path) = suffering(quiet).await;
    let answer = subject.send("GET", &path).await;
    assert!(!answer.headers().contains_key("content-length"));
    assert_eq!(answer.text().await.unwrap(), "0123");
    assert_eq!(header(&subject.send("HEAD", &path).await, "content-length"), "10");
}

#[tokio::test]
async fn a_body_shorter_than_the_cut_is_whole() {
    let ending = Ending::Reset;
    let (subject, path) = suffering(Action::CutBody {
        after_bytes: 10,
        ending,
    })
    .await;
    assert_eq!(subject.send("GET", &path).await.text().await.unwrap(), "0123456789");
}

#[tokio::test]
async fn one_bit_is_flipped_and_the_length_stays() {
    let (subject, path) = suffering(Action::FlipBit { at_byte: 3 }).await;
    let answer = subject.send("GET", &path).await;
    assert_eq!(header(&answer, "content-length"), "10");
    assert_eq!(answer.text().await.unwrap(), "012#456789");
}

#[tokio::test]
async fn a_request_is_cut_and_what_arrived_stays() {
    let (subject, _) = suffering(Action::CutRequest { after_bytes: 3 }).await;
    subject.registry.set_faults(None);
    let location = subject.open().await;
    subject
        .registry
        .set_faults(Some(Arc::new(Always(Action::CutRequest { after_bytes: 3 }))));
    let patch = subject.request("PATCH", &location).body("abcdef");
    assert!(patch.send().await.is_err());
    subject.registry.set_faults(None);
    assert_eq!(header(&subject.send("GET", &location).await, "range"), "0-2");
}

#[tokio::test]
async fn requests_and_bytes_are_recorded() {
    let subject = Subject::new().await;
    let digest = Digest::sha256(b"12345");
    let location = subject.open().await;
    subject
        .send_with("PUT", &format!("{location}&digest={digest}"), "12345")
        .await;
    subject
        .send("GET", &format!("a/b/blobs/{digest}"))
        .await
        .bytes()
        .await
        .unwrap();
    subject.send("GET", "").await;
    let records = subject.registry.requests();
    let seen: Vec<(&str, u16, u64, u64)> = records
        .iter()
        .map(|record| (record.method.as_str(), record.status, record.bytes_in, record.bytes_out))
        .collect();
    assert_eq!(
        seen,
        [
            ("POST", 202, 0, 0),
            ("PUT", 201, 5, 0),
            ("GET", 200, 0, 5),
            ("GET", 200, 0, 0)
        ]
    );
    let traffic = subject.registry.traffic();
    assert_eq!((traffic.total.requests, traffic.pings), (3, 1));
    assert_eq!(traffic.count("PUT", Class::Upload).bytes_in, 5);
    subject.registry.reset_requests();
    assert!(subject.registry.requests().is_empty());
}

#[tokio::test]
async fn a_dropped_registry_no_longer_answers() {
    let subject = Subject::new().await;
    let (client, url) = (subject.client.clone(), format!("{}/v2/", subject.registry.url()));
    assert_eq!(subject.send("GET", "").await.status(), 200);
    subject.registry.stop().await;
    assert!(client.get(url).send().await.is_err());
}
