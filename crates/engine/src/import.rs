//! Import: what lies in a store and is no registry's becomes tasks, one per image.
//!
//! [`Import::plan`] is pure: whoever opened a source and listed its images is told the tasks. A command works on them at
//! once, a function sends them into the queue. A source at the relative path P goes to the import's path and P, under the
//! tag part of its name, else by digest only. The store is named in the place of a registry, as `s3://bucket` or by a
//! folder's path, which no registry of a document can be called; [`Task::found`] says what is to be opened there.

use jiff::Timestamp;
use transship_layout::{Error as LayoutError, Found, Image, Result as LayoutResult};
use transship_oci::Repository;
use transship_rules::{Existing, Referrers};

use crate::plan::id;
use crate::task::TASK_VERSION;
use crate::{Action, Execution, Place, Task, Trigger};

/// Where everything that is found goes, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Its name in the document; tasks carry it as their rule.
    pub name: String,
    /// The destination registry's name.
    pub registry: String,
    /// What stands before every repository there; [`None`]: nothing.
    pub path: Option<Repository>,
    /// What happens to what the destination tag names already.
    pub existing: Existing,
    /// What happens to signatures and other referrers.
    pub referrers: Referrers,
}

impl Import {
    /// The execution of this import at one occasion. `occurrence` tells it from every other one and is the same each time
    /// the same occasion is told: of an event the key with its version, of a command its time.
    pub fn execution(&self, occurrence: &str, created: Timestamp) -> Execution {
        Execution {
            id: id("e", &["import", &self.name, occurrence]),
            rule: self.name.clone(),
            trigger: Trigger::Import,
            created,
        }
    }

    /// Where `found` goes. `INVALID_REFERENCE` if no repository can be called so.
    pub fn repository(&self, found: &Found) -> LayoutResult<Repository> {
        let path = match (&self.path, found.repository()?) {
            (Some(path), Some(below)) => format!("{path}/{below}"),
            (Some(path), None) => return Ok(path.clone()),
            (None, Some(below)) => return Ok(below),
            (None, None) => String::new(),
        };
        let repository = path.parse();
        repository.map_err(|error| LayoutError::content(error, format!("import {}", found.key)))
    }

    /// The tasks of the `images` of `found`, which lies in `store`.
    pub fn plan(&self, store: &str, found: &Found, images: &[Image], execution: &Execution) -> LayoutResult<Vec<Task>> {
        let repository = self.repository(found)?;
        let source = found.repository()?.unwrap_or_else(|| repository.clone());
        let task = |image: &Image| {
            let place = |registry: &str, repository: &Repository| Place {
                registry: registry.to_owned(),
                repository: repository.clone(),
                target: image.target.clone(),
            };
            let destination = place(&self.registry, &repository);
            Task {
                version: TASK_VERSION,
                id: id("t", &[&execution.id, store, &found.key, &destination.to_string()]),
                execution: execution.id.clone(),
                rule: self.name.clone(),
                trigger: Trigger::Import,
                action: Action::Copy,
                source: place(store, &source),
                destination,
                existing: self.existing,
                referrers: self.referrers,
                kinds: Vec::new(),
                follows: false,
                hint: Some(image.descriptor.digest.clone()),
                created: execution.created,
                hops: 0,
                not_before: None,
                found: Some(Box::new(found.clone())),
            }
        };
        Ok(images.iter().map(task).collect())
    }
}

#[cfg(test)]
mod tests {
    use transship_layout::FoundKind;
    use transship_oci::media_type::OCI_MANIFEST;
    use transship_oci::{Descriptor, Digest, Target};

    use super::*;
    use crate::Message;

    fn import(path: Option<&str>) -> Import {
        Import {
            name: "seed".into(),
            registry: "zhangjiakou".into(),
            path: path.map(|path| path.parse().unwrap()),
            existing: Existing::Keep,
            referrers: Referrers::Include,
        }
    }

    fn found(path: &str) -> Found {
        Found {
            kind: FoundKind::Layout,
            key: format!("to/{path}/"),
            path: path.into(),
        }
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
        }
    }

    fn planned(import: &Import, found: &Found, occurrence: &str) -> Vec<Task> {
        let execution = import.execution(occurrence, Timestamp::UNIX_EPOCH);
        let images = [image(Some("v1")), image(None)];
        import.plan("s3://layouts", found, &images, &execution).unwrap()
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
                way("s3://layouts/app:v1", "zhangjiakou/core/app:v1"),
                way(
                    &format!("s3://layouts/app@{digest}"),
                    &format!("zhangjiakou/core/app@{digest}")
                ),
            ]
        );
    }

    #[test]
    fn the_same_occasion_makes_the_same_ids_and_another_one_others() {
        let ids = |key: &str, occurrence: &str| {
            let found = Found {
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
    fn a_task_travels_with_what_is_to_be_opened_and_one_without_is_read_still() {
        let task = planned(&import(Some("core")), &found("app"), "once").remove(0);
        let message = Message::Task(task.clone());
        let json = message.to_json().unwrap();
        assert_eq!(Message::parse(&json).unwrap(), message);

        let older = Task { found: None, ..task };
        let json = Message::Task(older.clone()).to_json().unwrap();
        assert!(!json.contains("found"), "{json}");
        assert_eq!(Message::parse(&json).unwrap(), Message::Task(older));
    }
}
