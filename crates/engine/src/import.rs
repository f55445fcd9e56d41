//! Import: what lies in a store and is no registry's becomes tasks, one per image.
//!
//! [`Import::plan`] is pure: whoever opened a source and listed its images is told the tasks. A command works on them at
//! once, a worker sends them into the queue. A source at the relative path P goes to the import's path and P, under the
//! tag part of its name, else by digest only. The store is named in the place of a registry, as `s3://bucket` or by a
//! folder's path, which no registry of a document can be called; [`Task::found`] says what is to be opened there.
//!
//! [`Import::look`] is the task that comes before: it says what is to be looked at, and is recorded only if it fails.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_layout::{Found, FoundKind, Image, Refused};
use transship_oci::{Error, Existing, Referrers, Repository, Result, Target, Verb};

use crate::plan::id;
use crate::task::TASK_VERSION;
use crate::{Action, Execution, Look, Place, Task, Trigger};

/// What a record calls that has no name a tag could be made of, and all images of a source together.
const UNNAMED: &str = "_";

/// Where everything that is found goes, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// Its name in the document; tasks carry it as their rule.
    pub name: String,
    /// The destination registry's name.
    pub registry: String,
    /// What stands before every repository there; [`None`]: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Repository>,
    /// What happens to what the destination tag names already.
    pub existing: Existing,
    /// What happens to signatures and other referrers.
    pub referrers: Referrers,
}

