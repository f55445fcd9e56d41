//! `transship serve`: webhook, queue and workers in one process, with one data folder.
//!
//! The process must hold the lock of the folder, and the messages that a dead process left must be visible again, before
//! the first delivery is received.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::SignedDuration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use transship_copy::NoProgress;
use transship_engine::{Outgoing, Sweep, TaskQueue as _};
use transship_local::{DataLock, Database, SqliteQueue};
use transship_oci::{Code, Error, Verb};
use transship_rules::{Document, Webhook};
use transship_runtime::{DocumentOptions, DocumentSource, DocumentText, Environment, FileDocument};

use super::dr::dns_command;
use crate::failure::{Exit, Failure};
use crate::logging::{self, LogForm};
use crate::service::{CONCURRENCY, Configured, Service, Settings, raise_file_limit};
use crate::{allocator, document};
use transship_oci::Result;

/// Arguments of `transship serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  transship serve --config transship.yaml --data /var/lib/transship --listen 0.0.0.0:8080\n\nRegistries post their notifications to /hooks/NAME, where NAME is their name in the document.\nThe document is reloaded when it changes, and at once on SIGHUP. RUST_LOG sets the log filter; the default is info."
)]
pub(crate) struct Arguments {
    /// Configuration document, YAML or JSON
    #[arg(long, value_name = "FILE", env = "TRANSSHIP_CONFIG", hide_env_values = true)]
    config: PathBuf,
    /// Data folder for the queue and the ledger
    #[arg(long, value_name = "DIR", env = "TRANSSHIP_DATA", hide_env_values = true)]
    data: PathBuf,
    /// Address to receive deliveries on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Interval between full comparisons that repair missed events (30m, 2h, or off)
    #[arg(long, value_name = "INTERVAL", default_value = "1h", value_parser = interval)]
    sweep: Interval,
    /// Number of tasks that are processed at the same time; one pair of registries gets at most half
    #[arg(long, value_name = "N", default_value_t = CONCURRENCY, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// Folder below which the files of `file:` secrets must be
    #[arg(long, value_name = "DIR", env = "TRANSSHIP_SECRETS_DIR", hide_env_values = true)]
    secrets_dir: Option<PathBuf>,
    /// Command that reads a zone with `dns: { exec: NAME }`; repeatable
    #[arg(long, value_name = "NAME=PATH", value_parser = dns_command)]
    dns_command: Vec<(String, PathBuf)>,
    /// Log format
    #[arg(long, value_enum, default_value_t = LogForm::Auto)]
    log: LogForm,
    /// Accepted and ignored, because `serve` prints no result. It replaces the global option, to hide it in the help.
    #[arg(long, hide = true)]
    json: bool,
}

/// How `serve` follows its document.
const DOCUMENT_OPTIONS: DocumentOptions = DocumentOptions {
    interval: Duration::from_secs(2),
    repeats_faults: false,
    warnings: Document::needs_aws,
};

/// The file in the data folder with the version of the document that was in force last.
const DOCUMENT_COPY: &str = "document-in-force.yaml";

/// Time between two sweeps; [`None`] disables them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Interval(Option<Duration>);

fn interval(text: &str) -> Result<Interval, &'static str> {
    if text == "off" {
        return Ok(Interval(None));
    }
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|interval| Duration::try_from(interval).ok())
        .filter(|interval| *interval >= Duration::from_secs(1))
        .map(|interval| Interval(Some(interval)))
        .ok_or("expected an interval of at least one second, such as 30m or 1h, or off")
}

/// Starts a sweep now and at every `interval`.
async fn order_sweeps(queue: SqliteQueue, interval: Interval) {
    let Interval(Some(interval)) = interval else { return };
    loop {
        if let Err(error) = queue.send(&[Outgoing::now(Sweep::default())]).await {
            tracing::error!(code = error.code(), "a sweep could not be started: {error}");
        }
        tokio::time::sleep(interval).await;
    }
}

