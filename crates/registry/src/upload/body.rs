//! The bytes of an upload as request bodies: one stream and one verifier, in one body or in many.
//!
//! What must hold: nothing is handed on that the verifier did not let pass, so that the last bytes of a blob never leave
//! unless its digest is right; nothing is held but the piece that was read last.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use transship_copy::{ByteStream, Progress, Step, Verifier};
use transship_oci::{Code, Descriptor, Error, Result, Verb};

use crate::limits::Bandwidth;
use crate::upload::throughput::IdleWatchdog;

/// The bytes of a blob that were not sent yet, for one request body or many. Clones share them.
#[derive(Clone)]
pub(crate) struct BodySource(Arc<Mutex<State>>);

struct State {
    bytes: ByteStream,
    /// The part of a piece that is beyond the end of the current body.
    rest: Bytes,
    verifier: Verifier,
    failed: Option<Error>,
}

/// Receives every piece of a body as it is sent.
pub(crate) struct Observers {
    pub(crate) watchdog: Arc<IdleWatchdog>,
    pub(crate) progress: Arc<dyn Progress>,
    pub(crate) bandwidth: Option<Bandwidth>,
}

impl BodySource {
    /// `bytes` are what `verifier` has not seen.
    pub(crate) fn new(bytes: ByteStream, verifier: Verifier) -> Self {
        Self(Arc::new(Mutex::new(State {
            bytes,
            rest: Bytes::new(),
            verifier,
            failed: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The verifier of what was handed on so far.
    pub(crate) fn verifier(&self) -> Verifier {
        self.state().verifier.clone()
    }

    /// Takes the error of the read, if there is one.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.state().failed.take()
    }

    /// The next `length` bytes as a body.
    pub(crate) fn body(&self, blob: &Descriptor, length: u64, observers: Observers) -> reqwest::Body {
        match length {
            0 => reqwest::Body::from(""),
            _ => reqwest::Body::wrap_stream(self.pieces(blob, length, observers)),
        }
    }

    fn pieces(
        &self,
        blob: &Descriptor,
        length: u64,
        observers: Observers,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        let (body_source, mut left) = (self.clone(), length);
        let watchdog = Arc::clone(&observers.watchdog);
        let pieces = stream::poll_fn(move |context| {
            if left == 0 {
                return Poll::Ready(None);
            }
            watchdog.accepted();
            let piece = ready!(body_source.state().poll_piece(context, left));
            if let Ok(piece) = &piece {
                left -= piece.len() as u64;
            }
            Poll::Ready(Some(piece))
        });
        let digest = blob.digest.clone();
        pieces.then(move |piece| {
            let bandwidth = observers.bandwidth.clone().filter(|_| piece.is_ok());
            if let Ok(piece) = &piece {
                observers.watchdog.read(piece.len() as u64);
                observers.progress.step(Step::BlobBytes {
                    digest: &digest,
                    bytes: piece.len() as u64,
                });
            }
            let watchdog = Arc::clone(&observers.watchdog);
            async move {
                if let (Some(bandwidth), Ok(piece)) = (bandwidth, &piece) {
                    bandwidth.pass(piece.len()).await;
                }
                if let Ok(piece) = &piece {
                    watchdog.sent(piece.len() as u64);
                }
                piece
            }
        })
    }
}

impl State {
    /// Up to `limit` of the next bytes, verified.
    fn poll_piece(&mut self, context: &mut Context<'_>, limit: u64) -> Poll<io::Result<Bytes>> {
        while self.rest.is_empty() {
            let read = ready!(self.bytes.poll_next_unpin(context));
            if let Err(error) = self.read(read) {
                return Poll::Ready(Err(self.fail(error)));
            }
        }
        let take = usize::try_from(limit).unwrap_or(usize::MAX).min(self.rest.len());
        let piece = self.rest.split_to(take);
        Poll::Ready(match self.verifier.update(&piece) {
            Ok(()) => Ok(piece),
            Err(error) => Err(self.fail(error)),
        })
    }

    fn read(&mut self, read: Option<Result<Bytes>>) -> Result<()> {
        let Some(piece) = read.transpose()? else {
            return self.verifier.end().and_then(|()| Err(too_many()));
        };
        // Bytes after the last one are also checked if they arrive in the same piece.
        if piece.len() as u64 > self.verifier.left() {
            return Err(too_many());
        }
        self.rest = piece;
        Ok(())
    }

    fn fail(&mut self, error: Error) -> io::Error {
        let said = io::Error::other(error.to_string());
        self.failed = Some(error);
        said
    }
}

fn too_many() -> Error {
    Error::of(Code::BlobSizeMismatch, Verb::BlobGet)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;
    use transship_oci::Digest;

    use std::time::Duration;

    use super::*;
    use crate::upload::throughput::WaitsFor;

    /// What comes of reading bodies of these lengths, until one fails.
    fn read(blob: &Descriptor, pieces: Vec<Vec<u8>>, lengths: &[u64]) -> (Vec<u8>, Option<&'static str>) {
        let bytes = stream::iter(pieces.into_iter().map(|piece| Ok(Bytes::from(piece)))).boxed();
        let body_source = BodySource::new(bytes, Verifier::new(blob));
        let mut out = Vec::new();
        for length in lengths {
            let mut left = *length;
            while left > 0 {
                let piece = futures_util::future::poll_fn(|context| body_source.state().poll_piece(context, left));
                match piece.now_or_never().unwrap() {
                    Ok(piece) => {
                        left -= piece.len() as u64;
                        out.extend_from_slice(&piece);
                    }
                    Err(_) => return (out, body_source.failure().map(|error| error.code())),
                }
            }
            assert_eq!(
                body_source.verifier().seen(),
                out.len() as u64,
                "proven is what was handed on"
            );
        }
        (out, None)
    }

    /// Listens to nothing.
    struct Unheard;

    impl Progress for Unheard {
        fn step(&self, _: Step<'_>) {}
    }

    #[tokio::test]
    async fn each_wait_of_a_body_counts_against_the_side_that_causes_it() {
        let data = vec![7; 64];
        let blob = Descriptor::new("a/b".into(), Digest::sha256(&data), data.len() as u64);
        let (more, bytes) = halves(&data);
        let watchdog = Arc::new(IdleWatchdog::new(Duration::from_mins(1)));
        let limits = transship_oci::Limits {
            bandwidth: Some(1024),
            ..transship_oci::Limits::default()
        };
        let limiter = crate::limits::Limiter::new(limits);
        let observers = Observers {
            watchdog: Arc::clone(&watchdog),
            progress: Arc::new(Unheard),
            bandwidth: limiter.bandwidth(),
        };
        let mut pieces = Box::pin(BodySource::new(bytes, Verifier::new(&blob)).pieces(&blob, 64, observers));
        assert!(pieces.next().now_or_never().is_none());
        assert_eq!(watchdog.waits_for(), WaitsFor::Source);
        more.notify_one();
        assert!(
            pieces.next().now_or_never().is_some(),
            "the first piece passes the limit"
        );
        assert_eq!(watchdog.waits_for(), WaitsFor::Destination);
        assert!(pieces.next().now_or_never().is_none());
        assert_eq!(watchdog.waits_for(), WaitsFor::Source);
        more.notify_one();
        assert!(pieces.next().now_or_never().is_none());
        assert_eq!(watchdog.waits_for(), WaitsFor::Limit);
    }

    /// The halves of `data`, each after a notification.
    fn halves(data: &[u8]) -> (Arc<tokio::sync::Notify>, ByteStream) {
        let more = Arc::new(tokio::sync::Notify::new());
        let parts: Vec<_> = data.chunks(data.len() / 2).map(Bytes::copy_from_slice).collect();
        let bytes = stream::iter(parts).then({
            let more = Arc::clone(&more);
            move |half| {
                let more = Arc::clone(&more);
                async move {
                    more.notified().await;
                    Ok(half)
                }
            }
        });
        (more, bytes.boxed())
    }

    proptest! {
        #[test]
        fn bodies_of_any_lengths_make_up_the_blob_and_wrong_bytes_never_make_up_a_whole(
            data in proptest::collection::vec(any::<u8>(), 1..300),
            piece in 1usize..50,
            chunk in 1usize..70,
            flip in any::<proptest::sample::Index>(),
        ) {
            let blob = Descriptor::new("a/b".into(), Digest::sha256(&data), data.len() as u64);
            let lengths: Vec<u64> = data.chunks(chunk).map(|chunk| chunk.len() as u64).collect();
            let pieces = |data: &[u8]| data.chunks(piece).map(<[u8]>::to_vec).collect::<Vec<_>>();
            prop_assert_eq!(read(&blob, pieces(&data), &lengths), (data.clone(), None));
            let mut wrong = data.clone();
            wrong[flip.index(data.len())] ^= 1;
            let (out, code) = read(&blob, pieces(&wrong), &lengths);
            prop_assert_eq!(code, Some("BLOB_DIGEST_MISMATCH"));
            prop_assert!(out.len() < data.len());
            let (_, code) = read(&blob, pieces(&data[..data.len() - 1]), &lengths);
            prop_assert_eq!(code, Some("BLOB_SIZE_MISMATCH"));
            let mut longer = data.clone();
            longer.push(0);
            let (_, code) = read(&blob, vec![longer], &lengths);
            prop_assert_eq!(code, Some("BLOB_SIZE_MISMATCH"));
        }
    }
}
