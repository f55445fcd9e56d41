//! Reads a registry continuously while a scenario runs: every visible image must be complete at that moment (I2). It also
//! records how often each tag moved.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::{check, wait};

/// `(repository, tag)` to the digests it was seen to name, oldest first.
type Histories = BTreeMap<(String, String), Vec<String>>;

#[derive(Debug, Default)]
struct Seen {
    histories: Histories,
    violations: Vec<String>,
    rounds: usize,
}

/// A watching thread; ends when dropped.
#[derive(Debug)]
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to watch `host`.
    pub fn start(host: &str) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (host, seen_inside, stop_inside) = (host.to_owned(), Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stop_inside.load(Ordering::Relaxed) {
                look(&host, &seen_inside);
                wait::pause();
            }
        });
        Self {
            seen,
            stop,
            thread: Some(thread),
        }
    }

    /// The digests a tag was seen to name, oldest first, without repetitions in a row.
    pub fn history(&self, repository: &str, tag: &str) -> Vec<String> {
        let key = (repository.to_owned(), tag.to_owned());
        self.seen().histories.get(&key).cloned().unwrap_or_default()
    }

    /// Ends the watch.
    ///
    /// # Panics
    /// If anything was visible that was not whole, or if nothing was looked at.
    pub fn assert_nothing_was_half_there(mut self) {
        self.end();
        let seen = self.seen();
        assert!(seen.rounds > 0, "the watch never had a look");
        assert!(
            seen.violations.is_empty(),
            "visible before it was whole: {:#?}",
            seen.violations
        );
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().expect("the watch does not panic")
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

/// One look over all tags. A registry that does not answer shows nothing.
fn look(host: &str, seen: &Mutex<Seen>) {
    for repository in check::repositories(host).unwrap_or_default() {
        for tag in check::tags(host, &repository).unwrap_or_default() {
            let Ok(Some(digest)) = check::digest(host, &repository, &tag) else {
                continue;
            };
            let key = (repository.clone(), tag);
            if seen
                .lock()
                .expect("the watch does not panic")
                .histories
                .get(&key)
                .and_then(|all| all.last())
                == Some(&digest)
            {
                continue;
            }
            // By digest: the tag may move on meanwhile, what it named must be whole all the same.
            let whole = check::whole(host, &repository, &digest);
            let mut seen = seen.lock().expect("the watch does not panic");
            if let Err(reason) = whole {
                seen.violations.push(format!("{}:{} {digest}: {reason}", key.0, key.1));
            }
            seen.histories.entry(key).or_default().push(digest);
        }
    }
    seen.lock().expect("the watch does not panic").rounds += 1;
}
