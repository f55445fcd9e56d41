//! The sweep: what was missed is made up for, what is in order costs no task, and a sweep that is cut goes on where it was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use transship_copy::{Clock, TimeBudget};
use transship_embedded_registry::faults::Action;
use transship_embedded_registry::{Builder, EmbeddedRegistry};
use transship_engine::ledger::History as _;
use transship_engine::{
    Cursor, Envelope, Job, Next, Outgoing, Source, Sweep, SweepStep, TaskQueue, TaskReceiver, TaskState, Trigger,
};
use transship_oci::{Repository, Tag};
use transship_registry::PageCursor;
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images::{self, Sample};

use crate::fixture::{Fixture, RULE, name, tag};

/// Orders a sweep and works until nothing is left.
pub async fn sweep(fixture: &Fixture) {
    fixture.queue.send(&[Outgoing::now(Sweep::default())]).await.unwrap();
    fixture.drain().await;
}

/// An order whose copies are all the same sweep.
fn order_of(fixture: &Fixture) -> Outgoing {
    Outgoing::now(Sweep {
        started: Some(Timestamp::try_from(fixture.clock.now()).unwrap()),
        step: None,
    })
}

fn step(after: Option<Cursor>) -> String {
    let sweep = Sweep {
        started: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        step: Some(SweepStep::Rule {
            rule: "core-images".into(),
            after,
        }),
    };
    Envelope::new(sweep).to_json().unwrap()
}

fn one_registry_at_a_time(page_size: usize) -> (Builder, Builder) {
    let builder = || EmbeddedRegistry::builder().page_size(page_size);
    (builder(), builder())
}

/// Puts `sample` there as `repository:tag` without a word to anybody.
fn put(registry: &EmbeddedRegistry, repository: &str, reference: &str, sample: &Sample) {
    sample.seed_into(registry, &name(repository), &tag(reference));
}

/// How often each tag was asked for by HEAD.
fn heads(registry: &EmbeddedRegistry) -> BTreeMap<String, usize> {
    let mut heads = BTreeMap::new();
    for request in registry.requests() {
        if request.method == http::Method::HEAD && !request.path.contains("sha256:") {
            *heads.entry(request.path).or_default() += 1;
        }
    }
    heads
}

/// The messages in the queue, which is empty afterwards.
async fn taken(fixture: &Fixture) -> Vec<Envelope> {
    let mut messages = Vec::new();
    for delivery in fixture.queue.inner.receive(1000, Duration::from_mins(1)).await.unwrap() {
        messages.push(Envelope::parse(&delivery.body).unwrap());
        fixture.queue.inner.complete(&delivery.receipt).await.unwrap();
    }
    messages
}

async fn work(fixture: &Fixture, body: &str, budget: Option<TimeBudget>) -> Next {
    fixture.work(body, budget).await
}

#[tokio::test]
async fn one_sweep_heals_twenty_dropped_notifications() {
    let fixture = Fixture::new().await;
    let samples: Vec<Sample> = (0..20).map(|seed| images::image(seed, &[100])).collect();
    for (number, sample) in samples.iter().enumerate() {
        put(
            &fixture.a,
            &format!("core/app-{}", number % 4),
            &format!("v{number}"),
            sample,
        );
    }
    put(&fixture.a, "elsewhere/app", "v1", &samples[0]);
    sweep(&fixture).await;
    for (number, sample) in samples.iter().enumerate() {
        let found = fixture
            .b
            .digest(&name(&format!("copy/app-{}", number % 4)), &tag(&format!("v{number}")));
        assert_eq!(found.as_ref(), Some(&sample.root), "v{number}");
    }
    assert_eq!(fixture.b.repositories().len(), 4, "nothing else was written");
    assert_eq!(fixture.states().await, ["succeeded"; 20]);
    let [execution] = fixture.executions().await.try_into().unwrap();
    assert_eq!((execution.trigger, execution.success_ratio), (Trigger::Sweep, 1.0));
}

