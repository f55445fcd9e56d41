//! What a run asks where the destination lacks the images, and that it replaces nothing that came there meanwhile.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use transship_embedded_registry::EmbeddedRegistry;
use transship_embedded_registry::faults::Action;
use transship_engine::ledger::Ledger;
use transship_engine::{Envelope, ImageRef, Job, Narrow, TaskRecord, TaskState};
use transship_oci::Target;
use transship_testkit::faults::{Fault, Script};
use transship_testkit::images::{self, Sample};

use crate::fixture::{Fixture, RULE, name, tag};
use crate::runs::try_start;

const REPOSITORIES: usize = 3;
const TAGS: usize = 4;
const IMAGES: usize = REPOSITORIES * TAGS;

fn sample(number: usize) -> Sample {
    images::image(number as u64, &[100])
}

/// An empty destination, and a source with images in several repositories.
async fn filled() -> Fixture {
    let fixture = Fixture::new().await;
    for number in 0..IMAGES {
        let repository = name(&format!("core/app{}", number / TAGS));
        sample(number).seed_into(&fixture.a, &repository, &tag(&format!("v{}", number % TAGS)));
    }
    fixture
}

/// Starts a run, and compares.
async fn walk(fixture: &Fixture) {
    for registry in [&fixture.a, &fixture.b] {
        registry.reset_requests();
    }
    try_start(fixture, Narrow::default()).await.unwrap();
    fixture.attempt().await;
}

/// Requests for the tags of images, and lists of them.
fn asked(registry: &EmbeddedRegistry, method: &Method) -> (usize, usize) {
    let requests = registry.requests();
    let of = |part: &str| {
        let is_asked = |path: &str| path.contains(part) && !path.contains("sha256");
        requests
            .iter()
            .filter(|request| request.method == *method && is_asked(&request.path))
            .count()
    };
    (of("/manifests/"), of("/tags/list"))
}

fn assert_all_arrived(fixture: &Fixture) {
    for number in 0..IMAGES {
        let (repository, tag) = (
            name(&format!("copy/app{}", number / TAGS)),
            tag(&format!("v{}", number % TAGS)),
        );
        assert_eq!(
            fixture.b.digest(&repository, &tag).as_ref(),
            Some(&sample(number).root),
            "{repository}:{tag}"
        );
    }
}

async fn task_of(fixture: &Fixture, source: &str) -> TaskRecord {
    let tasks = fixture.tasks().await;
    tasks.into_iter().find(|task| task.source == source).unwrap()
}

#[tokio::test]
async fn an_empty_destination_is_asked_once_for_each_repository_and_once_before_each_write() {
    let fixture = filled().await;
    walk(&fixture).await;
    assert_eq!(asked(&fixture.b, &Method::GET), (0, REPOSITORIES));
    assert_eq!(asked(&fixture.b, &Method::HEAD), (1, 0));
    assert_eq!(
        asked(&fixture.a, &Method::HEAD),
        (1, 0),
        "it says how many pulls are left"
    );
    fixture.drain().await;
    assert_all_arrived(&fixture);
    assert_eq!(
        asked(&fixture.b, &Method::GET),
        (IMAGES, REPOSITORIES),
        "before each write"
    );
    assert_eq!(asked(&fixture.b, &Method::HEAD), (1, 0));
    assert_eq!(asked(&fixture.a, &Method::GET), (IMAGES, REPOSITORIES));
    assert_eq!(asked(&fixture.a, &Method::HEAD), (1 + IMAGES, 0), "after each write");
}

#[tokio::test]
async fn where_tags_are_missing_the_source_is_asked_only_about_those_that_are_there() {
    let fixture = filled().await;
    for number in (0..IMAGES).step_by(TAGS) {
        let repository = name(&format!("copy/app{}", number / TAGS));
        sample(number).seed_into(&fixture.b, &repository, &tag("v0"));
    }
    walk(&fixture).await;
    assert_eq!(asked(&fixture.b, &Method::HEAD).0, IMAGES);
    assert_eq!(asked(&fixture.a, &Method::HEAD).0, REPOSITORIES);
    fixture.drain().await;
    assert_all_arrived(&fixture);
    walk(&fixture).await;
    assert_eq!(
        asked(&fixture.b, &Method::GET),
        (0, 0),
        "it was not empty the last time"
    );
    for registry in [&fixture.a, &fixture.b] {
        assert_eq!(
            asked(registry, &Method::HEAD).0,
            IMAGES,
            "each tag is there, so both sides are asked"
        );
    }
}

