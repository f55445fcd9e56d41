//! The setup of most black-box tests: a source that notifies `serve`, a destination, and one rule from `core` to `copy`.

use std::time::Duration;

use crate::docker_registry::Options;
use crate::{DockerRegistry, Document, Serve, check, wait};

/// How long an image may take to arrive. "Within seconds" is what is promised; the rest is for a loaded machine.
pub const ARRIVAL: Duration = Duration::from_secs(30);

/// Two registries with `serve` between them.
#[derive(Debug)]
pub struct Scenario {
    /// Registry `a`.
    pub source: DockerRegistry,
    /// Registry `b`.
    pub destination: DockerRegistry,
    /// Replicates from `a` to `b`.
    pub serve: Serve,
}

impl Scenario {
    /// Starts all three. The source notifies `serve` directly.
    pub fn start() -> Self {
        let mut scenario = Self::prepare(&Options::default());
        scenario.start_serve();
        scenario
    }

    /// Starts the registries, but not `serve` yet. `options.notify` is the hook of `serve` unless it is set.
    pub fn prepare(options: &Options) -> Self {
        let serve = Serve::prepare();
        let notify = options.notify.clone().or_else(|| Some(serve.hook("a")));
        let source = DockerRegistry::start_with(&Options {
            notify,
            ..options.clone()
        });
        Self {
            source,
            destination: DockerRegistry::start(),
            serve,
        }
    }

    /// Starts `serve` with the usual document.
    pub fn start_serve(&mut self) {
        let document = self.document();
        self.serve.start(&document);
    }

    /// The usual document: rule `core`, from namespace `core` to namespace `copy`.
    pub fn document(&self) -> Document {
        Document::between(&self.source.host(), &self.destination.host()).rule("core", "core", "copy", "")
    }

    /// Waits until `core/{name}:{tag}` is at the destination as `copy/{name}:{tag}`, whole from its first moment, and
    /// equal with all that belongs to it.
    ///
    /// # Panics
    /// If it does not arrive in time, or not whole.
    pub fn assert_arrives(&self, name: &str, tag: &str) {
        let (from, to) = (format!("core/{name}"), format!("copy/{name}"));
        let (source, destination) = (self.source.host(), self.destination.host());
        let arrived = wait::until(ARRIVAL, || {
            let (wanted, found) = (
                check::digest(&source, &from, tag)?,
                check::digest(&destination, &to, tag)?,
            );
            match found {
                Some(_) if wanted == found => Ok(()),
                _ => Err(format!(
                    "{to}:{tag} is {found:?} at the destination, {wanted:?} at the source"
                )),
            }
        });
        arrived.unwrap_or_else(|reason| panic!("{reason}"));
        // Not retried: what is visible is whole at once.
        check::whole(&destination, &to, tag).unwrap_or_else(|reason| panic!("{to}:{tag} is not whole: {reason}"));
        // Retried: referrers that are pushed after their subject arrive after it.
        wait::until(ARRIVAL, || check::equal(&source, &from, tag, &destination, &to, tag))
            .unwrap_or_else(|reason| panic!("{to}:{tag} is not {from}:{tag}: {reason}"));
    }
}
