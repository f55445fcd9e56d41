//! The names of one page.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use bytes::Bytes;
use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer as _};
use serde_json::value::RawValue;
use transship_oci::{Code, Error, Operation, Result};

use super::PageCursor;
use crate::exchange::Response;

/// The largest page of names. A page of 1000 repositories of 255 characters is 260 KB, one of 1000 tags is 130 KB, and
/// registries that ignore `n` send everything at once.
const MAX_PAGE_BYTES: usize = 16 * 1024 * 1024;
/// What a registry answers to a request for a list of names.
#[derive(Debug)]
pub enum Listing<T> {
    /// A page of names.
    Page(Page<T>),
    /// The registry has no such list, or denies access to it. The text contains its reason.
    Refused(String),
}

/// One page of names, as the registry sent it: a large one is tens of thousands of names, so only those that are wanted are
/// taken out of it. While it is held, no other page may be requested: see [`transship_copy::memory`].
pub struct Page<T> {
    body: Bytes,
    next: Option<PageCursor>,
    names: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Page<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Page")
            .field("bytes", &self.body.len())
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow, default, alias = "tags", alias = "repositories")]
    names: Option<&'a RawValue>,
    #[serde(default)]
    errors: Option<IgnoredAny>,
}

impl<T> Page<T> {
    /// The page of a list that is empty.
    pub(crate) fn empty() -> Self {
        Self {
            body: Bytes::from_static(b"{}"),
            next: None,
            names: PhantomData,
        }
    }

    /// The page in `response`. Its content decides and not its type; `null` is an empty list, also in place of a name.
    pub(crate) async fn read(response: Response, next: Option<PageCursor>) -> Result<Self> {
        let operation = response.operation.clone();
        Self::parse(response.body(MAX_PAGE_BYTES).await?, next, &operation)
    }

    fn parse(body: Bytes, next: Option<PageCursor>, operation: &Operation) -> Result<Self> {
        let page = Self {
            body,
            next,
            names: PhantomData,
        };
        let invalid = |why: &dyn fmt::Display| Error::of(Code::ResponseInvalid, operation).because(why);
        let written = page.written().map_err(|error| invalid(&error))?;
        if written.names.is_none() && written.errors.is_some() {
            return Err(invalid(&"it is a list of errors"));
        }
        page.each(|_| {}).map_err(|error| invalid(&error))?;
        Ok(page)
    }

    /// The place of the next page; [`None`] if this is the last one.
    pub const fn next(&self) -> Option<&PageCursor> {
        self.next.as_ref()
    }

    /// Its size as it was sent.
    pub const fn bytes(&self) -> usize {
        self.body.len()
    }

    fn written(&self) -> serde_json::Result<Written<'_>> {
        if !self.body.trim_ascii_start().starts_with(b"{") {
            return Err(serde_json::Error::custom("it is not a JSON object"));
        }
        serde_json::from_slice(&self.body)
    }

    fn each(&self, visit: impl FnMut(&str)) -> serde_json::Result<()> {
        match self.written()?.names {
            Some(names) => serde_json::Deserializer::from_str(names.get()).deserialize_any(Each(visit)),
            None => Ok(()),
        }
    }
}

impl<T: FromStr + Ord> Page<T> {
    /// Calls `visit` with each valid name, in the order of the registry.
    pub fn for_each(&self, mut visit: impl FnMut(T)) {
        // The page was read once without an error.
        let _ = self.each(|name| {
            if let Ok(name) = name.parse() {
                visit(name);
            }
        });
    }

    /// True if it has no valid name and no page follows it.
    pub fn is_empty(&self) -> bool {
        let mut is_empty = self.next.is_none();
        self.for_each(|_| is_empty = false);
        is_empty
    }

    /// The first `limit` names that `keep` accepts, sorted, each once.
    pub fn select(&self, limit: usize, mut keep: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut selected = BTreeSet::new();
        self.for_each(|name| {
            let is_full = selected.len() >= limit;
            if is_full && selected.last().is_none_or(|last| name >= *last) || !keep(&name) {
                return;
            }
            if selected.insert(name) && is_full {
                selected.pop_last();
            }
        });
        selected.into_iter().collect()
    }
}

