//! The harness itself: what cannot come to rest fails a test at once, with its cause.

use transship_tests::fleet::Options;
use transship_tests::{Document, Fleet};

use crate::stage::{TIMEOUT, alone, seed};

#[test]
#[should_panic(expected = "dead letter: a message that no worker could process")]
fn a_dead_letter_ends_the_wait() {
    let _alone = alone();
    let mut fleet = Fleet::prepare(Options::calm(seed()));
    fleet.begin(&Document::default());
    fleet.bury("a message that no worker could process");
    fleet.until_at_rest(TIMEOUT);
}
