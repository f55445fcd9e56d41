//! The demo: a complete replication on parts inside this process, with a comparison after each step.
//!
//! It must succeed only if both registries contain the same manifests, blobs and referrers, with digests that match their
//! bytes. They are read over HTTP by code that is independent of the copy.

mod counts;
mod fixture;
mod image;
mod proof;
mod transcript;

use std::time::Instant;

use transship_engine::TaskState;
use transship_oci::{Digest, Result};

use crate::failure::Failure;
use crate::output::Form;
use crate::{logging, units};
use fixture::{Fixture, SOURCE_REPOSITORY, TAG};
use image::{Release, Stage};
use proof::Proof;
use transcript::{Step, Transcript};

/// Runs the demo.
pub(crate) async fn run(form: Form) -> Result<(), Failure> {
    let begin = Instant::now();
    logging::begin_command();
    let mut transcript = Transcript::begin(form);
    let fixture = Fixture::build(form).await?;
    transcript.fixture(&fixture)?;
    let first = Release::new(1)?;
    push(&fixture, &mut transcript, &first).await?;
    sign(&fixture, &mut transcript, &first).await?;
    let second = Release::new(2)?;
    update(&fixture, &mut transcript, &second).await?;
    repeat(&fixture, &mut transcript, &second).await?;
    let place = (fixture.source_name(), fixture.destination_name());
    fixture.close().await?;
    transcript.end(&second.root, place, begin.elapsed())
}

/// HTTP client of the demo itself.
fn client() -> reqwest::Client {
    transship_registry::use_ring();
    reqwest::Client::new()
}

async fn push(fixture: &Fixture, transcript: &mut Transcript, release: &Release) -> Result<(), Failure> {
    let mut step = Step::begin("push", &release.root);
    let (platforms, size) = (Release::platforms(), units::bytes(release.size));
    step.line(format!("{SOURCE_REPOSITORY}:{TAG} for {platforms}, {size}"));
    fixture.push(release, Stage::Built).await?;
    let task = fixture.task_of_tag().await?;
    let told = fixture.deliveries().len();
    step.line(format!(
        "the registry sent {told} deliveries; rule {} created task {}",
        task.rule, task.id
    ));
    step.line(format!("{}: {}", task.state, task.destination));
    finish(fixture, transcript, step, &release.root).await
}

async fn sign(fixture: &Fixture, transcript: &mut Transcript, release: &Release) -> Result<(), Failure> {
    let mut step = Step::begin("sign", &release.root);
    step.line("a signature with a cosign tag, then an SBOM that refers to the image".to_owned());
    attach(fixture, release).await?;
    step.line("both are copied to the destination of their image".to_owned());
    finish(fixture, transcript, step, &release.root).await
}

async fn update(fixture: &Fixture, transcript: &mut Transcript, release: &Release) -> Result<(), Failure> {
    let mut step = Step::begin("update", &release.root);
    step.line(format!(
        "{TAG} is moved to a new image on the same base, which is signed as well"
    ));
    fixture.push(release, Stage::Built).await?;
    let task = fixture.task_of_tag().await?;
    step.line(format!(
        "{}: {}, replaced because Transship wrote it",
        task.state, task.destination
    ));
    attach(fixture, release).await?;
    finish(fixture, transcript, step, &release.root).await
}

/// Pushes the attachments of the image one after the other, and waits for each.
async fn attach(fixture: &Fixture, release: &Release) -> Result<(), Failure> {
    fixture.push(release, Stage::Signed).await?;
    fixture.task_of(&format!(":{}", release.signature_tag)).await?;
    fixture.push(release, Stage::Documented).await?;
    fixture.task_of(&format!("@{}", release.sbom)).await?;
    Ok(())
}

async fn repeat(fixture: &Fixture, transcript: &mut Transcript, release: &Release) -> Result<(), Failure> {
    let mut step = Step::begin("repeat", &release.root);
    let before = fixture.tasks().await?.len();
    let executions = fixture.deliver_again(&release.root).await?;
    fixture.at_rest().await?;
    let new_tasks = fixture.tasks().await?.len() - before;
    step.line(format!(
        "the same delivery is sent again: execution {} is known, {}",
        executions.join(", "),
        units::count(new_tasks as u64, "new task")
    ));
    fixture.push_manifest_again(release).await?;
    let task = fixture.task_of_tag().await?;
    step.line(format!("the same image is pushed again: {}", task.state));
    if new_tasks != 0 || task.state != TaskState::Unchanged {
        return Err(transcript::failed("an image that was already there was copied again"));
    }
    finish(fixture, transcript, step, &release.root).await
}

/// Reports what was transferred, and the proof.
async fn finish(
    fixture: &Fixture,
    transcript: &mut Transcript,
    mut step: Step,
    digest: &Digest,
) -> Result<(), Failure> {
    fixture.at_rest().await?;
    step.moved(fixture.take_counts());
    let proof = Proof::of(fixture, digest).await?;
    step.proved(&proof);
    transcript.tell(step)
}
