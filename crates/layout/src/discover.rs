//! Discovers sources below a prefix as a stream.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::{Discovery, ObjectStore, SourceRef};
use transship_oci::Result;

/// All sources below `prefix` (empty, ending in `/`, or the key of one archive), in the order in which they end in the listing.
/// Incomplete layouts are included, see [`crate::Layout::completeness`]. The stream ends with `SOURCE_EMPTY` if there are no
/// sources. To continue elsewhere after a page, use [`Discovery`].
pub fn discover(store: Arc<dyn ObjectStore>, prefix: &str) -> BoxStream<'static, Result<SourceRef>> {
    let start = (store, Discovery::new(prefix), VecDeque::new());
    stream::try_unfold(start, |(store, mut search, mut found)| async move {
        loop {
            if let Some(one) = found.pop_front() {
                return Ok(Some((one, (store, search, found))));
            }
            match search.next(store.as_ref()).await? {
                Some(page) => found = page.into(),
                None => return Ok(None),
            }
        }
    })
    .boxed()
}
