//! An import in this process: sources are discovered and opened, their images are copied in parallel, and each result is
//! counted.
//!
//! An error of one image or source must be an item of the report with its code and must not affect the others. If two images
//! have the same destination, the first one that is discovered is copied.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use transship_copy::{NoReplicas, Options, Progress, Report, Request};
use transship_engine::{CopyTask, Execution, ImageRef, Import, SharedBlobs, SharingDestination, Source, StoreName};
use transship_layout::{Images, ObjectStore, OpenSource, SourceRef, discover, name_conflict, open};
use transship_oci::{Code, Digest, Error, Referrers, Result, Verb};
use transship_registry::Registry;

use crate::attempts::Waits;
use crate::failure::{Exit, Failure, sentence};
use crate::import_report::{Failed, ImportReport, place};
use crate::import_source::Sources;
use crate::locations::RememberedLocations;
use crate::progress::ImagesShown;

/// Maximum number of images that are copied at the same time. Each sends several blobs in parallel.
const PARALLEL_IMAGES: usize = 4;
/// Number of sources that are opened in advance.
const SOURCES_OPENED_AHEAD: usize = 2;

/// A running import.
pub(crate) struct LocalImport {
    /// The destination registry and path.
    pub(crate) import: Import,
    /// The execution of the tasks.
    pub(crate) execution: Execution,
    /// The store of the sources.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Client of the destination registry.
    pub(crate) client: Registry,
    /// Options of each copy.
    pub(crate) options: Options,
    /// Blob locations from earlier runs.
    pub(crate) locations: RememberedLocations,
    /// Blob locations from this run.
    pub(crate) shared: SharedBlobs,
    /// Receiver of the progress.
    pub(crate) shown: Arc<ImagesShown>,
}

/// Result of discovering and opening a source.
enum Item {
    Image(Arc<dyn Images>, Box<CopyTask>),
    Failed(Failed),
    /// An archive without images.
    Skipped(Failed),
    /// Discovery itself failed.
    Stopped(Error),
}

/// Assigns each destination to the first image that is discovered.
struct Claims {
    store: String,
    taken: HashMap<ImageRef, Digest>,
}

impl Claims {
    /// Rejects an image whose destination is already assigned to another image.
    fn claim(&mut self, item: Item) -> Item {
        let Item::Image(images, task) = item else { return item };
        let Some(digest) = &task.expected else {
            return Item::Image(images, task);
        };
        let first = self
            .taken
            .entry(task.destination.clone())
            .or_insert_with(|| digest.clone());
        if first == digest {
            return Item::Image(images, task);
        }
        let name = task.destination.to_string();
        let error = name_conflict(&name, &format!("{first}, {digest}"), Verb::Import);
        Item::Failed(failed_image(&self.store, &task, &error))
    }
}

impl LocalImport {
    /// Copies every image of `sources`. Fails if there are no sources.
    pub(crate) async fn all(&self, sources: Sources) -> Result<ImportReport, Failure> {
        let found = match sources {
            Sources::One(found) => stream::iter([Ok(found)]).boxed(),
            Sources::Below(prefix) => discover(Arc::clone(&self.store), &prefix),
        };
        let items = found.map(|found| self.items(found)).buffered(SOURCES_OPENED_AHEAD);
        let mut claims = Claims {
            store: self.store.name(),
            taken: HashMap::new(),
        };
        let ends = items.flat_map(stream::iter).map(|item| self.end(claims.claim(item)));
        let mut ends = std::pin::pin!(ends.buffer_unordered(PARALLEL_IMAGES));
        let mut report = ImportReport::default();
        while let Some(end) = ends.next().await {
            match end {
                Ok(copied) => report.count(&copied),
                Err(Stopped::Image(failed)) => report.fail(failed),
                Err(Stopped::NoImages(skipped)) => report.skip(skipped),
                Err(Stopped::Search(error)) if error.is(Code::SourceEmpty) => {
                    return Err(Failure::of(Exit::Input, &error));
                }
                Err(Stopped::Search(error)) => report.fail(failed(self.store.name(), None, &error)),
            }
        }
        Ok(report)
    }

    /// The images of one source, and its errors.
    async fn items(&self, found: Result<SourceRef, Error>) -> Vec<Item> {
        let found = match found {
            Ok(found) => found,
            Err(error) => return vec![Item::Stopped(error)],
        };
        let items = match OpenSource::open(Arc::clone(&self.store), &found).await {
            Ok(source) => self.items_of(&source).await,
            Err(error) => vec![self.failed_source(&found, &error)],
        };
        self.shown.planned(items.len() as u64);
        items
    }

