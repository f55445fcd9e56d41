//! Small objects, read whole: markers, indexes, manifests, links.
//!
//! A limit stands before every one of them, because what a store says about sizes is not trusted.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use transship_copy::ByteStream;

use crate::{ObjectStore, Part};
use transship_oci::{Code, Error, Result, Verb};

/// The whole object at `key`, refused as `LAYOUT_INVALID` beyond `limit` bytes; [`None`] if there is none.
pub(crate) async fn read_all(store: &dyn ObjectStore, key: &str, limit: usize) -> Result<Option<Bytes>> {
    match store.get(key, Part::from(0)).await? {
        Some(stream) => collected(stream, key, limit).await.map(Some),
        None => Ok(None),
    }
}

/// Everything that comes out of `stream`, refused beyond `limit` bytes.
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
