//! Import: the images of a layout, an archive or a storage tree in a store become tasks, one per image.
//!
//! [`Import::plan`] is pure: from a source and the list of its images it makes the tasks. The command line works on them at
//! once, a worker sends them into the queue. A source at the relative path P is copied to the import's path and P, under the
//! tag part of the image's name, otherwise by digest only.

mod intake;
mod list;
mod scan;
mod shared_blobs;
mod source_cache;

pub use intake::{ImportIntake, Order, Uploaded};
pub(crate) use list::ListSources;
pub(crate) use scan::ScanSource;
pub use shared_blobs::{SharedBlobs, SharingDestination};
pub use source_cache::{SourceCache, store_unknown};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use transship_layout::{Image, Refused, SourceRef};
use transship_oci::{Error, Existing, Platforms, Referrers, Repository, Result, Target, Verb};

use crate::configuration::Standing;
use crate::job::{CopyTask, Policy, Scan, Source};
use crate::jobs::Jobs;
use crate::plan::id;
use crate::retry_policy::Wait;
use crate::{Execution, ImageRef, Next, StoreName, TaskEntry, TaskState, Trigger};

/// The name of an import whose order says itself where the images go.
pub(crate) const DIRECTED: &str = "import";

/// The destination and policy of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// Its name in the document; tasks carry it as their rule.
    pub name: String,
    /// The destination registry's name.
    pub registry: String,
    /// The path in front of every repository there; [`None`]: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Repository>,
    /// What to do if the destination tag already names another image.
    pub existing: Existing,
    /// What to do with signatures and other referrers.
    pub referrers: Referrers,
}

impl From<&transship_rules::Import> for Import {
    fn from(import: &transship_rules::Import) -> Self {
        Self {
            name: import.name.clone(),
            registry: import.destination.registry.clone(),
            // A namespace that is not the root is a repository's path.
            path: import.destination.namespace.as_str().parse().ok(),
            existing: import.existing,
            referrers: import.referrers,
        }
    }
}

impl Import {
    /// The execution of this import at one occasion. `occurrence` distinguishes it from every other one and is the same each
    /// time the same occasion is reported: for an upload the version of the source, for an order its request, for a command
    /// its time.
    pub fn execution(&self, occurrence: &str, created: Timestamp) -> Execution {
        Execution {
            id: id("e", &["import", &self.name, occurrence]),
            rule: self.name.clone(),
            trigger: Trigger::Import,
            created,
        }
    }

    /// What happens with a job whose execution was cancelled, or whose import is not enabled any more; [`None`]: it goes on. `entry` is the task of the job.
    async fn stopped(&self, jobs: &Jobs, entry: &TaskEntry, tries: u32) -> Result<Option<Next>> {
        if jobs.is_cancelled(&entry.execution.id).await? {
            jobs.end_if_recorded(entry, &jobs.cancelled()).await?;
            return Ok(Some(Next::Done));
        }
        match jobs.configuration.current().standing_of_import(&entry.execution) {
            Standing::Enabled => Ok(None),
            Standing::Ended(code) => {
                let (text, message) = (code.as_str(), code.meaning().to_owned());
                let outcome = jobs.outcome(TaskState::Cancelled, None, Some(text), Some(message));
                tracing::info!(
                    code = text,
                    source = entry.source,
                    import = self.name,
                    "a job of an import was cancelled"
                );
                jobs.end_if_recorded(entry, &outcome).await?;
                Ok(Some(Next::Done))
            }
            Standing::Unclear => {
                let tries = tries.saturating_add(1);
                Ok(Some(Next::Again(jobs.retry_policy.delay(
                    tries,
                    &entry.id,
                    Wait::ForDocument,
                ))))
            }
        }
    }

    /// The repository to which `found` is copied. `INVALID_REFERENCE` if its path is not a valid repository name.
    pub fn repository(&self, found: &SourceRef) -> Result<Repository> {
        let path = match (&self.path, found.repository()?) {
            (Some(path), Some(below)) => format!("{path}/{below}"),
            (Some(path), None) => return Ok(path.clone()),
            (None, Some(below)) => return Ok(below),
            (None, None) => String::new(),
        };
        let repository = path.parse();
        repository.map_err(|error: Error| error.during(Verb::Import.on(&found.key)))
    }