#[tokio::test]
async fn a_sweep_of_a_rule_that_an_operator_cancelled_makes_no_task() {
    let push = |fixture: &Fixture| put(&fixture.a, "core/app", "v1", &images::image(1, &[100]));
    let fixture = Fixture::new().await;
    push(&fixture);
    work(&fixture, &step(None), None).await;
    let [execution] = fixture.executions().await.try_into().unwrap();
    let fixture = Fixture::new().await;
    push(&fixture);
    let now = Timestamp::try_from(fixture.clock.now()).unwrap();
    fixture.jobs.ledger.cancels.mark(&execution.id, now).await.unwrap();
    assert_eq!(work(&fixture, &step(None), None).await, Next::Done);
    assert!(fixture.tasks().await.is_empty());
    let leases = fixture.take_lease("sweep core-images", Duration::from_mins(1)).await;
    assert!(leases, "the lease of the rule is free");
}

#[tokio::test]
async fn what_is_equal_makes_no_task_and_costs_one_look_at_each_side() {
    let fixture = Fixture::new().await;
    let sample = images::image(1, &[100]);
    put(&fixture.a, "core/app", "v1", &sample);
    put(&fixture.b, "copy/app", "v1", &sample);
    sweep(&fixture).await;
    assert_eq!(fixture.tasks().await, []);
    let once = |path: &str| BTreeMap::from([(path.to_owned(), 1)]);
    assert_eq!(heads(&fixture.a), once("/v2/core/app/manifests/v1"));
    assert_eq!(heads(&fixture.b), once("/v2/copy/app/manifests/v1"));
    let is_free = fixture.take_lease("sweep core-images", Duration::from_secs(1)).await;
    assert!(is_free, "no lease is held");
}

#[tokio::test]
async fn a_tag_that_moved_unheard_follows_and_a_foreign_one_is_kept_without_a_task() {
    let fixture = Fixture::new().await;
    let [old, new, foreign] = [1, 2, 3].map(|seed| images::image(seed, &[100]));
    fixture.push_and_tell(&old).await;
    fixture.drain().await;
    fixture.push(&new);
    put(&fixture.a, "core/app", "v2", &new);
    put(&fixture.b, "copy/app", "v2", &foreign);
    sweep(&fixture).await;
    assert_eq!(fixture.arrived().as_ref(), Some(&new.root));
    assert_eq!(
        fixture.b.digest(&fixture.to(), &tag("v2")).as_ref(),
        Some(&foreign.root),
        "we did not write it"
    );
    assert_eq!(fixture.states().await, ["succeeded", "succeeded"]);
    fixture.clock.advance(Duration::from_hours(1));
    sweep(&fixture).await;
    assert_eq!(fixture.tasks().await.len(), 2, "and it does not come again");
}

#[tokio::test]
async fn a_rule_that_keeps_or_wants_another_kind_makes_no_task_sweep_after_sweep() {
    let rules = "  - { name: kept, backfill: true, existing: keep, source: { registry: a, namespace: core }, destination: { registry: b, namespace: copy } }\n  - { name: charts, backfill: true, kinds: [chart], source: { registry: a, namespace: core }, destination: { registry: b, namespace: charts } }\n";
    let fixture = Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), rules).await;
    let chart = images::helm_chart(3);
    put(&fixture.a, "core/app", "v1", &images::image(1, &[100]));
    put(&fixture.b, "copy/app", "v1", &images::image(2, &[100]));
    put(&fixture.a, "core/chart", "v1", &chart);
    put(&fixture.b, "copy/chart", "v1", &chart);
    for _ in 0..2 {
        sweep(&fixture).await;
        fixture.clock.advance(Duration::from_hours(1));
    }
    let task = fixture.task().await;
    assert_eq!((task.rule.as_str(), task.state), ("charts", TaskState::Succeeded));
    assert_eq!(
        fixture.b.digest(&name("charts/chart"), &tag("v1")).as_ref(),
        Some(&chart.root)
    );
}

