//! Asks the referrers API of one repository.
//!
//! All pages are read, because tools that read one page lose signatures. A registry that is known to have the API is asked
//! once more before a refusal is accepted, because one refusal must not hide signatures.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use transship_oci::manifest::MAX_BYTES;
use transship_oci::media_type::OCI_INDEX;
use transship_oci::{Code, Descriptor, Digest, Error, Result, Verb};
use url::Url;

use super::answer::{Answer, is_html, judge};
use crate::RemoteRepository;
use crate::exchange::failure::ErrorBody;
use crate::exchange::{Request, Response};
use crate::pages;

/// Maximum number of referrers of one manifest.
const MAX_REFERRERS: usize = 10_000;
const MAX_PAGES: usize = 100;
/// Time limit for a response of another host that the API redirects to. It is a login page where it was seen (ghcr.io,
/// oras-go#633), so a copy does not wait for it for long.
const ELSEWHERE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no list.
struct NoApi {
    /// For the log.
    why: String,
    /// The registry speaks of the repository and not of the path, so that nothing is learned.
    is_about_name: bool,
}

impl NoApi {
    fn because(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_about_name: false,
        }
    }
}

/// A page of a list, and the address of the next one.
type Page = (Vec<Descriptor>, Option<Url>);

impl RemoteRepository {
    /// The referrers of `subject` by the API; [`None`] if this repository has no such API, which is remembered.
    /// `LIST_ABORTED` if the list cannot be read to its end, or if an API that was there has disappeared.
    pub(crate) async fn api_referrers(&self, subject: &Digest) -> Result<Option<Vec<Descriptor>>> {
        let api = &self.registry.0.referrers_api;
        let was_here = api.get(&self.repository) == Some(true);
        let mut answered = self.all_pages(subject).await?;
        if answered.is_err() && (was_here || api.is_known_to_exist()) {
            tokio::time::sleep(self.registry.0.retries.first).await;
            answered = self.all_pages(subject).await?;
        }
        let refusal = match answered {
            Ok(list) => {
                api.learn(&self.repository, true);
                return Ok(Some(list));
            }
            Err(refusal) => refusal,
        };
        if was_here && !refusal.is_about_name {
            let operation = self.blob_operation(Verb::Referrers, subject);
            return Err(pages::aborted(
                &operation,
                &format!("the registry listed referrers before and does not now: {}", refusal.why),
            ));
        }
        let (host, repository, why) = (self.registry.host(), &self.repository, refusal.why);
        if api.is_known_to_exist() {
            tracing::warn!(%host, %repository, why, "no referrers API in this repository, unlike others of the registry; its referrers tags are used");
        } else {
            tracing::info!(%host, %repository, why, "no referrers API; the referrers tags are used");
        }
        if !refusal.is_about_name {
            api.learn(&self.repository, false);
        }
        Ok(None)
    }

    /// Each page in order. The inner error says that there is no such API.
    async fn all_pages(&self, subject: &Digest) -> Result<Result<Vec<Descriptor>, NoApi>> {
        let operation = self.blob_operation(Verb::Referrers, subject);
        let mut url = self.url(&format!("referrers/{subject}"))?;
        let mut found = Vec::new();
        for number in 0..MAX_PAGES {
            let (listed, next) = match self.one_page(subject, &url).await? {
                Ok(page) => page,
                Err(refusal) if number == 0 => return Ok(Err(refusal)),
                Err(refusal) => {
                    return Err(pages::aborted(
                        &operation,
                        &format!("a later page is missing: {}", refusal.why),
                    ));
                }
            };
            found.extend(listed);
            if found.len() > MAX_REFERRERS {
                return Err(pages::aborted(
                    &operation,
                    &format!("more than {MAX_REFERRERS} referrers"),
                ));
            }
            match next {
                None => return Ok(Ok(found)),
                Some(next) => url = next,
            }
        }
        Err(pages::aborted(&operation, &format!("more than {MAX_PAGES} pages")))
    }

    /// A list has no digest that reveals a transmission error, so a damaged one is read once more, like content.
    async fn one_page(&self, subject: &Digest, url: &Url) -> Result<Result<Page, NoApi>> {
        let mut was_reread = false;
        loop {
            let response = match self.page_response(subject, url).await? {
                Ok(response) => response,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let content_type = response.headers().get(CONTENT_TYPE);
            let content_type = content_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
            if is_html(content_type.as_deref()) {
                response.drain().await;
                return Ok(Err(NoApi::because("the response is HTML")));
            }
            let (next, operation) = (pages::next_url(&response, url), response.operation.clone());
            match judge(content_type.as_deref(), &response.body(MAX_BYTES).await?) {
                Answer::List(listed) => return Ok(Ok((listed, next?))),
                Answer::Other => return Ok(Err(NoApi::because("the response is not a list"))),
                Answer::Damaged(_) if !was_reread => was_reread = true,
                Answer::Damaged(error) => return Err(error.during(operation)),
            }
        }
    }

    /// The response 200 to the request for a page. A redirect to another host is followed once: what fails there is not the
    /// registry's API, and must not fail the copy.
    async fn page_response(&self, subject: &Digest, url: &Url) -> Result<Result<Response, NoApi>> {
        let operation = self.blob_operation(Verb::Referrers, subject);
        let request = || {
            Request::new(
                operation.clone(),
                Method::GET,
                url.clone(),
                self.scope(),
                &self.requests,
            )
            .accept(OCI_INDEX)
        };
        let response = match self.registry.send(request().within_origin()).await {
            Err(error) if error.is(Code::RedirectRefused) => return Ok(Err(NoApi::because(error.to_string()))),
            response => response?,
        };
        match response.status() {
            StatusCode::OK => return Ok(Ok(response)),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(response.into_error().await),
            _ => {}
        }
        if !response.status().is_redirection() {
            return Ok(Err(refused(&response.into_error().await)));
        }
        let request = request();
        let elsewhere = self.registry.follow(&request, response, ELSEWHERE_TIMEOUT);
        Ok(match tokio::time::timeout(ELSEWHERE_TIMEOUT, elsewhere).await {
            Ok(Ok(response)) if response.status() == StatusCode::OK => Ok(response),
            Ok(Ok(response)) => Err(NoApi::because(format!(
                "it redirects to another host, which answered {}",
                response.status().as_u16()
            ))),
            Ok(Err(error)) => Err(NoApi::because(format!("it redirects to another host: {error}"))),
            Err(_) => Err(NoApi::because("it redirects to another host, which does not answer")),
        })
    }
}

/// The refusal of a first page.
fn refused(error: &Error) -> NoApi {
    let codes = ErrorBody::of(error).map_or(&[][..], |body| body.codes.as_slice());
    NoApi {
        why: error.to_string(),
        is_about_name: codes
            .iter()
            .any(|code| matches!(code.as_str(), "NAME_UNKNOWN" | "MANIFEST_UNKNOWN")),
    }
}
