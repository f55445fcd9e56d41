//! Secrets and upload locations are never logged or part of a message, in any failure.

use std::error::Error as _;
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;
use transship_embedded_registry::{Auth, EmbeddedRegistry};
use transship_testkit::faults::Seeded;
use transship_testkit::images;

use crate::auth::{Logins, login};
use crate::world::{World, client_as};

const CANARY: &str = "canary-9f27c1";

/// Everything that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn neither_a_log_nor_an_error_holds_a_secret_or_an_upload_location() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing_subscriber::util::SubscriberInitExt::set_default(subscriber);
    let mut said = String::new();
    let mut struck = 0;
    for (seed, is_bearer) in (0..8).map(|seed| (seed, seed % 2 == 0)) {
        let (user, password) = ("robot".to_owned(), CANARY.to_owned());
        let auth = if is_bearer {
            Auth::Bearer {
                user,
                password,
                expiry: Duration::from_mins(5),
            }
        } else {
            Auth::Basic { user, password }
        };
        let builder = || EmbeddedRegistry::builder().auth(auth.clone());
        let world = World::of(builder(), builder()).await;
        let logins = if seed == 7 {
            Logins::new(&[login(&format!("{CANARY}-wrong"))])
        } else {
            Logins::new(&[login(CANARY)])
        };
        let world = World {
            from: client_as(&world.source, Arc::clone(&logins) as _),
            to: client_as(&world.destination, logins),
            ..world
        };
        world.seed(&images::image(seed, &[20_000, 10]));
        let faults = Arc::new(Seeded::new(seed, 60));
        world.destination.set_faults(Some(Arc::clone(&faults) as _));
        for _ in 0..4 {
            if let Err(error) = world.copy().await {
                writeln!(said, "{error}\n{error:?}").unwrap();
                let mut cause = error.source();
                while let Some(error) = cause {
                    writeln!(said, "{error}\n{error:?}").unwrap();
                    cause = error.source();
                }
            }
        }
        struck += faults.struck();
    }
    let logged = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(struck > 50 && !said.is_empty(), "errors were seen: {struck}");
    assert!(
        logged.contains("retrying a request") || logged.contains("retrying an upload"),
        "something was logged"
    );
    let encoded = base64_of(&format!("robot:{CANARY}"));
    for (what, text) in [("log", &logged), ("errors", &said)] {
        for secret in [CANARY, encoded.as_str(), "Bearer ey", "_state="] {
            assert!(
                !text.contains(secret),
                "the {what} hold {secret}: {}",
                around(text, secret)
            );
        }
        assert!(
            !text.contains("/blobs/uploads/") || !has_session(text),
            "the {what} hold an upload location"
        );
    }
}

/// True if a session's name stands behind `/blobs/uploads/`.
fn has_session(text: &str) -> bool {
    text.split("/blobs/uploads/")
        .skip(1)
        .any(|rest| rest.starts_with(|next: char| next.is_ascii_hexdigit()))
}

fn around(text: &str, part: &str) -> String {
    let at = text.find(part).unwrap_or_default();
    text.chars().skip(at.saturating_sub(200)).take(400).collect()
}

fn base64_of(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
