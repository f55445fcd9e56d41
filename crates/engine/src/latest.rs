//! Rules that select the latest tags: which tags these are is decided by the list of all tags of the repository.

use transship_oci::{Code, Error, Result, Tag, Verb};
use transship_registry::{Listing, RemoteRepository};
use transship_rules::{LatestTags, Source};

/// The latest tags of `repository`; [`None`] if the rule selects all. `pushed`: a tag that is there, although it may be listed
/// later. `LATEST_UNDECIDABLE` if they cannot be known. Memory is bounded by the number of tags that the rule selects.
pub(crate) async fn latest_tags<'r>(
    rule: &'r Source,
    repository: &RemoteRepository,
    pushed: Option<&Tag>,
) -> Result<Option<LatestTags<'r>>> {
    let Some(mut latest) = rule.latest_tags() else {
        return Ok(None);
    };
    if let Some(tag) = pushed {
        latest.add(tag)?;
    }
    let mut page = None;
    loop {
        let listed = match repository.tags_page(page.as_ref()).await? {
            Listing::Page(listed) => listed,
            Listing::Refused(how) => {
                let sentence =
                    format!("the rule selects the latest tags, but the registry does not list its tags: {how}");
                return Err(Error::new(Code::LatestUndecidable, Verb::TagsList, sentence));
            }
        };
        let mut added = Ok(());
        listed.for_each(|tag| {
            if added.is_ok() {
                added = latest.add(&tag);
            }
        });
        added?;
        page = listed.next().cloned();
        if page.is_none() {
            return Ok(Some(latest));
        }
    }
}
