//! What is known about the referrers API of a registry, by repository.
//!
//! One host may have it for some repositories and not for others: a proxied or remote repository of Artifactory or Harbor,
//! a repository that is being deleted. So what one repository answers says nothing about another, and everything that was
//! learned expires.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as AsyncMutex;
use transship_oci::Repository;

/// How long an answer is remembered.
const ANSWER_TTL: Duration = Duration::from_hours(1);
/// Repositories that are remembered; beyond, the memory starts again.
const REPOSITORIES_MAX: usize = 10_000;

/// Which repositories have the API.
#[derive(Default)]
pub(crate) struct ReferrersApi(Mutex<Known>);

#[derive(Default)]
struct Known {
    repositories: HashMap<Repository, (bool, Instant)>,
    /// When a repository of this registry last answered with a list.
    last_list: Option<Instant>,
    /// Repositories that are being asked for the first time.
    probes: HashMap<Repository, Weak<AsyncMutex<()>>>,
}

impl ReferrersApi {
    /// Whether `repository` has the API; [`None`] if that is not known now.
    pub(crate) fn get(&self, repository: &Repository) -> Option<bool> {
        self.lock().get(repository, Instant::now())
    }

    /// True if some repository of this registry has the API.
    pub(crate) fn is_known_to_exist(&self) -> bool {
        is_recent(self.lock().last_list, Instant::now())
    }

    pub(crate) fn learn(&self, repository: &Repository, has_api: bool) {
        self.lock().learn(repository, has_api, Instant::now());
    }

    /// Held by who asks `repository` for the first time, so that others wait for the answer.
    pub(crate) fn probe(&self, repository: &Repository) -> Arc<AsyncMutex<()>> {
        let probes = &mut self.lock().probes;
        if let Some(probe) = probes.get(repository).and_then(Weak::upgrade) {
            return probe;
        }
        let probe = Arc::default();
        probes.retain(|_, probe| probe.strong_count() > 0);
        probes.insert(repository.clone(), Arc::downgrade(&probe));
        probe
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn get(&self, repository: &Repository, now: Instant) -> Option<bool> {
        let (has_api, learned) = self.repositories.get(repository)?;
        is_recent(Some(*learned), now).then_some(*has_api)
    }

    fn learn(&mut self, repository: &Repository, has_api: bool, now: Instant) {
        if has_api {
            self.last_list = Some(now);
        }
        if self.repositories.len() >= REPOSITORIES_MAX && !self.repositories.contains_key(repository) {
            self.repositories.clear();
        }
        self.repositories.insert(repository.clone(), (has_api, now));
    }
}

fn is_recent(learned: Option<Instant>, now: Instant) -> bool {
    learned.is_some_and(|learned| now.saturating_duration_since(learned) < ANSWER_TTL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_of_one_repository_and_expires() {
        let (one, two): (Repository, Repository) = ("core/one".parse().unwrap(), "core/two".parse().unwrap());
        let begin = Instant::now();
        let mut known = Known::default();
        known.learn(&one, false, begin);
        assert_eq!(known.get(&one, begin), Some(false));
        assert_eq!(known.get(&two, begin), None);
        assert!(!is_recent(known.last_list, begin));
        assert_eq!(known.get(&one, begin + ANSWER_TTL), None);
        known.learn(&one, true, begin);
        assert_eq!(known.get(&one, begin), Some(true));
        assert!(is_recent(known.last_list, begin));
        assert!(!is_recent(known.last_list, begin + ANSWER_TTL));
    }

    #[test]
    fn the_memory_is_bounded() {
        let now = Instant::now();
        let mut known = Known::default();
        for number in 0..=REPOSITORIES_MAX {
            known.learn(&format!("core/{number}").parse().unwrap(), true, now);
        }
        assert!(known.repositories.len() <= REPOSITORIES_MAX);
    }
}
