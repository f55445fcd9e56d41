//! One credential file: entries, helpers by registry, and the store for all others.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::SecretString;
use serde::Deserialize;
use transship_oci::{RegistryHost, Repository, Result};
use transship_registry::Login;

use super::key;

/// The content of a file. It deliberately has no `Debug`.
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct CredentialFile {
    auths: Option<BTreeMap<String, Option<Entry>>>,
    cred_helpers: Option<BTreeMap<String, String>>,
    creds_store: Option<String>,
}

/// One entry of `auths`. It is often empty, if the credential store has the login.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// A possible location of a login.
pub(super) enum Known {
    /// With `docker-credential-{name}`.
    Helper {
        /// Its name without the prefix.
        name: String,
        /// What it is asked for.
        server: String,
    },
    /// In the file.
    Entry {
        /// Its key as it is written.
        key: String,
        /// The result.
        entry: Entry,
    },
}

impl CredentialFile {
    /// Parses the text of a file. The error may contain parts of the text, so only its position may be shown.
    pub(super) fn parse(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// The possible locations of the login for `host` in the order of precedence: the entries for a path of it, the helper for
    /// that registry, the store for all registries, the other entries. Unlike Docker, entries are used even if there is a store that does not have the login.
    pub(super) fn find(&self, host: &RegistryHost, repository: Option<&Repository>) -> Vec<Known> {
        let fitting = key::fitting(host, repository);
        let helper = best(self.cred_helpers.iter().flatten(), &fitting).next();
        let store = self.creds_store.as_ref().filter(|name| !name.is_empty());
        let helpers = helper.map(|(_, name)| name).or(store).map(|name| Known::Helper {
            name: name.clone(),
            server: key::server(host),
        });
        let known = |(key, entry): (&String, &Option<Entry>)| {
            Some(Known::Entry {
                key: key.clone(),
                entry: entry.clone()?,
            })
        };
        let (paths, hosts): (Vec<_>, Vec<_>) =
            best(self.auths.iter().flatten(), &fitting).partition(|(written, _)| key::has_path(written));
        let below = self.auths.iter().flatten();
        let below = below.filter(|(written, _)| repository.is_none() && key::is_below(written, host));
        let entries = hosts.into_iter().chain(below).filter_map(known);
        paths
            .into_iter()
            .filter_map(known)
            .chain(helpers)
            .chain(entries)
            .collect()
    }
}

/// The pairs whose key fits, the most specific first; among equals, one that is written in the common form.
fn best<'a, T: 'a>(
    pairs: impl Iterator<Item = (&'a String, &'a T)>,
    fitting: &[String],
) -> impl Iterator<Item = (&'a String, &'a T)> {
    let mut found: Vec<_> = pairs
        .filter_map(|(written, value)| {
            let normalized = key::normalized(written);
            let rank = fitting.iter().position(|key| *key == normalized)?;
            Some(((rank, *written != normalized), (written, value)))
        })
        .collect();
    found.sort_by_key(|(rank, _)| *rank);
    found.into_iter().map(|(_, pair)| pair)
}

impl Entry {
    /// The login it holds; [`None`] if it is empty. The error is a predicate: `has no …`.
    pub(super) fn login(&self) -> Result<Option<Login>, &'static str> {
        if let Some(token) = filled(self.identitytoken.as_deref()) {
            return Ok(Some(Login::IdentityToken(SecretString::from(token))));
        }
        if let Some(auth) = filled(self.auth.as_deref()) {
            let (username, password) = decoded(auth).ok_or("has an auth that is not base64 of user:password")?;
            return Ok(Some(Login::of(username, password)));
        }
        match (filled(self.username.as_deref()), &self.password) {
            (Some(username), Some(password)) => Ok(Some(Login::of(username.to_owned(), password.clone()))),
            (Some(_), None) => Err("has a username but no password"),
            (None, _) => Ok(None),
        }
    }
}

fn filled(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// Decodes base64 without requiring padding, which is often missing in files written by hand.
fn decoded(auth: &str) -> Option<(String, String)> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = GeneralPurpose::new(&STANDARD, config).decode(auth.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.split_once(':')?;
    // Docker strips them too: https://github.com/docker/cli/blob/master/cli/config/configfile/file.go, decodeAuth.
    let password = password.trim_end_matches('\0');
    (!username.is_empty()).then(|| (username.to_owned(), password.to_owned()))
}
