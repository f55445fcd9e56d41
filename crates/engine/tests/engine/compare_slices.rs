//! Comparisons in slices: the same result as in one piece, also if something happens between two slices or in one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use jiff::Timestamp;
use transship_copy::{Clock as _, TimeBudget};
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::Action;
use transship_engine::failover::{CompareLeg, Compared, FACTS_AGE_MAX, SiteFacts, Slice, Standby, facts_of, leg_of};
use transship_engine::ledger::{ABANDONED_AFTER, Comparison, Difference, Found, Ledger, Leg, Unfinished, Whole};
use transship_engine::{Finding, ImageRef, Replica};
use transship_oci::{Code, Target};
use transship_registry::Registry;
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images;
use transship_testkit::memory::MemoryLedger;

use crate::facts::closed;
use crate::fixture::{Fixture, name, tag};

const MINUTE: Duration = Duration::from_mins(1);
/// More slices than any comparison here takes.
const SLICES_MAX: usize = 500;

/// Something that compares one rule in slices.
struct Bench<'a> {
    fixture: &'a Fixture,
    ledger: Ledger,
    looks_max: usize,
}

impl<'a> Bench<'a> {
    fn new(fixture: &'a Fixture, looks_max: usize) -> Self {
        Self {
            fixture,
            ledger: Ledger::new(&fixture.ledger),
            looks_max,
        }
    }

    fn leg(&self) -> Leg {
        leg_of(
            self.fixture
                .configuration
                .current()
                .document
                .rule("core-images")
                .unwrap(),
        )
    }

    fn now(&self) -> Timestamp {
        self.fixture.clock.now().try_into().unwrap()
    }

    async fn slice(&self) -> Compared {
        self.slice_of("", None, None).await
    }

    async fn slice_of(&self, basis: &str, source: Option<Registry>, budget: Option<TimeBudget>) -> Compared {
        let snapshot = self.fixture.configuration.current();
        let compare = CompareLeg {
            rule: snapshot.document.rule("core-images").unwrap(),
            is_reversed: false,
            basis: basis.to_owned(),
            not_before: None,
            source: source.unwrap_or_else(|| snapshot.registry("a").unwrap()),
            destination: snapshot.registry("b").unwrap(),
            ledger: &self.ledger,
            clock: Arc::new(self.fixture.clock.clone()),
            worker: "worker-1",
            slice: Slice {
                looks_max: self.looks_max,
                ..Slice::within(budget)
            },
        };
        compare.run().await.unwrap()
    }

    /// Slices until the comparison ends, and how many there were.
    async fn rest(&self) -> (Comparison, usize) {
        for number in 1..SLICES_MAX {
            match self.slice().await {
                Compared::Ended(known) => return (*known, number),
                Compared::GoesOn(_) => {}
                Compared::Busy => panic!("nobody else compares"),
            }
        }
        panic!("the comparison does not end");
    }

    async fn unfinished(&self) -> Option<Unfinished> {
        self.ledger.comparisons.unfinished(&self.leg()).await.unwrap()
    }

    async fn whole(&self) -> Option<Whole> {
        let known = self.ledger.comparisons.get(&self.leg()).await.unwrap();
        known.and_then(|known| known.whole)
    }

    /// What the last whole comparison says, without its times.
    async fn result(&self) -> (Whole, Vec<Difference>, BTreeSet<u64>) {
        let comparisons = &self.ledger.comparisons;
        let whole = self.whole().await.unwrap();
        let mut differences = comparisons.all_differences(&self.leg(), &whole).await.unwrap();
        for one in &mut differences {
            one.since = Timestamp::UNIX_EPOCH;
        }
        let verified = comparisons.verified(&self.leg()).await.unwrap().unwrap();
        let whole = Whole {
            began: Timestamp::UNIX_EPOCH,
            ended: Timestamp::UNIX_EPOCH,
            verified_since: Timestamp::UNIX_EPOCH,
            oldest_unreplicated: whole.oldest_unreplicated.map(|_| Timestamp::UNIX_EPOCH),
            generation: String::new(),
            ..whole
        };
        (whole, differences, verified.hashes)
    }

    async fn facts(&self) -> SiteFacts {
        let snapshot = self.fixture.configuration.current();
        let standby = Standby {
            writer: "a",
            since: None,
            site: "b",
            rpo: 15 * MINUTE,
        };
        facts_of(&self.ledger, &snapshot.document.rules, standby, self.now())
            .await
            .unwrap()
    }
}

