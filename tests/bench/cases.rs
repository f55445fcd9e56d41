//! The cases of the benchmark: the images, the sources and destinations, and the preparation before the measurement.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tempfile::TempDir;
use transship_testkit::proxy::DelayProxy;
use transship_tests::images::Content;
use transship_tests::{DockerRegistry, Image};

use crate::measure::{self, Cost};
use crate::tools::{Order, Tool};

const MEBIBYTE: usize = 1024 * 1024;
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// 512 MiB and 7 x 8 MiB into an empty registry.
    Large,
    /// 10 x 1 MiB into an empty registry; its requests are what counts.
    Requests,
    /// 40 x 64 KiB at 50 ms.
    Distant,
    /// The same once more: nothing to do.
    Again,
    /// The same with referrers looked for.
    AgainWithReferrers,
    /// The large image into a second repository of the registry that has it.
    SecondRepository,
    /// The large image from a layout in a folder.
    ImportLarge,
    /// 100 images in 100 layouts of one folder, which share 5 x 4 MiB and have 16 KiB each of their own.
    ImportShared,
}

/// What a run cost, and what it asked of the registries.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// See [`Cost`].
    pub cost: Cost,
    /// Requests of both sides but pings (`GET /v2/`).
    pub requests: usize,
    /// Requests that carried blob bytes to the destination.
    pub uploads: usize,
}

impl Case {
    /// All, in the table's order.
    pub const ALL: [Self; 8] = [
        Self::Large,
        Self::Requests,
        Self::Distant,
        Self::Again,
        Self::AgainWithReferrers,
        Self::SecondRepository,
        Self::ImportLarge,
        Self::ImportShared,
    ];

    /// The word of `--only`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Large => "large",
            Self::Requests => "requests",
            Self::Distant => "distant",
            Self::Again => "again",
            Self::AgainWithReferrers => "again-referrers",
            Self::SecondRepository => "second-repository",
            Self::ImportLarge => "import-large",
            Self::ImportShared => "import-shared",
        }
    }

    /// What the row says.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Large => "512 MiB + 7 x 8 MiB, first copy",
            Self::Requests => "10 x 1 MiB, first copy",
            Self::Distant => "40 x 64 KiB, first copy, 50 ms RTT",
            Self::Again => "40 x 64 KiB again, nothing to do, 50 ms RTT",
            Self::AgainWithReferrers => "the same with referrers",
            Self::SecondRepository => "512 MiB + 7 x 8 MiB into a second repository",
            Self::ImportLarge => "a layout of 512 MiB + 7 x 8 MiB from a folder",
            Self::ImportShared => "100 layouts from a folder, sharing 5 x 4 MiB",
        }
    }

    /// What is to be reached; ratios are to the best peer of the same run.
    pub const fn reach(self) -> &'static str {
        match self {
            Self::Large => "wall ratio 0.95, CPU ratio 0.8, 32 MiB",
            Self::Requests => "37 requests",
            Self::Distant => "1.2 s, 130 requests",
            Self::Again => "2 requests, 0.25 s",
            Self::AgainWithReferrers => "7 requests",
            Self::SecondRepository => "0.2 s, no PATCH or PUT",
            Self::ImportLarge => "wall ratio 0.95, CPU ratio 0.8, 64 MiB",
            Self::ImportShared => "wall ratio 0.3, 205 blobs, 64 MiB",
        }
    }

    fn layer_sizes(self, quick: bool) -> Vec<usize> {
        match self {
            Self::Large | Self::SecondRepository | Self::ImportLarge => {
                let first = if quick { 32 } else { 512 };
                let mut sizes = vec![8 * MEBIBYTE; 8];
                sizes[0] = first * MEBIBYTE;
                sizes
            }
            Self::Requests => vec![MEBIBYTE; 10],
            Self::Distant | Self::Again | Self::AgainWithReferrers => vec![64 * 1024; 40],
            Self::ImportShared => vec![4 * MEBIBYTE; 5],
        }
    }

    const fn is_distant(self) -> bool {
        matches!(self, Self::Distant | Self::Again | Self::AgainWithReferrers)
    }

    /// The repository the same client copied to before the clock starts, if the case is about a second time.
    const fn copied_before(self) -> Option<&'static str> {
        match self {
            Self::Large | Self::Requests | Self::Distant | Self::ImportLarge | Self::ImportShared => None,
            Self::Again | Self::AgainWithReferrers => Some("copy/app"),
            Self::SecondRepository => Some("first/app"),
        }
    }
}

/// The source of a case, filled once for all runs.
pub struct Stage {
    case: Case,
    source: DockerRegistry,
    /// Layouts, where they are what is read.
    layouts: Option<Layouts>,
    runtime: tokio::runtime::Handle,
}

