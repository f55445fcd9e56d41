//! What other peers cost a neighbour: replication beside slow registries, and deliveries beside silent connections.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::runtime::Runtime;
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::Action;
use transship_oci::Digest;
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images;
use transship_tests::{Document, Serve, delivery};

/// The word of `--only`.
pub const WORD: &str = "neighbours";
/// Pushes to each of the slow registries: more than `serve` has workers, together.
const SLOW_PUSHES: u32 = 8;
/// How long a slow registry takes for each blob.
const SLOW_MS: u64 = 600_000;
const INTERVAL: Duration = Duration::from_millis(100);
const ARRIVAL: Duration = Duration::from_mins(2);
const CONNECTIONS: usize = 10_000;

/// All figures.
pub fn run(quick: bool) -> Result<()> {
    println!("\nwhat other peers cost");
    let pushes = if quick { 20 } else { 200 };
    let scenario = Scenario::open()?;
    let alone = scenario.arrivals(0, pushes)?;
    scenario.burden();
    let beside = scenario.arrivals(pushes, pushes)?;
    for (what, times) in [
        ("alone", &alone),
        ("beside 2 slow sources and 2 silent destinations", &beside),
    ] {
        println!(
            "push to arrival, {what}: p50 {:.0} ms, p99 {:.0} ms",
            at(times, 50),
            at(times, 99)
        );
    }
    println!(
        "p99 beside / alone: {:.1} (at most 3)",
        at(&beside, 99) / at(&alone, 99)
    );
    scenario.silence(if quick { 1000 } else { CONNECTIONS })
}

/// The percentile of sorted times, in milliseconds.
pub fn at(times: &[Duration], percent: usize) -> f64 {
    let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(index).copied().unwrap_or_default().as_secs_f64() * 1000.0
}

/// The first two slow registries are sources, the others destinations.
const fn is_source(number: usize) -> bool {
    number < 2
}

struct Scenario {
    _runtime: Runtime,
    serve: Serve,
    /// The neighbour's source.
    a: EmbeddedRegistry,
    /// The neighbour's destination.
    b: EmbeddedRegistry,
    slow: Vec<EmbeddedRegistry>,
}

impl Scenario {
    /// A neighbour from `a` to `b`; two sources that write to `b` as well and two destinations that are written from `a` as
    /// well, which will be slow.
    fn open() -> Result<Self> {
        let runtime = Runtime::new()?;
        let start = || runtime.block_on(EmbeddedRegistry::builder().start());
        let (a, b) = (start()?, start()?);
        let slow = (0..4).map(|_| start()).collect::<Result<Vec<_>, _>>()?;
        let host = |registry: &EmbeddedRegistry| registry.host().to_string();
        let mut document = Document::between(&host(&a), &host(&b)).rule("neighbour", "core", "copy", "");
        for (number, registry) in slow.iter().enumerate() {
            let (name, namespace) = (format!("s{number}"), format!("n{number}"));
            let (from, to) = if is_source(number) {
                (&*name, "b")
            } else {
                ("a", &*name)
            };
            document = document.registry(&name, &host(registry), "webhook: none").rule_between(
                &name,
                (from, &namespace),
                (to, &namespace),
                "",
            );
        }
        let mut serve = Serve::prepare();
        serve.start(&document);
        Ok(Self {
            _runtime: runtime,
            serve,
            a,
            b,
            slow,
        })
    }

    /// The sorted times from delivery to arrival of pushes at intervals.
    fn arrivals(&self, first: u32, pushes: u32) -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        for number in first..first + pushes {
            let begun = Instant::now();
            let (tag, digest) = (format!("v{number}"), self.push(number, &self.a, "core/app", "a"));
            let (repository, wanted) = ("copy/app".parse()?, tag.parse()?);
            while self.b.digest(&repository, &wanted).as_ref() != Some(&digest) {
                ensure!(
                    begun.elapsed() < ARRIVAL,
                    "{tag} does not arrive\n{}",
                    self.serve.log_tail()
                );
                std::thread::sleep(Duration::from_millis(1));
            }
            times.push(begun.elapsed());
            std::thread::sleep(INTERVAL.saturating_sub(begun.elapsed()));
        }
        times.sort();
        Ok(times)
    }

    /// The slow registries get so much to do that they would occupy all workers.
    fn burden(&self) {
        for (number, registry) in self.slow.iter().enumerate() {
            let faults = ["GET", "HEAD", "POST", "PUT"]
                .map(|method| Fault::new(method, "/blobs/", Action::Delay { delay_ms: SLOW_MS }));
            let faults = faults.into_iter().flatten().map(Fault::always);
            registry.set_faults(Some(Arc::new(Script::new(faults))));
            for push in 0..SLOW_PUSHES {
                let seed = 10_000 + push + 100 * u32::try_from(number).unwrap_or_default();
                let (source, name) = if is_source(number) {
                    (registry, &*format!("s{number}"))
                } else {
                    (&self.a, "a")
                };
                self.push(seed, source, &format!("n{number}/app"), name);
            }
        }
    }

    /// Puts an image into a registry and delivers its push.
    fn push(&self, seed: u32, registry: &EmbeddedRegistry, repository: &str, source: &str) -> Digest {
        let sample = images::image(u64::from(seed), &[1000, 2000]);
        let tag = format!("v{seed}");
        if let (Ok(name), Ok(tag)) = (repository.parse(), tag.parse()) {
            sample.seed_into(registry, &name, &tag);
        }
        let host = registry.host().to_string();
        let event = delivery::push_event(&host, repository, &tag, &sample.root.to_string(), seed);
        delivery::post_to(&self.serve.host(), source, &event);
        sample.root
    }

    /// Deliveries beside connections that send nothing.
    fn silence(&self, connections: usize) -> Result<()> {
        let mut held = Vec::new();
        for _ in 0..connections {
            held.push(TcpStream::connect(self.serve.host()).context("too few open files: raise `ulimit -n`")?);
        }
        let mut times = Vec::new();
        for number in 0..100 {
            let begun = Instant::now();
            let (host, digest) = (self.a.host().to_string(), Digest::sha256(b"").to_string());
            let event = delivery::push_event(&host, "other/app", "v1", &digest, 20_000 + number);
            let answer = delivery::post(&self.serve.host(), &event);
            ensure!(answer.status < 300, "a delivery is answered {}", answer.status);
            times.push(begun.elapsed());
        }
        times.sort();
        println!(
            "a delivery's answer beside {connections} silent connections: p50 {:.1} ms, p99 {:.1} ms (at most 100)",
            at(&times, 50),
            at(&times, 99)
        );
        Ok(())
    }
}
