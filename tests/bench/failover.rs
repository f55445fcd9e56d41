//! Failover with many images in the group: how long a check takes from facts that are known, and how long a switch takes until
//! the authoritative servers answer with the other site, and until a client pulls there.
//!
//! Two `docker-registry` processes with TLS, BIND with a secondary server, a client that resolves each time, and one that keeps an
//! answer for its time to live. No `serve` runs.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use transship_testkit::name_server::Product;
use transship_testkit::proxy::Certificate;
use transship_tests::failover::{CLIENTS, Pulled, Stage};
use transship_tests::{Image, wait};

/// The word of `--only`.
pub const WORD: &str = "failover";
const REPOSITORIES: usize = 100;
const TAGS: usize = 100;
/// How often each command is timed. The slowest time counts.
const ROUNDS: usize = 4;
/// There and back.
const SWITCHES: usize = 2;
/// The time to live of the records.
const TTL_SECONDS: u32 = 5;
/// What a client may take beyond it.
const ALLOWED: Duration = Duration::from_secs(5);

/// Prints the times.
pub fn run(quick: bool) -> Result<()> {
    let repositories = if quick { 2 } else { REPOSITORIES };
    let mut stage = Stage::start(Product::Bind, "15m");
    stage.ttl_seconds = TTL_SECONDS;
    let image = Image::single(1, &[1000]);
    for site in ["a", "b"] {
        fill(&stage, site, &image, repositories)?;
    }
    stage.write_document();
    println!("{} images in the group", repositories * TAGS);
    println!("| what | seconds |\n|---|---|");
    row("dr check that compares the sites first", &[compare(&stage)?]);
    row("dr check from maintained facts", &checks(&stage)?);
    let (mut answers, mut pulls, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..SWITCHES {
        // What was compared before the last switch does not count, so the sites are compared again.
        compare(&stage)?;
        let led = lead(&stage, ["b", "a"][round % 2], &image)?;
        answers.push(led.answered);
        pulls.push(led.pulled);
        ends.push(led.ended);
    }
    row("dr flip, from the command to the new answer at both servers", &answers);
    row("dr flip, from the command to a pull at the new site", &pulls);
    row("dr flip, the whole command", &ends);
    let mut kept = Vec::new();
    for round in 0..SWITCHES {
        compare(&stage)?;
        let [from, to] = [["a", "b"], ["b", "a"]][round % 2];
        kept.push(lead_keeping(&mut stage, from, to, &image)?);
    }
    let allowed = Duration::from_secs(TTL_SECONDS.into()) + ALLOWED;
    let what = format!(
        "the old site is down: from the command to a pull by a client that keeps answers for their {TTL_SECONDS} s ({} s allowed)",
        allowed.as_secs()
    );
    row(&what, &kept);
    remove(&stage, "b", repositories)?;
    compare(&stage)?;
    row(
        "dr check from maintained facts, all images but one are missing",
        &checks(&stage)?,
    );
    Ok(())
}

/// When a switch had led clients, after its command began.
struct Led {
    answered: Duration,
    pulled: Duration,
    ended: Duration,
}

fn lead(stage: &Stage, to: &str, image: &Image) -> Result<Led> {
    let address = stage.site(to).address.ip().to_string();
    let client = stage.client();
    let began = Instant::now();
    let mut command = stage.command(&["dr", "flip", "main", "--to", to]);
    let mut child = command.stdout(Stdio::null()).spawn().context("transship starts")?;
    while stage.names.answers("A", CLIENTS).iter().any(|found| *found != address) {
        ensure!(
            began.elapsed() < Duration::from_mins(5),
            "the name does not lead to {to}"
        );
        wait::pause();
    }
    let answered = began.elapsed();
    let whole = Pulled::Whole(image.root().digest.clone());
    let found = client.pull("core/app-0", "t0");
    ensure!(found == whole, "pulled at {to}: {found:?}");
    let pulled = began.elapsed();
    ensure!(child.wait()?.success(), "dr flip fails");
    Ok(Led {
        answered,
        pulled,
        ended: began.elapsed(),
    })
}

/// The old site is down, and the client pulled there right before the command.
fn lead_keeping(stage: &mut Stage, from: &str, to: &str, image: &Image) -> Result<Duration> {
    let (client, _front) = stage.keeping_client();
    let whole = Pulled::Whole(image.root().digest.clone());
    let found = client.pull("core/app-0", "t0");
    ensure!(found == whole, "pulled at {from}: {found:?}");
    stage.close(from);
    let began = Instant::now();
    let mut command = stage.command(&["dr", "flip", "main", "--to", to]);
    let mut child = command.stdout(Stdio::null()).spawn().context("transship starts")?;
    let pulled = loop {
        match client.pull("core/app-0", "t0") {
            found if found == whole => break began.elapsed(),
            Pulled::Unconnected(_) if began.elapsed() < Duration::from_mins(5) => wait::pause(),
            found => bail!("pulled at {to}: {found:?}"),
        }
    };
    ensure!(child.wait()?.success(), "dr flip fails");
    stage.open(from, Certificate::Of(CLIENTS));
    Ok(pulled)
}

/// One image under every tag, written to the storage of the registry.
fn fill(stage: &Stage, site: &str, image: &Image, repositories: usize) -> Result<()> {
    for repository in 0..repositories {
        let name = format!("core/app-{repository}");
        stage.push_at(site, image, &name, "t0");
        let tags = tags_of(stage, site, &name);
        for tag in 1..TAGS {
            copy_folder(&tags.join("t0"), &tags.join(format!("t{tag}")))?;
        }
    }
    Ok(())
}

/// Removes all tags but the first one of the first repository.
fn remove(stage: &Stage, site: &str, repositories: usize) -> Result<()> {
    for repository in 0..repositories {
        let tags = tags_of(stage, site, &format!("core/app-{repository}"));
        for tag in usize::from(repository == 0)..TAGS {
            std::fs::remove_dir_all(tags.join(format!("t{tag}")))?;
        }
    }
    Ok(())
}

fn tags_of(stage: &Stage, site: &str, repository: &str) -> PathBuf {
    let storage = stage.site(site).registry.storage();
    storage.join(format!("docker/registry/v2/repositories/{repository}/_manifests/tags"))
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn checks(stage: &Stage) -> Result<Vec<Duration>> {
    (0..ROUNDS).map(|_| check(stage)).collect()
}

/// The time of `dr check`. Whether the group is ready depends on how long images are missing.
fn check(stage: &Stage) -> Result<Duration> {
    check_with(stage, &[])
}

/// The same after a comparison, however long it takes.
fn compare(stage: &Stage) -> Result<Duration> {
    check_with(stage, &["--compare"])
}

fn check_with(stage: &Stage, more: &[&str]) -> Result<Duration> {
    let began = Instant::now();
    let ended = stage.command(&[&["dr", "check", "main"], more].concat()).output()?;
    let took = began.elapsed();
    let page = String::from_utf8_lossy(&ended.stdout);
    ensure!(
        page.contains("replicated"),
        "{page}{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    Ok(took)
}

/// The slowest of several times counts.
fn row(what: &str, times: &[Duration]) {
    let slowest = times.iter().max().copied().unwrap_or_default();
    println!("| {what} | {:.2} |", slowest.as_secs_f64());
}
