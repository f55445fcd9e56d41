//! Work on repositories that the source has not named yet, but probably will.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::oneshot;
use transship_oci::Repository;

/// The results of work that was begun ahead, each for the stage that comes to its repository.
pub(super) struct Ahead<T>(Mutex<HashMap<Repository, oneshot::Receiver<T>>>);

/// Repositories to work on, each with the place of its result.
pub(super) type Orders<T> = Vec<(Repository, oneshot::Sender<T>)>;

impl<T> Ahead<T> {
    /// The orders are to be given to [`work`].
    pub(super) fn new<'r>(expected: impl Iterator<Item = &'r Repository>) -> (Self, Orders<T>) {
        let (mut results, mut orders) = (HashMap::new(), Vec::new());
        for repository in expected {
            let (to, from) = oneshot::channel();
            results.insert(repository.clone(), from);
            orders.push((repository.clone(), to));
        }
        (Self(Mutex::new(results)), orders)
    }

    /// The result of the work on `repository`, once; [`None`] if none was begun.
    pub(super) async fn take(&self, repository: &Repository) -> Option<T> {
        let result = {
            let mut results = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            results.remove(repository)
        };
        result?.await.ok()
    }
}

/// Works on all orders at the same time.
pub(super) async fn work<T, F: Future<Output = T>>(orders: Orders<T>, work: impl Fn(Repository) -> F) {
    let begin = |(repository, to): (Repository, oneshot::Sender<T>)| {
        // Nobody may come to the repository.
        work(repository).map(|result| drop(to.send(result)))
    };
    stream::iter(orders).for_each_concurrent(None, begin).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_result_is_taken_once_and_only_where_there_is_one() {
        let [known, other] = ["core/a", "core/b"].map(|name| name.parse::<Repository>().unwrap());
        let (ahead, orders) = Ahead::new([&known].into_iter());
        let take = async {
            (
                ahead.take(&known).await,
                ahead.take(&known).await,
                ahead.take(&other).await,
            )
        };
        let work = work(orders, async |repository: Repository| repository.to_string());
        let (taken, ()) = tokio::join!(take, work);
        assert_eq!(taken, (Some("core/a".to_owned()), None, None));
    }
}
