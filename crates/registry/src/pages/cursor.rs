//! Where a list goes on.

use serde::{Deserialize, Serialize};
use transship_oci::{Code, Error, Operation, Result};
use url::Url;

use super::aborted;

/// Pages of one list. Some registries have been seen to page without end.
const PAGES_MAX: u32 = 10_000;
/// Maximum size in bytes of the query for the next page, because it is stored in a message.
const QUERY_BYTES_MAX: usize = 4096;

/// The place of a page in a list: what comes after the pages that were read.
///
/// It contains the query that the registry linked to. Some registries put the last name of a page there, some an opaque token,
/// and names need not be sorted: so a cursor says nothing about the names that were read, and only the list that returned it
/// accepts it. A token may expire; the registry then refuses the page, which is `LIST_ABORTED`. A cursor can be stored, and it
/// counts the pages before it, so that every reader recognises a list without end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub struct PageCursor {
    query: String,
    /// The number of pages before it.
    #[serde(rename = "pages")]
    number: u32,
    /// The query of an earlier page. A list whose pages repeat comes back to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<String>,
}

/// A cursor in a message. Version 1 stored only the query.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Query(String),
    Whole {
        query: String,
        pages: u32,
        #[serde(default)]
        mark: Option<String>,
    },
}

impl From<Stored> for PageCursor {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Query(query) => Self::new(query),
            Stored::Whole { query, pages, mark } => Self {
                query,
                number: pages,
                mark,
            },
        }
    }
}

impl PageCursor {
    /// The second page of a list, which is requested with `query`.
    pub fn new(query: impl Into<String>) -> Self {
        let query = query.into();
        Self {
            mark: Some(query.clone()),
            query,
            number: 1,
        }
    }

    /// The query of the page.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// The place of the page at `next`, after the page at `this`; [`None`]: after the first. `LIST_ABORTED` if the list has no
    /// end, or if the page cannot be requested by its query.
    pub(super) fn after(this: Option<&Self>, next: &Url, operation: &Operation) -> Result<Self> {
        let query = next.query().filter(|query| !query.is_empty());
        let query = query.ok_or_else(|| aborted(operation, "the link to the next page has no query"))?;
        if query.len() > QUERY_BYTES_MAX {
            return Err(Error::of(Code::ResponseInvalid, operation).because(format!(
                "the link to the next page is longer than {QUERY_BYTES_MAX} bytes"
            )));
        }
        let Some(this) = this else {
            return Ok(Self::new(query));
        };
        if this.mark.as_deref() == Some(query) {
            return Err(aborted(operation, "the pages repeat"));
        }
        let number = this.number.saturating_add(1);
        if number >= PAGES_MAX {
            return Err(aborted(operation, &format!("more than {PAGES_MAX} pages")));
        }
        // Brent: a mark at each power of two finds a circle of any length.
        let mark = if number.is_power_of_two() {
            Some(query.to_owned())
        } else {
            this.mark.clone()
        };
        Ok(Self {
            query: query.to_owned(),
            number,
            mark,
        })
    }
}

#[cfg(test)]
mod tests {
    use transship_oci::Verb;

    use super::*;

    /// The number of pages until the list is aborted, where page `at` links to `next(at)`.
    fn pages(next: impl Fn(u32) -> u32) -> (u32, Error) {
        let (mut at, mut cursor, mut pages) = (0, None, 1);
        loop {
            at = next(at);
            let url = Url::parse(&format!("https://r.example/v2/_catalog?at={at}")).unwrap();
            match PageCursor::after(cursor.as_ref(), &url, &Verb::Catalog.into()) {
                Ok(next) => cursor = Some(next),
                Err(error) => return (pages, error),
            }
            pages += 1;
        }
    }

    #[test]
    fn pages_that_repeat_end_the_list() {
        for (head, length) in [(0, 2), (0, 3), (5, 1), (7, 10), (1, 100)] {
            let (read, error) = pages(|at| if at + 1 < head + length { at + 1 } else { head });
            assert_eq!(error.code(), "LIST_ABORTED");
            assert!(read <= 4 * (head + length) + 4, "{head} {length}: {read}");
        }
    }

    #[test]
    fn a_list_without_end_is_aborted() {
        let (read, error) = pages(|at| at + 1);
        assert_eq!((read, error.code()), (PAGES_MAX, "LIST_ABORTED"));
    }

    #[test]
    fn a_cursor_is_stored_and_read_again() {
        let operation = Verb::Catalog.into();
        let url = Url::parse("https://r.example/v2/_catalog?token=x%2Fy").unwrap();
        let cursor = PageCursor::after(Some(&PageCursor::new("a=1")), &url, &operation).unwrap();
        let json = serde_json::to_string(&cursor).unwrap();
        assert_eq!(serde_json::from_str::<PageCursor>(&json).unwrap(), cursor);
        let old: PageCursor = serde_json::from_str(r#""n=1000&last=b""#).unwrap();
        assert_eq!(old, PageCursor::new("n=1000&last=b"));
    }
}
