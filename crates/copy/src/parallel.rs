//! Requests side by side, at most so many at a time.

use futures_util::{StreamExt, TryStreamExt, stream};

/// The results of `futures` in their order; the first error ends the rest. A slow one holds up no other: a plain ordered
/// buffer would let finished ones wait behind it in their places.
///
/// Takes a vector, not an iterator: the futures of an iterator over borrowed items cannot be proven `Send`.
pub(crate) async fn side_by_side<T, E, F>(futures: Vec<F>, limit: usize) -> Result<Vec<T>, E>
where
    F: Future<Output = Result<T, E>>,
{
    let numbered: Vec<_> = futures
        .into_iter()
        .enumerate()
        .map(|(at, future)| async move { Ok::<_, E>((at, future.await?)) })
        .collect();
    let mut results: Vec<(usize, T)> = stream::iter(numbered).buffer_unordered(limit).try_collect().await?;
    results.sort_by_key(|(at, _)| *at);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}
