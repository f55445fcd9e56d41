//! The functions as deployed: start time, size, number of AWS calls, and the time until an image arrives. AWS is an emulator
//! on the same machine, so the figures do not include the latency of a region.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tokio::runtime::Runtime;
use transship_testkit::lambda_runtime::{Function, Lambda, events};
use transship_tests::fleet::{self, Options};
use transship_tests::{DockerRegistry, Document, Fleet, Image, http, images, push, until};

const MEBIBYTE: usize = 1024 * 1024;
/// The word of `--only`.
pub const WORD: &str = "lambda";
const STARTS: usize = 10;
const WEBHOOK: &str = "transship-webhook";
const WORKER: &str = "transship-worker";
const BULK_IMPORT: &str = "transship-bulk-import";
const ARRIVAL: Duration = Duration::from_secs(30);

/// All figures.
pub fn run(quick: bool) -> Result<()> {
    println!("\nthe functions on an emulator of AWS");
    line("", "measured", "at most");
    for name in [WEBHOOK, WORKER, BULK_IMPORT] {
        let median = start_median(name, if quick { 2 } else { STARTS })?;
        line(
            &format!("{name}: start to first poll"),
            &format!("{:.0} ms", median.as_secs_f64() * 1000.0),
            "60 ms",
        );
        let size = zip_bytes(name)? as f64 / 1e6;
        line(&format!("{name}: zip"), &format!("{size:.1} MB"), "7 MB");
    }
    let scenario = FleetScenario::open();
    scenario.arrive("warm", "v1", &Image::single(90, &[1000]))?;
    for (what, calls) in scenario.calls(quick)? {
        line(&format!("{what}: calls per event"), &calls.event.to_string(), "4");
        let limit = 8 + calls.blobs.div_ceil(25);
        line(
            &format!("{what}: calls per task"),
            &calls.task.to_string(),
            &limit.to_string(),
        );
    }
    let p50 = scenario.arrival_median(if quick { 3 } else { 20 })?;
    line("push to arrival, p50", &format!("{:.2} s", p50.as_secs_f64()), "1.5 s");
    let peak = scenario.fleet.peak_resident_bytes() as f64 / MEBIBYTE as f64;
    line("worker: peak memory", &format!("{peak:.0} MiB"), "64 MiB");
    Ok(())
}