/// Layouts below one folder.
struct Layouts {
    folder: TempDir,
    names: Vec<String>,
}

impl Stage {
    /// Starts the source and pushes the image; or writes layouts.
    pub fn set(case: Case, quick: bool, runtime: tokio::runtime::Handle) -> Result<Self> {
        let source = DockerRegistry::start();
        let image = Image::single(case as u64 + 1, &case.layer_sizes(quick));
        let layouts = match case {
            Case::ImportLarge => Some(Layouts::of(&[("app".to_owned(), image)])?),
            Case::ImportShared => Some(Layouts::of(&sharing(&image, if quick { 10 } else { 100 }))?),
            _ => {
                image.push(&source.host(), "core/app", "v1");
                None
            }
        };
        Ok(Self {
            case,
            source,
            layouts,
            runtime,
        })
    }

    /// One run of one client into a registry of its own, so that no run finds what another left.
    pub fn run(&self, tool: &Tool) -> Result<Measured> {
        let destination = DockerRegistry::start();
        let memory = tempfile::tempdir()?;
        let hosts = if self.case.is_distant() {
            self.runtime.block_on(Hosts::distant(&self.source, &destination))?
        } else {
            Hosts::direct(&self.source, &destination)
        };
        if let Some(repository) = self.case.copied_before() {
            measure::run(&mut tool.copy(&self.order(&hosts, repository, memory.path())))?;
        }
        let (before_source, before) = (
            self.source.requests_at_rest().len(),
            destination.requests_at_rest().len(),
        );
        let mut command = match &self.layouts {
            Some(layouts) => tool.import(layouts.folder.path(), &layouts.names, &hosts.destination, memory.path()),
            None => tool.copy(&self.order(&hosts, "copy/app", memory.path())),
        };
        let cost = measure::run(&mut command)?;
        let asked_destination = destination.requests_at_rest().split_off(before);
        let asked_source = self.source.requests_at_rest().split_off(before_source);
        let is_upload = |request: &&String| {
            request.starts_with("PATCH") || request.starts_with("PUT /v2/copy/") && request.contains("/blobs/")
        };
        Ok(Measured {
            cost,
            requests: asked_source
                .iter()
                .chain(&asked_destination)
                .filter(|request| *request != "GET /v2/")
                .count(),
            uploads: asked_destination.iter().filter(is_upload).count(),
        })
    }

    fn order(&self, hosts: &Hosts, repository: &str, memory: &Path) -> Order {
        Order {
            source: format!("{}/core/app:v1", hosts.source),
            destination: format!("{}/{repository}:v1", hosts.destination),
            memory: memory.to_owned(),
            referrers: self.case == Case::AgainWithReferrers,
        }
    }
}

/// Images that have the layers of `base`, and one more each.
fn sharing(base: &Image, images: u64) -> Vec<(String, Image)> {
    let layers = |image: &Image| -> Vec<Content> {
        let layers = image.blobs.iter().filter(|blob| blob.media_type.contains("layer"));
        layers.cloned().collect()
    };
    let image = |number: u64| {
        let own = Image::single(1000 + number, &[16 * 1024]);
        let layers = [layers(base), layers(&own)].concat();
        let annotations = json!({ "number": number.to_string() });
        (format!("app{number}"), Image::of_layers("amd64", layers, &annotations))
    };
    (0..images).map(image).collect()
}

impl Layouts {
    /// Each image as `v1` of a layout of its own.
    fn of(images: &[(String, Image)]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for (name, image) in images {
            image.write_layout(&folder.path().join(name), "v1");
        }
        let names = images.iter().map(|(name, _)| name.clone()).collect();
        Ok(Self { folder, names })
    }
}

/// Where a client finds the two sides: directly, or a round trip away.
struct Hosts {
    source: String,
    destination: String,
    /// Kept running as long as the hosts are used.
    _proxies: Vec<DelayProxy>,
}

impl Hosts {
    fn direct(source: &DockerRegistry, destination: &DockerRegistry) -> Self {
        Self {
            source: source.host(),
            destination: destination.host(),
            _proxies: Vec::new(),
        }
    }

    async fn distant(source: &DockerRegistry, destination: &DockerRegistry) -> Result<Self> {
        let source = DelayProxy::start(&source.host().parse()?, ROUND_TRIP).await?;
        let destination = DelayProxy::start(&destination.host().parse()?, ROUND_TRIP).await?;
        Ok(Self {
            source: source.host().to_string(),
            destination: destination.host().to_string(),
            _proxies: vec![source, destination],
        })
    }
}
