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
