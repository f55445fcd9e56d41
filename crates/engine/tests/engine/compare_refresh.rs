//! Which comparisons of a group go on, and with what: messages, timers and commands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use transship_copy::{NoProgress, TimeBudget};
use transship_embedded_registry::faults::Action;
use transship_engine::failover::{Compared, Due, Refresh, Slice};
use transship_engine::ledger::{Found, Leg, Unfinished, Whole};
use transship_engine::{CompareSites, Envelope, Jobs, Next, RetryPolicy, SourceCache};
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images;
use transship_testkit::memory::MemoryQueue;

use crate::failover_stage::Stage;

const MINUTE: Duration = Duration::from_mins(1);
/// The interval at which the sites of the stage are compared.
const INTERVAL: Duration = Duration::from_secs(450);

/// A group whose comparison takes several slices of two tags.
async fn filled() -> Stage {
    let stage = Stage::ready().await;
    for repository in ["core/app", "core/other"] {
        for number in 2..6 {
            let (sample, tag) = (images::image(number, &[100]), format!("v{number}"));
            stage.a.put(repository, &tag, &sample);
            stage.b.put(repository, &tag, &sample);
        }
    }
    stage.clock.advance(2 * INTERVAL);
    stage
}

fn leg(rule: &str, from: &str, to: &str) -> Leg {
    Leg {
        rule: rule.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
    }
}

fn small(budget: Option<TimeBudget>) -> Slice {
    Slice {
        looks_max: 3,
        ..Slice::within(budget)
    }
}

async fn slice(stage: &Stage, due: Due) -> Compared {
    let snapshot = stage.configuration.current();
    let refresh = Refresh {
        slice: small(None),
        ..stage.refresh(&snapshot)
    };
    refresh.run(&stage.group(), due).await.unwrap().remove(0).1
}

/// Slices until the comparison ends.
async fn to_end(stage: &Stage, older_than: Duration) {
    for _ in 0..50 {
        if let Compared::Ended(_) = slice(stage, Due::GoingOn(older_than)).await {
            return;
        }
    }
    panic!("the comparison does not end");
}

async fn run_all(stage: &Stage, due: Due, budget: Option<TimeBudget>) -> bool {
    let snapshot = stage.configuration.current();
    let refresh = Refresh {
        slice: small(budget),
        ..stage.refresh(&snapshot)
    };
    refresh.run_all(&stage.group(), due).await.unwrap()
}

async fn unfinished(stage: &Stage) -> Vec<Unfinished> {
    stage.ledger.comparisons.all_unfinished().await.unwrap()
}

async fn whole(stage: &Stage) -> Whole {
    let known = stage.ledger.comparisons.get(&leg("core", "a", "b")).await.unwrap();
    known.unwrap().whole.unwrap()
}

#[tokio::test]
async fn the_timer_leaves_a_comparison_to_its_messages_until_they_are_lost() {
    let stage = filled().await;
    assert!(matches!(
        slice(&stage, Due::OlderThan(INTERVAL)).await,
        Compared::GoesOn(_)
    ));
    let [begun] = unfinished(&stage).await.try_into().unwrap();
    assert_eq!(slice(&stage, Due::OlderThan(INTERVAL)).await, Compared::Busy);
    // Its own messages go on.
    assert!(matches!(
        slice(&stage, Due::GoingOn(INTERVAL)).await,
        Compared::GoesOn(_)
    ));
    let [second] = unfinished(&stage).await.try_into().unwrap();
    assert!(second.began == begun.began && second.images > begun.images);
    // The message after it is lost.
    stage.clock.advance(2 * MINUTE);
    assert!(matches!(
        slice(&stage, Due::OlderThan(INTERVAL)).await,
        Compared::GoesOn(_)
    ));
    let [third] = unfinished(&stage).await.try_into().unwrap();
    assert!(third.began == begun.began && third.images > second.images);
    to_end(&stage, INTERVAL).await;
    let whole = whole(&stage).await;
    assert_eq!((whole.began, whole.images, whole.verified), (begun.began, 9, 9));
    // A message that comes late begins nothing.
    let again = slice(&stage, Due::GoingOn(INTERVAL)).await;
    assert!(matches!(again, Compared::Ended(known) if known.whole.as_ref() == Some(&whole)));
}

