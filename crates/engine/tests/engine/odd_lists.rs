//! Lists that are not what a walk expects: without end, with names twice, changing while they are read, or naming what is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Method;
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::{Action, Faults, RequestHead};
use transship_engine::{Depth, ExecutionRecord, ExecutionState, Finding, Narrow, TaskState};
use transship_testkit::images::{self, Sample};

use crate::fixture::{Fixture, name, tag};
use crate::inspect::unequal;
use crate::runs::{progress, record, tags_written, try_start};

/// The names of a page by its number, and the number of the next one.
type Pages = Box<dyn Fn(usize) -> (Vec<String>, Option<usize>) + Send + Sync>;

/// Answers lists with pages of its own: the names of page N, and whether another page follows.
struct Lists {
    path: &'static str,
    key: &'static str,
    page: Pages,
    asked: AtomicUsize,
}

impl Lists {
    fn new(
        path: &'static str,
        page: impl Fn(usize) -> (Vec<String>, Option<usize>) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let key = if path.ends_with("_catalog") {
            "repositories"
        } else {
            "tags"
        };
        Arc::new(Self {
            path,
            key,
            page: Box::new(page),
            asked: AtomicUsize::new(0),
        })
    }
}

impl Faults for Lists {
    fn action(&self, request: &RequestHead<'_>) -> Option<Action> {
        if *request.method != Method::GET || request.path != self.path {
            return None;
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        let number = request
            .query
            .and_then(|query| query.rsplit_once("page=")?.1.parse().ok());
        let (names, next) = (self.page)(number.unwrap_or(0));
        let link = next.map(|next| ("link".to_owned(), format!("<{}?page={next}>; rel=\"next\"", self.path)));
        Some(Action::Status {
            code: 200,
            headers: link.into_iter().collect(),
            body: Bytes::from(serde_json::json!({ self.key: names }).to_string()),
        })
    }
}

fn put(registry: &EmbeddedRegistry, repository: &str, reference: &str, sample: &Sample) {
    sample.seed_into(registry, &name(repository), &tag(reference));
}

/// Repositories of one tag at the source.
async fn filled(repositories: &[&str]) -> Fixture {
    let fixture = Fixture::new().await;
    for repository in repositories {
        put(&fixture.a, repository, "v1", &images::image(1, &[100]));
    }
    fixture
}

/// Runs the rule to its end.
async fn run(fixture: &Fixture) -> ExecutionRecord {
    let execution = try_start(fixture, Narrow::default()).await.unwrap().execution;
    fixture.drain().await;
    let record = record(fixture, &execution).await;
    assert!(record.duration_ms.is_some(), "{record:?}");
    record
}

fn texts(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

async fn failures(fixture: &Fixture) -> Vec<String> {
    let tasks = fixture.tasks().await.into_iter();
    let failed = tasks.filter(|task| task.state == TaskState::Failed);
    failed
        .map(|task| format!("{} {}", task.source, task.code.unwrap()))
        .collect()
}

#[tokio::test]
async fn a_catalog_without_end_ends_the_run_partial_after_what_it_listed() {
    // The same link again and again, a circle, and new names on every page.
    let same = Lists::new("/v2/_catalog", |_| (texts(&["core/app"]), Some(1)));
    let circle = Lists::new("/v2/_catalog", |page| (texts(&["core/app"]), Some((page + 1) % 7)));
    let endless = Lists::new("/v2/_catalog", |page| {
        let names = if page == 0 {
            texts(&["core/app"])
        } else {
            vec![format!("other/app-{page}")]
        };
        (names, Some(page + 1))
    });
    for (lists, pages_max) in [(same, 4), (circle, 40), (endless, 10_010)] {
        let fixture = filled(&["core/app"]).await;
        fixture.a.set_faults(Some(Arc::clone(&lists) as _));
        assert_eq!(run(&fixture).await.state, ExecutionState::Partial);
        assert_eq!(failures(&fixture).await, ["a LIST_ABORTED"]);
        assert_eq!(tags_written(&fixture.b), 1, "what was listed is copied once");
        let asked = lists.asked.load(Ordering::Relaxed);
        assert!(asked <= pages_max, "{asked} pages");
    }
}

#[tokio::test]
async fn a_list_of_tags_without_end_ends_the_run_partial_and_names_the_repository() {
    let fixture = filled(&["core/app", "core/other"]).await;
    let lists = Lists::new("/v2/core/app/tags/list", |_| (texts(&["v1"]), Some(1)));
    fixture.a.set_faults(Some(Arc::clone(&lists) as _));
    assert_eq!(run(&fixture).await.state, ExecutionState::Partial);
    assert_eq!(failures(&fixture).await, ["a/core/app LIST_ABORTED"]);
    assert!(fixture.b.digest(&name("copy/other"), &tag("v1")).is_some());
}

#[tokio::test]
async fn names_that_are_listed_twice_are_copied_once() {
    let fixture = filled(&["core/app", "core/other"]).await;
    let lists = Lists::new("/v2/_catalog", |page| match page {
        0 => (texts(&["core/app", "core/app", "core/other"]), Some(1)),
        _ => (texts(&["core/other", "core/app"]), None),
    });
    fixture.a.set_faults(Some(lists));
    assert_eq!(run(&fixture).await.state, ExecutionState::Succeeded);
    assert_eq!(tags_written(&fixture.b), 2);
    let copies = fixture.tasks().await;
    assert_eq!(copies.len(), 3, "the walk, and a task for each tag: {copies:?}");
}

#[tokio::test]
async fn a_catalog_that_grows_and_shrinks_while_it_is_read_is_walked_as_it_is() {
    // core/gone was deleted after its page was read, core/new was pushed before its page was.
    let fixture = filled(&["core/app", "core/new"]).await;
    let lists = Lists::new("/v2/_catalog", |page| match page {
        0 => (texts(&["core/app", "core/gone"]), Some(1)),
        _ => (texts(&["core/new"]), None),
    });
    fixture.a.set_faults(Some(lists));
    let record = run(&fixture).await;
    assert_eq!(record.state, ExecutionState::Succeeded, "{record:?}");
    assert_eq!(failures(&fixture).await, [""; 0]);
    assert_eq!(tags_written(&fixture.b), 2);
}

#[tokio::test]
async fn a_tag_that_is_deleted_during_the_walk_is_neither_failed_nor_copied() {
    let fixture = filled(&["core/app"]).await;
    let lists = Lists::new("/v2/core/app/tags/list", |_| (texts(&["v1", "v2", "v3"]), None));
    fixture.a.set_faults(Some(lists));
    put(&fixture.b, "copy/app", "v3", &images::image(2, &[100]));
    let record = run(&fixture).await;
    assert_eq!(record.state, ExecutionState::Succeeded);
    let found = progress(&fixture, &record.id).await;
    // Of v2, which the destination does not have either, its copy finds out.
    assert_eq!((found.tags, found.enqueued, found.skipped), (3, 2, 1));
    let copies = fixture.tasks().await;
    let skipped = copies.iter().find(|task| task.state == TaskState::Skipped).unwrap();
    assert_eq!(
        (&*skipped.source, skipped.code.as_deref()),
        ("a/core/app:v2", Some("SOURCE_NOT_FOUND"))
    );
    assert_eq!(failures(&fixture).await, [""; 0]);
    assert_eq!(tags_written(&fixture.b), 1);
    // The destination still has one of them.
    let extra = ("b/copy/app:v3".to_owned(), Finding::Extra, "EXTRA_TAG".to_owned());
    assert_eq!(unequal(&fixture, Depth::Manifests).await, [extra]);
}
