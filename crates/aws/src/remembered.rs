//! Values fetched from afar and remembered for a while: secrets, tokens.
//!
//! What must hold: one fetch at a time for one key, however many ask; a failure is remembered too, for a moment, so that
//! nobody can make us ask AWS as often as he asks us; an old value outlives a time in which AWS does not answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use transship_oci::Result;

use tokio::sync::Mutex as AsyncMutex;
use transship_copy::Clock;

/// So long a failure is repeated without asking again.
const FAILURE_AGE: Duration = Duration::from_secs(5);
/// So old a value may become while AWS does not answer.
const STALE_AGE: Duration = Duration::from_hours(1);

/// Why a value could not be had. Names what was asked for, never what it holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Unread {
    pub(crate) message: String,
    /// True if trying again can help.
    pub(crate) is_temporary: bool,
}

/// A value, and until when it may be used at most.
pub(crate) struct Fetched<V> {
    pub(crate) value: V,
    pub(crate) until: Option<SystemTime>,
}

/// How new a value must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Need {
    /// At most so old; older if a newer one cannot be had now.
    Usual(Duration),
    /// At most so old, because what was remembered did not serve.
    Anew(Duration),
}

/// Values by their keys.
pub(crate) struct Remembered<V> {
    slots: Mutex<HashMap<String, Slot<V>>>,
    clock: Arc<dyn Clock>,
}

type Slot<V> = Arc<AsyncMutex<Entry<V>>>;

struct Entry<V> {
    held: Option<Held<V>>,
    failed: Option<(SystemTime, Unread)>,
}

struct Held<V> {
    fetched: Fetched<V>,
    at: SystemTime,
}

impl<V: Clone> Remembered<V> {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            slots: Mutex::default(),
            clock,
        }
    }

    /// The value of `key`: the one at hand if it is new enough, else what `fetch` brings.
    pub(crate) async fn get(
        &self,
        key: &str,
        need: Need,
        fetch: impl Future<Output = Result<Fetched<V>, Unread>>,
    ) -> Result<V, Unread> {
        let slot = self.slot(key);
        let mut entry = slot.lock().await;
        let now = self.clock.now();
        let (Need::Usual(age) | Need::Anew(age)) = need;
        if let Some(value) = entry.value(now, age) {
            return Ok(value);
        }
        let error = match entry.failure(now) {
            Some(error) => error,
            None => match fetch.await {
                Ok(fetched) => {
                    let value = fetched.value.clone();
                    entry.held = Some(Held { fetched, at: now });
                    entry.failed = None;
                    return Ok(value);
                }
                Err(error) => {
                    entry.failed = Some((now, error.clone()));
                    error
                }
            },
        };
        match need {
            Need::Usual(_) if error.is_temporary => entry.value(now, STALE_AGE).ok_or(error),
            _ => Err(error),
        }
    }

    fn slot(&self, key: &str) -> Slot<V> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = || {
            Arc::new(AsyncMutex::new(Entry {
                held: None,
                failed: None,
            }))
        };
        Arc::clone(slots.entry(key.to_owned()).or_insert_with(empty))
    }
}

impl<V: Clone> Entry<V> {
    fn value(&self, now: SystemTime, age: Duration) -> Option<V> {
        let held = self.held.as_ref()?;
        let is_valid = held.fetched.until.is_none_or(|until| now < until);
        (is_valid && is_within(now, held.at, age)).then(|| held.fetched.value.clone())
    }

    fn failure(&self, now: SystemTime) -> Option<Unread> {
        let (at, error) = self.failed.as_ref()?;
        is_within(now, *at, FAILURE_AGE).then(|| error.clone())
    }
}

