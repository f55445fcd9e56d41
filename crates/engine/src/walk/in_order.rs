//! A stage of a walk: works on several things at the same time, and gives the results on in their order.
//!
//! What must hold: a stage that waits for the next one still polls its own requests. They hold places in what the registry bears,
//! which the next stage may wait for.

use std::collections::VecDeque;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use tokio::sync::mpsc::{Receiver, Sender};

/// The next stage has ended and takes no more.
pub(super) struct Ended;

pub(super) async fn send<T>(to: &Sender<T>, one: T) -> Result<(), Ended> {
    to.send(one).await.map_err(|_| Ended)
}

/// Runs `work` for everything that comes `from` a stage, `at_once` at the same time with what was not taken yet, and gives the
/// results `to` the next stage in their order.
pub(super) async fn in_order<I, F: Future>(
    mut from: Receiver<I>,
    to: Sender<F::Output>,
    at_once: usize,
    work: impl Fn(I) -> F,
) -> Result<(), Ended> {
    let (mut running, mut done) = (FuturesOrdered::new(), VecDeque::new());
    let mut is_open = true;
    loop {
        tokio::select! {
            biased;
            permit = to.reserve(), if !done.is_empty() => {
                let permit = permit.map_err(|_| Ended)?;
                if let Some(one) = done.pop_front() {
                    permit.send(one);
                }
            }
            Some(one) = running.next(), if !running.is_empty() => done.push_back(one),
            one = from.recv(), if is_open && running.len() + done.len() < at_once => match one {
                Some(one) => running.push_back(work(one)),
                None => is_open = false,
            },
            else => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::{Semaphore, mpsc};

    use super::*;

    #[tokio::test]
    async fn results_come_in_their_order() {
        let (to, from) = mpsc::channel(1);
        let (found, mut results) = mpsc::channel(1);
        let gates: Arc<Vec<Semaphore>> = Arc::new((0..4).map(|_| Semaphore::new(0)).collect());
        let work = async |number: usize| {
            let _permit = gates[number].acquire().await;
            // The last one is worked on first.
            if number > 0 {
                gates[number - 1].add_permits(1);
            }
            number
        };
        let feed = async {
            for number in 0..4 {
                to.send(number).await.unwrap();
            }
            gates[3].add_permits(1);
            drop(to);
        };
        let collect = async {
            let mut all = Vec::new();
            while let Some(one) = results.recv().await {
                all.push(one);
            }
            all
        };
        let ((), ended, all) = tokio::join!(feed, in_order(from, found, 4, work), collect);
        assert!(ended.is_ok());
        assert_eq!(all, [0, 1, 2, 3]);
    }

    /// The receiver takes nothing, and all that has begun ends nevertheless.
    #[tokio::test]
    async fn a_stage_that_waits_for_the_next_one_works_on() {
        let (to, from) = mpsc::channel(8);
        let (found, results) = mpsc::channel(1);
        let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
        for number in 0..8 {
            to.try_send(number).unwrap();
        }
        let work = async |number: usize| {
            begun.fetch_add(1, Ordering::SeqCst);
            for _ in 0..=number {
                tokio::task::yield_now().await;
            }
            ended.fetch_add(1, Ordering::SeqCst);
            number
        };
        let all_ended = async {
            while ended.load(Ordering::SeqCst) < 6 {
                tokio::task::yield_now().await;
            }
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = in_order(from, found, 5, work) => panic!("there is more"),
            () = all_ended => {}
        }
        // One is in the channel, and five wait.
        assert_eq!((begun.into_inner(), ended.into_inner(), results.len()), (6, 6, 1));
    }
}