#[tokio::test]
async fn what_comes_to_the_destination_meanwhile_is_not_replaced() {
    let fixture = filled().await;
    walk(&fixture).await;
    let other = images::image(99, &[100]);
    other.seed_into(&fixture.b, &name("copy/app0"), &tag("v1"));
    sample(2).seed_into(&fixture.b, &name("copy/app0"), &tag("v2"));
    fixture.drain().await;
    assert_eq!(task_of(&fixture, "a/core/app0:v1").await.state, TaskState::Kept);
    assert_eq!(fixture.b.digest(&name("copy/app0"), &tag("v1")), Some(other.root));
    assert_eq!(task_of(&fixture, "a/core/app0:v2").await.state, TaskState::Unchanged);
    assert_eq!(task_of(&fixture, "a/core/app0:v3").await.state, TaskState::Succeeded);
}

#[tokio::test]
async fn a_task_that_waited_for_long_looks_before_it_reads() {
    let fixture = filled().await;
    walk(&fixture).await;
    fixture.b.reset_requests();
    fixture.clock.advance(Duration::from_mins(11));
    fixture.drain().await;
    assert_eq!(asked(&fixture.b, &Method::HEAD).0, IMAGES);
    assert_all_arrived(&fixture);
}

#[tokio::test]
async fn a_tag_that_is_there_and_cannot_be_read_is_not_passed_over() {
    let fixture = filled().await;
    walk(&fixture).await;
    let unreadable = Fault::new("GET", "core/app1/manifests/v2", Action::status(404)).unwrap();
    fixture.a.set_faults(Some(Arc::new(Script::new([unreadable]))));
    fixture.drain().await;
    let task = task_of(&fixture, "a/core/app1:v2").await;
    assert_eq!(
        (task.state, task.code.as_deref()),
        (TaskState::Failed, Some("SOURCE_NOT_FOUND"))
    );
}

#[tokio::test]
async fn of_two_sources_of_one_tag_that_is_kept_the_first_has_it() {
    let rule = RULE.replace("namespace: copy }", "namespace: copy, flatten: all }, existing: keep");
    let fixture = Fixture::of(EmbeddedRegistry::builder(), EmbeddedRegistry::builder(), &rule).await;
    for (number, repository) in ["core/x/app", "core/y/app"].into_iter().enumerate() {
        sample(number).seed_into(&fixture.a, &name(repository), &tag("v1"));
    }
    walk(&fixture).await;
    let copies = async || {
        let mut tasks = fixture.tasks().await;
        tasks.retain(|task| task.source.ends_with(":v1"));
        tasks
    };
    fixture.attempt().await;
    let first = copies()
        .await
        .into_iter()
        .find(|task| task.state == TaskState::Succeeded)
        .unwrap();
    fixture.attempt().await;
    let kept = copies()
        .await
        .into_iter()
        .filter(|task| task.state == TaskState::Kept)
        .count();
    assert_eq!(kept, 1);
    let at = ImageRef {
        registry: "b".into(),
        repository: name("copy/app"),
        target: Target::Tag(tag("v1")),
    };
    assert_eq!(fixture.b.digest(&at.repository, &tag("v1")), first.digest);
    let record = Ledger::new(&fixture.ledger).replicas.get(&at).await.unwrap().unwrap();
    assert_eq!(
        record.source.unwrap().to_string(),
        first.source,
        "what is attached to it is copied"
    );
}

#[tokio::test]
async fn the_next_message_of_a_run_expects_what_the_last_one_found() {
    let fixture = Fixture::new().await;
    let image = sample(1);
    for number in 0..1_050 {
        let repository = name(&format!("core/app{:02}", number / 50));
        image.seed_into(&fixture.a, &repository, &tag(&format!("v{number:04}")));
    }
    walk(&fixture).await;
    assert_eq!(
        (asked(&fixture.a, &Method::HEAD).0, asked(&fixture.b, &Method::HEAD).0),
        (1, 1)
    );
    let mut messages = fixture.queue_messages().await;
    messages.extend(fixture.queue_messages().await);
    let is_walk = |body: &str| matches!(Envelope::parse(body).unwrap().job, Job::Run(_));
    let (_, next) = messages.into_iter().find(|(_, body)| is_walk(body)).unwrap();
    fixture.work(&next, None).await;
    assert_eq!(
        (asked(&fixture.a, &Method::HEAD).0, asked(&fixture.b, &Method::HEAD).0),
        (2, 2)
    );
}
