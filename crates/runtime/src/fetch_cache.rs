//! Values that are fetched over the network and kept for a while: secrets, tokens.
//!
//! What must hold: one fetch at a time for each key, however many callers need it; a failure is kept for a moment too, so
//! that a sender cannot cause more fetches by sending more; while the service does not answer, an old value is used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex as AsyncMutex;
use transship_copy::Clock;
use transship_oci::{Error, Persistence, Result};

/// A failure is returned for this long before the value is fetched again.
const FAILURE_TTL: Duration = Duration::from_secs(5);
/// The greatest age of a value that is used while the service does not answer.
const STALE_TTL: Duration = Duration::from_hours(1);

/// A fetched value.
pub struct Cached<V> {
    /// The value.
    pub value: V,
    /// It is not used after this time.
    pub until: Option<SystemTime>,
}

/// The greatest age of a value that a caller can use.
#[derive(Debug, Clone, Copy)]
pub enum Freshness {
    /// This age, or an older value while a newer one cannot be fetched.
    Relaxed(Duration),
    /// This age, because the cached value was refused: it may have been rotated.
    Strict(Duration),
}

/// A cache of values by key.
pub struct FetchCache<V> {
    entries: Mutex<HashMap<String, SharedEntry<V>>>,
    clock: Arc<dyn Clock>,
}

/// Locked during a fetch, so that callers with the same key wait for one fetch.
type SharedEntry<V> = Arc<AsyncMutex<Entry<V>>>;

struct Entry<V> {
    /// The last value, and when it was fetched.
    cached: Option<(SystemTime, Cached<V>)>,
    /// The last failure, and when it happened.
    failed: Option<(SystemTime, Error)>,
}

impl<V: Clone> FetchCache<V> {
    /// An empty cache.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            entries: Mutex::default(),
            clock,
        }
    }

    /// The value of `key`: the cached one if it is fresh enough, else the one that `fetch` returns.
    pub async fn get(
        &self,
        key: &str,
        freshness: Freshness,
        fetch: impl Future<Output = Result<Cached<V>>>,
    ) -> Result<V> {
        let entry = self.entry(key);
        let mut entry = entry.lock().await;
        let now = self.clock.now();
        let (Freshness::Relaxed(age) | Freshness::Strict(age)) = freshness;
        if let Some(value) = entry.value(now, age) {
            return Ok(value);
        }
        let error = match entry.failure(now) {
            Some(error) => error,
            None => match fetch.await {
                Ok(fetched) => {
                    let value = fetched.value.clone();
                    entry.cached = Some((now, fetched));
                    entry.failed = None;
                    return Ok(value);
                }
                Err(error) => {
                    entry.failed = Some((now, error.clone()));
                    error
                }
            },
        };
        match freshness {
            Freshness::Relaxed(_) if is_temporary(&error) => entry.value(now, STALE_TTL).ok_or(error),
            _ => Err(error),
        }
    }

    fn entry(&self, key: &str) -> SharedEntry<V> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(entries.entry(key.to_owned()).or_default())
    }
}

impl<V> Default for Entry<V> {
    fn default() -> Self {
        Self {
            cached: None,
            failed: None,
        }
    }
}

impl<V: Clone> Entry<V> {
    fn value(&self, now: SystemTime, age: Duration) -> Option<V> {
        let (at, cached) = self.cached.as_ref()?;
        let is_valid = cached.until.is_none_or(|until| now < until);
        (is_valid && is_within(now, *at, age)).then(|| cached.value.clone())
    }

    fn failure(&self, now: SystemTime) -> Option<Error> {
        let (at, error) = self.failed.as_ref()?;
        is_within(now, *at, FAILURE_TTL).then(|| error.clone())
    }
}

fn is_temporary(error: &Error) -> bool {
    matches!(error.persistence(), Persistence::Temporary(_))
}

