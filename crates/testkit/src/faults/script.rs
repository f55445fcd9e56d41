//! Scripted faults: a pattern of requests, the occurrences that are affected, and the fault.

use std::sync::atomic::{AtomicU64, Ordering};

use regex::Regex;

use super::{Action, Faults, RequestHead};
use crate::{Error, ErrorKind, Result};

/// One line of a script. By default it affects only the first matching request.
#[derive(Debug)]
pub struct Fault {
    method: Option<String>,
    path: Regex,
    nth: u64,
    times: u64,
    action: Action,
    seen: AtomicU64,
    struck: AtomicU64,
}

impl Fault {
    /// `action` for requests of `method` (`*` for any) whose path and query match the regular expression `path`. The error
    /// `PATTERN_INVALID` means that `path` is not a valid regular expression.
    pub fn new(method: &str, path: &str, action: Action) -> Result<Self> {
        let path = Regex::new(path).map_err(|error| Error::new(ErrorKind::PatternInvalid, path).with_source(error))?;
        Ok(Self {
            method: (method != "*").then(|| method.to_owned()),
            path,
            nth: 1,
            times: 1,
            action,
            seen: AtomicU64::new(0),
            struck: AtomicU64::new(0),
        })
    }

    /// Starts with the `nth` matching request, counted from 1.
    #[must_use]
    pub const fn nth(mut self, nth: u64) -> Self {
        self.nth = nth;
        self
    }

    /// Affects this number of consecutive matching requests.
    #[must_use]
    pub const fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Affects every matching request from the first (or the [`Fault::nth`]) on.
    #[must_use]
    pub const fn always(self) -> Self {
        self.times(u64::MAX)
    }

    fn strikes(&self, request: &RequestHead<'_>, address: &str) -> bool {
        if self.method.as_deref().is_some_and(|method| request.method != method) || !self.path.is_match(address) {
            return false;
        }
        let seen = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        let strikes = seen >= self.nth && seen - self.nth < self.times;
        if strikes {
            self.struck.fetch_add(1, Ordering::Relaxed);
        }
        strikes
    }
}

/// Faults in order: the first one that applies is used, and the later ones do not count that request.
#[derive(Debug, Default)]
pub struct Script(Vec<Fault>);

impl Script {
    /// The script of `faults`.
    pub fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self(faults.into_iter().collect())
    }

    /// Number of requests that had a fault. A test that expects faults must assert it, because it proves nothing otherwise.
    pub fn struck(&self) -> u64 {
        self.0.iter().map(|fault| fault.struck.load(Ordering::Relaxed)).sum()
    }
}

impl Faults for Script {
    fn action(&self, request: &RequestHead<'_>) -> Option<Action> {
        let address = match request.query {
            Some(query) => format!("{}?{query}", request.path),
            None => request.path.to_owned(),
        };
        let fault = self.0.iter().find(|fault| fault.strikes(request, &address))?;
        Some(fault.action.clone())
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;

    #[test]
    fn a_fault_strikes_the_requests_it_names_and_no_others() {
        let script = Script::new([
            Fault::new("GET", "/blobs/", Action::Reset).unwrap().nth(2).times(2),
            Fault::new("*", r"uploads/\?mount=", Action::LoseResponse)
                .unwrap()
                .always(),
        ]);
        let headers = HeaderMap::new();
        let ask = |method: Method, path: &str, query: Option<&str>| {
            script.action(&RequestHead {
                method: &method,
                path,
                query,
                headers: &headers,
            })
        };
        let get = || ask(Method::GET, "/v2/a/blobs/x", None);
        assert_eq!(ask(Method::HEAD, "/v2/a/blobs/x", None), None);
        assert_eq!(ask(Method::GET, "/v2/a/manifests/x", None), None);
        assert_eq!(
            [get(), get(), get(), get()],
            [None, Some(Action::Reset), Some(Action::Reset), None]
        );
        for _ in 0..3 {
            let mount = ask(Method::POST, "/v2/a/blobs/uploads/", Some("mount=x"));
            assert_eq!(mount, Some(Action::LoseResponse));
        }
        assert_eq!(script.struck(), 5);
    }

    #[test]
    fn a_path_that_is_no_pattern_is_refused() {
        assert_eq!(
            Fault::new("GET", "(", Action::Reset).unwrap_err().code(),
            "PATTERN_INVALID"
        );
    }
}
