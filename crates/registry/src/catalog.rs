//! The catalog: which repositories a registry has, page by page.
//!
//! Source: distribution's catalog API (`GET /v2/_catalog`), which the OCI specification reserves and does not define. Many
//! registries refuse it, or give it to administrators only, so a refusal is an answer here and no error. A page is known by
//! the query its registry made for it: some put a name into it, some a token, and they do not sort alike.

use http::{Method, StatusCode};
use serde::Deserialize;
use std::sync::atomic::AtomicU64;
use transship_oci::{Code, Error, Repository, Result, Verb};

use crate::Registry;
use crate::auth::Scope;
use crate::exchange::Request;
use crate::pages;
use crate::retry::is_temporary;

/// What is asked for first: 1000 is the most that registries give (ECR, Harbor).
const FIRST_PAGE: &str = "n=1000";
/// A longer query for the next page would not fit into what remembers it.
const MAX_QUERY_BYTES: usize = 4096;

/// What a registry says when it is asked for its repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Catalog {
    /// A page of them.
    Page {
        /// In the order of the registry. Names that are none are left out.
        repositories: Vec<Repository>,
        /// What to ask for next, if that was not all.
        next: Option<String>,
    },
    /// It does not say: it has no catalog, or not for us. The sentence says how it refused.
    Refused(String),
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    repositories: Option<Vec<Option<String>>>,
}

impl Registry {
    /// One page of the catalog: the first, or the one that a former page named as its next.
    pub async fn catalog(&self, page: Option<&str>) -> Result<Catalog> {
        let operation = Verb::Catalog.on(self.host());
        let mut url = self
            .0
            .base
            .join("_catalog")
            .map_err(|error| Error::of(Code::ResponseInvalid, &operation).because(error))?;
        url.set_query(Some(page.unwrap_or(FIRST_PAGE)));
        let requests = AtomicU64::new(0);
        let request = Request::new(operation.clone(), Method::GET, url.clone(), Scope::Catalog, &requests);
        let response = match self.send(request).await {
            Ok(response) => response,
            Err(error) if matches!(error.kind(), Code::AuthFailed | Code::AccessDenied) => {
                return Ok(Catalog::Refused(error.to_string()));
            }
            Err(error) => return Err(error),
        };
        let status = response.status();
        if status == StatusCode::NOT_IMPLEMENTED || status.is_client_error() && !is_temporary(status) {
            return Ok(Catalog::Refused(response.into_error().await.to_string()));
        }
        if status != StatusCode::OK {
            return Err(response.into_error().await);
        }
        let next = pages::next(&response, &url)?;
        let listed: Page = pages::read(response).await?;
        let next = next.and_then(|next| next.query().map(str::to_owned));
        if next.as_ref().is_some_and(|next| next.len() > MAX_QUERY_BYTES) {
            return Err(Error::of(Code::ResponseInvalid, operation).because(format!(
                "the link to the next page is longer than {MAX_QUERY_BYTES} bytes"
            )));
        }
        let repositories = listed.repositories.unwrap_or_default().into_iter().flatten();
        Ok(Catalog::Page {
            repositories: repositories.filter_map(|name| name.parse().ok()).collect(),
            next,
        })
    }
}