    /// The tasks of the `images` of `found` in `store`.
    pub fn plan(
        &self,
        store: &StoreName,
        found: &SourceRef,
        images: &[Image],
        execution: &Execution,
    ) -> Result<Vec<CopyTask>> {
        let repository = self.repository(found)?;
        let is_wanted = |image: &&Image| !image.refers || self.referrers != Referrers::Exclude;
        let task = |image: &Image| {
            let destination = self.destination(&repository, &image.target);
            let id = id(
                "t",
                &[&execution.id, store.as_str(), &found.key, &destination.to_string()],
            );
            CopyTask {
                expected: Some(image.descriptor.digest.clone()),
                ..self.task(id, execution, (store, found), destination)
            }
        };
        Ok(images.iter().filter(is_wanted).map(task).collect())
    }

    /// The ledger's entry of an image of `part` that cannot be imported. One that has neither a tag nor a digest is recorded as
    /// a scan of its source.
    fn refused(&self, scan: &Scan, part: &SourceRef, refused: &Refused, execution: &Execution) -> Result<TaskEntry> {
        // A source that is its only part is identified by its key alone.
        let place = match &part.tree_repository {
            Some(_) => part.to_string(),
            None => part.key.clone(),
        };
        let id = id(
            "t",
            &["refused", &execution.id, scan.store.as_str(), &place, &refused.name],
        );
        let target = match (&refused.digest, refused.name.parse()) {
            (_, Ok(tag)) => Target::Tag(tag),
            (Some(digest), _) => Target::Digest(digest.clone()),
            (None, Err(_)) => {
                let scan = Scan {
                    id,
                    execution: execution.clone(),
                    source: part.clone(),
                    done: 0,
                    ..scan.clone()
                };
                return Ok(scan.entry());
            }
        };
        let destination = self.destination(&self.repository(part)?, &target);
        let task = CopyTask {
            expected: refused.digest.clone(),
            ..self.task(id, execution, (&scan.store, part), destination)
        };
        Ok(task.entry())
    }

    fn destination(&self, repository: &Repository, target: &Target) -> ImageRef {
        ImageRef {
            registry: self.registry.clone(),
            repository: repository.clone(),
            target: target.clone(),
        }
    }

