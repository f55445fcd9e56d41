//! What the scenarios share: two registries behind proxies that can fail, and a fleet between them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::Value;
use tokio::runtime::Runtime;
use transship_testkit::faults::{Action, Faults, RequestHead, Seeded};
use transship_testkit::proxy::FaultProxy;
use transship_tests::aws_faults::Rates;
use transship_tests::docker_registry::{self, PASSWORD, USER};
use transship_tests::fleet::Options;
use transship_tests::serve::is_terminal;
use transship_tests::{DockerRegistry, Document, Fleet, HOOK_SECRET, check, until};

/// How long anything is waited for: far longer than it takes, so that only what never comes fails a test.
pub const TIMEOUT: Duration = Duration::from_mins(8);

/// The seed, unless `TRANSSHIP_SEED` names another.
pub fn seed() -> u64 {
    let named = std::env::var("TRANSSHIP_SEED").ok();
    named.and_then(|seed| seed.parse().ok()).unwrap_or(20_261_121)
}

/// One fleet at a time: two on one machine would measure each other.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The stage. Source `a` notifies the fleet's webhook; destination `b` wants a password.
pub struct Stage {
    // In this order they go: the fleet asks the registries.
    pub fleet: Fleet,
    pub before_source: FaultProxy,
    pub before_destination: FaultProxy,
    pub source: DockerRegistry,
    pub destination: DockerRegistry,
    _runtime: Runtime,
}

impl Stage {
    /// Everything running, with a rule from `core` to `copy`.
    pub fn set(options: Options) -> Self {
        Self::set_with(options, |document| document)
    }

    /// The same with more in the document.
    pub fn set_with(options: Options, more: impl FnOnce(Document) -> Document) -> Self {
        let runtime = Runtime::new().unwrap();
        let mut fleet = Fleet::prepare(options);
        let source = DockerRegistry::notifying(&fleet.bridge().url());
        let destination = DockerRegistry::start_with(&docker_registry::Options {
            locked: true,
            ..docker_registry::Options::default()
        });
        let proxy = |registry: &DockerRegistry| {
            let started = runtime.block_on(FaultProxy::start(&registry.host().parse().unwrap()));
            started.unwrap()
        };
        let (before_source, before_destination) = (proxy(&source), proxy(&destination));
        fleet.aws().secret_put("fleet/b", &format!("{USER}:{PASSWORD}"));
        // Pushes go to the registry itself, so its deliveries name another host than the proxy's.
        let a = format!(
            "hosts: [\"{}\"], webhook: {{ secret: \"secretsmanager:fleet/hook\" }}",
            source.host()
        );
        let document = Document::default()
            .registry("a", before_source.host().as_str(), &a)
            .registry(
                "b",
                before_destination.host().as_str(),
                "credentials: \"secretsmanager:fleet/b\"",
            )
            .rule("core", "core", "copy", "");
        fleet.begin(&more(document));
        Self {
            fleet,
            before_source,
            before_destination,
            source,
            destination,
            _runtime: runtime,
        }
    }

    /// From now on `percent` of all requests to either registry fail.
    pub fn trouble(&self, seed: u64, percent: u8) -> [Arc<Trouble>; 2] {
        let trouble = |seed| Arc::new(Trouble(Seeded::new(seed, percent)));
        let both = [trouble(seed), trouble(seed ^ 0xb0a7)];
        self.before_source.set_faults(Some(Arc::clone(&both[0]) as _));
        self.before_destination.set_faults(Some(Arc::clone(&both[1]) as _));
        both
    }

    /// All is well again.
    pub fn peace(&self) {
        self.before_source.set_faults(None);
        self.before_destination.set_faults(None);
        self.fleet.set_aws_rates(Rates::default());
    }

    /// Asserts that `core/{name}:{tag}` is whole at the destination, with all that belongs to it.
    pub fn assert_equal(&self, name: &str, tag: &str) {
        self.assert_equal_at(&format!("copy/{name}"), name, tag);
    }