/// Calls a function with each text of a list.
struct Each<F>(F);

impl<'de, F: FnMut(&str)> Visitor<'de> for Each<F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of names")
    }

    fn visit_unit<E>(self) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> std::result::Result<(), A::Error> {
        while let Some(name) = list.next_element::<Option<String>>()? {
            if let Some(name) = name {
                (self.0)(&name);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use transship_oci::{Repository, Tag, Verb};
    use transship_testkit::mutation::fuzz;

    use super::*;

    fn page(body: &str) -> Result<Page<Tag>> {
        Page::parse(Bytes::from(body.to_owned()), None, &Verb::TagsList.into())
    }

    fn selected(page: &Page<Tag>, limit: usize, keep: impl FnMut(&Tag) -> bool) -> Vec<String> {
        page.select(limit, keep).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_first_names_are_selected_whatever_the_order_of_the_registry() {
        let page = page(r#"{"name":"a","tags":["v3","v1",null,"","v2","v1","v5","v4","-","v0"]}"#).unwrap();
        assert_eq!(selected(&page, 3, |_| true), ["v0", "v1", "v2"]);
        assert_eq!(selected(&page, 3, |tag| tag.as_str() > "v2"), ["v3", "v4", "v5"]);
        assert_eq!(selected(&page, 9, |_| true).len(), 6);
        assert!(selected(&page, 0, |_| true).is_empty());
    }

    #[test]
    fn names_that_are_too_long_are_left_out() {
        let page = page(&format!(
            r#"{{"tags":["{}","v1","{}"]}}"#,
            "a".repeat(128),
            "b".repeat(129)
        ))
        .unwrap();
        assert_eq!(selected(&page, 9, |_| true), ["a".repeat(128), "v1".to_owned()]);
    }

    #[test]
    fn what_is_not_a_page_of_names_is_refused() {
        for body in [
            "",
            "[]",
            "{",
            r#"{"tags":7}"#,
            r#"{"tags":["a",7]}"#,
            r#"{"errors":[]}"#,
        ] {
            assert_eq!(page(body).unwrap_err().code(), "RESPONSE_INVALID", "{body}");
        }
        for body in ["{}", r#"{"tags":null}"#, r#"{"tags":[]}"#, r#"{"tags":[],"errors":[]}"#] {
            assert!(selected(&page(body).unwrap(), 9, |_| true).is_empty(), "{body}");
        }
    }

    #[test]
    fn of_a_page_of_a_million_names_only_those_that_are_wanted_are_kept() {
        let names: Vec<String> = (0..1_000_000).map(|number| format!("\"{number:x}\"")).collect();
        let page = page(&format!(r#"{{"tags":[{}]}}"#, names.join(","))).unwrap();
        let mut asked = 0;
        let first = selected(&page, 1000, |_| {
            asked += 1;
            true
        });
        assert_eq!((first.len(), first[0].as_str()), (1000, "0"));
        assert!(asked < 100_000, "{asked}");
    }

    #[test]
    fn no_page_yields_a_name_that_is_not_valid() {
        let inputs = [
            r#"{"name":"a","tags":["v3","v1",null,"","v2",".","x"]}"#,
            r#"{"repositories":["core/app","core/a/b","a"],"errors":null}"#,
            r#"{"errors":[{"code":"NAME_UNKNOWN","detail":{"name":"a"}}]}"#,
        ];
        fuzz("lists", &inputs.map(|text| text.as_bytes().to_vec()), |_, bytes| {
            let body = Bytes::copy_from_slice(bytes);
            if let Ok(page) = Page::<Tag>::parse(body.clone(), None, &Verb::TagsList.into()) {
                let names = selected(&page, 9, |_| true);
                assert!(
                    names.iter().all(|name| name.len() <= 128 && name.is_ascii()),
                    "{names:?}"
                );
            }
            if let Ok(page) = Page::<Repository>::parse(body, None, &Verb::TagsList.into()) {
                page.for_each(|name| assert!(name.as_str().len() <= 255 && name.as_str().is_ascii(), "{name}"));
            }
        });
    }
}
