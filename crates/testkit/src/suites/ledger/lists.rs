//! Checks of the lists: access paths, order, pages, filters.

use std::collections::BTreeSet;

use transship_engine::ledger::{By, Cursor, ExecutionQuery, Filter, History, TaskEntry, TaskQuery};
use transship_engine::{ExecutionState, TaskState, Trigger};

use super::Ledger;
use super::samples::{ending, entry, entry_alone, entry_of_many, repository};
use crate::suites::at;

async fn ids(history: &dyn History, query: &TaskQuery) -> Vec<String> {
    let page = history.tasks(query, None, 1000).await.unwrap();
    assert_eq!(page.next, None);
    page.items.into_iter().map(|record| record.id).collect()
}

/// All pages behind `after`, of `limit` each: the ids, and how many pages there were.
async fn pages(
    history: &dyn History,
    query: &TaskQuery,
    mut after: Option<Cursor>,
    limit: usize,
) -> (Vec<String>, usize) {
    let mut ids = Vec::new();
    for count in 1.. {
        let page = history.tasks(query, after.as_ref(), limit).await.unwrap();
        assert!(page.items.len() <= limit);
        let entries = history.entries(query, after.as_ref(), limit).await.unwrap();
        let of_entries: Vec<&String> = entries.items.iter().map(|entry| &entry.id).collect();
        let of_page: Vec<&String> = page.items.iter().map(|record| &record.id).collect();
        assert_eq!((of_page, &page.next), (of_entries, &entries.next));
        ids.extend(page.items.into_iter().map(|record| record.id));
        after = page.next;
        if after.is_none() {
            return (ids, count);
        }
    }
    unreachable!("the list has an end")
}

async fn finish(history: &dyn History, task: &TaskEntry, state: TaskState, seconds: i64) {
    let ended = history.finish(task, &ending(state, seconds), &[], "worker").await;
    assert!(ended.unwrap());
}

pub(super) async fn tasks_are_listed_newest_first_and_filtered(ledger: Ledger) {
    let history = &*ledger.history;
    for number in [2, 4, 1, 3] {
        history.record(&[entry_alone(number)]).await.unwrap();
    }
    history.record(&[entry_of_many(10), entry_of_many(11)]).await.unwrap();
    history.begin(&entry_alone(2), at(5)).await.unwrap();
    let newest = || TaskQuery::new(By::Newest);
    let alone: Vec<String> = ids(history, &newest()).await;
    let alone: Vec<&String> = alone.iter().filter(|id| id.len() == "task-1".len()).collect();
    assert_eq!(alone, ["task-4", "task-3", "task-2", "task-1"]);
    assert_eq!(ids(history, &newest().in_state(TaskState::Running)).await, ["task-2"]);
    let filtered = |filter: Filter| TaskQuery { by: By::Newest, filter };
    let of_nobody = filtered(Filter {
        rule: Some("another".to_owned()),
        ..Filter::default()
    });
    assert!(ids(history, &of_nobody).await.is_empty());
    let all_conditions = filtered(Filter {
        state: Some(TaskState::Running),
        rule: Some("core-images".to_owned()),
        origin: Some("hangzhou".to_owned()),
        destination_registry: Some("zhangjiakou".to_owned()),
        since: Some(at(2)),
        repository: Some("core/app".to_owned()),
        is_redriven: Some(false),
        is_open: true,
        code: None,
    });
    assert_eq!(ids(history, &all_conditions).await, ["task-2"]);
    let of_execution = |id: &str| TaskQuery::new(By::Execution(id.to_owned()));
    let many: BTreeSet<String> = ids(history, &of_execution("many")).await.into_iter().collect();
    assert_eq!(many, BTreeSet::from(["task-10".to_owned(), "task-11".to_owned()]));
    assert_eq!(ids(history, &of_execution("execution-3")).await, ["task-3"]);
    assert!(ids(history, &of_execution("nobody")).await.is_empty());
}

