//! Verifies blobs: hash and size are checked before the last chunk is handed on.
//!
//! The reader of the stream can therefore never complete an upload of wrong bytes, even at a registry that does not
//! check digests. Nothing is allocated from the declared size.

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use transship_oci::{Code, Descriptor, Digest, Error, Hasher, Result, Verb};

use crate::ByteStream;

/// Verifies one blob: counts the bytes seen so far and hashes them. Bytes may be handed on only after
/// [`Verifier::update`] accepted them.
#[derive(Debug, Clone)]
pub struct Verifier {
    digest: Digest,
    size: u64,
    seen: u64,
    hasher: Hasher,
}

impl Verifier {
    /// A verifier for `blob`, of which nothing was seen yet.
    pub fn new(blob: &Descriptor) -> Self {
        Self {
            digest: blob.digest.clone(),
            size: blob.size,
            seen: 0,
            hasher: Hasher::new(blob.digest.algorithm()),
        }
    }

    /// Continues after the first `seen` bytes, which left the hash in `state` ([`Verifier::save`]). Returns [`None`] if `state`
    /// is not a valid hash state, if `seen` exceeds the size of the blob, or if all bytes were seen and the digest differs.
    pub fn resume(blob: &Descriptor, seen: u64, state: &[u8]) -> Option<Self> {
        let hasher = Hasher::restore(blob.digest.algorithm(), state).ok()?;
        let verifier = Self {
            seen,
            hasher,
            ..Self::new(blob)
        };
        let is_possible = seen < blob.size || seen == blob.size && verifier.is_right();
        is_possible.then_some(verifier)
    }

    /// Bytes seen so far.
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// Bytes still to come.
    pub const fn left(&self) -> u64 {
        self.size - self.seen
    }

    /// The state of the hash over the bytes seen so far, for [`Verifier::resume`].
    pub fn save(&self) -> Vec<u8> {
        self.hasher.save()
    }

    /// Adds the next bytes. `BLOB_SIZE_MISMATCH` if the blob has fewer, `BLOB_DIGEST_MISMATCH` if these are its last and the
    /// digest is another: then they must not be handed on.
    pub fn update(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() as u64 > self.left() {
            return Err(self.error(Code::BlobSizeMismatch));
        }
        self.seen += bytes.len() as u64;
        self.hasher.update(bytes);
        if self.left() == 0 && !bytes.is_empty() && !self.is_right() {
            return Err(self.error(Code::BlobDigestMismatch));
        }
        Ok(())
    }

    /// Nothing more comes: `BLOB_SIZE_MISMATCH` if something should, `BLOB_DIGEST_MISMATCH` for a blob of no bytes whose
    /// digest is another.
    pub fn end(&self) -> Result<()> {
        if self.left() > 0 {
            Err(self.error(Code::BlobSizeMismatch))
        } else if self.is_right() {
            Ok(())
        } else {
            Err(self.error(Code::BlobDigestMismatch))
        }
    }

    fn is_right(&self) -> bool {
        self.hasher.clone().finish() == self.digest
    }

    fn error(&self, code: Code) -> Error {
        Error::of(code, Verb::BlobGet.on(&self.digest))
    }
}

/// `inner` with its bytes hashed and counted against `blob`. Ends with `BLOB_SIZE_MISMATCH` at the first byte too many or
/// at an early end, and with `BLOB_DIGEST_MISMATCH` *instead of* the last chunk when the digest is wrong.
pub fn verify_stream(inner: ByteStream, blob: &Descriptor) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    stream::try_unfold((inner, Verifier::new(blob)), |(mut inner, mut verifier)| async move {
        while let Some(chunk) = inner.next().await.transpose()? {
            if !chunk.is_empty() {
                verifier.update(&chunk)?;
                return Ok(Some((chunk, (inner, verifier))));
            }
        }
        verifier.end()?;
        Ok(None)
    })
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;
    use proptest::prelude::*;
    use transship_oci::Digest;

    use super::*;

    fn read(blob: &Descriptor, chunks: Vec<Vec<u8>>) -> (Vec<u8>, Option<&'static str>) {
        let inner = stream::iter(chunks.into_iter().map(|chunk| Ok(Bytes::from(chunk)))).boxed();
        let mut out = Vec::new();
        let result = futures_util::FutureExt::now_or_never(verify_stream(inner, blob).try_for_each(|chunk| {
            out.extend_from_slice(&chunk);
            std::future::ready(Ok(()))
        }));
        (out, result.unwrap().err().map(|error| error.code()))
    }

    proptest! {
        #[test]
        fn right_bytes_pass_and_wrong_bytes_never_pass_whole(data in proptest::collection::vec(any::<u8>(), 0..300), cut in 1usize..50, flip in any::<proptest::sample::Index>()) {
            let blob = Descriptor::new("a/b".into(), Digest::sha256(&data), data.len() as u64);
            let chunks = |data: &[u8]| data.chunks(cut).map(<[u8]>::to_vec).collect::<Vec<_>>();
            prop_assert_eq!(read(&blob, chunks(&data)), (data.clone(), None));
            if !data.is_empty() {
                let mut wrong = data.clone();
                wrong[flip.index(data.len())] ^= 1;
                let (out, code) = read(&blob, chunks(&wrong));
                prop_assert_eq!(code, Some("BLOB_DIGEST_MISMATCH"));
                prop_assert!(out.len() < data.len());
                prop_assert_eq!(read(&blob, chunks(&data[..data.len() - 1])).1, Some("BLOB_SIZE_MISMATCH"));
            }
            let mut longer = data.clone();
            longer.push(0);
            prop_assert_eq!(read(&blob, chunks(&longer)).1, Some("BLOB_SIZE_MISMATCH"));
        }
    }

    #[test]
    fn a_proof_goes_on_where_another_worker_left_it_and_nowhere_else() {
        let data = b"0123456789";
        let blob = Descriptor::new("a/b".into(), Digest::sha256(data), 10);
        let mut first = Verifier::new(&blob);
        first.update(&data[..4]).unwrap();
        let mut second = Verifier::resume(&blob, first.seen(), &first.save()).unwrap();
        assert_eq!((second.seen(), second.left()), (4, 6));
        second.update(&data[4..]).unwrap();
        second.end().unwrap();
        assert!(Verifier::resume(&blob, 10, &second.save()).is_some());

        let state = first.save();
        assert!(Verifier::resume(&blob, 11, &state).is_none(), "beyond the blob");
        assert!(Verifier::resume(&blob, 10, &state).is_none(), "all of it, and wrong");
        assert!(Verifier::resume(&blob, 4, &state[1..]).is_none(), "no state of a hash");
        let mut foreign = Verifier::resume(&blob, 5, &state).unwrap();
        assert_eq!(
            foreign.update(&data[5..]).unwrap_err().code(),
            "BLOB_DIGEST_MISMATCH",
            "a hash of other bytes never completes"
        );
    }

    #[test]
    fn a_blob_of_no_bytes_is_proven_too() {
        let wrong = Descriptor::new("a/b".into(), Digest::sha256(b"x"), 0);
        assert_eq!(read(&wrong, vec![]).1, Some("BLOB_DIGEST_MISMATCH"));
    }
}
