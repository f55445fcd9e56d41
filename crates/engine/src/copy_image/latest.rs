//! Rules that select the latest tags: whether the tag of a task is one of them is decided when the task runs, by the tags that the
//! repository has then.

use transship_oci::{Code, Error, Result, Tag, Target, Verb};
use transship_registry::Registry;
use transship_rules::Rule;

use super::CopyImage;
use super::outcome::AttemptResult;
use crate::sweep::TAG_PAGES_MAX;
use crate::{ImageRef, TaskState};

impl CopyImage<'_> {
    /// The end of a task whose tag is not among the latest that `rule` selects; [`None`] if it is, or if the rule selects all.
    /// `LATEST_UNDECIDABLE` if that cannot be decided.
    pub(super) async fn beyond_latest(
        &self,
        rule: Option<&Rule>,
        image: &ImageRef,
        source: &Registry,
    ) -> Result<Option<AttemptResult>> {
        let (Some(rule), Target::Tag(tag)) = (rule, &image.target) else {
            return Ok(None);
        };
        if rule.source.latest.is_none() || self.task.is_attachment || rule.source.registry != image.registry {
            return Ok(None);
        }
        let tags = source
            .repository(image.repository.clone())
            .list_tags(None, TAG_PAGES_MAX)
            .await?;
        let mut tags: Vec<Tag> = tags.ok_or_else(|| {
            let sentence =
                "the rule selects the latest tags, but the registry does not list its tags, or there are too many";
            Error::new(
                Code::LatestUndecidable,
                Verb::TagsList.on(image.repository.as_str()),
                sentence,
            )
        })?;
        // A tag may be listed later than it is pushed.
        if !tags.contains(tag) {
            tags.push(tag.clone());
        }
        if rule.source.select(&tags)?.contains(&tag) {
            return Ok(None);
        }
        let code = Code::TagNotLatest;
        let outcome = self.jobs.outcome(
            TaskState::Skipped,
            None,
            Some(code.as_str()),
            Some(code.meaning().to_owned()),
        );
        Ok(Some(AttemptResult::Ended(outcome, Vec::new())))
    }
}
