//! The environment variables of the process or of a test. This crate reads them only through this type.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

type Lookup = dyn Fn(&str) -> Option<OsString> + Send + Sync;

/// Environment variables. Clones share them.
#[derive(Clone)]
pub struct Environment {
    lookup: Arc<Lookup>,
}

impl Environment {
    /// The variables of this process.
    pub fn process() -> Self {
        Self {
            lookup: Arc::new(|name| std::env::var_os(name)),
        }
    }

    /// Only these variables.
    pub fn of<N: Into<String>, V: Into<OsString>>(variables: impl IntoIterator<Item = (N, V)>) -> Self {
        let variables: HashMap<String, OsString> = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        Self {
            lookup: Arc::new(move |name| variables.get(name).cloned()),
        }
    }

    /// The value of `name`, unless it is not set or empty.
    pub fn get(&self, name: &str) -> Option<OsString> {
        // The system's functions panic on such names.
        if name.is_empty() || name.contains(['=', '\0']) {
            return None;
        }
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    /// The same as a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }
}