pub(super) async fn pages_hold_every_task_once(ledger: Ledger) {
    let history = &*ledger.history;
    let tasks: Vec<TaskEntry> = (1..=7).map(entry_alone).chain((11..=18).map(entry_of_many)).collect();
    history.record(&tasks).await.unwrap();
    let expected: BTreeSet<String> = tasks.iter().map(|task| task.id.clone()).collect();
    for by in [
        By::Newest,
        By::Open,
        By::Rule {
            name: "core-images".to_owned(),
            from: None,
            until: None,
        },
        By::Destination {
            registry: "zhangjiakou".to_owned(),
            repository: repository("copy/app"),
        },
    ] {
        let query = TaskQuery::new(by);
        let (whole, _) = pages(history, &query, None, 100).await;
        for limit in [1, 2, 5, 15] {
            let (paged, _) = pages(history, &query, None, limit).await;
            assert_eq!(paged, whole, "{query:?} by {limit}");
        }
        assert_eq!(whole.len(), expected.len(), "{query:?}");
        assert_eq!(whole.into_iter().collect::<BTreeSet<_>>(), expected, "{query:?}");
        let page = history.tasks(&query, None, 0).await.unwrap();
        assert_eq!(page.items.len(), 1, "0 counts as 1");
    }
    let (paged, _) = pages(history, &TaskQuery::new(By::Execution("many".to_owned())), None, 3).await;
    assert_eq!(paged.iter().collect::<BTreeSet<_>>().len(), 8);
    assert_eq!(paged.len(), 8);
}

pub(super) async fn a_cursor_survives_inserts(ledger: Ledger) {
    let history = &*ledger.history;
    for number in (10..=20).step_by(2) {
        history.record(&[entry_alone(number)]).await.unwrap();
    }
    for by in [
        By::Newest,
        By::Destination {
            registry: "zhangjiakou".to_owned(),
            repository: repository("copy/app"),
        },
    ] {
        let query = TaskQuery::new(by);
        let first = history.tasks(&query, None, 3).await.unwrap();
        let behind: Vec<String> = pages(history, &query, first.next.clone(), 3).await.0;
        assert!(behind.len() >= 3, "{behind:?}");
        // One that is newer than the page, and one that belongs behind it.
        let (newer, older) = if query.by == By::Newest { (30, 5) } else { (31, 4) };
        history.record(&[entry_alone(newer), entry_alone(older)]).await.unwrap();
        let (rest, _) = pages(history, &query, first.next, 3).await;
        let expected: Vec<String> = behind.into_iter().chain([format!("task-{older}")]).collect();
        assert_eq!(rest, expected);
    }
}

pub(super) async fn a_filter_makes_short_pages_that_continue(ledger: Ledger) {
    let history = &*ledger.history;
    let tasks: Vec<TaskEntry> = (1..=1100).map(entry_of_many).collect();
    history.record(&tasks).await.unwrap();
    for number in [1, 550, 1100] {
        finish(history, &tasks[number - 1], TaskState::Kept, 2000).await;
    }
    for by in [By::Execution("many".to_owned()), By::Newest] {
        let query = TaskQuery::new(by).in_state(TaskState::Kept);
        let (mut found, count) = pages(history, &query, None, 50).await;
        found.sort();
        assert_eq!(found, ["task-1", "task-1100", "task-550"]);
        assert!((2..=3).contains(&count), "{count} pages for 1,100 tasks");
    }
    let nothing = TaskQuery::new(By::Newest).in_state(TaskState::Cancelled);
    let page = history.tasks(&nothing, None, 50).await.unwrap();
    assert!(page.items.is_empty() && page.next.is_some(), "an empty page continues");
}

pub(super) async fn a_rule_is_listed_by_time(ledger: Ledger) {
    let history = &*ledger.history;
    for number in 1..=6 {
        let mut task = entry_alone(number);
        if number == 3 {
            "other".clone_into(&mut task.execution.rule);
        }
        history.record(&[task]).await.unwrap();
    }
    let by = async |from: Option<i64>, until: Option<i64>| {
        let query = TaskQuery::new(By::Rule {
            name: "core-images".to_owned(),
            from: from.map(at),
            until: until.map(at),
        });
        ids(history, &query).await
    };
    assert_eq!(by(None, None).await, ["task-6", "task-5", "task-4", "task-2", "task-1"]);
    assert_eq!(by(Some(2), Some(5)).await, ["task-4", "task-2"]);
    assert_eq!(by(Some(5), None).await, ["task-6", "task-5"]);
    assert_eq!(by(None, Some(2)).await, ["task-1"]);
    assert!(by(Some(5), Some(5)).await.is_empty());
    let query = TaskQuery::new(By::Rule {
        name: "other".to_owned(),
        from: None,
        until: None,
    });
    assert_eq!(ids(history, &query).await, ["task-3"]);
}

pub(super) async fn tasks_are_listed_since_a_time(ledger: Ledger) {
    let history = &*ledger.history;
    for number in 1..=5 {
        history.record(&[entry_alone(number)]).await.unwrap();
    }
    let since = async |seconds| ids(history, &TaskQuery::new(By::Since(at(seconds)))).await;
    assert_eq!(since(4).await, ["task-5", "task-4"]);
    assert!(since(6).await.is_empty());
    let (paged, _) = pages(history, &TaskQuery::new(By::Since(at(2))), None, 3).await;
    assert_eq!(paged, ["task-5", "task-4", "task-3", "task-2"]);
    let mut query = TaskQuery::new(By::Newest);
    query.filter.since = Some(at(5));
    assert_eq!(ids(history, &query).await, ["task-5"]);
}