/// Otherwise the facts of the last comparison are too old before the next one ends.
#[tokio::test]
async fn the_interval_counts_from_the_beginning_of_a_comparison_that_takes_long() {
    let (stage, interval) = (filled().await, 25 * MINUTE);
    stage.clock.advance(interval);
    let began = stage.now();
    for _ in 0..50 {
        let compared = slice(&stage, Due::GoingOn(interval)).await;
        if let Compared::Ended(_) = compared {
            break;
        }
        stage.clock.advance(7 * MINUTE);
    }
    let first = whole(&stage).await;
    assert_eq!((first.began, first.ended), (began, stage.now()));
    assert!(stage.now().duration_since(began) > (20 * MINUTE).try_into().unwrap());
    let again = slice(&stage, Due::OlderThan(interval)).await;
    assert!(matches!(again, Compared::Ended(_)), "the sites have a pause: {again:?}");
    stage.clock.advance(5 * MINUTE);
    let again = slice(&stage, Due::OlderThan(interval)).await;
    assert!(matches!(again, Compared::GoesOn(_)), "{again:?}");
}

/// A worker and a command of different releases, or with different documents.
#[tokio::test]
async fn two_that_compare_with_different_settings_do_not_replace_each_other() {
    let stage = filled().await;
    slice(&stage, Due::GoingOn(INTERVAL)).await;
    let [mut other] = unfinished(&stage).await.try_into().unwrap();
    "of another release".clone_into(&mut other.basis);
    assert!(
        stage
            .ledger
            .comparisons
            .keep(&mut other, Found::default())
            .await
            .unwrap()
    );
    stage.clock.advance(MINUTE);
    let since = other.began;
    for due in [Due::OlderThan(INTERVAL), Due::GoingOn(INTERVAL), Due::Since(since)] {
        assert_eq!(slice(&stage, due).await, Compared::Busy, "{due:?}");
    }
    assert_eq!(unfinished(&stage).await, [other]);
    // It is left.
    stage.clock.advance(MINUTE);
    slice(&stage, Due::GoingOn(INTERVAL)).await;
    let [own] = unfinished(&stage).await.try_into().unwrap();
    assert_eq!(own.began, stage.now());
    // A command that must compare from now on does not wait for one that began before.
    let mut other = own;
    "of another release".clone_into(&mut other.basis);
    assert!(
        stage
            .ledger
            .comparisons
            .keep(&mut other, Found::default())
            .await
            .unwrap()
    );
    stage.clock.advance(Duration::from_secs(1));
    slice(&stage, Due::Since(stage.now())).await;
    let [own] = unfinished(&stage).await.try_into().unwrap();
    assert_eq!(own.began, stage.now());
}

/// The message of a comparison that waits as long as a site asked for is not lost.
#[tokio::test]
async fn the_timer_leaves_a_comparison_to_its_message_while_a_site_asks_for_a_pause() {
    let stage = filled().await;
    let refuse = Fault::new("*", "core/other/manifests", Action::too_many_requests(600)).unwrap();
    let busy = Arc::new(Script::new([refuse.always()]));
    stage.a.registry.set_faults(Some(Arc::clone(&busy) as _));
    let mut asked = Duration::ZERO;
    for _ in 0..50 {
        let Compared::GoesOn(wait) = slice(&stage, Due::GoingOn(INTERVAL)).await else {
            panic!("it waits");
        };
        if !wait.is_zero() {
            asked = wait;
            break;
        }
    }
    assert!(busy.struck() > 0 && asked > 9 * MINUTE, "{asked:?}");
    let before = unfinished(&stage).await;
    stage.clock.advance(8 * MINUTE);
    assert_eq!(slice(&stage, Due::OlderThan(INTERVAL)).await, Compared::Busy);
    assert_eq!(unfinished(&stage).await, before);
    // Its message is lost.
    stage.clock.advance(4 * MINUTE);
    assert_ne!(slice(&stage, Due::OlderThan(INTERVAL)).await, Compared::Busy);
}

