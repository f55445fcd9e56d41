//! The demo: a complete replication on parts inside this process, with a comparison after each step.
//!
//! It must succeed only if both registries contain the same manifests, blobs and referrers, with digests that match their
//! bytes. They are read over HTTP by code that is independent of the copy.

mod counts;
mod house;
mod image;
mod proof;
mod story;

use std::time::Instant;

use transship_engine::TaskState;
use transship_oci::{Digest, Result};

use crate::failure::Failure;
use crate::output::Form;
use crate::{logging, units};
use house::{House, SOURCE_REPOSITORY, TAG};
use image::{Release, Stage};
use proof::Proof;
use story::{Step, Story};

/// Runs the demo.
pub(crate) async fn run(form: Form) -> Result<(), Failure> {
    let begin = Instant::now();
    logging::begin_command();
    let mut story = Story::begin(form);
    let house = House::build(form).await?;
    story.house(&house)?;
    let first = Release::new(1)?;
    push(&house, &mut story, &first).await?;
    sign(&house, &mut story, &first).await?;
    let second = Release::new(2)?;
    update(&house, &mut story, &second).await?;
    repeat(&house, &mut story, &second).await?;
    let place = (house.source_name(), house.destination_name());
    house.close().await?;
    story.end(&second.root, place, begin.elapsed())
}

/// HTTP client of the demo itself.
fn client() -> reqwest::Client {
    transship_registry::use_ring();
    reqwest::Client::new()
}

async fn push(house: &House, story: &mut Story, release: &Release) -> Result<(), Failure> {
    let mut step = Step::begin("push", &release.root);
    let (platforms, size) = (Release::platforms(), units::bytes(release.size));
    step.line(format!("{SOURCE_REPOSITORY}:{TAG} for {platforms}, {size}"));
    house.push(release, Stage::Built).await?;
    let task = house.task_of_tag().await?;
    let told = house.deliveries().len();
    step.line(format!(
        "the registry sent {told} deliveries; rule {} created task {}",
        task.rule, task.id
    ));
    step.line(format!("{}: {}", task.state, task.destination));
    finish(house, story, step, &release.root).await
}

async fn sign(house: &House, story: &mut Story, release: &Release) -> Result<(), Failure> {
    let mut step = Step::begin("sign", &release.root);
    step.line("a signature with a cosign tag, then an SBOM that refers to the image".to_owned());
    attach(house, release).await?;
    step.line("both are copied to the destination of their image".to_owned());
    finish(house, story, step, &release.root).await
}

async fn update(house: &House, story: &mut Story, release: &Release) -> Result<(), Failure> {
    let mut step = Step::begin("update", &release.root);
    step.line(format!(
        "{TAG} is moved to a new image on the same base, which is signed as well"
    ));
    house.push(release, Stage::Built).await?;
    let task = house.task_of_tag().await?;
    step.line(format!(
        "{}: {}, replaced because Transship wrote it",
        task.state, task.destination
    ));
    attach(house, release).await?;
    finish(house, story, step, &release.root).await
}

/// Pushes the attachments of the image one after the other, and waits for each.
async fn attach(house: &House, release: &Release) -> Result<(), Failure> {
    house.push(release, Stage::Signed).await?;
    house.task_of(&format!(":{}", release.signature_tag)).await?;
    house.push(release, Stage::Documented).await?;
    house.task_of(&format!("@{}", release.sbom)).await?;
    Ok(())
}

async fn repeat(house: &House, story: &mut Story, release: &Release) -> Result<(), Failure> {
    let mut step = Step::begin("repeat", &release.root);
    let before = house.tasks().await?.len();
    let executions = house.deliver_again(&release.root).await?;
    house.at_rest().await?;
    let new_tasks = house.tasks().await?.len() - before;
    step.line(format!(
        "the same delivery is sent again: execution {} is known, {}",
        executions.join(", "),
        units::count(new_tasks as u64, "new task")
    ));
    house.push_manifest_again(release).await?;
    let task = house.task_of_tag().await?;
    step.line(format!("the same image is pushed again: {}", task.state));
    if new_tasks != 0 || task.state != TaskState::Unchanged {
        return Err(story::failed("an image that was already there was copied again"));
    }
    finish(house, story, step, &release.root).await
}

/// Reports what was transferred, and the proof.
async fn finish(house: &House, story: &mut Story, mut step: Step, digest: &Digest) -> Result<(), Failure> {
    house.at_rest().await?;
    step.moved(house.take_counts());
    let proof = Proof::of(house, digest).await?;
    step.proved(&proof);
    story.tell(step)
}