pub(super) async fn tasks_of_a_repository_and_tasks_that_were_redriven_are_told_apart(ledger: Ledger) {
    let history = &*ledger.history;
    let mut other = entry_alone(2);
    other.source_repository = Some(repository("core/other"));
    other.destination_repository = Some(repository("app"));
    for task in [entry_alone(1), other, entry_alone(3)] {
        history.record(std::slice::from_ref(&task)).await.unwrap();
        finish(history, &task, TaskState::Failed, 10 + task.created.as_second()).await;
    }
    let of = |filter: Filter, by: By| TaskQuery { by, filter };
    let named = |name: &str| Filter {
        repository: Some(name.to_owned()),
        ..Filter::default()
    };
    for (name, expected) in [
        ("core/app", &["task-3", "task-1"] as &[&str]),
        ("hangzhou/core/app", &["task-3", "task-1"]),
        ("zhangjiakou/copy/app", &["task-3", "task-1"]),
        ("zhangjiakou/core/app", &[]),
        ("app", &["task-2"]),
        ("core", &[]),
    ] {
        assert_eq!(ids(history, &of(named(name), By::Newest)).await, expected, "{name}");
    }
    history.redriven(&entry_alone(1), "task-9").await.unwrap();
    let redriven = |is_redriven| Filter {
        is_redriven: Some(is_redriven),
        ..Filter::default()
    };
    assert_eq!(ids(history, &of(redriven(true), By::Failed)).await, ["task-1"]);
    assert_eq!(
        ids(history, &of(redriven(false), By::Failed)).await,
        ["task-3", "task-2"]
    );
}

pub(super) async fn a_destination_is_listed(ledger: Ledger) {
    let history = &*ledger.history;
    for number in 1..=4 {
        let mut task = entry_alone(number);
        match number {
            2 => task.destination_repository = Some(repository("copy/other")),
            3 => "beijing".clone_into(&mut task.destination_registry),
            _ => {}
        }
        history.record(&[task]).await.unwrap();
    }
    // A task that was not recorded.
    history.begin(&entry_alone(5), at(6)).await.unwrap();
    finish(history, &entry_alone(1), TaskState::Succeeded, 9).await;
    let by = async |registry: &str, name: &str| {
        let query = TaskQuery::new(By::Destination {
            registry: registry.to_owned(),
            repository: repository(name),
        });
        ids(history, &query).await
    };
    assert_eq!(by("zhangjiakou", "copy/app").await, ["task-5", "task-4", "task-1"]);
    assert_eq!(by("zhangjiakou", "copy/other").await, ["task-2"]);
    assert_eq!(by("beijing", "copy/app").await, ["task-3"]);
    assert!(by("zhangjiakou", "copy").await.is_empty());
}

pub(super) async fn open_tasks_are_listed_across_origins(ledger: Ledger) {
    let history = &*ledger.history;
    for number in 1..=6 {
        let mut task = entry_alone(number);
        if number % 2 == 0 {
            "s3://layouts".clone_into(&mut task.origin);
        }
        if number > 5 {
            history.begin(&task, at(6)).await.unwrap();
        } else {
            history.record(&[task]).await.unwrap();
        }
    }
    finish(history, &entry_alone(3), TaskState::Failed, 9).await;
    finish(history, &entry_alone(1), TaskState::Cancelled, 9).await;
    let open = TaskQuery::new(By::Open);
    let expected = ["task-6", "task-5", "task-4", "task-2"];
    assert_eq!(ids(history, &open).await, expected);
    let (paged, _) = pages(history, &open, None, 1).await;
    assert_eq!(paged, expected);
    history.begin(&entry_alone(4), at(50)).await.unwrap();
    assert_eq!(ids(history, &open).await[0], "task-4", "the last touched first");
    let of_store = TaskQuery {
        filter: Filter {
            origin: Some("hangzhou".to_owned()),
            ..Filter::default()
        },
        ..open
    };
    assert_eq!(ids(history, &of_store).await, ["task-5"]);
}