/// `count` images at both sites, each in a repository of its own.
async fn equal(count: u64) -> Fixture {
    let fixture = Fixture::new().await;
    for number in 0..count {
        both(&fixture, &format!("app-{number:03}"), "v1", number);
    }
    fixture
}

fn at_source(fixture: &Fixture, repository: &str, tag_name: &str, seed: u64) {
    let image = images::image(seed, &[20]);
    image.seed_into(&fixture.a, &name(&format!("core/{repository}")), &tag(tag_name));
}

fn at_destination(fixture: &Fixture, repository: &str, tag_name: &str, seed: u64) {
    let image = images::image(seed, &[20]);
    image.seed_into(&fixture.b, &name(&format!("copy/{repository}")), &tag(tag_name));
}

fn both(fixture: &Fixture, repository: &str, tag_name: &str, seed: u64) {
    at_source(fixture, repository, tag_name, seed);
    at_destination(fixture, repository, tag_name, seed);
}

/// What the worker of the rule notes when it writes a tag.
async fn note_copy(fixture: &Fixture, repository: &str, tag_name: &str, seed: u64) {
    let at = |registry: &str, namespace: &str| ImageRef {
        registry: registry.to_owned(),
        repository: name(&format!("{namespace}/{repository}")),
        target: Target::Tag(tag(tag_name)),
    };
    let now = fixture.clock.now().try_into().unwrap();
    let replica = Replica {
        destination: at("b", "copy"),
        source: Some(at("a", "core")),
        digest: images::image(seed, &[20]).root,
        earlier: Vec::new(),
        manifests: Vec::new(),
        selected: None,
        rule: "core-images".to_owned(),
        written: now,
        accepted: now,
    };
    let ledger = Ledger::new(&fixture.ledger);
    ledger.replicas.settle(&[replica], "test", now).await.unwrap();
}

/// A splitmix sequence.
struct Seed(u64);

impl Seed {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit
    }
}

/// Repositories and tags that are equal, missing, different, extra, or lack a blob.
fn fill(fixture: &Fixture, seed: &mut Seed) {
    for repository in 0..=seed.below(6) {
        let repository = format!("app-{repository}");
        for number in 0..seed.below(7) {
            let (tag_name, image) = (format!("v{number}"), seed.below(30));
            match seed.below(6) {
                0 => at_source(fixture, &repository, &tag_name, image),
                1 => at_destination(fixture, &repository, &tag_name, image),
                2 => {
                    at_source(fixture, &repository, &tag_name, image);
                    at_destination(fixture, &repository, &tag_name, image + 100);
                }
                3 => {
                    let sample = images::image(200 + seed.below(1000), &[20]);
                    let (from, to) = (name(&format!("core/{repository}")), name(&format!("copy/{repository}")));
                    sample.seed_into(&fixture.a, &from, &tag(&tag_name));
                    for manifest in &sample.manifests {
                        fixture
                            .b
                            .seed_manifest(&to, &manifest.media_type, manifest.bytes.clone());
                    }
                    fixture.b.tag(&to, &tag(&tag_name), &sample.root);
                }
                _ => both(fixture, &repository, &tag_name, image),
            }
        }
    }
    for number in 0..seed.below(3) {
        at_destination(fixture, &format!("only-{number}"), "v1", seed.below(30));
    }
}

/// One seed: the sizes of the slices differ, and some workers die in the middle of one. How many did.
async fn one_seed(number: u64) -> u64 {
    let mut died = 0;
    let mut seed = Seed(number);
    let fixture = Fixture::new().await;
    fill(&fixture, &mut seed);
    let whole = Bench::new(&fixture, 1000);
    whole.slice().await;
    let wanted = whole.result().await;

    let mut sliced = Bench {
        fixture: &fixture,
        ledger: Ledger::new(&Arc::new(MemoryLedger::default())),
        looks_max: 0,
    };
    for _ in 0..SLICES_MAX {
        sliced.looks_max = 2 + usize::try_from(seed.below(8)).unwrap();
        let end = Instant::now() + MINUTE;
        let mut slice = Box::pin(sliced.slice_of("", None, Some(TimeBudget::until(end, MINUTE))));
        if seed.below(3) == 0 {
            let mut polls = seed.below(40);
            let dying = std::future::poll_fn(|context| {
                polls = polls.saturating_sub(1);
                match slice.poll_unpin(context) {
                    std::task::Poll::Ready(compared) => std::task::Poll::Ready(Some(compared)),
                    std::task::Poll::Pending if polls == 0 => std::task::Poll::Ready(None),
                    std::task::Poll::Pending => std::task::Poll::Pending,
                }
            });
            if dying.await.is_none() {
                drop(slice);
                died += 1;
                // Its lease ends.
                fixture.clock.advance(MINUTE);
                continue;
            }
            if sliced.unfinished().await.is_none() {
                break;
            }
            continue;
        }
        if let Compared::Ended(_) = slice.await {
            break;
        }
    }
    assert_eq!(sliced.result().await, wanted, "seed {number}");
    assert_eq!(sliced.unfinished().await, None, "seed {number}");
    died
}

