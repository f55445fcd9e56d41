//! Blobs larger than memory should be.

use futures_util::stream;
use transship_embedded_registry::{EmbeddedRegistry, VirtualBlob};
use transship_oci::Digest;

use crate::client::{Subject, code, header, repository};

const SIZE: u64 = 256 * 1024 * 1024;

fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Read from one registry, written to another, compared by digest; neither may hold it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_large_blob_passes_through_without_being_held() {
    let source = Subject::new().await;
    let blob = VirtualBlob::new(11, SIZE);
    let descriptor = source.registry.seed_virtual_blob(&repository(), &blob);
    let target = Subject::of(EmbeddedRegistry::builder().discard_blobs_above(1024 * 1024)).await;
    let before = peak_memory_kib();

    let download = source.send("GET", &format!("a/b/blobs/{}", descriptor.digest)).await;
    assert_eq!(header(&download, "content-length"), SIZE.to_string());
    let pieces = stream::unfold(download, |mut download| async {
        let chunk = download.chunk().await.unwrap()?;
        Some((Ok::<_, std::io::Error>(chunk), download))
    });
    let location = target.open().await;
    let commit = format!("{location}&digest={}", descriptor.digest);
    let answer = target
        .send_with("PUT", &commit, reqwest::Body::wrap_stream(pieces))
        .await;
    assert_eq!(answer.status(), 201);

    let grown = peak_memory_kib() - before;
    assert!(grown < 48 * 1024, "{grown} KiB more at the peak");
    assert_eq!(target.registry.blob_size(&repository(), &descriptor.digest), Some(SIZE));
    let path = format!("a/b/blobs/{}", descriptor.digest);
    assert_eq!(
        header(&target.send("HEAD", &path).await, "content-length"),
        SIZE.to_string()
    );
    assert_eq!(code(target.send("GET", &path).await).await, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn a_virtual_blob_is_read_by_range_like_any_other() {
    let subject = Subject::new().await;
    let blob = VirtualBlob::new(12, 1_000_000);
    let descriptor = subject.registry.seed_virtual_blob(&repository(), &blob);
    let path = format!("a/b/blobs/{}", descriptor.digest);
    let whole = subject.send("GET", &path).await.bytes().await.unwrap();
    assert_eq!(Digest::sha256(&whole), descriptor.digest);
    let part = subject.request("GET", &path).header("range", "bytes=700000-700099");
    let part = part.send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.bytes().await.unwrap(), &whole[700_000..700_100]);
}

#[tokio::test]
async fn a_blob_at_the_limit_is_kept_and_one_above_is_not() {
    let subject = Subject::of(EmbeddedRegistry::builder().discard_blobs_above(4)).await;
    for (bytes, is_kept) in [("1234", true), ("12345", false)] {
        let digest = Digest::sha256(bytes.as_bytes());
        let path = format!("a/b/blobs/uploads/?digest={digest}");
        assert_eq!(subject.send_with("POST", &path, bytes).await.status(), 201);
        assert_eq!(subject.registry.blob(&repository(), &digest).is_some(), is_kept);
        assert_eq!(
            subject.registry.blob_size(&repository(), &digest),
            Some(bytes.len() as u64)
        );
    }
}
