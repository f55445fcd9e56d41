//! Notifications, by function and by POST.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use transship_embedded_registry::{EmbeddedRegistry, Notification};
use transship_oci::{Digest, media_type};

use crate::client::{Subject, descriptor_of, digest_of, header, manifest_of};

type Told = Arc<Mutex<Vec<Notification>>>;

async fn listening() -> (Subject, Told) {
    let told = Told::default();
    let listener = Arc::clone(&told);
    let tell = Arc::new(move |notification| listener.lock().unwrap().push(notification));
    (Subject::of(EmbeddedRegistry::builder().notify(tell)).await, told)
}

fn only_event(notification: &Notification) -> Value {
    let envelope: Value = serde_json::from_slice(&notification.body).unwrap();
    assert_eq!(envelope["events"].as_array().unwrap().len(), 1);
    envelope["events"][0].clone()
}

#[tokio::test]
async fn the_push_of_a_tag_is_told_as_distribution_tells_it() {
    let (subject, told) = listening().await;
    let child = manifest_of(&subject.seed(b"{}"));
    subject.put_manifest(&digest_of(&child).to_string(), &child).await;
    let mut entry = descriptor_of(&child);
    entry["platform"] = json!({ "architecture": "amd64", "os": "linux" });
    let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry] });
    subject.put_manifest("v1", &index).await;

    let told = told.lock().unwrap();
    assert_eq!(told.len(), 2);
    assert_eq!(told[0].tag, None);
    let event = only_event(&told[1]);
    let (host, digest) = (subject.registry.host(), digest_of(&index));
    let size = index.to_string().len();
    assert_eq!(event["action"], "push");
    assert_eq!(
        event["target"],
        json!({
            "mediaType": media_type::OCI_INDEX, "digest": digest, "size": size, "length": size, "repository": "a/b",
            "url": format!("http://{host}/v2/a/b/manifests/{digest}"), "tag": "v1", "references": [entry],
        })
    );
    assert_eq!(event["request"]["host"], json!(host));
    assert_eq!(event["request"]["method"], "PUT");
    assert_eq!(event["source"]["addr"], json!(host));
    assert!(event["timestamp"].as_str().unwrap().ends_with('Z'));
    let mut fields: Vec<&String> = event.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(
        fields,
        ["action", "actor", "id", "request", "source", "target", "timestamp"]
    );
}

#[tokio::test]
async fn blobs_are_told_when_they_are_pushed_or_mounted_and_reads_never() {
    let (subject, told) = listening().await;
    let digest = Digest::sha256(b"x");
    let location = subject.open().await;
    subject
        .send_with("PUT", &format!("{location}&digest={digest}"), "x")
        .await;
    subject
        .send("POST", &format!("c/blobs/uploads/?mount={digest}&from=a/b"))
        .await;
    subject.send("GET", &format!("c/blobs/{digest}")).await;
    subject.send("HEAD", &format!("c/blobs/{digest}")).await;
    let told = told.lock().unwrap();
    let actions: Vec<&str> = told.iter().map(|notification| notification.action).collect();
    assert_eq!(actions, ["push", "mount"]);
    assert_eq!(only_event(&told[0])["target"]["mediaType"], "application/octet-stream");
    assert_eq!(only_event(&told[1])["target"]["fromRepository"], "a/b");
}

#[tokio::test]
async fn a_deleted_manifest_is_told_by_digest_and_then_by_each_tag() {
    let (subject, told) = listening().await;
    let manifest = manifest_of(&subject.seed(b"{}"));
    subject.put_manifest("v1", &manifest).await;
    subject
        .send("DELETE", &format!("a/b/manifests/{}", digest_of(&manifest)))
        .await;
    let told = told.lock().unwrap();
    let targets: Vec<Value> = told
        .iter()
        .skip(1)
        .map(|told| only_event(told)["target"].clone())
        .collect();
    assert_eq!(
        targets,
        [
            json!({ "mediaType": "", "digest": digest_of(&manifest), "size": 0, "repository": "a/b" }),
            json!({ "mediaType": "", "digest": "", "size": 0, "repository": "a/b", "tag": "v1" }),
        ]
    );
}

/// Reads one request from the next connection and answers it; the head and the body.
async fn receive(listener: &TcpListener, status: &str) -> (String, Vec<u8>) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut read = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "the request is cut");
        let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
        let (_, length) = head.split_once("content-length: ").unwrap();
        let length: usize = length.lines().next().unwrap().parse().unwrap();
        if read.len() == end + 4 + length {
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            return (head, read.split_off(end + 4));
        }
    }
}

#[tokio::test]
async fn a_delivery_is_posted_until_it_is_accepted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks/source", listener.local_addr().unwrap());
    let builder = EmbeddedRegistry::builder().notify_url(url, &[("Authorization", "Bearer right")]);
    let subject = Subject::of(builder).await;
    let manifest = manifest_of(&subject.seed(b"{}"));
    let answer = subject.put_manifest("v1", &manifest).await;
    assert_eq!(
        header(&answer, "docker-content-digest"),
        digest_of(&manifest).to_string()
    );
    let (_, refused) = receive(&listener, "503 Service Unavailable").await;
    let (head, accepted) = receive(&listener, "202 Accepted").await;
    assert_eq!(refused, accepted);
    assert!(head.starts_with("post /hooks/source http/1.1"), "{head}");
    assert!(head.contains("content-type: application/vnd.docker.distribution.events.v2+json"));
    assert!(head.contains("authorization: bearer right"));
    let event: Value = serde_json::from_slice(&accepted).unwrap();
    assert_eq!(event["events"][0]["target"]["tag"], "v1");
}

#[tokio::test]
async fn an_address_that_is_no_plain_url_is_refused() {
    for url in ["https://127.0.0.1/x", "127.0.0.1/x", "", "http://"] {
        let error = EmbeddedRegistry::builder()
            .notify_url(url, &[])
            .start()
            .await
            .err()
            .unwrap();
        assert_eq!(error.code(), "NOTIFY_URL_INVALID", "{url}");
    }
}
