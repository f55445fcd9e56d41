//! The deployed product on one machine: an emulator of AWS, the binaries of the functions in a Lambda service, and injected
//! failures.
//!
//! ```text
//! registry --> Bridge --> webhook (function) --> queue --> Poller --> workers (functions) --> registries
//!                              '---- AwsFaults ----'---- table, configuration, secrets
//! ```
//!
//! What must hold: nothing here is kinder than AWS. A message is delivered at least once, in any order, to any worker; a
//! worker is killed at its deadline, or before; what it did not answer for comes again. All draws come from one seed.

mod bridge;
mod function;
mod invocation;
mod poller;
mod unrest;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Runtime;
use transship_testkit::lambda_runtime::{Ended, Function, Lambda};
use transship_testkit::ministack::MiniStack;

pub use bridge::Bridge;
pub use function::program;
pub use poller::{Deliveries, Tally};

use crate::aws::Aws;
use crate::aws_faults::{AwsFaults, Rates};
use crate::serve::is_terminal;
use crate::{Document, HOOK_SECRET, wait};
use function::{environment, watch_memory};
use poller::Poller;

const QUEUE: &str = "tasks";
const DEAD: &str = "tasks-dead";
/// How often a message is received before it is a dead letter, as the template says.
const RECEIVES_MAX: u32 = 5;
const TABLE: &str = "ledger";
const BUCKET: &str = "configuration";
const KEY: &str = "transship.yaml";
/// What the webhook may take, as the template says.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(20);
/// What the function of imports may take, as the template says.
const BULK_IMPORT_TIMEOUT: Duration = Duration::from_secs(30);
/// The secret that documents name as `secretsmanager:fleet/hook`.
const HOOK: &str = "fleet/hook";
/// The last of the logs that a failing test shows, in lines.
const TAIL: usize = 60;

/// What the fleet is, and what befalls it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of every draw.
    pub seed: u64,
    /// Workers at the same time.
    pub workers: usize,
    /// What an invocation of a worker may take.
    pub slot: Duration,
    /// How messages are delivered, and workers killed.
    pub deliveries: Deliveries,
    /// What befalls the calls to AWS.
    pub aws: Rates,
    /// What the functions log.
    pub log: &'static str,
}

impl Options {
    /// Two workers in a kind world.
    pub fn calm(seed: u64) -> Self {
        Self {
            seed,
            workers: 2,
            slot: Duration::from_secs(30),
            deliveries: Deliveries::default(),
            aws: Rates::default(),
            log: "info",
        }
    }
}

/// A running fleet. Dropped, everything of it ends.
pub struct Fleet {
    // Fields are dropped in this order: clients before servers.
    poller: Option<Poller>,
    bridge: Bridge,
    watching: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
    webhook: Arc<Lambda>,
    workers: Vec<Arc<Lambda>>,
    before_webhook: AwsFaults,
    before_workers: AwsFaults,
    options: Options,
    queue: String,
    dead: String,
    aws: Aws,
    _stack: MiniStack,
    runtime: Runtime,
}

impl Fleet {
    /// Everything but the document and the pollers: the bridge takes notifications, and keeps them until [`Fleet::begin`].
    pub fn prepare(options: Options) -> Self {
        let runtime = Runtime::new().expect("a runtime can be started");
        let stack = runtime
            .block_on(MiniStack::start())
            .unwrap_or_else(|error| panic!("{error}"));
        let aws = Aws::at(stack.host().as_str());
        aws.table_create(TABLE);
        let dead = aws.queue_create(DEAD, None);
        let queue = aws.queue_create(QUEUE, Some((DEAD, RECEIVES_MAX)));
        aws.bucket_create(BUCKET);
        aws.secret_put(HOOK, HOOK_SECRET);
        let before_webhook = AwsFaults::start(stack.host().as_str(), options.seed);
        let before_workers = AwsFaults::start(stack.host().as_str(), options.seed.wrapping_add(1));
        let function = |name: &str, faults: &AwsFaults, timeout| Function {
            program: program(name),
            environment: environment(&faults.endpoint(), &queue, options.log),
            timeout,
        };
        let lambda = |function, environments| {
            Arc::new(Lambda::new(function, environments).unwrap_or_else(|error| panic!("{error}")))
        };
        let webhook = lambda(function("transship-webhook", &before_webhook, WEBHOOK_TIMEOUT), 2);
        // One environment each, so that it is known which process works on what.
        let workers: Vec<_> = (0..options.workers)
            .map(|_| lambda(function("transship-worker", &before_workers, options.slot), 1))
            .collect();
        let bridge = Bridge::start(&webhook, runtime.handle(), options.seed);
        let (watching, peak) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
        watch_memory(workers.clone(), &watching, &peak);
        Self {
            poller: None,
            bridge,
            watching,
            peak,
            webhook,
            workers,
            before_webhook,
            before_workers,
            options,
            queue,
            dead,
            aws,
            _stack: stack,
            runtime,
        }
    }

    /// Puts the document into its bucket, opens the bridge and starts to poll; from now on AWS is what
    /// [`Options::aws`] says.
    pub fn begin(&mut self, document: &Document) {
        self.configure(document);
        self.set_aws_rates(self.options.aws);
        self.bridge.open();
        self.poller = Some(Poller::start(
            &self.aws,
            &self.queue,
            &self.workers,
            self.runtime.handle(),
            &self.options,
        ));
    }

    /// Replaces the document. The functions see it within 30 seconds.
    pub fn configure(&self, document: &Document) {
        self.aws.object_put(BUCKET, KEY, document.yaml().as_bytes());
    }

