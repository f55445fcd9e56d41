//! What travels in the queue: a task, or the order to sweep or to search. A message is JSON and carries everything; the ledger is memory.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use transship_oci::{Code, Error, Repository, Result, Tag, Verb};

use crate::import_look::recorded;
use crate::task::{TASK_VERSION, is_zero};
use crate::{Search, Task};

/// The largest message that is sent, in bytes: what every region's queue takes.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// A message as it is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Bring one reference to one destination.
    Task(Task),
    /// Look for what was missed.
    Sweep(Sweep),
    /// Look for what can be imported.
    Search(Search),
}

/// One step of looking for what was missed. Without `step` it is the order to begin, and makes one step for each part.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sweep {
    /// When the sweep began; [`None`]: now. All its tasks are made with it, so that a message that comes twice makes each once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// What to look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<SweepStep>,
}

/// One part of a sweep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SweepStep {
    /// Tasks that read from this registry, or store, and were left by their worker.
    Tasks {
        /// The registry's name in the document, or the store's: `s3://bucket`.
        registry: String,
    },
    /// Sources of imports that are not complete.
    Incomplete,
    /// The tags of one event rule.
    Rule {
        /// The rule's name.
        rule: String,
        /// What was looked at before; [`None`]: nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Cursor>,
    },
}

/// How far a sweep got, in the order in which the registry lists.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// The page of the catalog at work, by the registry's own name for it; [`None`]: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// How many pages came before it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pages: u32,
    /// The repository on it that was looked at last; [`None`]: none of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    /// The last of its tags that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// How often the sweep tried to go on from here and could not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stuck: u32,
}

/// A message on its way into the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// What is sent, as JSON.
    pub message: Message,
    /// Not to be received before this long from now.
    pub delay: Duration,
}

#[derive(Serialize, Deserialize)]
struct SweepMessage {
    version: u32,
    sweep: Sweep,
}

#[derive(Serialize, Deserialize)]
struct SearchMessage {
    version: u32,
    search: Search,
}

impl Message {
    /// Reads the JSON of a message. `MESSAGE_INVALID` for anything else, another version among it.
    pub fn parse(body: &str) -> Result<Self> {
        let refuse = |why: String| Error::of(Code::MessageInvalid, Verb::Message).because(why);
        let value: serde_json::Value = serde_json::from_str(body).map_err(|error| refuse(error.to_string()))?;
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(TASK_VERSION) => {}
            Some(version) => return Err(refuse(format!("version {version} where {TASK_VERSION} is understood"))),
            None => return Err(refuse("it has no version".into())),
        }
        if value.get("sweep").is_some() {
            let message: SweepMessage = serde_json::from_value(value).map_err(|error| refuse(error.to_string()))?;
            return Ok(Self::Sweep(message.sweep));
        }
        if value.get("search").is_some() {
            let message: SearchMessage = serde_json::from_value(value).map_err(|error| refuse(error.to_string()))?;
            return Ok(Self::Search(message.search));
        }
        serde_json::from_value(value)
            .map(Self::Task)
            .map_err(|error| refuse(error.to_string()))
    }

    /// The JSON. `MESSAGE_INVALID` if it is larger than [`MESSAGE_BYTES_MAX`].
    pub fn to_json(&self) -> Result<String> {
        let json = match self {
            Self::Task(task) => serde_json::to_string(task),
            Self::Sweep(sweep) => serde_json::to_string(&SweepMessage {
                version: TASK_VERSION,
                sweep: sweep.clone(),
            }),
            Self::Search(search) => serde_json::to_string(&SearchMessage {
                version: TASK_VERSION,
                search: search.clone(),
            }),
        };
        let refuse = |why: String| Error::of(Code::MessageInvalid, Verb::Queue.on("send")).because(why);
        let json = json.map_err(|error| refuse(error.to_string()))?;
        if json.len() > MESSAGE_BYTES_MAX {
            return Err(refuse(format!(
                "{} bytes where {MESSAGE_BYTES_MAX} are taken",
                json.len()
            )));
        }
        Ok(json)
    }

    /// The task as which the ledger is told of a message that nobody could work on; [`None`]: it is not told of it.
    pub fn recorded(&self) -> Option<Task> {
        match self {
            Self::Task(task) => Some(recorded(task)),
            Self::Search(search) => search.as_task().ok().map(|task| recorded(&task)),
            Self::Sweep(_) => None,
        }
    }

    /// The fairness group: the destination registry of a task.
    pub fn group(&self) -> &str {
        match self {
            Self::Task(task) => &task.destination.registry,
            Self::Sweep(_) => "sweep",
            Self::Search(_) => "search",
        }
    }
}

impl Outgoing {
    /// A task, to be received at once.
    pub const fn now(task: Task) -> Self {
        Self::later(task, Duration::ZERO)
    }

    /// A task, to be received after `delay`.
    pub const fn later(task: Task, delay: Duration) -> Self {
        Self {
            message: Message::Task(task),
            delay,
        }
    }

    /// A search, to be received at once.
    pub const fn search(search: Search) -> Self {
        Self {
            message: Message::Search(search),
            delay: Duration::ZERO,
        }
    }

    /// A sweep or a step of one, to be received at once.
    pub const fn sweep(sweep: Sweep) -> Self {
        Self::sweep_later(sweep, Duration::ZERO)
    }

    /// The same, to be received after `delay`.
    pub const fn sweep_later(sweep: Sweep, delay: Duration) -> Self {
        Self {
            message: Message::Sweep(sweep),
            delay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_comes_back_as_it_was_sent() {
        for sweep in [
            Sweep::default(),
            Sweep {
                started: Some("2026-01-01T00:00:00Z".parse().unwrap()),
                step: Some(SweepStep::Rule {
                    rule: "core".into(),
                    after: Some(Cursor {
                        page: Some("n=1000&last=core%2Faa".into()),
                        pages: 1,
                        repository: Some("core/app".parse().unwrap()),
                        tag: Some("v1".parse().unwrap()),
                        stuck: 2,
                    }),
                }),
            },
        ] {
            let message = Message::Sweep(sweep);
            assert_eq!(Message::parse(&message.to_json().unwrap()).unwrap(), message);
        }
        let order = Message::parse(r#"{"version":1,"sweep":{}}"#).unwrap();
        assert_eq!(order, Message::Sweep(Sweep::default()));
    }

    #[test]
    fn what_is_no_message_is_refused_with_its_reason() {
        for (body, why) in [
            ("", "EOF"),
            ("{}", "no version"),
            (r#"{"version":2,"sweep":{}}"#, "version 2"),
            (r#"{"version":1}"#, "missing field"),
            (r#"{"version":1,"sweep":7}"#, "invalid type"),
            (r#"{"version":"1"}"#, "no version"),
            ("[]", "no version"),
        ] {
            let error = Message::parse(body).unwrap_err();
            assert_eq!(error.code(), "MESSAGE_INVALID");
            assert!(error.to_string().contains(why), "{body}: {error}");
        }
    }
}
