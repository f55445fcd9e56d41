//! Behaviours of the unpacked stream.

use std::io::Write as _;

use futures_util::stream;

use super::*;

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn unpacked(packed: &[u8], compression: Compression, limits: Limits) -> Unpacked {
    let chunks: Vec<_> = packed
        .chunks(1000)
        .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
        .collect();
    Unpacked::new(stream::iter(chunks).boxed(), compression, limits, "x".into()).unwrap()
}

async fn all(mut unpacked: Unpacked) -> std::result::Result<Vec<u8>, &'static str> {
    let mut all = Vec::new();
    loop {
        let chunk = unpacked.next(u64::MAX).await.map_err(|error| error.code())?;
        if chunk.is_empty() {
            return Ok(all);
        }
        assert!(chunk.len() <= CHUNK_BYTES);
        all.extend_from_slice(&chunk);
    }
}

fn text() -> Vec<u8> {
    (0..400_000_u32).flat_map(|n| (n % 1009).to_le_bytes()).collect()
}

#[tokio::test]
async fn members_and_frames_are_read_one_after_the_other() {
    let text = text();
    let (one, two) = text.split_at(777_777);
    let padded = [gzip(one), gzip(&[]), gzip(two), vec![0; 700]].concat();
    assert_eq!(
        all(unpacked(&padded, Compression::Gzip, Limits::default()))
            .await
            .unwrap(),
        text
    );
    let frames = [zstd::encode_all(one, 3).unwrap(), zstd::encode_all(two, 19).unwrap()].concat();
    assert_eq!(
        all(unpacked(&frames, Compression::Zstd, Limits::default()))
            .await
            .unwrap(),
        text
    );
}

#[tokio::test]
async fn what_is_cut_damaged_or_followed_by_something_is_told() {
    let text = text();
    for (packed, compression) in [
        (gzip(&text), Compression::Gzip),
        (zstd::encode_all(&*text, 3).unwrap(), Compression::Zstd),
    ] {
        for cut in [1, 9, packed.len() / 2, packed.len() - 1] {
            let cut = packed[..cut].to_vec();
            assert_eq!(
                all(unpacked(&cut, compression, Limits::default())).await,
                Err("ARCHIVE_TRUNCATED")
            );
        }
        let mut flipped = packed.clone();
        let middle = packed.len() / 2;
        flipped[middle] ^= 0x55;
        flipped[middle + 1] ^= 0x55;
        let code = all(unpacked(&flipped, compression, Limits::default())).await;
        assert!(code.is_err() || code.as_ref() != Ok(&text), "{compression:?}");
        let followed = [packed, b"garbage".to_vec()].concat();
        assert_eq!(
            all(unpacked(&followed, compression, Limits::default())).await,
            Err("ARCHIVE_INVALID")
        );
    }
}

#[tokio::test]
async fn a_bomb_is_stopped() {
    let limits = Limits {
        free_bytes: 1 << 20,
        ratio: 100,
        most_bytes: 1 << 30,
    };
    let zeros = vec![0; 32 << 20];
    for (packed, compression) in [
        (gzip(&zeros), Compression::Gzip),
        (zstd::encode_all(&*zeros, 3).unwrap(), Compression::Zstd),
    ] {
        assert_eq!(all(unpacked(&packed, compression, limits)).await, Err("ARCHIVE_BOMB"));
    }
}

#[tokio::test]
async fn a_window_that_does_not_fit_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder
        .set_parameter(zstd::zstd_safe::CParameter::WindowLog(27))
        .unwrap();
    encoder.write_all(&text()).unwrap();
    let packed = encoder.finish().unwrap();
    assert_eq!(
        all(unpacked(&packed, Compression::Zstd, Limits::default())).await,
        Err("ARCHIVE_UNSUPPORTED")
    );
}

#[test]
fn compression_is_told_by_the_bytes() {
    assert_eq!(Compression::of(&gzip(b"x")).unwrap(), Some(Compression::Gzip));
    assert_eq!(
        Compression::of(&zstd::encode_all(&b"x"[..], 1).unwrap()).unwrap(),
        Some(Compression::Zstd)
    );
    assert_eq!(Compression::of(b"oci-layout\0\0").unwrap(), None);
    assert!(Compression::of(b"\xfd7zXZ\0").is_err() && Compression::of(b"BZh9").is_err());
}
