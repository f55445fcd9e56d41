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
use crate::pages::{self, Listing, Page, PageCursor};
use crate::retry::is_temporary;

impl Registry {
    /// One page of the catalog: the first, or the one at `page`, which the page before it returned. `LIST_ABORTED` if a later
    /// page is missing, or if the list has no end.
    pub async fn catalog_page(&self, page: Option<&PageCursor>) -> Result<Listing<Repository>> {
        let operation = Verb::Catalog.on(self.host());
        let mut url = self
            .0
            .base
            .join("_catalog")
            .map_err(|error| Error::of(Code::ResponseInvalid, &operation).because(error))?;
        match page {
            Some(page) => url.set_query(Some(page.query())),
            None => url = self.0.catalog_pages.first_page(&url),
        }
        let requests = AtomicU64::new(0);
        let request = |url: Url| Request::new(operation.clone(), Method::GET, url, Scope::Catalog, &requests);
        let (response, url) = match self.page(request, url, &self.0.catalog_pages).await {
            Ok(answered) => answered,
            Err(error) if page.is_none() && matches!(error.kind(), Code::AuthFailed | Code::AccessDenied) => {
                return Ok(Listing::Refused(error.to_string()));
            }
            Err(error) => return Err(error),
        };
        let status = response.status();
        if status == StatusCode::NOT_IMPLEMENTED || status.is_client_error() && !is_temporary(status) {
            return match page {
                None => Ok(Listing::Refused(response.into_error().await.to_string())),
                Some(_) => Err(pages::cut_short(response).await),
            };
        }
        if status != StatusCode::OK {
            return Err(response.into_error().await);
        }
        let next = pages::next(&response, &url, page)?;
        Page::read(response, next).await.map(Listing::Page)
    }
}