#[tokio::test]
async fn two_images_that_share_a_destination_tag_do_not_take_turns() {
    let rule = "  - { name: core-images, existing: overwrite, source: { registry: a, namespace: core }, destination: { registry: b, namespace: copy, tag: latest } }\n";
    let fixture = Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), rule).await;
    let (first, second) = (images::image(1, &[100]), images::image(2, &[100]));
    put(&fixture.a, "core/app", "v1", &first);
    put(&fixture.a, "core/app", "v2", &second);
    for reference in ["v1", "v2"] {
        let sample = if reference == "v1" { &first } else { &second };
        fixture.tell(&fixture.event(reference, &sample.root)).await;
        fixture.drain().await;
    }
    for _ in 0..2 {
        sweep(&fixture).await;
        fixture.clock.advance(Duration::from_hours(1));
    }
    assert_eq!(fixture.tasks().await.len(), 2, "those of the two pushes");
    let latest = fixture.b.digest(&fixture.to(), &tag("latest"));
    assert_eq!(latest.as_ref(), Some(&second.root), "the last push has it");
}

#[tokio::test]
async fn what_is_on_its_way_is_not_sent_again() {
    let fixture = Fixture::new().await;
    fixture.push_and_tell(&images::image(1, &[100])).await;
    fixture.queue.send(&[order_of(&fixture)]).await.unwrap();
    // The task stays in the queue while the sweep looks.
    let task = fixture.queue.inner.receive(1, Duration::from_hours(1)).await.unwrap();
    let task = task
        .into_iter()
        .chain(fixture.queue.inner.receive(1, Duration::from_hours(1)).await.unwrap());
    let mut held = Vec::new();
    for delivery in task {
        if let Job::Copy(_) = Envelope::parse(&delivery.body).unwrap().job {
            held.push(delivery.receipt);
        } else {
            work(&fixture, &delivery.body, None).await;
            fixture.queue.inner.complete(&delivery.receipt).await.unwrap();
        }
    }
    while fixture.queue.inner.depth().await.unwrap() > 1 {
        fixture.attempt().await;
    }
    fixture.queue.inner.retry(&held[0], Duration::ZERO).await.unwrap();
    fixture.drain().await;
    assert_eq!(fixture.states().await, ["succeeded"]);
}

#[tokio::test]
async fn a_task_without_a_worker_is_sent_again_and_its_execution_ends() {
    let fixture = Fixture::new().await;
    fixture.push_and_tell(&images::image(1, &[100])).await;
    let task = fixture.queued().await.remove(0);
    let now = Timestamp::try_from(fixture.clock.now()).unwrap();
    fixture.ledger.begin(&task.entry(), now).await.unwrap();
    taken(&fixture).await;
    let begun = Instant::now();
    let length = Duration::from_mins(10);
    let slot = Some(TimeBudget::until(begun + length, length));
    let look = Envelope::new(Sweep {
        started: None,
        step: Some(SweepStep::Tasks { registry: "a".into() }),
    })
    .to_json()
    .unwrap();
    for (minutes, sent, why) in [
        (19, 0, "its worker may be at it still"),
        (2, 1, "no worker has so long a slot"),
        (10, 0, "it was sent just now"),
        (60, 1, "that message was lost too"),
    ] {
        fixture.clock.advance(Duration::from_mins(minutes));
        assert_eq!(work(&fixture, &look, slot).await, Next::Done);
        assert_eq!(fixture.queue.inner.depth().await.unwrap(), sent, "{why}");
        if minutes != 60 {
            taken(&fixture).await;
        }
    }
    fixture.drain().await;
    let task = fixture.task().await;
    assert_eq!((task.state, task.attempts), (TaskState::Succeeded, 2));
    let [execution] = fixture.executions().await.try_into().unwrap();
    assert!(execution.duration_ms.is_some(), "{execution:?}");
}

#[tokio::test]
async fn a_long_copy_without_slots_is_left_alone() {
    let fixture = Fixture::new().await;
    fixture.push_and_tell(&images::image(1, &[100])).await;
    let task = fixture.queued().await.remove(0);
    let now = Timestamp::try_from(fixture.clock.now()).unwrap();
    fixture.ledger.begin(&task.entry(), now).await.unwrap();
    taken(&fixture).await;
    for (hours, sent) in [(23, 0), (2, 1)] {
        fixture.clock.advance(Duration::from_hours(hours));
        let look = r#"{"version":1,"sweep":{"step":{"tasks":{"registry":"a"}}}}"#;
        assert_eq!(work(&fixture, look, None).await, Next::Done);
        assert_eq!(fixture.queue.inner.depth().await.unwrap(), sent);
    }
}