#[tokio::test]
async fn a_comparison_in_slices_finds_what_one_in_one_piece_finds() {
    let mut died = 0;
    for number in 0..40 {
        died += one_seed(number).await;
    }
    assert!(died > 0, "no worker died");
}

#[tokio::test]
async fn the_last_whole_comparison_stays_until_the_new_one_is_whole() {
    let fixture = equal(5).await;
    let bench = Bench::new(&fixture, 4);
    let (first, slices) = bench.rest().await;
    assert!(slices >= 3, "{slices}");
    assert_eq!(first.whole.unwrap().images, 5);
    at_source(&fixture, "app-000", "v2", 7);
    fixture.clock.advance(MINUTE);
    let began = bench.now();
    let mut is_over = false;
    for _ in 0..SLICES_MAX {
        is_over = matches!(bench.slice().await, Compared::Ended(_));
        if is_over {
            break;
        }
        let whole = bench.whole().await.unwrap();
        assert_eq!((whole.images, whole.missing), (5, 0));
        fixture.clock.advance(MINUTE);
    }
    let whole = bench.whole().await.unwrap();
    assert_eq!((whole.images, whole.missing, whole.began), (6, 1, began));
    assert!(is_over);
    // What was verified before is not verified again.
    let blobs = |registry: &EmbeddedRegistry| {
        let requests = registry.requests();
        requests.iter().filter(|one| one.path.contains("/blobs/")).count()
    };
    let before = blobs(&fixture.b);
    bench.rest().await;
    assert_eq!(blobs(&fixture.b), before);
}

/// The worker dies before it writes how far it got, or after that, before its message is removed.
#[tokio::test]
async fn a_message_that_comes_again_counts_nothing_twice() {
    let fixture = equal(6).await;
    let bench = Bench::new(&fixture, 4);
    bench.slice().await;
    let before = bench.unfinished().await.unwrap();
    fixture.ledger.fail(|call, _| call == "comparing_put_if");
    let snapshot = fixture.configuration.current();
    let compare = CompareLeg {
        rule: snapshot.document.rule("core-images").unwrap(),
        is_reversed: false,
        basis: String::new(),
        not_before: None,
        source: snapshot.registry("a").unwrap(),
        destination: snapshot.registry("b").unwrap(),
        ledger: &bench.ledger,
        clock: Arc::new(fixture.clock.clone()),
        worker: "worker-1",
        slice: Slice {
            looks_max: 4,
            ..Slice::within(None)
        },
    };
    assert!(compare.run().await.is_err());
    fixture.ledger.heal();
    assert_eq!(bench.unfinished().await, Some(before.clone()));
    // Received again, and again after it was worked on.
    bench.slice().await;
    let after = bench.unfinished().await.unwrap();
    assert_eq!(after.began, before.began);
    assert!(after.images > before.images);
    let (known, _) = bench.rest().await;
    let whole = known.whole.unwrap();
    assert_eq!((whole.images, whole.replicated, whole.verified), (6, 6, 6));
}

