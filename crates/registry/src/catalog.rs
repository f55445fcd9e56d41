//! The catalog: the list of repositories of a registry, page by page.
//!
//! Source: distribution's catalog API (`GET /v2/_catalog`), which the OCI specification reserves and does not define. Many
//! registries reject it, or allow it only to administrators, so a rejection is a result and not an error. A page is
//! identified by the query that the registry generated: some contain a name, some a token, and the sort order differs.

use http::{Method, StatusCode};
use serde::Deserialize;
use std::sync::atomic::AtomicU64;
use transship_oci::{Code, Error, Repository, Result, Verb};

use crate::Registry;
use crate::auth::Scope;
use crate::exchange::Request;
use crate::pages;
use crate::retry::is_temporary;

/// Number of repositories to request: 1000 is the maximum of registries (ECR, Harbor).
const FIRST_PAGE: &str = "n=1000";
/// Maximum size in bytes of the query for the next page, because it is stored in a message.
const MAX_QUERY_BYTES: usize = 4096;

/// Response of a registry to a request for its repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Catalog {
    /// A page of repositories.
    Page {
        /// Names in the order of the registry, without invalid ones.
        repositories: Vec<Repository>,
        /// The query for the next page, if there is one.
        next: Option<String>,
    },
    /// The registry has no catalog, or denies access to it. The text contains its reason.
    Refused(String),
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    repositories: Option<Vec<Option<String>>>,
}

impl Registry {
    /// One page of the catalog: the first, or the next one that a previous page named.
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
