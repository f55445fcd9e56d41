//! Small images beside a large one: how long each takes from its push to its arrival, alone and while `serve` copies a layer of
//! 10 GiB between the same registries.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use transship_embedded_registry::{EmbeddedRegistry, VirtualBlob};
use transship_oci::Digest;
use transship_testkit::images;
use transship_tests::{Document, Serve, delivery};

use crate::neighbours::at;

/// The word of `--only`.
pub const WORD: &str = "beside-large";
const LAYER_BYTES: u64 = 10 << 30;
const QUICK_LAYER_BYTES: u64 = 1 << 30;
const DISCARDED_BYTES_MIN: u64 = 256 << 20;
const PUSHES: u32 = 180;
const INTERVAL: Duration = Duration::from_millis(50);
const ARRIVAL: Duration = Duration::from_mins(5);

struct Scenario {
    serve: Serve,
    source: EmbeddedRegistry,
    destination: EmbeddedRegistry,
}

/// Both figures.
pub fn run(quick: bool) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let source = runtime.block_on(EmbeddedRegistry::builder().start())?;
    let builder = EmbeddedRegistry::builder().discard_blobs_above(DISCARDED_BYTES_MIN);
    let destination = runtime.block_on(builder.start())?;
    let document = Document::between(source.host().as_ref(), destination.host().as_ref());
    let mut serve = Serve::prepare();
    serve.start(&document.rule("all", "core", "copy", ""));
    let scenario = Scenario {
        serve,
        source,
        destination,
    };
    let size = if quick { QUICK_LAYER_BYTES } else { LAYER_BYTES };
    println!(
        "\nsmall images beside one layer of {} GiB, of the same registries",
        size >> 30
    );
    let alone = scenario.arrivals(0)?;
    let layer = VirtualBlob::new(7, size);
    let (repository, tag) = ("core/large".parse()?, "v1".parse()?);
    let (_, large) = images::seed_virtual_layer(&scenario.source, &repository, &tag, &layer);
    let begun = Instant::now();
    scenario.tell("core/large", "v1", &large, 1_000_000);
    let beside = scenario.arrivals(PUSHES)?;
    let is_over = scenario.has("copy/large", "v1", &large)?;
    for (what, times) in [("alone", &alone), ("beside the large one", &beside)] {
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
    if is_over {
        println!("the large one arrived before the last small one: the figure says less than it seems");
    }
    scenario.wait_for("copy/large", "v1", &large, begun)?;
    println!("the large one: {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

impl Scenario {
    /// The sorted times from delivery to arrival of images that are pushed one after the other.
    fn arrivals(&self, first: u32) -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        for number in first..first + PUSHES {
            let (repository, tag) = (format!("app{}", number % 5), format!("v{number}"));
            let sample = images::image(u64::from(number), &[100_000, 200_000]);
            sample.seed_into(&self.source, &format!("core/{repository}").parse()?, &tag.parse()?);
            let begun = Instant::now();
            self.tell(&format!("core/{repository}"), &tag, &sample.root, number);
            self.wait_for(&format!("copy/{repository}"), &tag, &sample.root, begun)?;
            times.push(begun.elapsed());
            std::thread::sleep(INTERVAL.saturating_sub(begun.elapsed()));
        }
        times.sort();
        Ok(times)
    }

    fn tell(&self, repository: &str, tag: &str, digest: &Digest, number: u32) {
        let host = self.source.host().to_string();
        let event = delivery::push_event(&host, repository, tag, &digest.to_string(), number);
        delivery::post_to(&self.serve.host(), "a", &event);
    }

    fn has(&self, repository: &str, tag: &str, digest: &Digest) -> Result<bool> {
        Ok(self.destination.digest(&repository.parse()?, &tag.parse()?).as_ref() == Some(digest))
    }

    fn wait_for(&self, repository: &str, tag: &str, digest: &Digest, begun: Instant) -> Result<()> {
        while !self.has(repository, tag, digest)? {
            ensure!(
                begun.elapsed() < ARRIVAL,
                "{repository}:{tag} does not arrive\n{}",
                self.serve.log_tail()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}