pub(super) async fn failed_tasks_are_listed(ledger: Ledger) {
    let history = &*ledger.history;
    for (number, state, seconds) in [
        (1, TaskState::Failed, 30),
        (2, TaskState::Succeeded, 31),
        (3, TaskState::Failed, 20),
        (4, TaskState::Cancelled, 32),
        (5, TaskState::Failed, 25),
    ] {
        history.begin(&entry_alone(number), at(10)).await.unwrap();
        finish(history, &entry_alone(number), state, seconds).await;
    }
    let failed = TaskQuery::new(By::Failed);
    let expected = ["task-1", "task-5", "task-3"];
    assert_eq!(ids(history, &failed).await, expected);
    let (paged, _) = pages(history, &failed, None, 2).await;
    assert_eq!(paged, expected);
    let of_code = |code: &str| TaskQuery {
        filter: Filter {
            code: Some(code.to_owned()),
            ..Filter::default()
        },
        ..failed.clone()
    };
    assert_eq!(ids(history, &of_code("DEST_KEPT")).await, expected);
    assert!(ids(history, &of_code("NOT_FOUND")).await.is_empty());
}

async fn execution_ids(history: &dyn History, query: &ExecutionQuery, limit: usize) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let page = history.executions(query, after.as_ref(), limit).await.unwrap();
        assert!(page.items.len() <= limit);
        ids.extend(page.items.into_iter().map(|record| record.id));
        after = page.next;
        if after.is_none() {
            return ids;
        }
    }
}

pub(super) async fn executions_are_listed_newest_first(ledger: Ledger) {
    let history = &*ledger.history;
    for number in [2, 5, 1, 3, 4] {
        history.record(&[entry_alone(number)]).await.unwrap();
    }
    let expected = [
        "execution-5",
        "execution-4",
        "execution-3",
        "execution-2",
        "execution-1",
    ];
    for limit in [1, 2, 5, 100] {
        let listed = execution_ids(history, &ExecutionQuery::default(), limit).await;
        assert_eq!(listed, expected, "by {limit}");
    }
    let first = history.executions(&ExecutionQuery::default(), None, 2).await.unwrap();
    history.record(&[entry_alone(9)]).await.unwrap();
    let rest = history
        .executions(&ExecutionQuery::default(), first.next.as_ref(), 100)
        .await;
    let rest: Vec<String> = rest.unwrap().items.into_iter().map(|record| record.id).collect();
    assert_eq!(rest, expected[2..], "a newer execution does not move the cursor");
}

pub(super) async fn executions_of_a_rule_and_a_time_are_listed(ledger: Ledger) {
    let history = &*ledger.history;
    for number in 1..=6 {
        let mut task = entry_alone(number);
        if number % 2 == 0 {
            "other".clone_into(&mut task.execution.rule);
        }
        history.record(&[task]).await.unwrap();
    }
    let mut many = entry_of_many(1);
    many.execution.created = at(7);
    history.record(&[many]).await.unwrap();
    finish(history, &entry_alone(3), TaskState::Failed, 9).await;
    let all = ExecutionQuery::default;
    let listed = async |query: ExecutionQuery| execution_ids(history, &query, 2).await;
    let of_rule = || ExecutionQuery {
        rule: Some("core-images".to_owned()),
        ..all()
    };
    assert_eq!(
        listed(of_rule()).await,
        ["many", "execution-5", "execution-3", "execution-1"]
    );
    let between = ExecutionQuery {
        from: Some(at(2)),
        until: Some(at(5)),
        ..all()
    };
    assert_eq!(
        listed(between.clone()).await,
        ["execution-4", "execution-3", "execution-2"]
    );
    let of_rule_between = ExecutionQuery {
        from: between.from,
        until: between.until,
        ..of_rule()
    };
    assert_eq!(listed(of_rule_between).await, ["execution-3"]);
    let failed = ExecutionQuery {
        state: Some(ExecutionState::Failed),
        ..all()
    };
    assert_eq!(listed(failed).await, ["execution-3"]);
    let manual = ExecutionQuery {
        trigger: Some(Trigger::Manual),
        ..of_rule()
    };
    assert_eq!(listed(manual).await, ["many"]);
}

pub(super) async fn a_cursor_of_another_list_is_refused(ledger: Ledger) {
    let history = &*ledger.history;
    history.record(&[entry(1)]).await.unwrap();
    let strange = Cursor("not a cursor".to_owned());
    for by in [
        By::Newest,
        By::Open,
        By::Failed,
        By::Execution("execution-1".to_owned()),
    ] {
        let refused = history.tasks(&TaskQuery::new(by), Some(&strange), 10).await;
        assert_eq!(refused.unwrap_err().code(), "CURSOR_INVALID");
    }
    let refused = history.executions(&ExecutionQuery::default(), Some(&strange), 10).await;
    assert_eq!(refused.unwrap_err().code(), "CURSOR_INVALID");
}
