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
            id: None,
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
        Change::New(..) => "new",
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
    let configuration = configuration(source.load().await.unwrap().document);
    configuration.confirm(Timestamp::MIN);
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

/// A document whose place keeps earlier versions.
#[derive(Clone, Default)]
struct Versioned {
    newest: Scripted,
    /// By their ids, the newest first.
    earlier: Arc<Mutex<Vec<(String, String)>>>,
    noted: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl DocumentReader for Versioned {
    fn name(&self) -> &'static str {
        "versioned"
    }

    async fn read(&self, known: Option<&str>) -> Result<Option<DocumentText>> {
        self.newest.read(known).await
    }

    async fn earlier(&self) -> Result<Vec<String>> {
        Ok(self.earlier.lock().unwrap().iter().map(|(id, _)| id.clone()).collect())
    }

    async fn read_earlier(&self, id: &str) -> Result<String> {
        let earlier = self.earlier.lock().unwrap();
        let found = earlier.iter().find(|(known, _)| known == id);
        Ok(found.unwrap().1.clone())
    }

    async fn note(&self, in_force: &DocumentText) -> Result<()> {
        self.noted.lock().unwrap().push(in_force.text.clone());
        Ok(())
    }
}

#[tokio::test]
async fn a_start_with_a_document_that_cannot_be_used_falls_back_and_recovers() {
    let other = GOOD.replace("a:", "b:");
    for newest in [Some("version: 7"), Some("version: 99999"), Some("registries: {"), None] {
        let metrics = transship_testkit::metrics::Metrics::default();
        let _guard = metrics.record();
        let place = Versioned::default();
        *place.newest.0.lock().unwrap() = newest.map(str::to_owned);
        *place.earlier.lock().unwrap() = [("v3", "half a docu"), ("v2", GOOD), ("v1", other.as_str())]
            .map(|(id, text)| (id.to_owned(), text.to_owned()))
            .into();
        let options = DocumentOptions {
            interval: Duration::from_secs(30),
            repeats_faults: true,
            warnings: |_| Vec::new(),
        };
        let clock = Arc::new(ManualClock::default());
        let source = DocumentSource::with_clock(Box::new(place.clone()), options, Arc::clone(&clock) as _);
        let loaded = source.load().await.unwrap();
        assert!(
            loaded.is_fallback && loaded.document.registries.contains_key("a"),
            "{newest:?}"
        );
        let configuration = configuration(loaded.document.clone());
        loaded.put_in_force(&configuration, Timestamp::UNIX_EPOCH);
        assert_eq!(metrics.take("ConfigurationFallback"), 1);
        for _ in 0..2 {
            clock.advance(Duration::from_secs(31));
            source.refresh(&configuration).await;
            assert!(configuration.current().is_fallback());
            assert_eq!(metrics.take("ConfigurationFallback"), 1, "as long as it lasts");
        }
        assert!(place.noted.lock().unwrap().is_empty(), "a fallback is not noted");
        *place.newest.0.lock().unwrap() = Some(other.clone());
        clock.advance(Duration::from_secs(31));
        source.refresh(&configuration).await;
        let current = configuration.current();
        assert!(!current.is_fallback() && current.document.registries.contains_key("b"));
        assert_eq!(place.noted.lock().unwrap().as_slice(), std::slice::from_ref(&other));
        assert_eq!(metrics.take("ConfigurationFallback"), 0);
    }
}

#[tokio::test]
async fn without_an_earlier_version_the_fault_of_the_newest_is_reported() {
    let place = Versioned::default();
    *place.newest.0.lock().unwrap() = Some("version: 7".to_owned());
    *place.earlier.lock().unwrap() = vec![("v1".to_owned(), "nothing".to_owned())];
    let options = DocumentOptions {
        interval: Duration::from_secs(30),
        repeats_faults: true,
        warnings: |_| Vec::new(),
    };
    let source = DocumentSource::new(Box::new(place), options);
    assert_eq!(source.load().await.unwrap_err().code(), "CONFIG_INVALID");
}

#[tokio::test]
async fn a_file_keeps_a_copy_of_the_version_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("t.yaml"), dir.path().join("document.yaml"));
    let source = || {
        let file = FileDocument::new(path.clone(), Code::ConfigUnreadable).with_copy(copy.clone());
        let options = DocumentOptions {
            interval: Duration::from_secs(2),
            repeats_faults: false,
            warnings: |_| Vec::new(),
        };
        DocumentSource::new(Box::new(file), options)
    };
    std::fs::write(&path, GOOD).unwrap();
    assert!(!source().load().await.unwrap().is_fallback);
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), GOOD);
    std::fs::write(&path, "version: 7").unwrap();
    let loaded = source().load().await.unwrap();
    assert!(loaded.is_fallback && loaded.document.registries.contains_key("a"));
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), GOOD, "it stays");
}
