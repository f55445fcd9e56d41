//! A registry that refuses (429) above 20 requests per second: how much of that a tool uses, and how much of it is refused.
//!
//! 200 images of 2 blobs in 40 repositories are copied to it. It admits a burst of 20, and says nothing about how long to wait.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::{Action, Faults, RequestHead};
use transship_testkit::images;

use crate::{many, measure};

/// The word of `--only`.
pub const WORD: &str = "limited";
const REPOSITORIES: u64 = 40;
const TAGS: u64 = 5;
const PER_SECOND: f64 = 20.0;
const PERIOD: Duration = Duration::from_secs(10);

/// A bucket of tokens, and what it did.
struct Bucket {
    tokens: f64,
    filled: Instant,
    accepted: u64,
    refused: u64,
    first: Option<Instant>,
    last: Instant,
    /// Accepted and refused requests of each [`PERIOD`].
    periods: Vec<[u64; 2]>,
}

#[derive(Clone)]
struct Limit(Arc<Mutex<Bucket>>);

impl Limit {
    fn new() -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(Bucket {
            tokens: PER_SECOND,
            filled: now,
            accepted: 0,
            refused: 0,
            first: None,
            last: now,
            periods: Vec::new(),
        })))
    }
}

impl Faults for Limit {
    fn action(&self, _: &RequestHead<'_>) -> Option<Action> {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let grown = now.duration_since(bucket.filled).as_secs_f64() * PER_SECOND;
        bucket.tokens = (bucket.tokens + grown).min(PER_SECOND);
        bucket.filled = now;
        let begun = *bucket.first.get_or_insert(now);
        let period = usize::try_from(now.duration_since(begun).as_secs() / PERIOD.as_secs()).unwrap_or_default();
        if bucket.periods.len() <= period {
            bucket.periods.resize(period + 1, [0; 2]);
        }
        let is_refused = bucket.tokens < 1.0;
        bucket.periods[period][usize::from(is_refused)] += 1;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            bucket.accepted += 1;
            bucket.last = now;
            return None;
        }
        bucket.refused += 1;
        Some(Action::Status {
            code: 429,
            headers: Vec::new(),
            body: br#"{"errors":[{"code":"TOOMANYREQUESTS"}]}"#.as_slice().into(),
        })
    }
}

/// One run of each tool, or of one.
pub fn run(quick: bool, only: Option<&str>) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let repositories = if quick { 4 } else { REPOSITORIES };
    let source = runtime.block_on(EmbeddedRegistry::builder().start())?;
    for number in 0..repositories * TAGS {
        let repository = format!("core/app{}", number / TAGS).parse()?;
        images::image(number, &[1000]).seed_into(&source, &repository, &format!("v{}", number % TAGS).parse()?);
    }
    for tool in many::found() {
        if only.is_some_and(|only| only != tool.name) {
            continue;
        }
        let destination = runtime.block_on(EmbeddedRegistry::builder().start())?;
        let limit = Limit::new();
        destination.set_faults(Some(Arc::new(limit.clone())));
        let memory = tempfile::tempdir()?;
        let hosts = [source.host().to_string(), destination.host().to_string()];
        let mut command = tool.command([&hosts[0], &hosts[1]], repositories, memory.path())?;
        let ended = measure::run(&mut command);
        let bucket = limit.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = bucket
            .first
            .map_or(0.0, |first| bucket.last.duration_since(first).as_secs_f64());
        let all = (bucket.accepted + bucket.refused).max(1);
        println!(
            "{:<14} {seconds:>7.1} s  {:>6} accepted ({:.1} per second)  {:>5} refused ({:.1} %)  {}",
            tool.name,
            bucket.accepted,
            bucket.accepted as f64 / seconds.max(0.001),
            bucket.refused,
            100.0 * bucket.refused as f64 / all as f64,
            ended.map_or_else(
                |error| format!("{error:#}").chars().take(100).collect(),
                |_| "done".to_owned()
            ),
        );
        println!(
            "  accepted and refused in each {} s: {:?}",
            PERIOD.as_secs(),
            bucket.periods
        );
    }
    Ok(())
}
