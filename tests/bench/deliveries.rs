//! How many deliveries `serve` makes durable per second, how long each waits for its answer at half of the required rate, and whether
//! a kill -9 loses any. The load generator runs on the same cores.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::runtime::Runtime;
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::Action;
use transship_oci::Digest;
use transship_testkit::faults::{Fault, Script};
use transship_tests::{Document, HOOK_SECRET, Serve, delivery};

/// The word of `--only`.
pub const WORD: &str = "deliveries";
/// Connections of the load generator, as many as a busy registry with its peers opens.
const CONNECTIONS: u32 = 32;

/// Durable deliveries per second that are to be reached.
const REQUIRED_PER_SECOND: f64 = 3000.0;

/// All figures.
pub fn run(quick: bool) -> Result<()> {
    println!("\ndeliveries");
    let length = Duration::from_secs(if quick { 2 } else { 20 });
    let load = Load::open()?;
    let fast = load.run(length, None)?;
    let rate = fast.rate();
    println!(
        "made durable: {rate:.0} per second (at least 3000), p99 {:.1} ms",
        fast.percentile(99)
    );
    let half = load.run(length, Some(REQUIRED_PER_SECOND / 2.0))?;
    println!(
        "at half the required rate ({:.0} per second): p50 {:.1} ms, p99 {:.1} ms (at most 25)",
        half.rate(),
        half.percentile(50),
        half.percentile(99)
    );
    load.kill(length / 4)
}

struct Load {
    _runtime: Runtime,
    _silent: EmbeddedRegistry,
    serve: Mutex<Serve>,
    address: String,
    /// The host of the source, as its deliveries name it.
    source: String,
    /// The number of the next event: each delivery is an event of its own.
    next: AtomicU32,
    digest: String,
}

/// The answers of one run.
struct Answers {
    length: Duration,
    /// The sorted times of answers.
    times: Vec<Duration>,
}

impl Answers {
    fn rate(&self) -> f64 {
        self.times.len() as f64 / self.length.as_secs_f64()
    }

    fn percentile(&self, percent: usize) -> f64 {
        let index = (self.times.len() * percent / 100).min(self.times.len().saturating_sub(1));
        self.times.get(index).copied().unwrap_or_default().as_secs_f64() * 1000.0
    }
}

impl Load {
    /// `serve` whose registries never answer, so that its workers use no processor time.
    fn open() -> Result<Self> {
        let runtime = Runtime::new()?;
        let silent = runtime.block_on(EmbeddedRegistry::builder().start())?;
        let faults = ["GET", "HEAD"].map(|method| Fault::new(method, "/v2/", Action::Delay { delay_ms: 600_000 }));
        silent.set_faults(Some(Arc::new(Script::new(
            faults.into_iter().flatten().map(Fault::always),
        ))));
        let host = silent.host().to_string();
        let mut serve = Serve::prepare();
        serve.start(&Document::between(&host, &host).rule("load", "core", "copy", ""));
        Ok(Self {
            _runtime: runtime,
            address: serve.host(),
            source: host,
            _silent: silent,
            serve: Mutex::new(serve),
            next: AtomicU32::new(1),
            digest: Digest::sha256(b"load").to_string(),
        })
    }

    /// Sends deliveries for `length`, as fast as they are answered or at `rate` per second. None may be refused.
    fn run(&self, length: Duration, rate: Option<f64>) -> Result<Answers> {
        let begun = Instant::now();
        let workers: Vec<_> = (0..CONNECTIONS).collect();
        let times = std::thread::scope(|scope| {
            let running: Vec<_> = workers
                .iter()
                .map(|number| scope.spawn(move || self.connection(begun, length, rate, *number)))
                .collect();
            let mut times = Vec::new();
            for worker in running {
                times.extend(worker.join().map_err(|_| anyhow::anyhow!("a connection panicked"))??);
            }
            Ok::<_, anyhow::Error>(times)
        });
        let mut times = times?;
        times.sort();
        Ok(Answers {
            length: begun.elapsed(),
            times,
        })
    }

    /// The times of the answers on one connection. Where there is a rate, a delivery has its time, and its answer is late
    /// from then on, whether or not the connection was free.
    fn connection(&self, begun: Instant, length: Duration, rate: Option<f64>, number: u32) -> Result<Vec<Duration>> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        let interval = rate.map(|rate| Duration::from_secs_f64(f64::from(CONNECTIONS) / rate));
        let offset = interval.map_or(Duration::ZERO, |interval| interval * number / CONNECTIONS);
        let mut times = Vec::new();
        for turn in 0_u32.. {
            let due = interval.map_or_else(Instant::now, |interval| begun + offset + interval * turn);
            if due.duration_since(begun) >= length {
                break;
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            self.deliver(&mut stream)?;
            times.push(due.elapsed());
        }
        Ok(times)
    }

    /// Delivers one event and reads its answer, which must be 202. Returns its number.
    fn deliver(&self, stream: &mut TcpStream) -> Result<u32> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let tag = format!("v{number}");
        let event = delivery::push_event(&self.source, "core/app", &tag, &self.digest, number);
        let request = format!(
            "POST /hooks/a HTTP/1.1\r\nHost: {}\r\nAuthorization: {HOOK_SECRET}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n{event}",
            self.address,
            delivery::DISTRIBUTION_EVENTS,
            event.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while !is_whole(&answer) {
            let count = stream.read(&mut buffer)?;
            ensure!(count > 0, "the connection was closed");
            answer.extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
        ensure!(
            answer.starts_with(b"HTTP/1.1 202"),
            "not accepted: {}",
            String::from_utf8_lossy(&answer)
        );
        Ok(number)
    }

    /// Kills `serve` in the middle of deliveries, and looks for what was answered before.
    fn kill(&self, length: Duration) -> Result<()> {
        let accepted = Mutex::new(Vec::new());
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS {
                scope.spawn(|| {
                    let Ok(mut stream) = TcpStream::connect(&self.address) else {
                        return;
                    };
                    while let Ok(number) = self.deliver(&mut stream) {
                        if let Ok(mut accepted) = accepted.lock() {
                            accepted.push(number);
                        }
                    }
                });
            }
            std::thread::sleep(length.saturating_sub(begun.elapsed()));
            if let Ok(mut serve) = self.serve.lock() {
                serve.kill();
            }
        });
        let mut serve = self
            .serve
            .lock()
            .map_err(|_| anyhow::anyhow!("a connection panicked"))?;
        serve.start_again();
        let accepted = accepted.into_inner().unwrap_or_default();
        let last = accepted.iter().max().copied().context("nothing was accepted")?;
        let tasks = serve.tasks();
        let recorded: HashSet<&str> = tasks.iter().filter_map(|task| task["destination"].as_str()).collect();
        let missing = accepted
            .iter()
            .filter(|number| !recorded.contains(&*format!("b/copy/app:v{number}")));
        println!(
            "a kill -9 in the middle: {} accepted up to v{last}, {} lost (0)",
            accepted.len(),
            missing.count()
        );
        Ok(())
    }
}

/// True if the answer's head and its whole body are there.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    body.len() >= length.unwrap_or_default()
}
