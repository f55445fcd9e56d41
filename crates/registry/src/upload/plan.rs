//! Plans an upload before anything is sent: its form and the size of its chunks.
//!
//! A chunk must be acknowledged well before the end of the time slot. If it is cut, a registry that forgets the session
//! (docker-registry 2.8.2) causes the blob to be sent again from its first byte.

use std::time::Duration;

use crate::profile::UploadForm;

/// Bytes per second, assumed of a registry that was not measured yet.
const ASSUMED_BYTES_PER_SECOND: u64 = 2 * 1024 * 1024;
/// Maximum size in bytes of the first chunk for such a registry.
const FIRST_CHUNK_BYTES: u64 = 4 * 1024 * 1024;
/// Minimum size of a chunk in bytes. Below it, the request costs as much as the bytes.
const SMALLEST_CHUNK_BYTES: u64 = 64 * 1024;
/// An upload is handed over if the worker has less time left than this.
const HANDOVER_RESERVE: Duration = Duration::from_millis(500);
/// Size in bytes from which a blob is sent in chunks after an attempt that did not end in its time slot.
const LONG_IF_REPEATED_BYTES: u64 = 4 * 1024 * 1024;
/// Size in bytes from which a blob is sent in chunks by workers without time slots, so that a crash costs one chunk.
const LONG_WITHOUT_END_BYTES: u64 = 256 * 1024 * 1024;

/// Facts for the plan of an upload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outlook {
    /// Size in bytes.
    pub(crate) size: u64,
    /// Remaining time of the worker; [`None`] if it is unlimited.
    pub(crate) left: Option<Duration>,
    /// Bytes per second to the registry; [`None`]: not measured yet.
    pub(crate) throughput: Option<u64>,
    /// Whether an earlier attempt did not end in its time slot.
    pub(crate) is_repeated: bool,
}

/// The form of an upload: chunks if the blob might not end in time and the registry supports chunks, otherwise the first of
/// `forms`.
pub(crate) fn form(forms: &[UploadForm], takes_chunks: bool, outlook: Outlook) -> UploadForm {
    let may_chunk = takes_chunks && forms.contains(&UploadForm::Patch);
    if may_chunk && is_long(outlook) {
        return UploadForm::Patch;
    }
    let best = forms
        .iter()
        .find(|form| may_chunk || **form != UploadForm::Patch)
        .copied();
    best.unwrap_or(UploadForm::Put)
}

/// True if the blob might outlast the worker.
fn is_long(outlook: Outlook) -> bool {
    let Some(left) = outlook.left else {
        return outlook.size >= LONG_WITHOUT_END_BYTES;
    };
    let in_time = bytes_within(outlook.throughput.unwrap_or(ASSUMED_BYTES_PER_SECOND), left / 2);
    outlook.size > in_time || outlook.is_repeated && outlook.size >= LONG_IF_REPEATED_BYTES
}

/// Limits of chunks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkLimits {
    /// Maximum size in bytes, unless the registry requires a larger one.
    pub(crate) max: u64,
    /// Minimum size in bytes that the registry requires of every chunk except the last; 0 for none.
    pub(crate) min: u64,
}

/// The size of the next chunk in bytes; [`None`] if there is no time left for one. `outlook.size` is the rest of the blob.
/// `is_first` means that this worker has not sent a chunk yet and must send one, because otherwise no worker ever would.
pub(crate) fn chunk(limits: ChunkLimits, outlook: Outlook, is_first: bool) -> Option<u64> {
    let min = limits.min.min(outlook.size);
    let max = limits.max.max(min);
    let Some(left) = outlook.left else {
        return Some(outlook.size.min(max));
    };
    if left < HANDOVER_RESERVE {
        return None;
    }
    let fitting = match outlook.throughput {
        Some(throughput) => bytes_within(throughput, left / 3),
        None => bytes_within(ASSUMED_BYTES_PER_SECOND, left / 4).min(FIRST_CHUNK_BYTES),
    };
    let planned = fitting.max(SMALLEST_CHUNK_BYTES).min(max).min(outlook.size);
    if planned >= min {
        Some(planned)
    } else {
        is_first.then_some(min)
    }
}

fn bytes_within(throughput: u64, time: Duration) -> u64 {
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    throughput.saturating_mul(milliseconds) / 1000
}

/// The number of bytes in the `Range` of a response to a chunk: `0-9` and `bytes=0-9` are ten.
pub(crate) fn acknowledged(range: &str) -> Option<u64> {
    last_of(range)?.checked_add(1)
}

/// True if the `Range` of an upload's status means exactly `offset` bytes. Quay's status counts one more, in the form
/// `bytes=0-<count>` (quay `endpoints/v2/blob.py`, `_render_range`).
pub(crate) fn stands_at(range: &str, offset: u64) -> bool {
    let is_quays = range.trim().starts_with("bytes=") && last_of(range) == Some(offset);
    is_quays || acknowledged(range) == Some(offset)
}