#[tokio::test]
async fn a_sweep_whose_messages_come_again_makes_each_task_once() {
    for seed in 0..20 {
        let fixture = Fixture::new().await.anew(seed);
        for number in 0..40 {
            put(
                &fixture.a,
                &format!("core/app-{number}"),
                "v1",
                &images::image(number, &[10]),
            );
        }
        let order = order_of(&fixture);
        fixture.queue.send(&[order.clone(), order]).await.unwrap();
        fixture.drain().await;
        assert_eq!(fixture.states().await, ["succeeded"; 40], "seed {seed}");
        assert_eq!(fixture.executions().await.len(), 1, "seed {seed}");
    }
}

/// Repositories of many tags, equal on both sides. The tags in the order of the sweep.
fn fill(fixture: &Fixture, repositories: usize, tags: usize) -> Vec<(Repository, Tag)> {
    let sample = images::image(7, &[10]);
    let mut all = Vec::new();
    for repository in 0..repositories {
        let app = format!("app-{repository:03}");
        for number in 0..tags {
            let reference = tag(&format!("v{number:04}"));
            let (from, to) = (name(&format!("core/{app}")), name(&format!("copy/{app}")));
            if number == 0 {
                sample.seed_into(&fixture.a, &from, &reference);
                sample.seed_into(&fixture.b, &to, &reference);
            } else {
                fixture.a.tag(&from, &reference, &sample.root);
                fixture.b.tag(&to, &reference, &sample.root);
            }
            all.push((from, reference));
        }
    }
    all
}

fn paths(tags: &[(Repository, Tag)]) -> BTreeSet<String> {
    tags.iter()
        .map(|(repository, tag)| format!("/v2/{repository}/manifests/{tag}"))
        .collect()
}

#[tokio::test]
async fn a_sweep_of_many_messages_looks_at_every_tag_exactly_once() {
    let (a, b) = one_registry_at_a_time(7);
    let fixture = Fixture::of(a, b, RULE).await;
    let all = fill(&fixture, 25, 101);
    sweep(&fixture).await;
    let heads = heads(&fixture.a);
    assert_eq!(heads.keys().cloned().collect::<BTreeSet<_>>(), paths(&all));
    assert!(heads.values().all(|times| *times == 1));
    assert_eq!(fixture.tasks().await, []);
}

#[tokio::test]
async fn a_sweep_goes_on_behind_any_cursor() {
    let (a, b) = one_registry_at_a_time(2);
    let fixture = Fixture::of(a, b, RULE).await;
    let all = fill(&fixture, 5, 3);
    for at in 0..all.len() {
        let (repository, tag) = &all[at];
        // The catalog has two repositories on a page.
        let page = at / 6;
        let cursor = Cursor {
            page: (page > 0).then(|| PageCursor::new(format!("n=2&last=core/app-{:03}", 2 * page - 1))),
            repository: Some(repository.clone()),
            // So has the list of tags.
            tag_page: (at % 3 == 2).then(|| PageCursor::new("n=2&last=v0001")),
            tag: Some(tag.clone()),
        };
        fixture.a.reset_requests();
        assert_eq!(work(&fixture, &step(Some(cursor)), None).await, Next::Done);
        let looked: BTreeSet<String> = heads(&fixture.a).into_keys().collect();
        assert_eq!(looked, paths(&all[at + 1..]), "behind {repository}:{tag}");
        assert!(taken(&fixture).await.is_empty());
    }
}

#[tokio::test]
async fn a_slot_that_is_over_hands_the_rest_on() {
    let fixture = Fixture::new().await;
    let all = fill(&fixture, 2, 3);
    let over = Some(TimeBudget::until(Instant::now(), Duration::from_secs(1)));
    work(&fixture, &step(None), over).await;
    let rest = taken(&fixture).await.remove(0);
    assert_eq!(rest.tries, 1, "nothing was done: {rest:?}");
    fixture.queue.inner.inject(&rest.to_json().unwrap());
    fixture.drain().await;
    assert_eq!(heads(&fixture.a).into_keys().collect::<BTreeSet<_>>(), paths(&all));
}

