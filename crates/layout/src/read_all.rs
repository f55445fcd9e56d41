//! Reads small objects completely: markers, indexes, manifests, links.
//!
//! Every read has a limit, because the sizes that a store reports are not trusted.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use transship_copy::ByteStream;

use crate::{ObjectStore, Part};
use transship_oci::{Code, Error, Result, Verb};

/// Reads the object at `key`. `LAYOUT_INVALID` if it is larger than `limit` bytes; [`None`] if it does not exist.
pub(crate) async fn read_all(store: &dyn ObjectStore, key: &str, limit: usize) -> Result<Option<Bytes>> {
    match store.get(key, Part::from(0)).await? {
        Some(stream) => collected(stream, key, limit).await.map(Some),
        None => Ok(None),
    }
}

/// Reads all of `stream`. Fails if it is longer than `limit` bytes.
pub(crate) async fn collected(mut stream: ByteStream, key: &str, limit: usize) -> Result<Bytes> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error: Error| error.during(Verb::Read.on(key)))?;
        if bytes.len() + chunk.len() > limit {
            let sentence = format!("{key} is larger than {limit} bytes");
            return Err(Error::of(Code::LayoutInvalid, Verb::Read.on(key)).because(sentence));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}
