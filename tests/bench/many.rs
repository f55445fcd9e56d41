//! Many images at once: 200 images of 8 blobs, 5 of which all share, in 40 repositories, from one `docker-registry` to another,
//! with `transship run --wait` and the tools that copy many images, each by its documented command.
//!
//! Both keep their files in memory: they are compared by what they are asked, not by the disk. Bytes are those that reach the
//! destination's socket, with their headers; requests are counted in the logs of both registries.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use transship_testkit::proxy::DelayProxy;
use transship_tests::docker_registry::{Files, Options};
use transship_tests::images::Content;
use transship_tests::{DockerRegistry, Image, check, process, transship};

use crate::measure::{self, Cost};
use crate::tools::in_go_folder;

/// The word of `--only`.
pub const WORD: &str = "many";
const REPOSITORIES: u64 = 40;
const TAGS: u64 = 5;
const SHARED_LAYERS: [usize; 5] = [1024 * 1024; 5];
const OWN_LAYERS: [usize; 2] = [128 * 1024; 2];
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// Kernel ticks per second in `/proc/PID/stat`.
const TICKS_PER_SECOND: f64 = 100.0;
const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// A tool that copies many images.
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    program: PathBuf,
}

/// What one run cost.
struct Measured {
    cost: Cost,
    requests: usize,
    /// Requests that ended an upload of a blob.
    uploads: usize,
    sent_bytes: u64,
    registries_cpu_s: f64,
}

/// Both round trips: the first copy, and the same again; of all tools, or of one.
pub fn run(quick: bool, only: Option<&str>) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let repositories = if quick { 4 } else { REPOSITORIES };
    let source = registry();
    let unique = fill(&source, repositories);
    let images = repositories * TAGS;
    for round_trip in [Duration::ZERO, ROUND_TRIP] {
        println!(
            "\n{images} images of 8 blobs, 5 of them shared, {} ms RTT; unique bytes: {:.1} MiB",
            round_trip.as_millis(),
            unique as f64 / MEBIBYTE
        );
        for tool in found()
            .into_iter()
            .filter(|tool| only.is_none_or(|only| only == tool.name))
        {
            let measured = runtime.block_on(async { Stage::set(&source, round_trip, repositories).await })?;
            measured.turns(&tool, images, unique)?;
        }
    }
    Ok(())
}

fn registry() -> DockerRegistry {
    DockerRegistry::start_with(&Options {
        files: Files::Memory,
        ..Options::default()
    })
}

/// The tools that are installed.
pub fn found() -> Vec<Tool> {
    let mut tools = vec![Tool {
        name: "transship",
        program: transship::binary(),
    }];
    for name in ["image-syncer", "regsync", "skopeo"] {
        if let Some(program) = process::find_in_path(name).or_else(|| in_go_folder(name)) {
            tools.push(Tool { name, program });
        }
    }
    tools
}

/// Pushes the images, and returns the number of different bytes in them.
fn fill(source: &DockerRegistry, repositories: u64) -> u64 {
    let layers = |image: &Image| -> Vec<Content> {
        let layers = image.blobs.iter().filter(|blob| blob.media_type.contains("layer"));
        layers.cloned().collect()
    };
    let base = layers(&Image::single(77, &SHARED_LAYERS));
    let mut unique: u64 = base.iter().map(|blob| blob.bytes.len() as u64).sum();
    for repository in 0..repositories {
        for tag in 0..TAGS {
            let number = repository * TAGS + tag;
            let own = layers(&Image::single(1000 + number, &OWN_LAYERS));
            let annotations = json!({ "number": number.to_string() });
            let image = Image::of_layers("amd64", [base.clone(), own].concat(), &annotations);
            let shared: Vec<_> = base.iter().map(|blob| &blob.digest).collect();
            let own = image.blobs.iter().filter(|blob| !shared.contains(&&blob.digest));
            unique += own
                .chain(&image.manifests)
                .map(|content| content.bytes.len() as u64)
                .sum::<u64>();
            image.push(&source.host(), &format!("core/app{repository}"), &format!("v{tag}"));
        }
    }
    unique
}

/// An empty destination, and both sides at their distance.
struct Stage<'a> {
    source: &'a DockerRegistry,
    destination: DockerRegistry,
    proxies: [DelayProxy; 2],
    repositories: u64,
}

impl<'a> Stage<'a> {
    async fn set(source: &'a DockerRegistry, round_trip: Duration, repositories: u64) -> Result<Self> {
        let destination = registry();
        let near = DelayProxy::start(&source.host().parse()?, round_trip).await?;
        let far = DelayProxy::start(&destination.host().parse()?, round_trip).await?;
        Ok(Self {
            source,
            destination,
            proxies: [near, far],
            repositories,
        })
    }

    /// The first copy, and the same again.
    fn turns(&self, tool: &Tool, images: u64, unique: u64) -> Result<()> {
        let memory = tempfile::tempdir()?;
        for turn in ["first", "again"] {
            match self.measure(tool, memory.path()) {
                Ok(measured) => measured.print(tool.name, turn, images, unique),
                Err(error) => println!("{:<14} {turn:<6} {error:#}", tool.name),
            }
        }
        let tags = check::tags(&self.destination.host(), "core/app0").map_err(anyhow::Error::msg)?;
        ensure!(tags.len() == usize::try_from(TAGS)?, "{} copied {tags:?}", tool.name);
        Ok(())
    }