    /// Between the source and the webhook.
    pub const fn bridge(&self) -> &Bridge {
        &self.bridge
    }

    /// AWS itself.
    pub const fn aws(&self) -> &Aws {
        &self.aws
    }

    /// What befalls the functions' calls to AWS from now on.
    pub fn set_aws_rates(&self, rates: Rates) {
        self.before_webhook.set_rates(rates);
        self.before_workers.set_rates(rates);
    }

    /// Between the webhook and AWS.
    pub const fn before_webhook(&self) -> &AwsFaults {
        &self.before_webhook
    }

    /// Between the workers and AWS.
    pub const fn before_workers(&self) -> &AwsFaults {
        &self.before_workers
    }

    /// The webhook function.
    pub fn webhook(&self) -> &Lambda {
        &self.webhook
    }

    /// The function of imports, in an environment of its own, behind what befalls the workers' calls.
    pub fn bulk_import(&self) -> Lambda {
        let function = Function {
            program: program("transship-bulk-import"),
            environment: environment(&self.before_workers.endpoint(), &self.queue, self.options.log),
            timeout: BULK_IMPORT_TIMEOUT,
        };
        Lambda::new(function, 1).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Invokes a function of this fleet and waits for its end.
    pub fn invoke(&self, lambda: &Lambda, event: &Value) -> Ended {
        let ended = self.runtime.block_on(lambda.invoke(event));
        ended.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The worker functions.
    pub fn workers(&self) -> &[Arc<Lambda>] {
        &self.workers
    }

    /// Sends a message into the queue.
    pub fn send(&self, body: &str) {
        self.aws.queue_send(&self.queue, body);
    }

    /// Sends a message into the queue of dead letters.
    pub fn bury(&self, body: &str) {
        self.aws.queue_send(&self.dead, body);
    }

    /// Messages that no worker could process.
    pub fn dead_letters(&self) -> Vec<String> {
        let received = self.aws.queue_receive(&self.dead, 10, 0);
        received.into_iter().map(|message| message.body).collect()
    }

    /// Everything in the table, with plain values.
    pub fn items(&self) -> Vec<Value> {
        self.aws.table_scan(TABLE)
    }

    /// The tasks of the table.
    pub fn tasks(&self) -> Vec<Value> {
        let mut items = self.items();
        items.retain(|item| item["sk"].as_str().is_some_and(|key| key.starts_with("T#")));
        items
    }

    /// The body of every message that was ever received.
    pub fn messages(&self) -> BTreeSet<String> {
        self.poller.as_ref().map(Poller::messages).unwrap_or_default()
    }

    /// How deliveries ended so far.
    pub fn tally(&self) -> Tally {
        self.poller.as_ref().map(Poller::tally).unwrap_or_default()
    }

    /// The most memory a worker ever had, in bytes.
    pub fn peak_resident_bytes(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// What all functions logged.
    pub fn log(&self) -> String {
        let all = self.workers.iter().chain([&self.webhook]);
        all.map(|lambda| lambda.log()).collect()
    }

    /// Waits until every notification was accepted, the queue is empty, no worker is busy, and every task has ended. Returns all
    /// tasks.
    ///
    /// # Panics
    /// If that does not come in time, or cannot come any more ([`Fleet::rest`]).
    pub fn until_at_rest(&self, timeout: Duration) -> Vec<Value> {
        let rested = wait::until(timeout, || self.rest());
        rested.unwrap_or_else(|reason| {
            let (seed, tally) = (self.options.seed, self.tally());
            panic!("{reason} (seed {seed}); {tally:?}\n{}", self.unrest())
        })
    }

    /// The tasks, if nothing is under way and all have ended; else what is not at rest.
    ///
    /// # Panics
    /// If it never comes to rest: a message became a dead letter, or a thread that delivers has ended.
    pub fn rest(&self) -> Result<Vec<Value>, String> {
        let is_broken = self.bridge.is_broken() || self.poller.as_ref().is_some_and(Poller::is_broken);
        assert!(!is_broken, "a thread that delivers has ended\n{}", self.unrest());
        let dead = self.aws.queue_depth(&self.dead);
        assert_eq!(dead, 0, "messages became dead letters\n{}", self.unrest());
        let left = self.bridge.left();
        if left > 0 {
            return Err(format!("{left} notifications are not accepted"));
        }
        self.idle()?;
        let depth = self.aws.queue_depth(&self.queue);
        if depth > 0 {
            return Err(format!("{depth} messages are in the queue"));
        }
        // A message that was sent on between the two looks is in the queue again by the second.
        self.idle()?;
        let tasks = self.tasks();
        match tasks.iter().find(|task| !is_terminal(task)) {
            Some(open) => Err(format!("a task has not ended: {open}")),
            None => Ok(tasks),
        }
    }

    fn idle(&self) -> Result<(), String> {
        match self.poller.as_ref().map_or(0, Poller::under_way) {
            0 => Ok(()),
            some => Err(format!("{some} deliveries are under way")),
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.watching.store(false, Ordering::Relaxed);
        if std::thread::panicking() {
            let log = self.log();
            let mut lines: Vec<&str> = log.lines().collect();
            lines.sort_by_key(|line| line.split_once("\"timestamp\":").map(|(_, time)| time));
            let last = &lines[lines.len().saturating_sub(TAIL)..];
            eprintln!("--- the end of the functions' logs\n{}\n---", last.join("\n"));
        }
        self.poller = None;
        self.bridge.close();
    }
}