fn line(what: &str, measured: &str, reach: &str) {
    println!("{what:<44} {measured:>12} {reach:>12}");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// From the start of the process until it asks for its first event. Without a network: nothing listens at its endpoint.
fn start_median(name: &str, starts: usize) -> Result<Duration> {
    let runtime = Runtime::new()?;
    let event = match name {
        WEBHOOK => events::function_url("GET", "/healthz", &[], "", false),
        _ => json!({ "Records": [] }),
    };
    let mut times = Vec::new();
    for _ in 0..starts {
        let variables = [
            ("TRANSSHIP_CONFIG", "s3://nowhere/transship.yaml"),
            ("TRANSSHIP_QUEUE_URL", "http://127.0.0.1:9/000000000000/tasks"),
            ("TRANSSHIP_TABLE", "ledger"),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ];
        let function = Function {
            program: fleet::program(name),
            environment: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            timeout: Duration::from_secs(20),
        };
        let lambda = Lambda::new(function, 1)?;
        runtime.block_on(lambda.invoke(&event))?;
        times.extend(lambda.starts());
    }
    ensure!(times.len() == starts, "{name} does not start");
    Ok(median(times))
}

/// The size of the package that is deployed: the binary, called `bootstrap`, alone in a zip.
fn zip_bytes(name: &str) -> Result<u64> {
    let folder = tempfile::tempdir()?;
    std::fs::copy(fleet::program(name), folder.path().join("bootstrap"))?;
    let zipped = Command::new("python3")
        .args(["-m", "zipfile", "-c", "package.zip", "bootstrap"])
        .current_dir(folder.path())
        .status()
        .context("python3 makes the zip")?;
    ensure!(zipped.success(), "python3 -m zipfile fails");
    Ok(std::fs::metadata(folder.path().join("package.zip"))?.len())
}

/// What one event and one task asked of AWS.
struct Calls {
    event: usize,
    task: usize,
    /// What the task had to bring.
    blobs: usize,
}

/// Two registries, and the fleet between them.
struct FleetScenario {
    fleet: Fleet,
    source: DockerRegistry,
    destination: DockerRegistry,
}

impl FleetScenario {
    fn open() -> Self {
        let mut fleet = Fleet::prepare(Options {
            workers: 1,
            ..Options::calm(1)
        });
        let source = DockerRegistry::notifying(&fleet.bridge().url());
        let destination = DockerRegistry::start();
        let document = Document::default()
            .registry(
                "a",
                &source.host(),
                "webhook: { secret: \"secretsmanager:fleet/hook\" }",
            )
            .registry("b", &destination.host(), "description: the other side")
            .rule("core", "core", "copy", "");
        fleet.begin(&document);
        Self {
            fleet,
            source,
            destination,
        }
    }

    /// Pushes an image and waits until its tag is at the destination; how long that took from the end of the push.
    fn arrive(&self, name: &str, tag: &str, image: &Image) -> Result<Duration> {
        let repository = format!("core/{name}");
        image.push_parts(&self.source.host(), &repository);
        image.push_root(&self.source.host(), &repository, tag);
        let begun = Instant::now();
        let path = format!("/v2/copy/{name}/manifests/{tag}");
        let headers = [("Accept", images::IMAGE)];
        while begun.elapsed() < ARRIVAL {
            let answer = http::request("HEAD", &self.destination.host(), &path, &headers, &[])?;
            if answer.status == 200 && answer.header("docker-content-digest") == Some(&image.root().digest) {
                return Ok(begun.elapsed());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("{path} does not arrive")
    }

    fn arrival_median(&self, rounds: usize) -> Result<Duration> {
        let mut times = Vec::new();
        for round in 0..rounds {
            times.push(self.arrive(
                "timed",
                &format!("v{round}"),
                &Image::single(200 + round as u64, &[50_000, 2000]),
            )?);
            self.fleet.until_at_rest(ARRIVAL);
        }
        Ok(median(times))
    }

    fn calls(&self, quick: bool) -> Result<Vec<(&'static str, Calls)>> {
        let layer = if quick { 10_000 } else { 8 * MEBIBYTE };
        let sizes = vec![layer; 9];
        let first = Image::single(1, &sizes);
        let mut all = vec![(
            "first copy of 10 blobs",
            self.counted(10, || self.arrive("app", "v1", &first).map(drop))?,
        )];
        let moved = Image::single(2, &[1000]);
        let follow = self.counted(2, || self.arrive("app", "v1", &moved).map(drop))?;
        all.push(("a moved tag under `existing: follow`", follow));
        let again = self.counted(0, || {
            moved.push_root(&self.source.host(), "core/app", "v1");
            Ok(())
        })?;
        all.push(("nothing to do", again));
        let referrer = Image::referrer(3, moved.root());
        let attached = self.counted(2, || {
            // The tag of the fallback index is pushed first, because its notification must not be counted.
            let index = images::fallback_index(&[&referrer]);
            let tag = moved.root().digest.replace(':', "-");
            referrer.push_parts(&self.source.host(), "core/app");
            push::manifest(
                &self.source.host(),
                "core/app",
                &referrer.root().digest,
                images::IMAGE,
                &referrer.root().bytes,
            );
            push::manifest(&self.source.host(), "core/app", &tag, &index.media_type, &index.bytes);
            Ok(())
        })?;
        all.push(("a referrer", attached));
        Ok(all)
    }

    /// The calls of everything that `act` causes, over its events and its tasks.
    fn counted(&self, blobs: usize, act: impl FnOnce() -> Result<()>) -> Result<Calls> {
        let told = self.fleet.bridge().received();
        let known = self.fleet.until_at_rest(ARRIVAL).len();
        self.fleet.before_webhook().take_calls();
        self.fleet.before_workers().take_calls();
        act()?;
        until(ARRIVAL, || match self.fleet.bridge().received() {
            more if more > told => Ok(()),
            _ => Err("no event".to_owned()),
        })
        .map_err(anyhow::Error::msg)?;
        let tasks = self.fleet.until_at_rest(ARRIVAL).len() - known;
        let events = self.fleet.bridge().received() - told;
        let (event, task) = (
            self.fleet.before_webhook().take_calls(),
            self.fleet.before_workers().take_calls(),
        );
        println!("    {events} events, {tasks} tasks: {event:?} {task:?}");
        ensure!(tasks > 0, "no task");
        Ok(Calls {
            event: event.values().sum::<usize>().div_ceil(events),
            task: task.values().sum::<usize>().div_ceil(tasks),
            blobs,
        })
    }
}
