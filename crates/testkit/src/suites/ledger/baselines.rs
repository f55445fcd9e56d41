//! Checks of what stands on versioned values: the baselines of rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use transship_engine::ledger::{Baselines, Mark, Marks, Progress, Records, RuleState};
use transship_oci::{Repository, Tag};
use transship_rules::Selection;

use super::samples::{digest, repository};
use crate::suites::at;

fn selection(text: &str) -> Selection {
    serde_json::from_value(text.into()).unwrap()
}

fn tag(number: usize) -> Tag {
    // The longest tags there are.
    format!("{number:0128}").parse().unwrap()
}

fn marks_of(numbers: impl Iterator<Item = usize>, seed: &str, generation: u32) -> BTreeMap<Tag, Mark> {
    let mark = || Mark {
        digest: Some(digest(seed)),
        generation,
    };
    numbers.map(|number| (tag(number), mark())).collect()
}

fn reader(baselines: &Baselines, repository: &Repository) -> Marks {
    Marks::new(baselines.clone(), "core".to_owned(), repository.clone())
}

pub(super) async fn a_state_changes_by_compare_and_set_and_rules_are_listed(records: Arc<dyn Records>) {
    let baselines = Baselines::new(records);
    assert!(baselines.state("core").await.unwrap().is_none());
    let state = RuleState::new(at(1), selection("a"));
    let mut begun = baselines.begin("core", state.clone()).await.unwrap().unwrap();
    assert!(baselines.begin("core", state.clone()).await.unwrap().is_none());
    let stale = begun.clone();
    begun.value.progress = Progress::Complete;
    let changed = baselines.change("core", begun).await.unwrap().unwrap();
    assert!(baselines.change("core", stale).await.unwrap().is_none());
    assert_eq!(baselines.state("core").await.unwrap().unwrap().value, changed.value);
    for number in 0..130 {
        let name = format!("rule-{number:03}");
        baselines.begin(&name, state.clone()).await.unwrap().unwrap();
    }
    let first = baselines.rules(None).await.unwrap();
    let second = baselines.rules(first.next.as_ref()).await.unwrap();
    assert_eq!((first.items.len(), second.items.len()), (100, 31));
}

pub(super) async fn marks_of_many_tags_are_found_replaced_and_released(records: Arc<dyn Records>) {
    let baselines = Baselines::new(records);
    let app = repository("core/app");
    let mut writer = reader(&baselines, &app);
    // Each write is that of one message of a walk.
    for message in 0..3 {
        let numbers = message * 1000..(message + 1) * 1000;
        writer.put(&marks_of(numbers, "old", 1)).await.unwrap();
    }
    writer.put(&marks_of((0..3000).step_by(500), "new", 2)).await.unwrap();
    let mut reader = reader(&baselines, &app);
    for number in (0..3000).step_by(100) {
        let expected = if number % 500 == 0 { ("new", 2) } else { ("old", 1) };
        let found = reader.find(&[&tag(number), &tag(number + 10_000)]).await.unwrap();
        assert_eq!(found.len(), 1, "{number}");
        let mark = &found[&tag(number)];
        assert_eq!(
            (mark.digest.as_ref(), mark.generation),
            (Some(&digest(expected.0)), expected.1),
            "{number}"
        );
    }
    for number in [0, 1999, 2999] {
        baselines.release("core", &app, &tag(number)).await.unwrap();
        let found = baselines.marks("core", &app, &[&tag(number), &tag(5)]).await.unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), [&tag(5)], "{number}");
    }
    baselines
        .release("core", &repository("core/none"), &tag(1))
        .await
        .unwrap();
    let other = baselines.marks("other", &app, &[&tag(5)]).await.unwrap();
    assert!(other.is_empty(), "another rule");
    let other = baselines
        .marks("core", &repository("core/app2"), &[&tag(5)])
        .await
        .unwrap();
    assert!(other.is_empty(), "another repository");
}

pub(super) async fn simultaneous_writers_of_marks_lose_none(records: Arc<dyn Records>) {
    let baselines = Baselines::new(records);
    let app = repository("core/app");
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (baselines, app) = (baselines.clone(), app.clone());
            tokio::spawn(async move {
                let marks = marks_of(writer * 10..writer * 10 + 10, "old", 1);
                reader(&baselines, &app).put(&marks).await.unwrap();
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let tags: Vec<Tag> = (0..40).map(tag).collect();
    let found = baselines
        .marks("core", &app, &tags.iter().collect::<Vec<_>>())
        .await
        .unwrap();
    assert_eq!(found.len(), 40);
}

pub(super) async fn a_rule_that_is_forgotten_or_settled_has_no_marks(records: Arc<dyn Records>) {
    let baselines = Baselines::new(records);
    let (app, one) = (repository("core/app"), tag(1));
    let write = async || reader(&baselines, &app).put(&marks_of(0..900, "old", 1)).await.unwrap();
    let find = async || baselines.marks("core", &app, &[&one]).await.unwrap().len();
    baselines
        .begin("core", RuleState::new(at(1), selection("a")))
        .await
        .unwrap()
        .unwrap();
    write().await;
    assert_eq!(find().await, 1);
    baselines.settle("core", &selection("b"), at(2)).await.unwrap();
    assert_eq!(find().await, 0);
    let state = baselines.state("core").await.unwrap().unwrap().value;
    assert_eq!(
        (state.progress, state.selection, state.seen),
        (Progress::Complete, selection("b"), at(1))
    );
    write().await;
    baselines.forget("core", at(3)).await.unwrap();
    assert_eq!(find().await, 0);
    let mut state = baselines.state("core").await.unwrap().unwrap().value;
    assert_eq!(state.progress, Progress::Forgotten(at(3)));
    state.renew(at(4), &selection("c"));
    assert_eq!((state.since, state.seen), (at(3), at(4)));
    assert_eq!(state.progress, Progress::Recording { after: None });
}
