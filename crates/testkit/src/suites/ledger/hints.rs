//! Checks of values that expire.

use std::sync::Arc;

use transship_engine::ledger::{Freshness, Hint, Hints, Key, Put};

use crate::suites::at;

fn hint(name: &str, value: &str, expires: i64) -> Hint {
    Hint {
        key: Key::new("family", name),
        value: value.to_owned(),
        expires: at(expires),
    }
}

async fn value(hints: &dyn Hints, name: &str, now: i64) -> Option<String> {
    let key = Key::new("family", name);
    let found = hints.get(std::slice::from_ref(&key), at(now), Freshness::Exact).await;
    found.unwrap().remove(&key)
}

fn is_done(put: &Put) -> bool {
    *put == Put::Done
}

pub(super) async fn a_value_is_found_until_it_expires(hints: Arc<dyn Hints>) {
    assert_eq!(value(&*hints, "a", 0).await, None);
    hints.put(&[hint("a", "1 \"ü\" ", 10)]).await.unwrap();
    assert_eq!(value(&*hints, "a", 9).await.as_deref(), Some("1 \"ü\" "));
    assert_eq!(value(&*hints, "a", 10).await, None, "it is over when its time has come");
    hints.put(&[hint("a", "2", 20), hint("b", "3", 20)]).await.unwrap();
    assert_eq!(value(&*hints, "a", 10).await.as_deref(), Some("2"));
    let elsewhere = Key::new("another family", "a");
    let found = hints.get(&[elsewhere], at(10), Freshness::Exact).await.unwrap();
    assert!(found.is_empty());
    hints.put(&[hint("a", "4", 20), hint("a", "5", 20)]).await.unwrap();
    assert_eq!(value(&*hints, "a", 10).await.as_deref(), Some("5"), "the last of a key");
}

pub(super) async fn many_values_are_written_and_found_at_once(hints: Arc<dyn Hints>) {
    hints.put(&[]).await.unwrap();
    assert!(hints.get(&[], at(0), Freshness::Exact).await.unwrap().is_empty());
    let all: Vec<Hint> = (0..150)
        .map(|number| hint(&format!("n{number}"), &number.to_string(), 10))
        .collect();
    hints.put(&all).await.unwrap();
    let keys: Vec<Key> = (0..250)
        .map(|number| Key::new("family", format!("n{number}")))
        .collect();
    // A key that is asked for twice is one.
    let keys = [keys, vec![Key::new("family", "n1")]].concat();
    for freshness in [Freshness::Exact, Freshness::MayLag] {
        let found = hints.get(&keys, at(0), freshness).await.unwrap();
        assert_eq!(found.len(), 150);
        assert!(all.iter().all(|hint| found.get(&hint.key) == Some(&hint.value)));
    }
}

pub(super) async fn a_value_is_replaced_only_if_it_is_the_expected_one(hints: Arc<dyn Hints>) {
    let put = async |value: &str, expected: Option<&str>, now: i64| {
        let put = hints.put_if(&hint("a", value, now + 10), expected, at(now)).await;
        put.unwrap()
    };
    assert!(put("0", Some("x"), 0).await == Put::Refused(None), "there is none");
    assert!(is_done(&put("1", None, 0).await));
    assert!(put("2", None, 1).await == Put::Refused(Some("1".to_owned())));
    assert!(put("2", Some("x"), 1).await == Put::Refused(Some("1".to_owned())));
    assert_eq!(value(&*hints, "a", 2).await.as_deref(), Some("1"));
    assert!(is_done(&put("2", Some("1"), 5).await));
    assert_eq!(value(&*hints, "a", 14).await.as_deref(), Some("2"), "and lasts longer");
    assert!(put("3", Some("2"), 15).await == Put::Refused(None), "it expired");
    assert!(is_done(&put("3", None, 15).await), "what expired is as good as gone");
}

pub(super) async fn of_simultaneous_writers_one_wins(hints: Arc<dyn Hints>) {
    for expected in [None, Some("old")] {
        if let Some(old) = expected {
            hints.put(&[hint("a", old, 100)]).await.unwrap();
        }
        let writers: Vec<_> = (0..8)
            .map(|number| {
                let hints = Arc::clone(&hints);
                tokio::spawn(async move {
                    let mine = hint("a", &format!("writer {number}"), 100);
                    is_done(&hints.put_if(&mine, expected, at(0)).await.unwrap())
                })
            })
            .collect();
        let mut winners = 0;
        for writer in writers {
            winners += u32::from(writer.await.unwrap());
        }
        assert_eq!(winners, 1);
    }
}

pub(super) async fn a_value_is_removed_only_if_it_is_the_expected_one(hints: Arc<dyn Hints>) {
    let key = Key::new("family", "a");
    hints.remove(&key, None).await.unwrap();
    hints.remove(&key, Some("1")).await.unwrap();
    hints.put(&[hint("a", "1", 10)]).await.unwrap();
    hints.remove(&key, Some("2")).await.unwrap();
    assert_eq!(value(&*hints, "a", 0).await.as_deref(), Some("1"));
    hints.remove(&key, Some("1")).await.unwrap();
    assert_eq!(value(&*hints, "a", 0).await, None);
    hints.put(&[hint("a", "1", 10)]).await.unwrap();
    hints.remove(&key, None).await.unwrap();
    assert_eq!(value(&*hints, "a", 0).await, None);
}

pub(super) async fn children_are_listed_in_order(hints: Arc<dyn Hints>) {
    let names = async |limit, now| {
        let children = hints.children("family", limit, at(now)).await.unwrap();
        let names: Vec<String> = children.into_iter().map(|(key, _)| key.name).collect();
        names
    };
    assert!(names(10, 0).await.is_empty());
    let mut elsewhere = hint("b", "x", 10);
    "family2".clone_into(&mut elsewhere.key.family);
    hints
        .put(&[
            hint("b", "2", 10),
            hint("a", "1", 5),
            hint("c", "3", 10),
            hint("B", "4", 10),
            elsewhere,
        ])
        .await
        .unwrap();
    assert_eq!(names(10, 0).await, ["B", "a", "b", "c"]);
    assert_eq!(names(2, 0).await, ["B", "a"]);
    assert_eq!(names(2, 5).await, ["B", "b"], "what expired does not count");
    assert_eq!(names(usize::MAX, 5).await.len(), 3);
    let first = hints.children("family", 1, at(0)).await.unwrap();
    assert_eq!(first, [(Key::new("family", "B"), "4".to_owned())]);
}
