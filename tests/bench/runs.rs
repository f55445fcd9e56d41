//! What a run over many equal tags costs: the memory of `serve`, the requests at both registries, and the messages.
//!
//! The registries are embedded in this program, so that `serve` is a process of its own. Its log has one line for each message
//! of a walk.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::runtime::Runtime;
use transship_embedded_registry::EmbeddedRegistry;
use transship_oci::{Repository, Tag};
use transship_testkit::images;
use transship_tests::process::peak_resident_bytes;
use transship_tests::{Document, Serve, transship};

/// The word of `--only`.
pub const WORD: &str = "runs";
const TAGS_EACH: usize = 1000;
/// The line of the log for each message of a walk.
const MESSAGE: &str = "compared tags";

/// A row without the referrers API and one with it.
pub fn run(quick: bool) -> Result<()> {
    let tags = if quick { 2_000 } else { 100_000 };
    println!("\nruns\n");
    println!("| tags | referrers API | requests per tag, source | destination | messages | idle MiB | peak MiB | s |");
    println!("|---|---|---|---|---|---|---|---|");
    for has_api in [false, true] {
        row(tags, has_api)?;
    }
    Ok(())
}

fn row(tags: usize, has_api: bool) -> Result<()> {
    let runtime = Runtime::new()?;
    let start = || runtime.block_on(EmbeddedRegistry::builder().referrers_api(has_api).start());
    let (source, destination) = (start()?, start()?);
    fill(&source, "core", tags)?;
    fill(&destination, "copy", tags)?;
    let mut serve = Serve::prepare();
    serve.start(
        &Document::between(source.host().as_ref(), destination.host().as_ref()).rule("core", "core", "copy", ""),
    );
    let process = serve.process_id().context("serve runs")?;
    let idle = peak_resident_bytes(process).unwrap_or_default();
    let begun = Instant::now();
    let started = transship::run_command(
        transship::command()
            .args(["run", "core", "--config"])
            .arg(serve.config())
            .arg("--data")
            .arg(serve.data()),
    );
    ensure!(started.code == 0, "{started:?}");
    let ended = loop {
        let found = serve.executions().remove(0);
        if !found["duration_ms"].is_null() {
            break found;
        }
        std::thread::sleep(Duration::from_millis(500));
    };
    let seconds = begun.elapsed().as_secs_f64();
    let peak = peak_resident_bytes(process).context("serve runs")?;
    ensure!(ended["run"]["equal"] == tags, "{ended}");
    let per_tag = |registry: &EmbeddedRegistry| registry.requests().len() as f64 / tags as f64;
    println!(
        "| {tags} | {} | {:.3} | {:.3} | {} | {:.0} | {:.0} | {seconds:.0} |",
        if has_api { "yes" } else { "no" },
        per_tag(&source),
        per_tag(&destination),
        serve.log().matches(MESSAGE).count(),
        mebibytes(idle),
        mebibytes(peak),
    );
    Ok(())
}

fn fill(registry: &EmbeddedRegistry, namespace: &str, tags: usize) -> Result<()> {
    let sample = images::image(1, &[100]);
    for number in 0..tags.div_ceil(TAGS_EACH) {
        let repository: Repository = format!("{namespace}/app-{number:04}").parse()?;
        sample.seed_into(registry, &repository, &"v000".parse()?);
        for tag in 1..TAGS_EACH.min(tags - number * TAGS_EACH) {
            let tag: Tag = format!("v{tag:03}").parse()?;
            registry.tag(&repository, &tag, &sample.root);
        }
    }
    Ok(())
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}