/// What a look is about.
pub(crate) struct Looked<'a> {
    pub(crate) store: &'a str,
    pub(crate) found: &'a Found,
    /// Only this image of a storage tree.
    pub(crate) single: Option<&'a Target>,
    /// See [`Look::is_upload`].
    pub(crate) is_upload: bool,
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
    /// The execution of this import at one occasion. `occurrence` tells it from every other one and is the same each time
    /// the same occasion is told: of an upload the version of the source, of an order its request, of a command its time.
    pub fn execution(&self, occurrence: &str, created: Timestamp) -> Execution {
        Execution {
            id: id("e", &["import", &self.name, occurrence]),
            rule: self.name.clone(),
            trigger: Trigger::Import,
            created,
        }
    }

    /// Where `found` goes. `INVALID_REFERENCE` if no repository can be called so.
    pub fn repository(&self, found: &Found) -> Result<Repository> {
        let path = match (&self.path, found.repository()?) {
            (Some(path), Some(below)) => format!("{path}/{below}"),
            (Some(path), None) => return Ok(path.clone()),
            (None, Some(below)) => return Ok(below),
            (None, None) => String::new(),
        };
        let repository = path.parse();
        repository.map_err(|error: Error| error.during(Verb::Import.on(&found.key)))
    }

    /// The tasks of the `images` of `found`, which lies in `store`.
    pub fn plan(&self, store: &str, found: &Found, images: &[Image], execution: &Execution) -> Result<Vec<Task>> {
        let repository = self.repository(found)?;
        let source = found.repository()?.unwrap_or_else(|| repository.clone());
        // A storage tree has no list of referrers: to ask it for those of one image is to read all. They are images of its
        // list instead, and the tasks of the others leave them alone.
        let is_tree = found.kind == FoundKind::Repository;
        let referrers = match self.referrers {
            Referrers::Include if is_tree => Referrers::Exclude,
            other => other,
        };
        let is_wanted = |image: &&Image| !image.refers || self.referrers != Referrers::Exclude;
        let task = |image: &Image| {
            let place = |registry: &str, repository: &Repository| Place {
                registry: registry.to_owned(),
                repository: repository.clone(),
                target: image.target.clone(),
            };
            let destination = place(&self.registry, &repository);
            let id = id("t", &[&execution.id, store, &found.key, &destination.to_string()]);
            Task {
                referrers,
                hint: Some(image.descriptor.digest.clone()),
                found: Some(Box::new(found.clone())),
                ..self.task(id, execution, place(store, &source), destination)
            }
        };
        Ok(images.iter().filter(is_wanted).map(task).collect())
    }

    /// What a source is known by that waits, whoever asked for it: at what is looked for whom.
    pub(crate) fn look_id(&self, store: &str, found: &Found, target: &Target) -> String {
        let path = self.path.as_ref().map(Repository::as_str).unwrap_or_default();
        let target = target.to_string();
        id("l", &[&self.name, &self.registry, path, store, &found.key, &target])
    }

    /// The task of looking at `looked`. What is called by no name is called by the nearest, for it is only told of.
    pub(crate) fn look(&self, looked: &Looked<'_>, execution: &Execution) -> Result<Task> {
        let Looked { store, found, .. } = looked;
        let target = looked.single.cloned().map_or_else(unnamed, Ok)?;
        let id = self.look_id(store, found, &target);
        let look = Look {
            import: self.clone(),
            done: 0,
            is_single: looked.single.is_some(),
            is_upload: looked.is_upload,
            is_recorded: false,
        };
        Ok(Task {
            look: Some(Box::new(look)),
            ..self.told(id, execution, looked, target)?
        })
    }

    /// What an image that is refused is recorded as.
    pub(crate) fn refused(&self, looked: &Looked<'_>, refused: &Refused, execution: &Execution) -> Result<Task> {
        let target = match (&refused.digest, refused.name.parse()) {
            (_, Ok(tag)) => Target::Tag(tag),
            (Some(digest), _) => Target::Digest(digest.clone()),
            (None, Err(_)) => unnamed()?,
        };
        let parts = ["refused", &execution.id, looked.store, &looked.found.key, &refused.name];
        let mut task = self.told(id("t", &parts), execution, looked, target)?;
        task.hint.clone_from(&refused.digest);
        Ok(task)
    }

    fn told(&self, id: String, execution: &Execution, looked: &Looked<'_>, target: Target) -> Result<Task> {
        let nearest = nearest(&looked.found.path)?;
        let path = match &self.path {
            Some(path) if looked.found.path.is_empty() => path.clone(),
            Some(path) => called(&format!("{path}/{nearest}"))?,
            None => nearest.clone(),
        };
        let source = Place {
            registry: looked.store.to_owned(),
            repository: if looked.found.path.is_empty() {
                path.clone()
            } else {
                nearest
            },
            target: target.clone(),
        };
        let destination = Place {
            registry: self.registry.clone(),
            repository: path,
            target,
        };
        Ok(Task {
            found: Some(Box::new(looked.found.clone())),
            ..self.task(id, execution, source, destination)
        })
    }

    fn task(&self, id: String, execution: &Execution, source: Place, destination: Place) -> Task {
        Task {
            version: TASK_VERSION,
            id,
            execution: execution.id.clone(),
            rule: self.name.clone(),
            trigger: execution.trigger,
            action: Action::Copy,
            source,
            destination,
            existing: self.existing,
            referrers: self.referrers,
            kinds: Vec::new(),
            follows: false,
            hint: None,
            created: execution.created,
            hops: 0,
            not_before: None,
            found: None,
            look: None,
        }
    }
}

fn unnamed() -> Result<Target> {
    let tag = UNNAMED.parse();
    tag.map(Target::Tag).map_err(|error: Error| error.during(Verb::Import))
}

fn called(path: &str) -> Result<Repository> {
    path.parse().map_err(|error: Error| error.during(Verb::Import.on(path)))
}

/// The repository whose name is nearest to `path`, for records.
fn nearest(path: &str) -> Result<Repository> {
    let part = |part: &str| -> String {
        let kept = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
        let letters = part.chars().map(|character| character.to_ascii_lowercase());
        let letters: String = letters.map(|letter| if kept(letter) { letter } else { '-' }).collect();
        letters.trim_matches('-').to_owned()
    };
    if let Ok(repository) = path.parse() {
        return Ok(repository);
    }
    let parts: Vec<String> = path.split('/').map(part).filter(|part| !part.is_empty()).collect();
    let nearest = parts.join("/").chars().take(100).collect::<String>();
    called(nearest.trim_end_matches(['/', '-'])).or_else(|_| called("unnamed"))
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
            refers: false,
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