/// The lease of a slow worker ends, and another one goes on from the same place.
#[tokio::test]
async fn of_two_workers_at_once_one_is_refused() {
    let fixture = equal(6).await;
    let bench = Bench::new(&fixture, 4);
    bench.slice().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let entered = Arc::new(tokio::sync::Notify::new());
    let released = Arc::new(tokio::sync::Notify::new());
    {
        let (calls, entered, released) = (Arc::clone(&calls), Arc::clone(&entered), Arc::clone(&released));
        fixture.ledger.before(move |call, _| {
            let is_first = call == "comparing_put_if" && calls.fetch_add(1, Ordering::Relaxed) == 0;
            let (entered, released) = (Arc::clone(&entered), Arc::clone(&released));
            Box::pin(async move {
                if is_first {
                    entered.notify_one();
                    released.notified().await;
                }
                Ok(())
            })
        });
    }
    let slow = bench.slice();
    let quick = async {
        entered.notified().await;
        assert_eq!(bench.slice().await, Compared::Busy, "the lease is held");
        fixture.clock.advance(16 * MINUTE);
        let compared = bench.slice().await;
        released.notify_one();
        compared
    };
    let (slow, quick) = tokio::join!(slow, quick);
    assert_eq!(slow, Compared::Busy, "what it found is not counted");
    assert!(matches!(quick, Compared::GoesOn(_)), "{quick:?}");
    let (known, _) = bench.rest().await;
    let whole = known.whole.unwrap();
    assert_eq!((whole.images, whole.replicated, whole.verified), (6, 6, 6));
}

#[tokio::test]
async fn a_comparison_of_other_settings_or_of_long_ago_begins_again() {
    let fixture = equal(6).await;
    let bench = Bench::new(&fixture, 4);
    bench.slice_of("rule 1", None, None).await;
    let first = bench.unfinished().await.unwrap();
    assert!(first.images > 0);
    fixture.clock.advance(MINUTE);
    bench.slice_of("rule 2", None, None).await;
    let second = bench.unfinished().await.unwrap();
    assert_eq!((second.began, second.images), (bench.now(), first.images));
    assert_eq!(
        bench.ledger.comparisons.found(&first).await.unwrap(),
        None,
        "its parts are removed"
    );

    fixture.clock.advance(ABANDONED_AFTER.checked_sub(MINUTE).unwrap());
    bench.slice_of("rule 2", None, None).await;
    assert_eq!(bench.unfinished().await.unwrap().began, second.began);
    fixture.clock.advance(ABANDONED_AFTER);
    bench.slice_of("rule 2", None, None).await;
    assert_eq!(bench.unfinished().await.unwrap().began, bench.now());
}

#[tokio::test]
async fn a_site_that_does_not_answer_is_noted_at_once_and_the_comparison_goes_on_later() {
    let fixture = equal(6).await;
    let bench = Bench::new(&fixture, 4);
    bench.rest().await;
    fixture.clock.advance(MINUTE);
    let began = bench.now();
    bench.slice().await;
    let images = bench.unfinished().await.unwrap().images;
    assert!(images > 0);

    // Before a slice.
    fixture.clock.advance(MINUTE);
    let Compared::Ended(down) = bench.slice_of("", Some(closed()), None).await else {
        panic!("it does not go on by itself");
    };
    assert_eq!(down.failure.unwrap().code, "CONNECT_FAILED");
    assert_eq!(down.unreachable_since, Some(bench.now()));
    assert!(down.whole.is_some());
    assert_eq!(bench.unfinished().await.unwrap().images, images);

    // In a slice: first the destination, then the source.
    let reset = |path: &str| {
        let fault = Fault::new("*", path, Action::Reset).unwrap();
        Some(Arc::new(Script::new([fault.always()])) as _)
    };
    fixture.b.set_faults(reset(".*"));
    let Compared::Ended(down) = bench.slice().await else {
        panic!("it does not go on by itself");
    };
    let code = down.failure.unwrap().code;
    assert!(
        ["CONNECTION_BROKEN", "CONNECT_FAILED"].contains(&code.as_str()),
        "{code}"
    );
    assert_eq!(down.unreachable_since, None, "the source answers");
    fixture.b.set_faults(None);

    let (known, _) = bench.rest().await;
    let whole = known.whole.unwrap();
    assert_eq!((whole.images, whole.verified, whole.began), (6, 6, began));
    assert_eq!((known.failure, known.unreachable_since), (None, None));
}