#[tokio::test]
async fn a_rule_that_names_its_repository_needs_no_catalog() {
    let rules = "  - { name: named, backfill: true, source: { registry: a, namespace: core, repository: app }, destination: { registry: b, namespace: copy } }\n  - { name: all, backfill: true, source: { registry: a, namespace: core }, destination: { registry: b, namespace: all } }\n";
    let a = EmbeddedRegistry::builder().catalog(false);
    let fixture = Fixture::of(a, EmbeddedRegistry::builder(), rules).await;
    let sample = images::image(1, &[100]);
    fixture.push(&sample);
    sweep(&fixture).await;
    fixture.assert_equal(&sample);
    assert_eq!(fixture.task().await.rule, "named");
}

#[tokio::test]
async fn one_bad_repository_and_one_bad_tag_do_not_end_the_sweep() {
    let fixture = Fixture::new().await;
    for app in ["a", "bad", "c"] {
        for reference in ["v1", "v2"] {
            put(&fixture.a, &format!("core/{app}"), reference, &images::image(1, &[100]));
        }
    }
    let script = Arc::new(Script::new([
        Fault::new("GET", "core/bad/tags/list", Action::status(418))
            .unwrap()
            .always(),
        Fault::new("HEAD", "core/a/manifests/v1", Action::status(500))
            .unwrap()
            .always(),
    ]));
    fixture.a.set_faults(Some(Arc::clone(&script) as _));
    sweep(&fixture).await;
    assert!(script.struck() > 6, "what may pass was waited for");
    let arrived = fixture
        .b
        .repositories()
        .iter()
        .map(|name| fixture.b.tags(name).len())
        .collect::<Vec<_>>();
    assert_eq!(arrived, [1, 2], "copy/a:v2, copy/c:v1 and v2");
}

#[tokio::test]
async fn a_registry_that_is_down_for_a_while_is_swept_when_it_is_back() {
    let fixture = Fixture::new().await;
    let sample = images::image(1, &[100]);
    fixture.push(&sample);
    let script = Script::new([Fault::new("*", "/v2/", Action::status(503)).unwrap().times(12)]);
    fixture.a.set_faults(Some(Arc::new(script)));
    sweep(&fixture).await;
    fixture.assert_equal(&sample);
}

#[tokio::test]
async fn a_sweep_that_cannot_go_on_ends_and_leaves_the_rule_to_the_next() {
    let fixture = Fixture::new().await;
    let sample = images::image(1, &[100]);
    fixture.push(&sample);
    let down = Script::new([Fault::new("*", "/v2/", Action::status(503)).unwrap().always()]);
    fixture.a.set_faults(Some(Arc::new(down)));
    sweep(&fixture).await;
    assert_eq!(fixture.tasks().await, []);
    fixture.a.set_faults(None);
    sweep(&fixture).await;
    fixture.assert_equal(&sample);
}

#[tokio::test]
async fn a_second_sweep_of_a_rule_leaves_it_to_the_first() {
    let fixture = Fixture::new().await;
    fixture.push(&images::image(1, &[100]));
    assert!(fixture.take_lease("sweep core-images", Duration::from_mins(1)).await);
    sweep(&fixture).await;
    assert_eq!(fixture.tasks().await, []);
    fixture.clock.advance(Duration::from_mins(2));
    sweep(&fixture).await;
    assert_eq!(fixture.states().await, ["succeeded"]);
}

#[tokio::test]
async fn a_sweep_of_a_rule_that_is_gone_or_disabled_is_done() {
    let rules = RULE.replace("name: core-images", "name: core-images, enabled: false");
    let fixture = Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), &rules).await;
    fixture.push(&images::image(1, &[100]));
    sweep(&fixture).await;
    for body in [step(None), step(None).replace("core-images", "nobody")] {
        assert_eq!(work(&fixture, &body, None).await, Next::Done);
    }
    assert!(fixture.tasks().await.is_empty() && fixture.a.requests().is_empty());
}

