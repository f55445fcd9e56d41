//! Which changes of a document take effect, and how often faults are logged.

use std::sync::Arc;
use std::sync::Mutex;

use transship_testkit::clock::ManualClock;

use super::*;

const GOOD: &str = "version: 1\nregistries:\n  a: { provider: generic, endpoint: \"http://127.0.0.1:1\" }\nrules: []\n";

/// A document of which a test sets the text; [`None`]: it cannot be read.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Option<String>>>);

#[async_trait]
impl DocumentReader for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    async fn read(&self, known: Option<&str>) -> Result<Option<DocumentText>> {
        let text = self.0.lock().unwrap().clone();
        let text = text.ok_or_else(|| Error::of(Code::ConfigUnavailable, Verb::Configuration))?;
        Ok((known != Some(text.as_str())).then(|| DocumentText {
            version: Some(text.clone()),
            text,
        }))
    }
}

fn source(reader: &Scripted, repeats_faults: bool) -> DocumentSource {
    let options = DocumentOptions {
        interval: Duration::from_secs(30),
        repeats_faults,
        warnings: |_| Vec::new(),
    };
    let clock = Arc::new(ManualClock::default());
    DocumentSource::with_clock(Box::new(reader.clone()), options, clock).with_version(GOOD.to_owned())
}

async fn check(source: &DocumentSource) -> &'static str {
    match source.check().await {
        Change::None => "none",
        Change::New(_) => "new",
        Change::Refused(_) => "refused",
        Change::Unreadable(_) => "unreadable",
    }
}

#[tokio::test]
async fn every_change_is_logged_once_or_a_fault_for_as_long_as_it_lasts() {
    let other = GOOD.replace("a:", "b:");
    let (once, repeated) = (Scripted::default(), Scripted::default());
    let (source_once, source_repeated) = (source(&once, false), source(&repeated, true));
    for (text, first, again) in [
        (Some(GOOD), "none", "none"),
        (Some(other.as_str()), "new", "new"),
        (Some(other.as_str()), "none", "none"),
        (Some("version: 7"), "refused", "refused"),
        (Some("version: 7"), "none", "refused"),
        (None, "unreadable", "unreadable"),
        (None, "none", "unreadable"),
        (Some(GOOD), "new", "new"),
        (None, "unreadable", "unreadable"),
    ] {
        *once.0.lock().unwrap() = text.map(str::to_owned);
        *repeated.0.lock().unwrap() = text.map(str::to_owned);
        assert_eq!(check(&source_once).await, first, "{text:?}");
        assert_eq!(check(&source_repeated).await, again, "{text:?}");
    }
}

#[tokio::test]
async fn a_version_is_confirmed_only_while_it_is_the_newest() {
    let text = Scripted::default();
    *text.0.lock().unwrap() = Some(GOOD.to_owned());
    let clock = Arc::new(ManualClock::default());
    let options = DocumentOptions {
        interval: Duration::from_secs(30),
        repeats_faults: false,
        warnings: |_| Vec::new(),
    };
    let source = DocumentSource::with_clock(Box::new(text.clone()), options, Arc::clone(&clock) as _);
    let configuration = configuration(source.load().await.unwrap());
    let other = GOOD.replace("a:", "b:");
    let mut confirmed = Vec::new();
    for newest in [
        Some(GOOD),
        Some(other.as_str()),
        Some("version: 7"),
        Some("version: 7"),
        None,
        None,
        Some(GOOD),
    ] {
        *text.0.lock().unwrap() = newest.map(str::to_owned);
        clock.advance(Duration::from_secs(31));
        let now = Timestamp::try_from(clock.now()).unwrap();
        source.refresh(&configuration).await;
        confirmed.push(configuration.current().newest_at() == Some(now));
    }
    assert_eq!(confirmed, [true, true, false, false, false, false, true]);
}

fn configuration(document: Document) -> Configuration {
    let secrets: Arc<dyn transship_engine::Secrets> = Arc::new(crate::process_secrets(
        crate::Environment::of::<String, String>([]),
        None,
    ));
    Configuration::new(
        document,
        Arc::new(|_| Arc::new(transship_registry::Anonymous)),
        secrets,
        transship_registry::Retries::default(),
    )
}