#[tokio::test]
async fn what_cannot_be_read_is_reported_at_once_and_the_rest_is_compared() {
    let fixture = equal(6).await;
    let bench = Bench::new(&fixture, 4);
    bench.rest().await;
    fixture.clock.advance(MINUTE);
    let refuse = Fault::new("*", "core/app-001/manifests", Action::status(403)).unwrap();
    fixture.a.set_faults(Some(Arc::new(Script::new([refuse.always()]))));
    let mut is_over = false;
    for _ in 0..SLICES_MAX {
        let compared = bench.slice().await;
        let known = bench.ledger.comparisons.get(&bench.leg()).await.unwrap().unwrap();
        assert_eq!(known.whole.as_ref().unwrap().images, 6);
        if bench.unfinished().await.is_some_and(|one| one.failure.is_some()) {
            assert!(known.failure.is_some());
        }
        if let Compared::Ended(known) = compared {
            assert!(known.failure.is_some());
            assert_eq!(known.tried, bench.now());
            is_over = true;
            break;
        }
        fixture.clock.advance(MINUTE);
    }
    assert!(is_over);
    let summary = bench.ledger.verifications.get("core-images").await.unwrap().unwrap();
    assert_eq!((summary.equal, summary.unknown), (5, 1));
}

#[tokio::test]
async fn what_is_pushed_arrives_or_is_deleted_between_slices_is_judged_by_what_is_there() {
    let fixture = equal(6).await;
    at_source(&fixture, "app-000", "late", 50);
    at_source(&fixture, "app-001", "never", 51);
    let bench = Bench::new(&fixture, 4);
    bench.slice().await;
    bench.slice().await;
    let unfinished = bench.unfinished().await.unwrap();
    let found = bench.ledger.comparisons.found(&unfinished).await.unwrap().unwrap();
    let missing: Vec<&str> = found.differences.iter().map(|(_, one)| one.tag.as_str()).collect();
    assert_eq!(missing, ["late", "never"]);

    fixture.clock.advance(MINUTE);
    // It arrives.
    at_destination(&fixture, "app-000", "late", 50);
    note_copy(&fixture, "app-000", "late", 50).await;
    // The ledger announces it, and it did not arrive.
    note_copy(&fixture, "app-001", "never", 51).await;
    // It is pushed where the comparison was already, and copied.
    both(&fixture, "app-000", "new", 52);
    note_copy(&fixture, "app-000", "new", 52).await;
    // It is pushed to the standby itself.
    at_destination(&fixture, "app-000", "own", 53);
    // It is deleted before the comparison comes there, at the source alone.
    assert!(fixture.a.untag(&name("core/app-005"), &tag("v1")));
    let (known, _) = bench.rest().await;
    let whole = known.whole.unwrap();
    let differences = bench
        .ledger
        .comparisons
        .all_differences(&bench.leg(), &whole)
        .await
        .unwrap();
    let mut named: Vec<_> = differences
        .iter()
        .map(|one| (one.repository.as_str(), one.tag.as_str(), one.state))
        .collect();
    named.sort_unstable_by_key(|one| one.1);
    assert_eq!(
        named,
        [
            ("copy/app-001", "never", Finding::Missing),
            ("copy/app-000", "own", Finding::Extra),
            ("copy/app-005", "v1", Finding::Extra),
        ]
    );
    assert_eq!((whole.images, whole.replicated), (7, 6));
}

/// The tag moves at the source, and the ledger has a later time for the copy of the image before: another worker's clock is ahead, or
/// a walk adopted what it saw before the push.
#[tokio::test]
async fn an_older_image_that_is_noted_later_is_not_the_one_that_was_pushed() {
    let fixture = equal(6).await;
    at_source(&fixture, "app-000", "gone", 60);
    at_source(&fixture, "app-000", "moved", 61);
    at_destination(&fixture, "app-000", "moved", 62);
    at_source(&fixture, "app-000", "arrives", 63);
    at_destination(&fixture, "app-000", "arrives", 64);
    let bench = Bench::new(&fixture, 4);
    bench.slice().await;
    bench.slice().await;
    fixture.clock.advance(MINUTE);
    // What was pushed before `gone` arrives.
    at_destination(&fixture, "app-000", "gone", 59);
    note_copy(&fixture, "app-000", "gone", 59).await;
    note_copy(&fixture, "app-000", "moved", 62).await;
    at_destination(&fixture, "app-000", "arrives", 63);
    note_copy(&fixture, "app-000", "arrives", 63).await;
    let (known, _) = bench.rest().await;
    let whole = known.whole.unwrap();
    let comparisons = &bench.ledger.comparisons;
    let differences = comparisons.all_differences(&bench.leg(), &whole).await.unwrap();
    let mut named: Vec<&str> = differences.iter().map(|one| one.tag.as_str()).collect();
    named.sort_unstable();
    assert_eq!(named, ["gone", "moved"]);
    assert_eq!((whole.images, whole.replicated), (9, 7));
}