    /// The same in another repository of the destination.
    pub fn assert_equal_at(&self, repository: &str, name: &str, tag: &str) {
        transship_tests::assert_equal(
            &self.source.host(),
            &format!("core/{name}"),
            tag,
            &self.destination.unlocked_host(),
            repository,
            tag,
        );
    }

    /// Waits until the source has told of everything that was pushed: as many notifications as that.
    pub fn until_told(&self, notifications: usize) {
        let told = until(TIMEOUT, || match self.fleet.bridge().received() {
            some if some >= notifications => Ok(()),
            some => Err(format!("the source told of {some} of {notifications} manifests")),
        });
        assert_eq!(told, Ok(()));
    }

    /// Everything the destination has, as `repository:tag`.
    pub fn arrived(&self) -> Vec<String> {
        let host = self.destination.unlocked_host();
        let mut all = Vec::new();
        for repository in check::repositories(&host).unwrap() {
            for tag in check::tags(&host, &repository).unwrap() {
                all.push(format!("{repository}:{tag}"));
            }
        }
        all
    }

    /// I5 and I6: nothing is left over, and nothing tells a secret.
    pub fn assert_clean(&self) {
        assert_eq!(self.fleet.dead_letters(), Vec::<String>::new(), "dead letters");
        // A worker that was killed in its commit leaves a lease that ends by itself.
        let held = until(Duration::from_secs(40), || {
            let now = now_ms();
            let mut items = self.fleet.items();
            items.retain(|item| {
                let is_lease = item.get("holder").is_some() || item["pk"] == "lease";
                is_lease && item["until"].as_f64().is_none_or(|until| until > now)
            });
            items.first().map_or(Ok(()), |item| Err(item.to_string()))
        });
        assert_eq!(held, Ok(()), "a lease is held");
        let items = self.fleet.items();
        let (uploads, items): (Vec<_>, Vec<_>) = items.iter().partition(|item| is_upload(item));
        assert!(uploads.is_empty(), "an upload is remembered: {uploads:?}");
        assert_no_secret_in("the table", items.into_iter().map(Value::to_string));
        assert_no_secret_in("a message", self.fleet.messages());
        assert_no_secret_in("a log", [self.fleet.log()]);
    }
}

/// I6.
fn assert_no_secret_in(place: &str, texts: impl IntoIterator<Item = String>) {
    let token = HOOK_SECRET.trim_start_matches("Bearer ");
    let login = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
    for text in texts {
        // `_state` is the capability in Distribution's upload locations.
        for secret in [PASSWORD, &login, token, "_state="] {
            if let Some(at) = text.find(secret) {
                let around: String = text
                    .chars()
                    .skip(text[..at].chars().count().saturating_sub(200))
                    .take(400)
                    .collect();
                panic!("{place} shows {secret:?}: {around}");
            }
        }
    }
}

/// What may befall a registry with passwords: all but forgetting a login. A password that is refused twice is refused, and
/// the task has ended.
pub struct Trouble(Seeded);

impl Trouble {
    /// How many requests suffered.
    pub fn struck(&self) -> u64 {
        self.0.struck()
    }
}

impl Faults for Trouble {
    fn action(&self, request: &RequestHead<'_>) -> Option<Action> {
        match self.0.action(request)? {
            Action::DropCredentials => Some(Action::status(503)),
            other => Some(other),
        }
    }
}

/// True for the item of an upload under way, which may hold its location.
pub fn is_upload(item: &Value) -> bool {
    item["pk"].as_str().is_some_and(|key| key.starts_with("upload#"))
}

/// Milliseconds since 1970.
pub fn now_ms() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
        * 1000.0
}

/// The first message of the job of a task's item.
pub fn body(item: &Value) -> Value {
    serde_json::from_str(item["body"].as_str().unwrap_or_default()).unwrap()
}

/// What must never change of a task that has ended, by the task.
pub type Endings = BTreeMap<String, (Value, Value)>;

/// The endings among the items of a table.
pub fn endings(items: &[Value]) -> Endings {
    let ended = items.iter().filter(|item| is_terminal(item));
    ended
        .map(|task| {
            (
                task["sk"].to_string(),
                (task["state"].clone(), task["finished"].clone()),
            )
        })
        .collect()
}
