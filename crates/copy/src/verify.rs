//! The proof of a blob: hash and size are checked before its last chunk is handed on.
//!
//! Whoever writes the stream can therefore never complete an upload of wrong bytes, even at a registry that does not
//! check digests. Nothing is allocated from the declared size.

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use transship_oci::{Code, Descriptor, Digest, Error, Hasher, Result, Verb};

use crate::ByteStream;

/// The running proof of a blob: how many of its bytes were seen, and their hash. Bytes are handed on only after
/// [`Proof::take`] let them pass.
#[derive(Debug, Clone)]
pub struct Proof {
    digest: Digest,
    size: u64,
    seen: u64,
    hasher: Hasher,
}

impl Proof {
    /// Of a blob of which nothing was seen.
    pub fn new(blob: &Descriptor) -> Self {
        Self {
            digest: blob.digest.clone(),
            size: blob.size,
            seen: 0,
            hasher: Hasher::new(blob.digest.algorithm()),
        }
    }

    /// Of a blob whose first `seen` bytes another worker saw, which left `state` ([`Proof::save`]). [`None`] if that is no
    /// state of a hash, if the blob is shorter, or if these were all its bytes and do not have its digest.
    pub fn resume(blob: &Descriptor, seen: u64, state: &[u8]) -> Option<Self> {
        let hasher = Hasher::restore(blob.digest.algorithm(), state).ok()?;
        let proof = Self {
            seen,
            hasher,
            ..Self::new(blob)
        };
        let is_possible = seen < blob.size || seen == blob.size && proof.is_right();
        is_possible.then_some(proof)
    }

    /// Bytes seen so far.
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// Bytes still to come.
    pub const fn left(&self) -> u64 {
        self.size - self.seen
    }

    /// The state of the hash over the bytes seen so far, for [`Proof::resume`].
    pub fn save(&self) -> Vec<u8> {
        self.hasher.save()
    }

    /// Adds the next bytes. `BLOB_SIZE_MISMATCH` if the blob has fewer, `BLOB_DIGEST_MISMATCH` if these are its last and the
    /// digest is another: then they must not be handed on.
    pub fn take(&mut self, bytes: &[u8]) -> Result<()> {
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
pub fn verified(inner: ByteStream, blob: &Descriptor) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    stream::try_unfold((inner, Proof::new(blob)), |(mut inner, mut proof)| async move {
        while let Some(chunk) = inner.next().await.transpose()? {
            if !chunk.is_empty() {
                proof.take(&chunk)?;
                return Ok(Some((chunk, (inner, proof))));
            }
        }
        proof.end()?;
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
        let result = futures_util::FutureExt::now_or_never(verified(inner, blob).try_for_each(|chunk| {
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
        let mut first = Proof::new(&blob);
        first.take(&data[..4]).unwrap();
        let mut second = Proof::resume(&blob, first.seen(), &first.save()).unwrap();
        assert_eq!((second.seen(), second.left()), (4, 6));
        second.take(&data[4..]).unwrap();
        second.end().unwrap();
        assert!(Proof::resume(&blob, 10, &second.save()).is_some());

        let state = first.save();
        assert!(Proof::resume(&blob, 11, &state).is_none(), "beyond the blob");
        assert!(Proof::resume(&blob, 10, &state).is_none(), "all of it, and wrong");
        assert!(Proof::resume(&blob, 4, &state[1..]).is_none(), "no state of a hash");
        let mut foreign = Proof::resume(&blob, 5, &state).unwrap();
        assert_eq!(
            foreign.take(&data[5..]).unwrap_err().code(),
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