/// The end of a comparison asks for what arrived meanwhile: side by side, and in half of its time, because it writes what it found
/// after that.
#[tokio::test]
async fn an_image_that_is_not_answered_for_does_not_hold_up_the_end() {
    let fixture = equal(3).await;
    for number in 0..40 {
        at_source(&fixture, "app-000", &format!("late-{number:02}"), 100 + number);
    }
    let bench = Bench::new(&fixture, 24);
    while bench.unfinished().await.is_none_or(|one| one.images < 43) {
        assert!(matches!(bench.slice().await, Compared::GoesOn(_)));
    }
    fixture.clock.advance(MINUTE);
    for number in 0..40 {
        let tag_name = format!("late-{number:02}");
        at_destination(&fixture, "app-000", &tag_name, 100 + number);
        note_copy(&fixture, "app-000", &tag_name, 100 + number).await;
    }
    let hang = Fault::new("HEAD", "manifests/late-00", Action::Delay { delay_ms: 3_600_000 }).unwrap();
    let hanging = Arc::new(Script::new([hang.always()]));
    fixture.b.set_faults(Some(Arc::clone(&hanging) as _));
    // As a slice leaves it that has no time for the end.
    let mut left = bench.unfinished().await.unwrap();
    let mut place = serde_json::to_value(&left.place).unwrap();
    place["part"] = "over".into();
    left.place = serde_json::from_value(place).unwrap();
    assert!(
        bench
            .ledger
            .comparisons
            .keep(&mut left, Found::default())
            .await
            .unwrap()
    );
    let length = Duration::from_secs(10);
    let budget = TimeBudget::until(Instant::now() + length, length);
    let ended = bench.slice_of("", None, Some(budget)).await;
    assert!(matches!(ended, Compared::Ended(_)), "{ended:?}");
    assert!(!budget.left().is_zero(), "nothing is left for what is written");
    assert!(hanging.struck() > 0);
    let whole = bench.whole().await.unwrap();
    assert_eq!((whole.images, whole.missing, whole.replicated), (43, 1, 42));
}

/// It takes longer than facts count: it goes on to its end, and the check says how far it is.
#[tokio::test]
async fn a_comparison_that_takes_longer_than_facts_count_comes_to_its_end() {
    let fixture = equal(8).await;
    let bench = Bench::new(&fixture, 4);
    let began = bench.now();
    let mut told = BTreeSet::new();
    for _ in 0..SLICES_MAX {
        let Compared::GoesOn(_) = bench.slice().await else {
            break;
        };
        let facts = bench.facts().await;
        let comparing = facts.comparing.unwrap();
        assert_eq!((comparing.began, comparing.advanced), (began, bench.now()));
        told.insert(comparing.images);
        let [reason] = facts.reasons.as_slice() else {
            panic!("{:?}", facts.reasons)
        };
        assert_eq!(reason.code, Code::FailoverFactsUnknown.as_str());
        let wanted = format!("has compared {} images so far", comparing.images);
        assert!(reason.text.contains(&wanted), "{reason:?}");
        fixture.clock.advance(25 * MINUTE);
    }
    assert!(told.len() > 2, "{told:?}");
    assert!(bench.now().duration_since(began) > FACTS_AGE_MAX.try_into().unwrap());
    let facts = bench.facts().await;
    assert_eq!((facts.comparing, facts.compared, facts.images), (None, Some(began), 8));
    let [reason] = facts.reasons.as_slice() else {
        panic!("{:?}", facts.reasons)
    };
    assert!(
        reason.text.contains("minutes ago"),
        "what was pushed since it began is not known"
    );
}

/// A place that takes longer than a slice each time.
#[tokio::test]
async fn a_comparison_that_gets_no_further_ends() {
    let fixture = equal(2).await;
    let bench = Bench::new(&fixture, 1);
    for _ in 0..20 {
        if let Compared::Ended(known) = bench.slice().await {
            let failure = known.failure.unwrap();
            assert_eq!(failure.code, "COMPARISON_FAILED");
            assert!(failure.text.contains("got no further"), "{failure:?}");
            assert_eq!(bench.unfinished().await, None);
            return;
        }
    }
    panic!("it does not end");
}