#[tokio::test]
async fn a_sweep_deletes_nothing() {
    let fixture = Fixture::new().await;
    let sample = images::image(1, &[100]);
    fixture.push_and_tell(&sample).await;
    fixture.drain().await;
    let digest = sample.root.clone();
    fixture.a.forget(&fixture.from(), &digest);
    sweep(&fixture).await;
    fixture.assert_equal(&sample);
    let mut methods: Vec<String> = fixture
        .b
        .requests()
        .iter()
        .map(|request| request.method.to_string())
        .collect();
    methods.retain(|method| method == "DELETE");
    assert!(methods.is_empty());
}

/// `count` unfinished copies of rule `rule`, each of a repository of its own.
async fn record_backlog(fixture: &Fixture, rule: &str, count: usize) {
    fixture.push_and_tell(&images::image(1, &[100])).await;
    let task = fixture.queued().await.remove(0);
    let execution = transship_engine::Execution {
        id: "e-many".into(),
        rule: rule.into(),
        ..task.execution.clone()
    };
    let many: Vec<_> = (0..count)
        .map(|number| {
            let mut task = task.clone();
            task.id = format!("t-{number}");
            task.execution = execution.clone();
            if let Source::Registry(image) = &mut task.source {
                image.repository = name(&format!("core/many-{number}"));
            }
            task.entry()
        })
        .collect();
    fixture.ledger.record(&many).await.unwrap();
}

#[tokio::test]
async fn the_backlog_of_one_rule_does_not_hide_that_of_another() {
    let fixture = Fixture::new().await;
    record_backlog(&fixture, "another", 2500).await;
    fixture.clock.advance(Duration::from_secs(1));
    let late = images::image(2, &[100]);
    put(&fixture.a, "core/app", "late", &late);
    fixture.tell(&fixture.event("late", &late.root)).await;
    put(&fixture.a, "core/missed", "v1", &images::image(3, &[100]));
    taken(&fixture).await;
    work(&fixture, &step(None), None).await;
    let mut tasks = fixture.tasks().await;
    tasks.retain(|task| task.rule == "core-images");
    let mut sources: Vec<&str> = tasks.iter().map(|task| task.source.as_str()).collect();
    sources.sort_unstable();
    // The two that were pushed before and after the others are under way and are not made again.
    assert_eq!(sources, ["a/core/app:late", "a/core/app:v1", "a/core/missed:v1"]);
}

#[tokio::test]
async fn the_sweep_of_a_long_backlog_waits_for_it() {
    let fixture = Fixture::new().await;
    record_backlog(&fixture, "core-images", 1000).await;
    taken(&fixture).await;
    fixture.a.reset_requests();
    work(&fixture, &step(None), None).await;
    assert!(fixture.a.requests().is_empty(), "it does not even look");
    assert_eq!(fixture.queue.inner.depth().await.unwrap(), 1, "it comes again");
    assert!(
        fixture
            .queue
            .inner
            .receive(1, Duration::from_mins(1))
            .await
            .unwrap()
            .is_empty(),
        "later"
    );
    assert_eq!(fixture.tasks().await.len(), 1001);
}

#[tokio::test]
async fn a_repository_that_always_fails_behind_one_that_was_walked_is_passed_over() {
    let script = Script::new([Fault::new("GET", "core/b/tags/list", Action::status(500))
        .unwrap()
        .always()]);
    let a = EmbeddedRegistry::builder().faults(Arc::new(script));
    let fixture = Fixture::of(a, EmbeddedRegistry::builder(), RULE).await;
    let sample = images::image(1, &[100]);
    for repository in ["core/a", "core/b", "core/c"] {
        put(&fixture.a, repository, "v1", &sample);
    }
    sweep(&fixture).await;
    let arrived = |repository: &str| fixture.b.digest(&name(repository), &tag("v1")).is_some();
    assert_eq!(["copy/a", "copy/b", "copy/c"].map(arrived), [true, false, true]);
}
