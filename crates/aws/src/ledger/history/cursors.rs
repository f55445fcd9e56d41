//! Positions in lists, as cursors: what the next query starts behind.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use transship_engine::ledger::Cursor;
use transship_oci::{Code, Error, Result, Verb};

use crate::ledger::attributes::{key, number, number_of, text, text_of};
use crate::ledger::table::{Answered, Item};

/// A position in one of the lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Position {
    /// Behind this task of an execution, by its sort key.
    Tasks(String),
    /// Among executions and their tasks.
    Executions {
        /// The last execution.
        spot: Spot,
        /// Behind this task of it, by its sort key; [`None`]: behind the execution.
        task: Option<String>,
    },
    /// Behind this item of an index.
    Listed(Spot),
    /// Behind these items of `unfinished`, by its partition.
    Open(BTreeMap<String, Touched>),
}

/// An item of `months` or `lists`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spot {
    pub(super) hash: String,
    pub(super) order: String,
    pub(super) pk: String,
    pub(super) sk: String,
}

/// An item of `unfinished`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Touched {
    /// When it was touched, in milliseconds.
    pub(super) at_ms: i64,
    pub(super) pk: String,
    pub(super) sk: String,
}

impl Position {
    pub(super) fn cursor(&self) -> Cursor {
        Cursor(serde_json::to_string(self).unwrap_or_default())
    }

    /// The position of a cursor, as `read` expects it.
    pub(super) fn of<T>(after: Option<&Cursor>, read: impl FnOnce(Self) -> Option<T>) -> Result<Option<T>> {
        let Some(after) = after else { return Ok(None) };
        let position = serde_json::from_str(&after.0).ok().and_then(read);
        let refused = || Error::of(Code::CursorInvalid, Verb::Ledger.on("list"));
        position.map(Some).ok_or_else(refused)
    }
}

impl Spot {
    /// The item's key in the index whose attributes are `hash` and `range`.
    pub(super) fn start(&self, hash: &str, range: &str) -> Item {
        let mut start = key(&self.pk, &self.sk);
        start.insert(hash.to_owned(), text(&self.hash));
        start.insert(range.to_owned(), text(&self.order));
        start
    }

    pub(super) fn read(item: &Item, hash: &str, range: &str) -> Answered<Self> {
        Ok(Self {
            hash: text_of(item, hash)?.to_owned(),
            order: text_of(item, range)?.to_owned(),
            pk: text_of(item, "pk")?.to_owned(),
            sk: text_of(item, "sk")?.to_owned(),
        })
    }
}

impl Touched {
    /// The item's key in `unfinished`.
    pub(super) fn start(&self, partition: &str) -> Item {
        let mut start = key(&self.pk, &self.sk);
        start.insert("unfinished_of".to_owned(), text(partition));
        start.insert("touched".to_owned(), number(self.at_ms));
        start
    }

    pub(super) fn read(item: &Item) -> Answered<Self> {
        Ok(Self {
            at_ms: number_of(item, "touched")?,
            pk: text_of(item, "pk")?.to_owned(),
            sk: text_of(item, "sk")?.to_owned(),
        })
    }
}
