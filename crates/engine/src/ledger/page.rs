//! Paging and keys, as all four ports use them.

use serde::{Deserialize, Serialize};

/// Items that a list reads for one page, at most. A filter applies to them, so a page may be short, or empty, and still have
/// a cursor.
pub const PAGE_ITEMS_READ_MAX: usize = 1000;

/// The position behind a page: opaque, valid for the same query of the same adapter. Items that are inserted meanwhile do
/// not move it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub String);

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// In the order of the list.
    pub items: Vec<T>,
    /// The position behind them; [`None`] at the end of the list.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// The last page of a list.
    pub const fn last(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

/// The key of a value: its family, and its name in that family.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// What is listed together. Not empty.
    pub family: String,
    /// The name in the family; names are listed in the order of their bytes. Not empty.
    pub name: String,
}

impl Key {
    /// The key `name` of `family`.
    pub fn new(family: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            family: family.into(),
            name: name.into(),
        }
    }
}
