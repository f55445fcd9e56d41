//! One tag that many clients push at once, with notifications to many workers in any order: the newest image wins.

use transship_tests::aws_faults::Rates;
use transship_tests::fleet::{Deliveries, Options};
use transship_tests::{DockerRegistry, Image, Watch, check};

use crate::stage::{Stage, TIMEOUT, alone, seed};

const HANDS: usize = 4;
const PUSHES: usize = 40;

#[test]
fn forty_overlapping_pushes_of_one_tag_end_newest() {
    if DockerRegistry::skipped() {
        return;
    }
    let _alone = alone();
    eprintln!("replay with TRANSSHIP_SEED={}", seed());
    let stage = Stage::set(Options {
        workers: 4,
        deliveries: Deliveries {
            copies_max: 3,
            batch_max: 3,
            ..Deliveries::default()
        },
        aws: Rates {
            throttled: 5,
            lost: 1,
            partial: 20,
        },
        ..Options::calm(seed())
    });
    let (source, destination) = (stage.source.host(), stage.destination.unlocked_host());
    let watch = Watch::start(&destination);
    let images: Vec<_> = (0..PUSHES as u64)
        .map(|number| Image::single(number, &[200_000, 10]))
        .collect();
    for image in &images {
        image.push_parts(&source, "core/app");
    }
    std::thread::scope(|scope| {
        for hand in images.chunks(PUSHES / HANDS) {
            let source = &source;
            scope.spawn(move || hand.iter().for_each(|image| image.push_root(source, "core/app", "v1")));
        }
    });
    stage.until_told(PUSHES);
    stage.fleet.until_at_rest(TIMEOUT);
    let newest = check::digest(&source, "core/app", "v1").unwrap();
    assert_eq!(check::digest(&destination, "copy/app", "v1").unwrap(), newest);
    stage.assert_equal("app", "v1");
    let history = watch.history("copy/app", "v1");
    let times = history.iter().filter(|digest| Some(*digest) == newest.as_ref()).count();
    assert!(times <= 1, "it was the newest, and then another one: {history:?}");
    watch.assert_nothing_was_half_there();
    stage.assert_clean();
}