fn last_of(range: &str) -> Option<u64> {
    let range = range.trim();
    let (first, last) = range.strip_prefix("bytes=").unwrap_or(range).split_once('-')?;
    (first == "0").then(|| last.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1024 * 1024;
    const BOTH: &[UploadForm] = &[UploadForm::Put, UploadForm::Patch];

    fn outlook(size: u64, left_ms: Option<u64>, throughput: Option<u64>) -> Outlook {
        Outlook {
            size,
            left: left_ms.map(Duration::from_millis),
            throughput,
            is_repeated: false,
        }
    }

    #[test]
    fn a_blob_goes_in_chunks_if_it_might_outlast_the_worker() {
        let is_patch = |outlook| form(BOTH, true, outlook) == UploadForm::Patch;
        assert!(!is_patch(outlook(50 * MIB, Some(54_000), None)));
        assert!(is_patch(outlook(55 * MIB, Some(54_000), None)), "2 MiB/s is assumed");
        assert!(!is_patch(outlook(2000 * MIB, Some(54_000), Some(100 * MIB))));
        assert!(is_patch(outlook(3000 * MIB, Some(54_000), Some(100 * MIB))));
        let repeated = Outlook {
            is_repeated: true,
            ..outlook(5 * MIB, Some(54_000), Some(100 * MIB))
        };
        assert!(is_patch(repeated), "it was too slow before");
        assert!(!is_patch(Outlook { size: MIB, ..repeated }));
        assert!(!is_patch(outlook(255 * MIB, None, Some(1))), "no end, moderate");
        assert!(is_patch(outlook(256 * MIB, None, None)), "no end, large");
    }

    #[test]
    fn no_chunk_goes_where_chunks_are_not_taken() {
        let long = outlook(1000 * MIB, Some(1000), None);
        assert_eq!(form(&[UploadForm::Put], true, long), UploadForm::Put);
        assert_eq!(form(BOTH, false, long), UploadForm::Put);
        assert_eq!(form(&[UploadForm::Patch], false, long), UploadForm::Put);
        assert_eq!(
            form(&[UploadForm::Patch, UploadForm::Put], true, outlook(1, None, None)),
            UploadForm::Patch
        );
    }

    #[test]
    fn what_a_registry_wants_of_a_chunk_it_gets() {
        let limits = |min| ChunkLimits { max: 64 * MIB, min };
        let none = outlook(1000 * MIB, None, None);
        assert_eq!(chunk(limits(80 * MIB), none, true), Some(80 * MIB));
        let short = outlook(1000 * MIB, Some(1500), Some(10 * MIB));
        assert_eq!(chunk(limits(5 * MIB), short, false), Some(5 * MIB));
        assert_eq!(
            chunk(limits(6 * MIB), short, false),
            None,
            "it would not be there in time"
        );
        assert_eq!(
            chunk(limits(6 * MIB), short, true),
            Some(6 * MIB),
            "one worker has to try"
        );
        let large = ChunkLimits { max: MIB, min: 3 * MIB };
        assert_eq!(chunk(large, short, false), Some(3 * MIB), "more than we would like");
        let last = Outlook { size: 2 * MIB, ..short };
        assert_eq!(
            chunk(limits(6 * MIB), last, false),
            Some(2 * MIB),
            "the last may be smaller"
        );
    }

    proptest! {
        #[test]
        fn a_chunk_is_there_in_a_third_of_the_time_left(size in 1u64..1 << 40, left_ms in 0u64..900_000, throughput in 1u64..1 << 32, is_first: bool) {
            let limits = ChunkLimits { max: 64 * MIB, min: 0 };
            match chunk(limits, outlook(size, Some(left_ms), Some(throughput)), is_first) {
                None => prop_assert!(left_ms < 500),
                Some(planned) => {
                    prop_assert!(planned >= 1 && planned <= size && planned <= 64 * MIB);
                    prop_assert!(planned <= SMALLEST_CHUNK_BYTES || planned * 1000 / throughput <= left_ms / 3 + 1);
                }
            }
            let unknown = chunk(limits, outlook(size, Some(left_ms), None), is_first);
            prop_assert!(unknown <= Some(FIRST_CHUNK_BYTES));
        }
    }

    #[test]
    fn ranges_are_read_in_every_spelling() {
        for (range, bytes) in [
            ("0-9", Some(10)),
            ("bytes=0-9", Some(10)),
            (" 0-0 ", Some(1)),
            ("0--1", None),
            ("bytes=0--1", None),
            ("1-9", None),
            ("9", None),
            ("", None),
            ("0-18446744073709551615", None),
        ] {
            assert_eq!(acknowledged(range), bytes, "{range}");
        }
        assert!(stands_at("0-9", 10) && stands_at("bytes=0-9", 10) && stands_at("bytes=0-10", 10));
        assert!(!stands_at("0-10", 10) && !stands_at("0-8", 10) && !stands_at("bytes=0-11", 10));
    }
}