    /// The images of each part of a source. An error costs only its part.
    async fn items_of(&self, source: &OpenSource) -> Vec<Item> {
        let mut items = Vec::new();
        for part in source.parts() {
            match self.items_of_part(source, &part).await {
                Ok(more) => items.extend(more),
                Err(error) => items.push(self.failed_source(&part, &error)),
            }
        }
        items
    }

    fn failed_source(&self, found: &SourceRef, error: &Error) -> Item {
        let failed = failed(place(&self.store.name(), found), None, error);
        if error.is(Code::ArchiveWithoutImages) {
            Item::Skipped(failed)
        } else {
            Item::Failed(failed)
        }
    }

    /// The store as tasks name it.
    fn store_name(&self) -> StoreName {
        let name = self.store.name();
        name.parse().unwrap_or_else(|_| StoreName::folder(&name))
    }

    async fn items_of_part(&self, source: &OpenSource, found: &SourceRef) -> Result<Vec<Item>> {
        self.import.repository(found)?;
        let images = source.images(found)?;
        let listing = images.images().await?;
        let tasks = self
            .import
            .plan(&self.store_name(), found, &listing.images, &self.execution)?;
        let place = place(&self.store.name(), found);
        let refused = listing
            .refused
            .into_iter()
            .map(|refused| Item::Failed(failed(place.clone(), Some(refused.name), &refused.error)));
        let tasks = tasks
            .into_iter()
            .map(|task| Item::Image(Arc::clone(&images), Box::new(task)));
        Ok(refused.chain(tasks).collect())
    }

    async fn end(&self, item: Item) -> Result<Report, Stopped> {
        let end = match item {
            Item::Image(images, task) => {
                let brought = self.bring(images, &task).await;
                brought.map_err(|error| Stopped::Image(failed_image(&self.store.name(), &task, &error)))
            }
            Item::Failed(failed) => Err(Stopped::Image(failed)),
            Item::Skipped(skipped) => Err(Stopped::NoImages(skipped)),
            Item::Stopped(error) => return Err(Stopped::Search(error)),
        };
        self.shown.ended(matches!(end, Err(Stopped::Image(_))));
        end
    }

    /// Copies one image, with all attempts.
    async fn bring(&self, mut images: Arc<dyn Images>, task: &CopyTask) -> Result<Report> {
        let mut waits = Waits::new();
        loop {
            let error = match self.attempt(images.as_ref(), task).await {
                Ok(report) => return Ok(report),
                Err(error) => error,
            };
            let Some(wait) = waits.next(error.persistence()) else {
                return Err(error);
            };
            tokio::time::sleep(wait).await;
            // What is cached about a source is no longer valid after it was replaced.
            if error.is(Code::ObjectChanged)
                && let Source::Stored { found, .. } = &task.source
            {
                images = open(Arc::clone(&self.store), found).await?;
            }
        }
    }

    /// Excludes referrers that are images of the list themselves, so that they are not copied twice.
    fn options_of(&self, task: &CopyTask) -> Options {
        let options = self.options.clone();
        match task.policy.referrers {
            Referrers::Exclude => Options {
                referrers: Referrers::Exclude,
                ..options
            },
            _ => options,
        }
    }

    async fn attempt(&self, images: &dyn Images, task: &CopyTask) -> Result<Report> {
        let repository = self.client.repository(task.destination.repository.clone());
        let destination = SharingDestination::new(repository.for_writing(), self.shared.clone());
        let report = transship_copy::copy(Request {
            source: images,
            from: task.source.target().clone(),
            destination: &destination,
            to: task.destination.target.clone(),
            options: self.options_of(task),
            locations: &self.locations,
            replicas: &NoReplicas,
            lease: None,
            continuations: None,
            budget: None,
            progress: Arc::clone(&self.shown) as Arc<dyn Progress>,
        });
        Ok(destination.corrected(report.await?))
    }
}

/// Why an image or source was not imported.
enum Stopped {
    Image(Failed),
    NoImages(Failed),
    Search(Error),
}

fn failed_image(store: &str, task: &CopyTask, error: &Error) -> Failed {
    let place = match &task.source {
        Source::Stored { found, .. } => place(store, found),
        Source::Registry(image) => image.to_string(),
    };
    failed(place, Some(task.source.target().to_string()), error)
}

fn failed(source: String, reference: Option<String>, error: &Error) -> Failed {
    Failed {
        source,
        reference,
        code: error.code().to_owned(),
        message: sentence(error),
    }
}
