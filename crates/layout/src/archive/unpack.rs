//! Decompresses an archive as a stream.
//!
//! gzip and zstd cannot be read from the middle: to read a byte, all bytes before it must be decompressed. The memory is that
//! of the decoder (gzip 32 KiB, zstd a window of up to 8 MiB) and one chunk. Decompression stops if the archive expands out of
//! proportion.

use bytes::{Buf, Bytes};
use flate2::{Decompress, FlushDecompress, Status};
use futures_util::StreamExt;
use transship_copy::ByteStream;
use transship_oci::{Code, Error, Result, Verb};
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge as WINDOW_TOO_LARGE;
use zstd::zstd_safe::{DCtx, DParameter, ErrorCode, InBuffer, OutBuffer, get_error_name};

/// Number of bytes in a piece of output.
const CHUNK_BYTES: usize = 128 * 1024;
/// Maximum window: every decoder must support it, and it fits several times into a worker's memory.
/// Source: RFC 8878, section 3.1.1.1.2.
const ZSTD_WINDOW_LOG: u32 = 23;
/// Number of chunks after which other tasks run, because decompression from memory never waits.
const CHUNKS_PER_TURN: u32 = 16;

/// Compression of an archive, detected from its first bytes and not from its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// RFC 1952, any number of members.
    Gzip,
    /// RFC 8878, any number of frames.
    Zstd,
}

impl Compression {
    /// The compression of `head`; [`None`] if it is plain. `ARCHIVE_UNSUPPORTED` for other compressions.
    pub(crate) fn of(head: &[u8]) -> Result<Option<Self>> {
        let unsupported = |what: &str| {
            let sentence = format!("it is compressed with {what}; use gzip, zstd or no compression");
            Err(Error::refused(Code::ArchiveUnsupported, sentence))
        };
        match head {
            [0x1f, 0x8b, ..] => Ok(Some(Self::Gzip)),
            // A frame, or a skippable frame, with which pzstd starts.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Some(Self::Zstd)),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => unsupported("xz"),
            [b'B', b'Z', b'h', ..] => unsupported("bzip2"),
            [b'P', b'K', 3, 4, ..] => unsupported("zip"),
            _ => Ok(None),
        }
    }
}

/// Limits of the expansion of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Number of unpacked bytes below which the ratio is not checked.
    pub free_bytes: u64,
    /// Maximum number of unpacked bytes for each packed byte, above the free bytes.
    pub ratio: u64,
    /// Maximum number of unpacked bytes.
    pub most_bytes: u64,
}

impl Default for Limits {
    /// 256 MiB, 200 to 1, 1 TiB. Images compress 2 to 10 to 1; a file of zeros 1000 to 1.
    fn default() -> Self {
        Self {
            free_bytes: 256 * 1024 * 1024,
            ratio: 200,
            most_bytes: 1024 * 1024 * 1024 * 1024,
        }
    }
}

enum Decoder {
    Gzip(Decompress),
    Zstd(DCtx<'static>),
}

impl Decoder {
    /// `ARCHIVE_UNSUPPORTED` if there is not enough memory for the decoder.
    fn new(compression: Compression) -> Result<Self> {
        match compression {
            Compression::Gzip => Ok(Self::Gzip(Decompress::new_gzip(15))),
            Compression::Zstd => {
                let mut decoder = DCtx::try_create()
                    .ok_or_else(|| Error::refused(Code::ArchiveUnsupported, "no memory for a zstd decoder"))?;
                decoder
                    .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))
                    .map_err(zstd_refusal)?;
                Ok(Self::Zstd(decoder))
            }
        }
    }

    /// Unpacks part of `input` into `output`. Returns the bytes consumed, the bytes written, and whether a member or frame ended.
    /// `ARCHIVE_INVALID` for damaged data, `ARCHIVE_UNSUPPORTED` for a zstd window that is too large.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<(usize, usize, bool)> {
        match self {
            Self::Gzip(inflate) => {
                let (took, wrote) = (inflate.total_in(), inflate.total_out());
                let status = inflate
                    .decompress(input, output, FlushDecompress::None)
                    .map_err(damaged)?;
                let count = |after: u64, before: u64| usize::try_from(after - before).unwrap_or(usize::MAX);
                let step = (count(inflate.total_in(), took), count(inflate.total_out(), wrote));
                Ok((step.0, step.1, status == Status::StreamEnd))
            }
            Self::Zstd(decoder) => {
                let (mut input, mut output) = (InBuffer::around(input), OutBuffer::around(output));
                let remaining = decoder
                    .decompress_stream(&mut output, &mut input)
                    .map_err(zstd_refusal)?;
                Ok((input.pos(), output.pos(), remaining == 0))
            }
        }
    }
}

/// The unpacked bytes of an archive, forward only.
pub(super) struct Unpacked {
    input: ByteStream,
    compression: Compression,
    decoder: Decoder,
    /// Packed bytes that have not been consumed.
    packed: Bytes,
    packed_total: u64,
    /// Unpacked bytes that have not been returned.
    ready: Bytes,
    buffer: Vec<u8>,
    /// Offset of `ready`.
    position: u64,
    is_within_member: bool,
    turn: u32,
    limits: Limits,
    name: String,
}

