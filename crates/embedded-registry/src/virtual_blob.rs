//! Blobs of any size that are computed from a seed and not stored.
//!
//! A page of 4 KiB is a window into a 64 KiB random pattern, at an offset that depends on the page, with the page number
//! written over its start. A page is created by a copy without arithmetic, so that generating is much faster than hashing.
//! Pages never repeat, so that code that confuses two of them is detected.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use transship_oci::{Algorithm, Descriptor, Digest, Hasher};

const PAGE: usize = 4096;
const PATTERN: usize = 64 * 1024;
/// Bytes in one piece of a stream.
pub(crate) const CHUNK: u64 = 256 * 1024;

/// A blob that is computed when it is read. The same seed and size always give the same bytes.
#[derive(Debug, Clone)]
pub struct VirtualBlob {
    seed: u64,
    size: u64,
    /// The pattern, followed by a copy of its start, so that no window wraps.
    pattern: Arc<[u8]>,
    digest: Arc<OnceLock<Digest>>,
}

impl VirtualBlob {
    /// A blob of `size` bytes, computed from `seed`.
    pub fn new(seed: u64, size: u64) -> Self {
        let mut state = seed;
        let mut pattern: Vec<u8> = (0..PATTERN / 8).flat_map(|_| next(&mut state).to_le_bytes()).collect();
        pattern.extend_from_within(..PAGE);
        Self {
            seed,
            size,
            pattern: pattern.into(),
            digest: Arc::default(),
        }
    }

    /// Size in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The sha256 digest. The first call reads the whole blob, which takes seconds per 10 GiB.
    pub fn digest(&self) -> &Digest {
        self.digest.get_or_init(|| {
            let mut hasher = Hasher::new(Algorithm::Sha256);
            self.chunks(0, self.size).for_each(|chunk| hasher.update(&chunk));
            hasher.finish()
        })
    }

    /// A descriptor of the blob as a layer. See [`VirtualBlob::digest`].
    pub fn descriptor(&self) -> Descriptor {
        let media_type = "application/vnd.oci.image.layer.v1.tar".into();
        Descriptor::new(media_type, self.digest().clone(), self.size)
    }

    /// Up to `length` bytes from `offset` on; fewer at the end of the blob.
    pub fn slice(&self, offset: u64, length: usize) -> Bytes {
        let end = self.size.min(offset.saturating_add(length as u64));
        let mut bytes = BytesMut::with_capacity(usize::try_from(end.saturating_sub(offset)).unwrap_or(0));
        let mut at = offset;
        while at < end {
            let page = self.page(at / PAGE as u64);
            let start = usize::try_from(at % PAGE as u64).unwrap_or(0);
            let take = (PAGE - start).min(usize::try_from(end - at).unwrap_or(PAGE));
            page.copy_into(&mut bytes, start, take);
            at += take as u64;
        }
        bytes.freeze()
    }

    /// The bytes `offset..end` in chunks of at most 256 KiB.
    pub fn chunks(&self, offset: u64, end: u64) -> impl Iterator<Item = Bytes> + Send + use<> {
        let blob = self.clone();
        let end = end.min(self.size);
        let mut at = offset;
        std::iter::from_fn(move || {
            let length = CHUNK.min(end.checked_sub(at)?);
            let chunk = blob.slice(at, usize::try_from(length).ok()?);
            at += length;
            (!chunk.is_empty()).then_some(chunk)
        })
    }

    fn page(&self, index: u64) -> Page<'_> {
        let mut state = self.seed ^ index.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let mixed = next(&mut state);
        let window = usize::try_from(mixed % PATTERN as u64).unwrap_or(0);
        let mut stamp = [0; 16];
        stamp[..8].copy_from_slice(&index.to_le_bytes());
        stamp[8..].copy_from_slice(&mixed.to_le_bytes());
        Page {
            stamp,
            body: &self.pattern[window..window + PAGE],
        }
    }
}

/// One page: the page number, followed by the pattern.
struct Page<'a> {
    stamp: [u8; 16],
    body: &'a [u8],
}

impl Page<'_> {
    fn copy_into(&self, bytes: &mut BytesMut, start: usize, length: usize) {
        let end = start + length;
        if start < self.stamp.len() {
            bytes.extend_from_slice(&self.stamp[start..end.min(self.stamp.len())]);
        }
        if end > self.stamp.len() {
            bytes.extend_from_slice(&self.body[start.max(self.stamp.len())..end]);
        }
    }
}

/// The next number of a `SplitMix64` sequence. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators".
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_slice_equals_that_part_of_the_whole() {
        let blob = VirtualBlob::new(7, 300_001);
        let whole: Vec<u8> = blob.chunks(0, blob.size()).flatten().collect();
        assert_eq!(whole.len(), 300_001);
        assert_eq!(blob.digest(), &Digest::sha256(&whole));
        for (offset, length) in [
            (0, 1),
            (5, 20),
            (15, 1),
            (16, 1),
            (4090, 30),
            (65_530, 9000),
            (300_000, 50),
            (300_001, 1),
        ] {
            let end = whole.len().min(offset + length);
            assert_eq!(
                blob.slice(offset as u64, length),
                &whole[offset..end],
                "{offset}+{length}"
            );
        }
        let tail: Vec<u8> = blob.chunks(299_000, u64::MAX).flatten().collect();
        assert_eq!(tail, &whole[299_000..]);
    }

    #[test]
    fn seed_and_size_decide_the_bytes() {
        assert_eq!(VirtualBlob::new(1, 5000).digest(), VirtualBlob::new(1, 5000).digest());
        assert_ne!(VirtualBlob::new(1, 5000).digest(), VirtualBlob::new(2, 5000).digest());
        assert_ne!(VirtualBlob::new(1, 5000).digest(), VirtualBlob::new(1, 5001).digest());
        assert_eq!(VirtualBlob::new(1, 0).digest(), &Digest::sha256(b""));
    }

    #[test]
    fn no_two_pages_are_alike() {
        let blob = VirtualBlob::new(3, 1 << 22);
        let pages: std::collections::HashSet<Bytes> = (0..1024).map(|page| blob.slice(page * 4096, 4096)).collect();
        assert_eq!(pages.len(), 1024);
    }
}
