//! What a run asks where the destination lacks the images, and that it replaces nothing that came there meanwhile.

use std::time::Duration;

use http::Method;
use transship_embedded_registry::EmbeddedRegistry;
use transship_engine::{Narrow, TaskRecord, TaskState};
use transship_testkit::images::{self, Sample};

use crate::fixture::{Fixture, name, tag};
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