impl Unpacked {
    /// Decompresses `input` from its start. `name` is used in errors.
    pub(super) fn new(input: ByteStream, compression: Compression, limits: Limits, name: String) -> Result<Self> {
        let decoder = Decoder::new(compression).map_err(|error| error.during(Verb::Read.on(&name)))?;
        Ok(Self {
            input,
            compression,
            decoder,
            packed: Bytes::new(),
            packed_total: 0,
            ready: Bytes::new(),
            buffer: vec![0; CHUNK_BYTES],
            position: 0,
            is_within_member: false,
            turn: 0,
            limits,
            name,
        })
    }

    /// The offset of the next byte.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// The next bytes, up to `max`; empty at the end. `ARCHIVE_TRUNCATED` if the data ends too early.
    pub(super) async fn next(&mut self, max: u64) -> Result<Bytes> {
        while self.ready.is_empty() {
            if !self.unpack().await? {
                return Ok(Bytes::new());
            }
        }
        let max = usize::try_from(max).unwrap_or(usize::MAX).min(self.ready.len());
        self.position += max as u64;
        Ok(self.ready.split_to(max))
    }

    /// Skips forward to `offset`; false if the data ends first.
    pub(super) async fn skip_to(&mut self, offset: u64) -> Result<bool> {
        while self.position < offset {
            if self.next(offset - self.position).await?.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Unpacks one more chunk; false at the end.
    async fn unpack(&mut self) -> Result<bool> {
        self.turn = (self.turn + 1) % CHUNKS_PER_TURN;
        if self.turn == 0 {
            tokio::task::yield_now().await;
        }
        if self.packed.is_empty() && !self.fill().await? {
            // A decoder may buffer bytes; a last call returns them.
            return if self.is_within_member { self.last() } else { Ok(false) };
        }
        if !self.is_within_member {
            return self.begin_member().await;
        }
        let (took, wrote, is_end) = self.step()?;
        if took == 0 && wrote == 0 && !is_end {
            return Err(self
                .error(Code::ArchiveInvalid)
                .because("its compressed data does not continue"));
        }
        Ok(true)
    }

    /// More packed bytes; false at their end.
    async fn fill(&mut self) -> Result<bool> {
        while self.packed.is_empty() {
            match self.input.next().await {
                None => return Ok(false),
                Some(Ok(chunk)) => self.packed = chunk,
                Some(Err(error)) => return Err(error.during(Verb::Read.on(&self.name))),
            }
        }
        Ok(true)
    }

    /// Between members only zeros are allowed, which tapes and block devices use as padding.
    async fn begin_member(&mut self) -> Result<bool> {
        if self.packed_total > 0 {
            while self.packed.first() == Some(&0) {
                self.packed.advance(1);
                if self.packed.is_empty() && !self.fill().await? {
                    return Ok(false);
                }
            }
            if matches!(self.compression, Compression::Gzip) && self.packed.first() != Some(&0x1f) {
                return Err(self
                    .error(Code::ArchiveInvalid)
                    .because("there is other data after its compressed data"));
            }
            let fresh = Decoder::new(self.compression);
            self.decoder = fresh.map_err(|error| error.during(Verb::Read.on(&self.name)))?;
        }
        self.is_within_member = true;
        Ok(true)
    }

    fn last(&mut self) -> Result<bool> {
        match self.step()? {
            (0, 0, false) => Err(self.error(Code::ArchiveTruncated)),
            _ => Ok(true),
        }
    }

    fn step(&mut self) -> Result<(usize, usize, bool)> {
        let step = self.decoder.step(&self.packed, &mut self.buffer);
        let (took, wrote, is_end) = step.map_err(|error| error.during(Verb::Read.on(&self.name)))?;
        self.packed.advance(took);
        self.packed_total += took as u64;
        self.ready = Bytes::copy_from_slice(self.buffer.get(..wrote).unwrap_or_default());
        self.is_within_member = !is_end;
        self.check(self.position + wrote as u64)?;
        Ok((took, wrote, is_end))
    }

    fn check(&self, unpacked: u64) -> Result<()> {
        let Limits {
            free_bytes,
            ratio,
            most_bytes,
        } = self.limits;
        let proportionate = self.packed_total.saturating_mul(ratio).max(free_bytes).min(most_bytes);
        if unpacked > proportionate {
            return Err(Error::new(
                Code::ArchiveBomb,
                Verb::Read.on(&self.name),
                format!(
                    "the archive expands to more than {proportionate} bytes, which is out of proportion: upload it uncompressed"
                ),
            ));
        }
        Ok(())
    }

    fn error(&self, code: Code) -> Error {
        Error::of(code, Verb::Read.on(&self.name))
    }
}

fn damaged(why: impl std::fmt::Display) -> Error {
    Error::refused(
        Code::ArchiveInvalid,
        format_args!("its compressed data is damaged: {why}"),
    )
}

/// Converts a result of zstd, which is the negated number of the error.
fn zstd_refusal(result: ErrorCode) -> Error {
    if result.wrapping_neg() == WINDOW_TOO_LARGE as usize {
        Error::refused(
            Code::ArchiveUnsupported,
            "its zstd window is larger than 8 MiB; compress it without --long and --ultra",
        )
    } else {
        damaged(get_error_name(result))
    }
}

#[cfg(test)]
mod tests;
