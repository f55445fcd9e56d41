//! Logs on standard error: the log of `serve`, and the warnings of other commands. `RUST_LOG` sets the filter.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// Format of the log of `serve`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogForm {
    /// Text on a terminal, JSON elsewhere
    Auto,
    /// One line of text per event
    Text,
    /// One JSON object per event
    Json,
}

impl LogForm {
    fn is_json(self) -> bool {
        match self {
            Self::Auto => !std::io::stderr().is_terminal(),
            Self::Text => false,
            Self::Json => true,
        }
    }
}

/// Initializes the log of a service.
pub(crate) fn begin_service(form: LogForm) {
    let builder = fmt::Subscriber::builder()
        .with_env_filter(filter("info"))
        .with_writer(std::io::stderr);
    if form.is_json() {
        builder.json().flatten_event(true).with_span_list(false).init();
    } else {
        builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .init();
    }
}

/// Initializes the log of a short command: warnings only, unless `RUST_LOG` sets another filter.
pub(crate) fn begin_command() {
    fmt::Subscriber::builder()
        .with_env_filter(filter("warn"))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .init();
}

fn filter(default: &str) -> EnvFilter {
    let asked = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    EnvFilter::builder().parse_lossy(if asked.is_empty() { default } else { &asked })
}
