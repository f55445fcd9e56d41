//! The proof of a blob: hash and size are checked before its last chunk is handed on.
//!
//! Whoever writes the stream can therefore never complete an upload of wrong bytes, even at a registry that does not
//! check digests. Nothing is allocated from the declared size.

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use transship_oci::{Descriptor, Hasher};

use crate::{ByteStream, Error, ErrorKind, Result};

struct State {
    inner: ByteStream,
    hasher: Option<Hasher>,
    seen: u64,
    blob: Descriptor,
}

/// `inner` with its bytes hashed and counted against `blob`. Ends with `BLOB_SIZE_MISMATCH` at the first byte too many or
/// at an early end, and with `BLOB_DIGEST_MISMATCH` *instead of* the last chunk when the digest is wrong.
pub fn verified(inner: ByteStream, blob: &Descriptor) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    let state = State {
        inner,
        hasher: Some(Hasher::new(blob.digest.algorithm())),
        seen: 0,
        blob: blob.clone(),
    };
    stream::try_unfold(state, next)
}

async fn next(mut state: State) -> Result<Option<(Bytes, State)>> {
    let operation = |state: &State| format!("blob_get {}", state.blob.digest);
    loop {
        let Some(chunk) = state.inner.next().await.transpose()? else {
            if state.seen != state.blob.size {
                return Err(Error::new(ErrorKind::BlobSizeMismatch, operation(&state)));
            }
            // Only a blob of no bytes comes here unproven: every other was proven with its last chunk.
            let proven = state
                .hasher
                .take()
                .is_none_or(|hasher| hasher.finish() == state.blob.digest);
            return if proven {
                Ok(None)
            } else {
                Err(Error::new(ErrorKind::BlobDigestMismatch, operation(&state)))
            };
        };
        if chunk.is_empty() {
            continue;
        }
        state.seen += chunk.len() as u64;
        if state.seen > state.blob.size {
            return Err(Error::new(ErrorKind::BlobSizeMismatch, operation(&state)));
        }
        if let Some(hasher) = &mut state.hasher {
            hasher.update(&chunk);
        }
        if state.seen == state.blob.size
            && let Some(hasher) = state.hasher.take()
            && hasher.finish() != state.blob.digest
        {
            return Err(Error::new(ErrorKind::BlobDigestMismatch, operation(&state)));
        }
        return Ok(Some((chunk, state)));
    }
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
    fn a_blob_of_no_bytes_is_proven_too() {
        let wrong = Descriptor::new("a/b".into(), Digest::sha256(b"x"), 0);
        assert_eq!(read(&wrong, vec![]).1, Some("BLOB_DIGEST_MISMATCH"));
    }
}