/// A clock that was set back makes nothing older or newer than it was set back by.
fn is_within(now: SystemTime, then: SystemTime, age: Duration) -> bool {
    match now.duration_since(then) {
        Ok(passed) => passed < age,
        Err(back) => back.duration() < age,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use transship_testkit::clock::ManualClock;

    use super::*;

    const USUAL: Need = Need::Usual(Duration::from_mins(5));
    const ANEW: Need = Need::Anew(Duration::from_mins(1));

    struct Bench {
        remembered: Remembered<u32>,
        clock: ManualClock,
        fetches: AtomicU32,
    }

    impl Bench {
        fn new() -> Self {
            let clock = ManualClock::default();
            Self {
                remembered: Remembered::new(Arc::new(clock.clone())),
                clock,
                fetches: AtomicU32::new(0),
            }
        }

        /// The number of the fetch.
        async fn get(&self, need: Need) -> Result<u32, Unread> {
            let fetch = async {
                tokio::task::yield_now().await;
                Ok(Fetched {
                    value: self.fetches.fetch_add(1, Ordering::Relaxed),
                    until: None,
                })
            };
            self.remembered.get("a", need, fetch).await
        }

        async fn fail(&self, need: Need, is_temporary: bool) -> Result<u32, Unread> {
            let fetch = async {
                self.fetches.fetch_add(1, Ordering::Relaxed);
                Err(Unread {
                    message: "no".into(),
                    is_temporary,
                })
            };
            self.remembered.get("a", need, fetch).await
        }
    }

    #[tokio::test]
    async fn a_value_is_fetched_once_until_it_is_old() {
        let bench = Bench::new();
        let (one, two) = tokio::join!(bench.get(USUAL), bench.get(USUAL));
        assert_eq!((one, two), (Ok(0), Ok(0)));
        bench.clock.advance(Duration::from_secs(299));
        assert_eq!(bench.get(USUAL).await, Ok(0));
        bench.clock.advance(Duration::from_secs(1));
        assert_eq!(bench.get(USUAL).await, Ok(1));
    }

    #[tokio::test]
    async fn a_value_that_did_not_serve_is_fetched_anew_once_a_while() {
        let bench = Bench::new();
        assert_eq!(bench.get(USUAL).await, Ok(0));
        assert_eq!(bench.get(ANEW).await, Ok(0), "it is as new as can be");
        bench.clock.advance(Duration::from_mins(2));
        for _ in 0..100 {
            assert_eq!(bench.get(ANEW).await, Ok(1));
        }
        assert_eq!(bench.get(USUAL).await, Ok(1));
    }

    #[tokio::test]
    async fn an_old_value_outlives_a_failure_that_passes_and_no_other() {
        let bench = Bench::new();
        assert_eq!(bench.get(USUAL).await, Ok(0));
        bench.clock.advance(Duration::from_mins(6));
        assert_eq!(bench.fail(USUAL, true).await, Ok(0));
        assert!(bench.fail(ANEW, true).await.is_err());
        bench.clock.advance(Duration::from_mins(1));
        assert!(bench.fail(USUAL, false).await.is_err());
        bench.clock.advance(Duration::from_hours(1));
        assert!(bench.fail(USUAL, true).await.is_err(), "an hour is enough");
    }

    #[tokio::test]
    async fn a_failure_is_not_asked_for_again_at_once() {
        let bench = Bench::new();
        for _ in 0..100 {
            assert!(bench.fail(USUAL, false).await.is_err());
        }
        assert_eq!(bench.fetches.load(Ordering::Relaxed), 1);
        bench.clock.advance(FAILURE_AGE);
        assert_eq!(bench.get(USUAL).await, Ok(1));
    }

    #[tokio::test]
    async fn a_value_is_not_used_after_its_end() {
        let bench = Bench::new();
        let until = Some(bench.clock.now() + Duration::from_mins(1));
        let fetch = async { Ok(Fetched { value: 7, until }) };
        assert_eq!(bench.remembered.get("a", USUAL, fetch).await, Ok(7));
        bench.clock.advance(Duration::from_mins(1));
        assert!(bench.fail(USUAL, true).await.is_err());
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_keeps_no_value_for_ever() {
        let bench = Bench::new();
        assert_eq!(bench.get(USUAL).await, Ok(0));
        bench.clock.set(bench.clock.now() - Duration::from_hours(24));
        assert_eq!(bench.get(USUAL).await, Ok(1));
    }
}