/// If the clock was set back, the time by which it was set back counts as the age.
fn is_within(now: SystemTime, then: SystemTime, age: Duration) -> bool {
    match now.duration_since(then) {
        Ok(passed) => passed < age,
        Err(back) => back.duration() < age,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use transship_oci::{Code, Verb};
    use transship_testkit::clock::ManualClock;

    use super::*;

    const RELAXED: Freshness = Freshness::Relaxed(Duration::from_mins(5));
    const STRICT: Freshness = Freshness::Strict(Duration::from_mins(1));

    struct Fixture {
        cache: FetchCache<u32>,
        clock: ManualClock,
        fetches: AtomicU32,
    }

    impl Fixture {
        fn new() -> Self {
            let clock = ManualClock::default();
            Self {
                cache: FetchCache::new(Arc::new(clock.clone())),
                clock,
                fetches: AtomicU32::new(0),
            }
        }

        /// The number of the fetch.
        async fn get(&self, freshness: Freshness) -> Result<u32> {
            let fetch = async {
                tokio::task::yield_now().await;
                Ok(Cached {
                    value: self.fetches.fetch_add(1, Ordering::Relaxed),
                    until: None,
                })
            };
            self.cache.get("a", freshness, fetch).await
        }

        async fn fail(&self, freshness: Freshness, is_temporary: bool) -> Result<u32> {
            let fetch = async {
                self.fetches.fetch_add(1, Ordering::Relaxed);
                let persistence = if is_temporary {
                    Persistence::Temporary(None)
                } else {
                    Persistence::Persistent
                };
                Err(Error::of(Code::SecretUnavailable, Verb::Secret).with_persistence(persistence))
            };
            self.cache.get("a", freshness, fetch).await
        }
    }

    #[tokio::test]
    async fn a_value_is_fetched_once_until_it_is_old() {
        let fixture = Fixture::new();
        let (one, two) = tokio::join!(fixture.get(RELAXED), fixture.get(RELAXED));
        assert_eq!((one.unwrap(), two.unwrap()), (0, 0));
        fixture.clock.advance(Duration::from_secs(299));
        assert_eq!(fixture.get(RELAXED).await.unwrap(), 0);
        fixture.clock.advance(Duration::from_secs(1));
        assert_eq!(fixture.get(RELAXED).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_value_that_was_refused_is_fetched_again_once_a_while() {
        let fixture = Fixture::new();
        assert_eq!(fixture.get(RELAXED).await.unwrap(), 0);
        assert_eq!(fixture.get(STRICT).await.unwrap(), 0, "it is new enough");
        fixture.clock.advance(Duration::from_mins(2));
        for _ in 0..100 {
            assert_eq!(fixture.get(STRICT).await.unwrap(), 1);
        }
        assert_eq!(fixture.get(RELAXED).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn an_old_value_outlives_a_failure_that_passes_and_no_other() {
        let fixture = Fixture::new();
        assert_eq!(fixture.get(RELAXED).await.unwrap(), 0);
        fixture.clock.advance(Duration::from_mins(6));
        assert_eq!(fixture.fail(RELAXED, true).await.unwrap(), 0);
        assert!(fixture.fail(STRICT, true).await.is_err());
        fixture.clock.advance(Duration::from_mins(1));
        assert!(fixture.fail(RELAXED, false).await.is_err());
        fixture.clock.advance(Duration::from_hours(1));
        assert!(fixture.fail(RELAXED, true).await.is_err(), "an hour is enough");
    }

    #[tokio::test]
    async fn a_failure_is_not_fetched_again_at_once() {
        let fixture = Fixture::new();
        for _ in 0..100 {
            assert!(fixture.fail(RELAXED, false).await.is_err());
        }
        assert_eq!(fixture.fetches.load(Ordering::Relaxed), 1);
        fixture.clock.advance(FAILURE_TTL);
        assert_eq!(fixture.get(RELAXED).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_value_is_not_used_after_its_end() {
        let fixture = Fixture::new();
        let until = Some(fixture.clock.now() + Duration::from_mins(1));
        let fetch = async { Ok(Cached { value: 7, until }) };
        assert_eq!(fixture.cache.get("a", RELAXED, fetch).await.unwrap(), 7);
        fixture.clock.advance(Duration::from_mins(1));
        assert!(fixture.fail(RELAXED, true).await.is_err());
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_keeps_no_value_without_end() {
        let fixture = Fixture::new();
        assert_eq!(fixture.get(RELAXED).await.unwrap(), 0);
        fixture.clock.set(fixture.clock.now() - Duration::from_hours(24));
        assert_eq!(fixture.get(RELAXED).await.unwrap(), 1);
    }
}
