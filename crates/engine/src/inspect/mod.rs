//! What commands find out about the images of a rule without writing anything: a plan, and a verification.

mod parts;
mod plan;
mod verify;

use std::time::Duration;

use transship_oci::Result;
use transship_registry::Registry;
use transship_rules::Rule;

pub use self::parts::Depth;
pub use self::plan::{PlanRule, Planned};
pub use self::verify::{Checked, CheckedImage, Finding, ImageEnds, SeenNames, VerifyPlace, VerifyRule, check_image};
pub(crate) use self::verify::{Slot, Step, TWICE, VerifyPart, within};
use crate::walk::{Comparer, End, Narrow, Patience, STEP_TAGS_MAX, Visitor, Walk};
use transship_oci::Backoff;

/// What cannot be read is reported at once: the registry client has already repeated its requests.
const PATIENCE: Patience = Patience {
    waits_max: 0,
    backoff: Backoff::doubling(Duration::from_secs(1), Duration::from_secs(30)),
};
/// How often a command waits as long as a registry asked for.
const ASKED_WAITS_MAX: u32 = 10;
/// The longest of these waits.
pub(crate) const ASKED_WAIT_MAX: Duration = Duration::from_mins(2);

/// Walks all tags of `rule`, or of a part of it.
async fn walk_whole<C, V>(rule: &Rule, source: &Registry, narrow: Narrow, comparer: &C, visitor: &mut V) -> Result<()>
where
    C: Comparer,
    V: Visitor<Found = C::Found, Listed = C::Listed>,
{
    let mut walk = Walk {
        rule,
        source: source.clone(),
        expected: Vec::new(),
        narrow,
        patience: PATIENCE,
        cursor: crate::Cursor::default(),
        stuck: 0,
        looks_left: STEP_TAGS_MAX,
    };
    let mut waits = 0;
    loop {
        walk.looks_left = STEP_TAGS_MAX;
        let error = match walk.run(comparer, visitor).await {
            Ok(End::Whole) => return Ok(()),
            Ok(End::Enough) => continue,
            Err(error) => error,
        };
        let asked = error.persistence().retry_after().filter(|_| waits < ASKED_WAITS_MAX);
        let Some(asked) = asked else {
            visitor.pass_over(None, None, &error);
            return Ok(());
        };
        waits += 1;
        tokio::time::sleep(asked.min(ASKED_WAIT_MAX)).await;
    }
}
