//! What the scenarios share: a stack, the registry it imports into, and its bucket.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use transship_tests::layouts::{Expected, Objects};
use transship_tests::{DockerRegistry, Document, Stack, check, until, wait};

/// Everything that is under way, on a loaded machine.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// One stack at a time: the emulator keeps a core busy.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stack whose document knows `b`, the destination.
pub struct Stage {
    pub stack: Stack,
    pub destination: DockerRegistry,
}

impl Stage {
    /// With a document that says more; its second argument is the bucket.
    pub fn set(document: impl FnOnce(Document, &str) -> Document) -> Self {
        Self::set_with(&[], document)
    }

    /// The same with parameters of the template.
    pub fn set_with(parameters: &[(&str, &str)], document: impl FnOnce(Document, &str) -> Document) -> Self {
        let stack = Stack::deploy(parameters);
        let destination = DockerRegistry::start();
        let known = Document::default().registry("b", &destination.host(), "description: empty at first");
        stack.configure(&document(known, stack.output("LayoutsBucket")));
        Self { stack, destination }
    }

    /// The bucket that is imported from.
    pub fn bucket(&self) -> &str {
        self.stack.output("LayoutsBucket")
    }

    /// Uploads all objects, and waits until the function has accepted their events.
    pub fn upload(&self, objects: &Objects) {
        self.upload_to(self.bucket(), objects);
    }

    /// The same into another bucket.
    pub fn upload_to(&self, bucket: &str, objects: &Objects) {
        let before = self.taken();
        let uploads = objects.upload(|key, bytes| self.stack.aws().object_put(bucket, key, bytes));
        let taken = until(PATIENCE, || match self.taken() - before {
            some if some >= uploads => Ok(()),
            some => {
                // Not too often: the emulator has better things to do than to show its logs.
                (0..10).for_each(|_| wait::pause());
                Err(format!("{some} of {uploads} uploads are taken"))
            }
        });
        assert_eq!(taken, Ok(()), "{}", self.stack.logs_tail());
    }

    /// How often the function answered.
    fn taken(&self) -> usize {
        let lines = self.stack.log_lines("bulk-import");
        lines.iter().filter(|line| line.starts_with("END RequestId")).count()
    }

    /// Waits until all has ended; then the tasks.
    pub fn at_rest(&self, count: usize) -> Vec<Value> {
        self.stack.until_at_rest(count, PATIENCE)
    }

    /// Asserts that the destination has all of this and no tag besides, but for the lists of referrers it cannot make itself.
    pub fn assert_holds(&self, expected: &Expected) {
        let host = self.destination.host();
        let repositories: BTreeSet<_> = check::repositories(&host).unwrap().into_iter().collect();
        assert_eq!(
            repositories,
            expected.keys().cloned().collect(),
            "{}",
            self.stack.logs_tail()
        );
        let repositories: Vec<_> = expected.iter().collect();
        std::thread::scope(|scope| {
            for part in repositories.chunks(repositories.len().div_ceil(2)) {
                let host = &host;
                scope.spawn(move || {
                    for (repository, references) in part {
                        check::holds(host, repository, references).unwrap();
                        let tags = check::tags(host, repository).unwrap();
                        let tags: BTreeSet<_> = tags.iter().filter(|tag| !tag.starts_with("sha256-")).collect();
                        let named = references.keys().filter(|reference| !reference.contains(':'));
                        assert_eq!(tags, named.collect(), "{repository}");
                    }
                });
            }
        });
    }

    /// Asserts that no function failed or was denied anything, and that nothing is left.
    pub fn assert_clean(&self) {
        let stack = &self.stack;
        assert_eq!(stack.failed(), 0, "{}", stack.logs_tail());
        assert_eq!(stack.leftovers(), Vec::<Value>::new());
        assert_eq!(stack.awaiting(), Vec::<Value>::new(), "something waits");
        for function in ["worker", "bulk-import"] {
            for line in stack.log_lines(function) {
                assert!(!line.contains("AccessDenied"), "{function} may not: {line}");
            }
        }
    }

    /// Requests that change something, which the destination answered so far.
    pub fn writes(&self) -> Vec<String> {
        let mut requests = self.destination.requests_at_rest();
        requests.retain(|request| !request.starts_with("GET ") && !request.starts_with("HEAD "));
        requests
    }
}

/// The tasks that did not end well.
pub fn failed(tasks: &[Value]) -> Vec<&Value> {
    let is_well = |task: &&Value| ["succeeded", "unchanged"].contains(&task["state"].as_str().unwrap());
    tasks.iter().filter(|task| !is_well(task)).collect()
}

/// True if the item is a task of the execution that an order answered with.
pub fn is_of(item: &Value, order: &Value) -> bool {
    let execution = order["execution"].as_str().unwrap();
    item["pk"] == format!("E#{execution}")
}