    fn measure(&self, tool: &Tool, memory: &Path) -> Result<Measured> {
        let registries = [self.source, &self.destination];
        let requests = || {
            registries
                .map(|registry| registry.requests_at_rest().len())
                .iter()
                .sum::<usize>()
        };
        let cpu = || {
            registries
                .map(|registry| cpu_s(registry.process_id()))
                .iter()
                .sum::<f64>()
        };
        let uploads = || {
            let requests = self.destination.requests_at_rest();
            let is_upload = |request: &&String| request.starts_with("PUT ") && request.contains("/blobs/uploads/");
            requests.iter().filter(is_upload).count()
        };
        let [near, far] = [self.proxies[0].host(), self.proxies[1].host()];
        // What was written before is not written to the disk during this run.
        ensure!(Command::new("sync").status()?.success(), "sync failed");
        let before = (requests(), cpu(), self.proxies[1].sent_bytes());
        let uploads_before = uploads();
        let cost = measure::run(&mut tool.command([near.as_str(), far.as_str()], self.repositories, memory)?)?;
        Ok(Measured {
            cost,
            registries_cpu_s: cpu() - before.1,
            sent_bytes: self.proxies[1].sent_bytes() - before.2,
            requests: requests() - before.0,
            uploads: uploads() - uploads_before,
        })
    }
}

impl Tool {
    /// Its documented command for copying `core/app0`, `core/app1` … from one registry to the other. `memory`: the folder of its files.
    pub fn command(&self, [near, far]: [&str; 2], repositories: u64, memory: &Path) -> Result<Command> {
        let names: Vec<String> = (0..repositories).map(|number| format!("core/app{number}")).collect();
        let write = |name: &str, text: String| -> Result<PathBuf> {
            let path = memory.join(name);
            std::fs::write(&path, text).with_context(|| path.display().to_string())?;
            Ok(path)
        };
        let mut command = Command::new(&self.program);
        command.env("DOCKER_CONFIG", memory);
        match self.name {
            "transship" => {
                let document = json!({
                    "version": 1,
                    "registries": {
                        "a": { "provider": "distribution", "endpoint": format!("http://{near}") },
                        "b": { "provider": "distribution", "endpoint": format!("http://{far}") },
                    },
                    "rules": [{
                        "name": "all",
                        "source": { "registry": "a", "namespace": "core" },
                        "destination": { "registry": "b", "namespace": "core" },
                        "referrers": "exclude",
                    }],
                });
                let config = write("transship.yaml", document.to_string())?;
                command.args(["run", "all", "--wait", "--config"]).arg(config);
                command.arg("--data").arg(memory.join("data"));
            }
            "image-syncer" => {
                let plain = json!({ "username": "", "password": "", "insecure": true });
                let logins = json!({ near: plain, far: plain });
                let images: serde_json::Map<_, _> = names
                    .iter()
                    .map(|name| (format!("{near}/{name}"), json!(format!("{far}/{name}"))))
                    .collect();
                let logins = write("auth.json", logins.to_string())?;
                let images = write("images.json", serde_json::Value::from(images).to_string())?;
                command.args(["--proc", "16", "--retries", "3", "--auth"]).arg(logins);
                command.arg("--images").arg(images);
            }
            "regsync" => {
                let host = |host: &str| json!({ "registry": host, "tls": "disabled", "reqConcurrent": 8 });
                let sync: Vec<_> = names
                    .iter()
                    .map(|name| {
                        json!({ "source": format!("{near}/{name}"), "target": format!("{far}/{name}"), "type": "repository" })
                    })
                    .collect();
                let document = json!({
                    "version": 1,
                    "creds": [host(near), host(far)],
                    "defaults": { "parallel": 8 },
                    "sync": sync,
                });
                command
                    .args(["once", "--config"])
                    .arg(write("regsync.yml", document.to_string())?);
            }
            _ => {
                let images: serde_json::Map<_, _> = names.iter().map(|name| (name.clone(), json!([]))).collect();
                let document = json!({ near: { "images": images, "tls-verify": false } });
                let document = write("skopeo.yml", document.to_string())?;
                command.args(["sync", "--src", "yaml", "--dest", "docker", "--dest-tls-verify=false"]);
                command.arg(document).arg(format!("{far}/core"));
            }
        }
        Ok(command)
    }
}

impl Measured {
    fn print(&self, name: &str, turn: &str, images: u64, unique: u64) {
        let wall = self.cost.wall.as_secs_f64();
        println!(
            "{name:<14} {turn:<6} {wall:>7.2} s {:>8.0} images/s  CPU {:>6.2} s  peak {:>5.0} MiB  {:>6} requests ({:.1} per image)  {:>5} uploads  {:>5.2} x unique  registries' CPU {:>6.2} s",
            images as f64 / wall,
            self.cost.cpu.as_secs_f64(),
            self.cost.peak_bytes as f64 / MEBIBYTE,
            self.requests,
            self.requests as f64 / images as f64,
            self.uploads,
            self.sent_bytes as f64 / unique as f64,
            self.registries_cpu_s,
        );
    }
}

/// CPU time of a process in seconds, user and system.
fn cpu_s(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name, in parentheses, may contain spaces. Then the fields begin with the third, and the times are the 14th and 15th.
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let times = fields.split(' ').skip(11).take(2);
    times.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}
