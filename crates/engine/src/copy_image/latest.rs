//! A task of a rule that selects the latest tags: whether its tag is one of them is decided when the task runs, by the tags that
//! the repository has then.

use transship_oci::{Code, Result, Target};
use transship_registry::Registry;
use transship_rules::Rule;

use super::CopyImage;
use super::outcome::AttemptResult;
use crate::latest::latest_tags;
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
        if self.task.is_attachment || rule.source.registry != image.registry {
            return Ok(None);
        }
        let repository = source.repository(image.repository.clone());
        let latest = latest_tags(&rule.source, &repository, Some(tag)).await?;
        if latest.is_none_or(|latest| latest.has(tag)) {
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