    fn task(
        &self,
        id: String,
        execution: &Execution,
        (store, found): (&StoreName, &SourceRef),
        destination: ImageRef,
    ) -> CopyTask {
        // A storage tree has no list of referrers: to list those of one image is to read the whole tree. They are images of
        // its list instead, and the tasks of the others leave them alone.
        let referrers = match self.referrers {
            Referrers::Include if found.is_in_tree() => Referrers::Exclude,
            other => other,
        };
        CopyTask {
            id,
            execution: execution.clone(),
            source: Source::Stored {
                store: store.clone(),
                found: found.clone(),
                target: destination.target.clone(),
            },
            destination,
            policy: Policy {
                existing: self.existing,
                referrers,
                kinds: Vec::new(),
                labels: BTreeMap::new(),
                is_by_hand: false,
                platforms: Platforms::default(),
            },
            is_attachment: false,
            expected: None,
            absent_at: None,
            own: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use transship_layout::SourceKind;
    use transship_oci::media_type::OCI_MANIFEST;
    use transship_oci::{Descriptor, Digest};

    use super::*;
    use crate::{Envelope, Job};

    fn import(path: Option<&str>) -> Import {
        Import {
            name: "seed".into(),
            registry: "zhangjiakou".into(),
            path: path.map(|path| path.parse().unwrap()),
            existing: Existing::Keep,
            referrers: Referrers::Include,
        }
    }

    fn found(path: &str) -> SourceRef {
        SourceRef::new(SourceKind::Layout, format!("to/{path}/"), path)
    }

    fn image(tag: Option<&str>) -> Image {
        let digest = Digest::sha256(tag.unwrap_or_default().as_bytes());
        Image {
            name: tag.map(str::to_owned),
            target: tag.map_or_else(
                || Target::Digest(digest.clone()),
                |tag| Target::Tag(tag.parse().unwrap()),
            ),
            descriptor: Descriptor::new(OCI_MANIFEST.into(), digest, 1),
            refers: false,
        }
    }

    fn planned(import: &Import, found: &SourceRef, occurrence: &str) -> Vec<CopyTask> {
        let execution = import.execution(occurrence, Timestamp::UNIX_EPOCH);
        let images = [image(Some("v1")), image(None)];
        import
            .plan(&StoreName::bucket("layouts"), found, &images, &execution)
            .unwrap()
    }

    #[test]
    fn a_source_goes_below_the_path_by_its_own_and_the_top_to_the_path_itself() {
        let name = |path, below| import(path).repository(&found(below)).map(|name| name.to_string());
        assert_eq!(name(Some("core"), "team/app").unwrap(), "core/team/app");
        assert_eq!(name(Some("core"), "").unwrap(), "core");
        assert_eq!(name(None, "team/app").unwrap(), "team/app");
        for (path, below) in [(None, ""), (Some("core"), "Team/App"), (Some("core"), "a/../b")] {
            assert_eq!(name(path, below).unwrap_err().code(), "INVALID_REFERENCE", "{below}");
        }
    }

    #[test]
    fn every_image_is_a_task_under_its_tag_or_its_digest() {
        let tasks = planned(&import(Some("core")), &found("app"), "once");
        let ways: Vec<(String, String)> = tasks
            .iter()
            .map(|task| (task.source.to_string(), task.destination.to_string()))
            .collect();
        let digest = Digest::sha256(b"");
        let way = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        assert_eq!(
            ways,
            [
                way("s3://layouts/to/app:v1", "zhangjiakou/core/app:v1"),
                way(
                    &format!("s3://layouts/to/app@{digest}"),
                    &format!("zhangjiakou/core/app@{digest}")
                ),
            ]
        );
    }

    #[test]
    fn the_same_occasion_makes_the_same_ids_and_another_one_others() {
        let ids = |key: &str, occurrence: &str| {
            let found = SourceRef {
                key: key.into(),
                ..found("app")
            };
            let tasks = planned(&import(Some("core")), &found, occurrence);
            tasks.into_iter().map(|task| task.id).collect::<Vec<_>>()
        };
        assert_eq!(ids("to/app/", "once"), ids("to/app/", "once"));
        assert_ne!(ids("to/app/", "once"), ids("to/app/", "again"));
        assert_ne!(
            ids("to/app/", "once"),
            ids("to/app.tar", "once"),
            "a folder and an archive of one name"
        );
    }

    #[test]
    fn a_task_travels_with_what_is_to_be_opened() {
        let task = planned(&import(Some("core")), &found("app"), "once").remove(0);
        let json = Envelope::new(task.clone()).to_json().unwrap();
        assert_eq!(Envelope::parse(&json).unwrap().job, Job::Copy(task));
    }

    #[test]
    fn the_top_of_the_prefix_is_shown_by_its_key() {
        let task = planned(&import(Some("core")), &found(""), "once").remove(0);
        assert_eq!(task.source.to_string(), "s3://layouts/to:v1");
        assert_eq!(task.destination.to_string(), "zhangjiakou/core:v1");
    }

    #[test]
    fn an_image_that_is_refused_is_recorded_by_the_best_name_it_has() {
        let (import, found) = (import(Some("core")), found("app"));
        let execution = import.execution("once", Timestamp::UNIX_EPOCH);
        let scan = Scan::new(&import, &StoreName::bucket("layouts"), &found, None, &execution);
        let digest = Digest::sha256(b"x");
        let source = |name: &str, digest: Option<&Digest>| {
            let refused = Refused {
                name: name.into(),
                digest: digest.cloned(),
                error: Error::of(transship_oci::Code::SourceEmpty, Verb::Import),
            };
            import.refused(&scan, &found, &refused, &execution).unwrap().source
        };
        assert_eq!(source("v1", Some(&digest)), "s3://layouts/to/app:v1");
        assert_eq!(source("a/b", Some(&digest)), format!("s3://layouts/to/app@{digest}"));
        assert_eq!(source("a/b", None), "s3://layouts/to/app");
    }
}
