//! The catalog: the list of repositories of a registry, page by page.
//!
//! Source: distribution's catalog API (`GET /v2/_catalog`), which the OCI specification reserves and does not define. Many
//! registries reject it, or allow it only to administrators, so a rejection is a result and not an error. A page is
//! identified by the query that the registry generated: some contain a name, some a token, and the sort order differs.

use http::{Method, StatusCode};
use std::sync::atomic::AtomicU64;
use transship_oci::{Code, Error, Repository, Result, Verb};
use url::Url;

use crate::Registry;
use crate::auth::Scope;
use crate::exchange::Request;
use crate::pages;
use crate::retry::is_temporary;

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

impl Registry {
    /// One page of the catalog: the first, or the next one that a previous page named. `LIST_ABORTED` if that is missing.
    pub async fn catalog(&self, page: Option<&str>) -> Result<Catalog> {
        let operation = Verb::Catalog.on(self.host());
        let mut url = self
            .0
            .base
            .join("_catalog")
            .map_err(|error| Error::of(Code::ResponseInvalid, &operation).because(error))?;
        match page {
            Some(page) => url.set_query(Some(page)),
            None => url = self.0.catalog_pages.first_page(&url),
        }
        let requests = AtomicU64::new(0);
        let request = |url: Url| Request::new(operation.clone(), Method::GET, url, Scope::Catalog, &requests);
        let (response, url) = match self.page(request, url, &self.0.catalog_pages).await {
            Ok(answered) => answered,
            Err(error) if page.is_none() && matches!(error.kind(), Code::AuthFailed | Code::AccessDenied) => {
                return Ok(Catalog::Refused(error.to_string()));
            }
            Err(error) => return Err(error),
        };
        let status = response.status();
        if status == StatusCode::NOT_IMPLEMENTED || status.is_client_error() && !is_temporary(status) {
            return match page {
                None => Ok(Catalog::Refused(response.into_error().await.to_string())),
                Some(_) => Err(pages::cut_short(response).await),
            };
        }
        if status != StatusCode::OK {
            return Err(response.into_error().await);
        }
        let next = pages::next(&response, &url)?;
        let names = pages::read(response).await?;
        // A later step of a sweep knows only the query.
        let next = next
            .map(|next| match next.query() {
                Some(query) => Ok(query.to_owned()),
                None => Err(pages::aborted(&operation, "the link to the next page has no query")),
            })
            .transpose()?;
        if next.as_ref().is_some_and(|next| next.len() > MAX_QUERY_BYTES) {
            return Err(Error::of(Code::ResponseInvalid, operation).because(format!(
                "the link to the next page is longer than {MAX_QUERY_BYTES} bytes"
            )));
        }
        Ok(Catalog::Page {
            repositories: names.filter_map(|name| name.parse().ok()).collect(),
            next,
        })
    }
}
