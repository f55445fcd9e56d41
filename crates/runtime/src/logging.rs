//! Logs as JSON: one object per line on standard output, with the fields of the event and of the spans around it.
//!
//! What must hold: no secret and no upload location is ever written. The crates of this workspace never log them. Other
//! crates trace whole requests below `INFO`, so these events are not written, even if `RUST_LOG` asks for them.

use std::fmt;
use transship_oci::Code;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets, filter_fn};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{LookupSpan, Scope};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt as layers};

/// Begins the log. The first of these environment variables that is set is the filter, such as
/// `warn,transship_engine=debug`; the default is `info`.
pub fn begin(filter_variables: &[&str]) {
    let lines = layers::layer()
        .fmt_fields(JsonFields::new())
        .event_format(Line)
        .with_writer(std::io::stdout)
        .with_filter(filter_fn(may_be_written));
    // An error means that a log is already initialized.
    let _ = tracing_subscriber::registry()
        .with(filter(filter_variables))
        .with(lines)
        .try_init();
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(
            code = Code::WorkerPanic.as_str(),
            at,
            "a defect in this program: {}",
            panic_text(panic.payload())
        );
    }));
}

fn filter(variables: &[&str]) -> Targets {
    variables
        .iter()
        .filter_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .find_map(|asked| read(&asked))
        .unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO))
}

/// Parses a filter. A word that is not a level would be a target, and everything else would be silent; errors are written
/// all the same, unless one of the words is `off`. [`None`] if it cannot be parsed.
fn read(asked: &str) -> Option<Targets> {
    let targets: Targets = asked.parse().ok()?;
    Some(match targets.default_level() {
        Some(_) => targets,
        None => targets.with_default(LevelFilter::ERROR),
    })
}

/// True for events of this workspace at any level, and for others from `INFO` upwards.
fn may_be_written(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || metadata.target().starts_with("transship")
}

/// The text of a panic, if it has one.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it panicked without a message")
}

/// `{"timestamp", "level", "target", "message", …}`: the spans' fields from the outermost in, then the event's.
struct Line;

impl<S> FormatEvent<S, JsonFields> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields(Map::new());
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            if let Some(written) = span.extensions().get::<FormattedFields<JsonFields>>()
                && let Ok(Value::Object(of_span)) = serde_json::from_str(&written.fields)
            {
                fields.0.extend(of_span);
            }
        }
        event.record(&mut fields);
        let mut line = Map::new();
        line.insert("timestamp".into(), jiff::Timestamp::now().to_string().into());
        line.insert("level".into(), event.metadata().level().as_str().into());
        line.insert("target".into(), event.metadata().target().into());
        line.extend(fields.0);
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// The fields of one event as JSON.
struct Fields(Map<String, Value>);

impl Fields {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_word_that_is_no_level_silences_no_error() {
        let passes = |asked: &str, target: &str, level: Level| read(asked).unwrap().would_enable(target, &level);
        for (asked, expected) in [
            ("info", [true, true, false]),
            ("INFO,transship_engine=debug", [true, true, true]),
            ("transship_engine=debug", [true, false, true]),
            ("inof", [true, false, false]),
            ("FATAL", [true, false, false]),
            ("off", [false, false, false]),
        ] {
            let found = [
                passes(asked, "aws", Level::ERROR),
                passes(asked, "aws", Level::INFO),
                passes(asked, "transship_engine", Level::DEBUG),
            ];
            assert_eq!(found, expected, "{asked}");
        }
        assert!(read("transship=loud").is_none());
    }

    fn lines(events: impl FnOnce()) -> Vec<Value> {
        let written = Written::default();
        let writer = written.clone();
        let layer = layers::layer()
            .fmt_fields(JsonFields::new())
            .event_format(Line)
            .with_writer(move || writer.clone())
            .with_filter(filter_fn(may_be_written));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), events);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_says_whose_task_it_is_about() {
        let lines = lines(|| {
            let outer = tracing::info_span!("invoke", requestId = "r-1");
            let inner =
                tracing::info_span!(parent: &outer, "replicate", execution = "e-1", task = "t-1", rule = "core");
            inner.in_scope(|| tracing::warn!(code = Code::RateLimited.as_str(), attempt = 2, "it \"waits\""));
        });
        let line = &lines[0];
        for (name, value) in [
            ("level", "WARN"),
            ("requestId", "r-1"),
            ("execution", "e-1"),
            ("task", "t-1"),
            ("rule", "core"),
            ("code", "RATE_LIMITED"),
            ("message", "it \"waits\""),
        ] {
            assert_eq!(line[name], value, "{line}");
        }
        assert_eq!(line["attempt"], 2);
        assert!(line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    }

    #[test]
    fn what_others_trace_is_not_written() {
        let lines = lines(|| {
            tracing::trace!(target: "lambda_runtime::layers::api_response", body = "canary");
            tracing::debug!(target: "aws_smithy_runtime", request = "canary");
            tracing::debug!(target: "transship_registry", "ours");
            tracing::warn!(target: "aws_smithy_runtime", "theirs");
        });
        let messages: Vec<_> = lines.iter().map(|line| line["message"].clone()).collect();
        assert_eq!(messages, ["ours", "theirs"]);
    }
}