#[tokio::test]
async fn when_the_writer_changes_the_comparison_of_the_old_direction_is_dropped() {
    let stage = Stage::ready().await;
    for number in 2..6 {
        stage
            .a
            .put("core/app", &format!("v{number}"), &images::image(number, &[100]));
        stage
            .b
            .put("core/app", &format!("v{number}"), &images::image(number, &[100]));
    }
    slice(&stage, Due::GoingOn(Duration::ZERO)).await;
    let [begun] = unfinished(&stage).await.try_into().unwrap();
    assert_eq!(begun.leg, leg("core", "a", "b"));
    stage.lead(Some("b")).await.unwrap();
    stage.clock.advance(MINUTE);
    slice(&stage, Due::GoingOn(Duration::ZERO)).await;
    let [other] = unfinished(&stage).await.try_into().unwrap();
    assert_eq!((other.leg.from.as_str(), other.leg.to.as_str()), ("b", "a"));
    assert_eq!(stage.ledger.comparisons.found(&begun).await.unwrap(), None);

    to_end(&stage, Duration::ZERO).await;
    // Back again: it is a new term of the writer, so what was compared in the first one does not count.
    stage.lead(Some("a")).await.unwrap();
    stage.clock.advance(MINUTE);
    slice(&stage, Due::GoingOn(Duration::ZERO)).await;
    let [third] = unfinished(&stage).await.try_into().unwrap();
    assert_eq!((third.leg, third.began), (begun.leg, stage.now()));
    assert_ne!(third.basis, begun.basis);
}

#[tokio::test]
async fn a_command_that_must_compare_from_now_on_begins_again() {
    let stage = filled().await;
    slice(&stage, Due::GoingOn(INTERVAL)).await;
    stage.clock.advance(MINUTE);
    let since = stage.now();
    assert!(run_all(&stage, Due::Since(since), None).await);
    let known = whole(&stage).await;
    assert_eq!((known.began, known.images), (since, 9));
    assert_eq!(unfinished(&stage).await, []);
    assert!(run_all(&stage, Due::Since(since), None).await);
    assert_eq!(whole(&stage).await, known, "it was compared since then");
}

/// The limit of a command without a worker. A site answers nothing in the middle.
#[tokio::test]
async fn a_command_whose_time_ends_leaves_what_it_compared_to_the_next_one() {
    let stage = filled().await;
    let before = whole(&stage).await;
    let hang = Fault::new("*", "core/other/manifests", Action::Delay { delay_ms: 3_600_000 }).unwrap();
    stage
        .a
        .registry
        .set_faults(Some(Arc::new(Script::new([hang.always()]))));
    let limit = Duration::from_secs(5);
    let budget = TimeBudget::until(Instant::now() + limit, limit);
    let began = stage.now();
    assert!(!run_all(&stage, Due::GoingOn(INTERVAL), Some(budget)).await);
    assert_eq!(whole(&stage).await, before, "the last whole one stays");
    let [left] = unfinished(&stage).await.try_into().unwrap();
    assert_eq!((left.began, left.images), (began, 5));
    let facts = stage.check().await.sites.remove(1).facts.unwrap();
    assert_eq!(facts.comparing.unwrap().images, 5);

    stage.a.registry.set_faults(None);
    stage.clock.advance(MINUTE);
    stage.a.registry.reset_requests();
    assert!(run_all(&stage, Due::GoingOn(INTERVAL), None).await);
    let known = whole(&stage).await;
    assert_eq!((known.began, known.images, known.verified), (began, 9, 9));
    let requests = stage.a.registry.requests();
    let again = requests.iter().any(|one| one.path.contains("core/app/manifests"));
    assert!(!again, "it goes on from where the time ended");
}

#[tokio::test]
async fn a_message_waits_for_a_worker_that_may_have_died_and_not_for_ever() {
    let stage = filled().await;
    let jobs = Jobs {
        configuration: stage.configuration.clone(),
        ledger: stage.ledger.clone(),
        queue: Arc::new(MemoryQueue::calm(Arc::new(stage.clock.clone()))),
        sources: Arc::new(SourceCache::none()),
        zones: None,
        clock: Arc::new(stage.clock.clone()),
        retry_policy: RetryPolicy::default(),
        worker: "worker-2".to_owned(),
    };
    let run = async |goes_on: bool, tries: u32| {
        let failover = "main".to_owned();
        let envelope = Envelope {
            tries,
            ..Envelope::new(CompareSites { failover, goes_on })
        };
        jobs.run(&envelope, Arc::new(NoProgress), None).await.unwrap()
    };
    let leases = &stage.ledger.leases;
    let lease = "compare#core:a>b";
    assert!(leases.take(lease, "worker-1", stage.now(), MINUTE).await.unwrap());
    assert_eq!(run(false, 0).await, Next::Done, "the timer sends another one");
    assert!(matches!(run(true, 0).await, Next::Again(_)));
    assert_eq!(run(true, 3).await, Next::Done);
    stage.clock.advance(MINUTE);
    assert_eq!(run(true, 1).await, Next::Done);
    assert_eq!(whole(&stage).await.images, 9);
}