/// Runs the command until a signal stops it.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    allocator::keep_mmap_threshold();
    let reader = FileDocument::new(arguments.config.clone(), Code::ConfigUnreadable);
    let reader = reader.with_copy(arguments.data.join(DOCUMENT_COPY));
    let source = DocumentSource::new(Box::new(reader), DOCUMENT_OPTIONS);
    logging::begin_service(arguments.log);
    let read = match document::load(&arguments.config) {
        Ok((text, parsed)) => Ok((text, parsed)),
        // A file that is not there is a mistyped name.
        Err(refused) if arguments.config.is_file() => {
            let why = Error::new(
                Code::ConfigInvalid,
                Verb::Configuration.on(source.name()),
                refused.first_line().to_owned(),
            );
            Err(source.load_earlier(&why).await.ok_or(refused)?)
        }
        Err(refused) => return Err(refused),
    };
    let (newest, document) = match read {
        Ok((text, parsed)) => {
            transship_runtime::warn(&parsed.warnings);
            (Some(text), parsed.document)
        }
        Err(earlier) => (None, earlier),
    };
    transship_runtime::warn(&document.needs_aws());
    warn_of_imports(&document);
    // Signals are caught before the first message, because a caller that reads it may send a signal at once.
    let signals = Signals::listen()?;
    raise_file_limit();
    let _lock = DataLock::acquire(&arguments.data)?;
    let database = Database::open(&arguments.data)?;
    let listener = listen(arguments.listen).await?;
    tell_hooks(&document, &listener);
    let service = Service::build(
        Configured::new(document.clone(), Environment::process(), arguments.secrets_dir),
        database,
        Arc::new(NoProgress),
        Settings {
            concurrency: arguments.concurrency.into(),
            sweeps: arguments.sweep.0.is_some(),
            dns_commands: arguments.dns_command.into_iter().collect(),
        },
    );
    let released = service.release_ended().await?;
    if released > 0 {
        tracing::info!(tasks = released, "resuming tasks that a previous process had started");
    }
    let configuration = service.configuration.clone();
    let source = if let Some(text) = newest {
        let in_force = DocumentText {
            version: Some(text.clone()),
            text: text.clone(),
            id: None,
        };
        source.note(&in_force).await;
        source.with_version(text)
    } else {
        configuration.fall_back(document);
        source
    };
    let reload = Arc::new(Notify::new());
    let hangups = tokio::spawn(reload_on(signals.hangup, Arc::clone(&reload)));
    let watched = tokio::spawn(async move { source.watch(&configuration, &reload).await });
    let sweeps = tokio::spawn(order_sweeps(service.queue.clone(), arguments.sweep));
    let ledger = Arc::clone(&service.ledger);
    let retention = tokio::spawn(async move { ledger.keep_retention().await });
    let result = service.run(listener, signals.stop.received()).await;
    sweeps.abort();
    retention.abort();
    watched.abort();
    hangups.abort();
    result
}

/// Warns about imports: this process receives no events of buckets.
fn warn_of_imports(document: &Document) {
    let imports = document.imports.iter().filter(|import| import.enabled).count();
    if imports > 0 {
        tracing::warn!(
            code = Code::ImportsNotServed.as_str(),
            imports,
            "serve does not import from buckets: use a deployed stack or transship import"
        );
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let sentence = format!("cannot listen on {address}: {error}; select another address with --listen");
        Failure::new(Exit::Failed, "LISTEN_FAILED", sentence)
    })
}

/// Logs one line for each source: the URL that its sender must post to.
fn tell_hooks(document: &Document, listener: &TcpListener) {
    let address = listener
        .local_addr()
        .map_or_else(|_| String::new(), |address| address.to_string());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        address,
        rules = document.rules.len(),
        "serving"
    );
    for (name, registry) in &document.registries {
        if let Some(webhook) = &registry.webhook {
            let proof = match webhook {
                Webhook::Anyone => "without a secret",
                Webhook::Secret { .. } if registry.format.is_signed() => "signed with its secret",
                Webhook::Secret { .. } => "with its secret as Authorization header or at the end of the URL",
                Webhook::Identity { .. } => "with a token of its cloud",
            };
            tracing::info!("notifications of {name}: POST http://{address}/hooks/{name} {proof}");
        }
    }
}

/// Wakes `reload` at every SIGHUP.
async fn reload_on(mut hangup: Signal, reload: Arc<Notify>) {
    while hangup.recv().await.is_some() {
        tracing::info!("SIGHUP: reading the document");
        reload.notify_one();
    }
}

/// The signals that the process handles, caught from the moment this value is created.
struct Signals {
    stop: Stop,
    hangup: Signal,
}

/// The signals that stop the process.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(
                    Exit::Failed,
                    "SIGNALS_FAILED",
                    format!("cannot receive signals: {error}"),
                )
            })
        };
        Ok(Self {
            stop: Stop {
                terminate: listen(SignalKind::terminate())?,
                interrupt: listen(SignalKind::interrupt())?,
            },
            hangup: listen(SignalKind::hangup())?,
        })
    }
}

impl Stop {
    /// Returns when a signal was received.
    async fn received(mut self) -> Result<(), Failure> {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_as_people_write_them() {
        let read = |text: &str| interval(text).map(|Interval(every)| every.map(|every| every.as_secs()));
        assert_eq!(read("1h"), Ok(Some(3600)));
        assert_eq!(read("90s"), Ok(Some(90)));
        assert_eq!(read("1h 30m"), Ok(Some(5400)));
        assert_eq!(read("off"), Ok(None));
        for bad in ["", "0s", "-1h", "10ms", "never", "5"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
