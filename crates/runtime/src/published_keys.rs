//! The public keys that clouds publish, for the tokens and signatures of senders.
//!
//! What must hold: nothing but a key of a fixed list of hosts is ever fetched, regardless of the delivery, and not often.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use transship_copy::Clock;
use transship_engine::SigningKeys;
use transship_notifications::EntraCloud;
use transship_oci::{Code, Error, Result, Verb};
use transship_registry::fetch_public;
use url::Url;

use crate::fetch_cache::{Cached, FetchCache, Freshness};

/// Keys are used for this long before they are fetched again.
const KEYS_TTL: Duration = Duration::from_mins(30);
/// Largest set of keys or certificate in bytes. Google's set has 2 KiB, that of a tenant of Microsoft 20 KiB.
const KEYS_BYTES_MAX: usize = 256 * 1024;
/// Time limit of a fetch. Senders wait 10 seconds and more.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);
/// The hosts of keys.
const GOOGLE: &str = "www.googleapis.com";
/// The hosts of the event bus of Alibaba Cloud end so; the check of a delivery compares the whole host with the document.
const BUS: &str = "-eventbridge.oss-accelerate.aliyuncs.com";

/// [`SigningKeys`] over HTTPS, kept for half an hour.
pub struct PublishedKeys {
    cache: FetchCache<Arc<[u8]>>,
    is_of_keys: fn(&Url) -> bool,
    timeout: Duration,
}

impl PublishedKeys {
    /// No key is fetched before it is needed.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            cache: FetchCache::new(clock),
            is_of_keys,
            timeout: FETCH_TIMEOUT,
        }
    }

    async fn get(&self, text: &str, freshness: Freshness) -> Result<Arc<[u8]>> {
        let url = Url::parse(text).ok().filter(self.is_of_keys).ok_or_else(|| {
            let operation = Verb::Read.on("keys");
            Error::new(Code::Unavailable, operation, "the URL is not that of a host of keys")
        })?;
        let fetch = async {
            let value = fetch_public(&url, KEYS_BYTES_MAX, self.timeout).await?;
            Ok(Cached {
                value: Arc::from(value.as_ref()),
                until: None,
            })
        };
        self.cache.get(text, freshness, fetch).await
    }
}

#[async_trait]
impl SigningKeys for PublishedKeys {
    async fn keys(&self, url: &str) -> Result<Arc<[u8]>> {
        self.get(url, Freshness::Relaxed(KEYS_TTL)).await
    }

    async fn keys_anew(&self, url: &str, age: Duration) -> Result<Arc<[u8]>> {
        self.get(url, Freshness::Strict(age)).await
    }
}

fn is_of_keys(url: &Url) -> bool {
    let is_known = url
        .domain()
        .is_some_and(|host| host == GOOGLE || is_of_entra(host) || host.ends_with(BUS));
    let is_plain = url.username().is_empty() && url.password().is_none() && url.port().is_none();
    is_known && is_plain && url.scheme() == "https"
}

fn is_of_entra(host: &str) -> bool {
    EntraCloud::ALL.iter().any(|cloud| cloud.login_host() == host)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use transship_testkit::clock::ManualClock;

    use super::*;

    /// What the host of keys answers.
    #[derive(Clone)]
    enum Answer {
        /// The whole response.
        Response(Vec<u8>),
        /// Nothing, on an open connection.
        Silence,
    }

    /// A host of keys on loopback, and the keys that are fetched from it.
    struct Host {
        keys: PublishedKeys,
        clock: ManualClock,
        url: String,
        answer: Arc<Mutex<Answer>>,
        /// The paths that were requested.
        requested: Arc<Mutex<Vec<String>>>,
    }

    impl Host {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/keys", listener.local_addr().unwrap());
            let answer = Arc::new(Mutex::new(ok("first")));
            let requested = Arc::new(Mutex::new(Vec::new()));
            let (answers, paths) = (Arc::clone(&answer), Arc::clone(&requested));
            tokio::spawn(async move {
                let mut open = Vec::new();
                while let Ok((mut stream, _)) = listener.accept().await {
                    let path = path_of(&mut stream).await;
                    paths.lock().unwrap().push(path);
                    let answer = answers.lock().unwrap().clone();
                    if let Answer::Response(bytes) = answer {
                        // A client that has read enough closes the connection.
                        let _ = stream.write_all(&bytes).await;
                    }
                    open.push(stream);
                }
            });
            let clock = ManualClock::default();
            Self {
                keys: PublishedKeys {
                    is_of_keys: |url| url.host_str() == Some("127.0.0.1"),
                    timeout: Duration::from_secs(30),
                    ..PublishedKeys::new(Arc::new(clock.clone()))
                },
                clock,
                url,
                answer,
                requested,
            }
        }

        fn answers(&self, answer: Answer) {
            *self.answer.lock().unwrap() = answer;
        }

        fn requests(&self) -> usize {
            self.requested.lock().unwrap().len()
        }

        async fn get(&self) -> Result<String> {
            self.keys.keys(&self.url).await.map(|bytes| text(&bytes))
        }

        async fn get_anew(&self) -> Result<String> {
            self.keys
                .keys_anew(&self.url, Duration::from_mins(1))
                .await
                .map(|bytes| text(&bytes))
        }
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn ok(body: &str) -> Answer {
        let length = body.len();
        Answer::Response(
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").into(),
        )
    }

    fn status(line: &str, headers: &str) -> Answer {
        Answer::Response(format!("HTTP/1.1 {line}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n").into())
    }

    /// Reads the head of a request, and returns its path.
    async fn path_of(stream: &mut TcpStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { break };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(!head.to_lowercase().contains("\r\nauthorization:"), "{head}");
        head.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn keys_are_fetched_once_in_half_an_hour() {
        let host = Host::start().await;
        for _ in 0..10 {
            assert_eq!(host.get().await.unwrap(), "first");
        }
        assert_eq!(host.requests(), 1);
        host.answers(ok("second"));
        host.clock.advance(KEYS_TTL);
        assert_eq!(host.get().await.unwrap(), "second");
        assert_eq!(host.requests(), 2);
    }

    #[tokio::test]
    async fn rotated_keys_are_fetched_at_most_once_a_minute() {
        let host = Host::start().await;
        assert_eq!(host.get().await.unwrap(), "first");
        host.answers(ok("rotated"));
        assert_eq!(host.get_anew().await.unwrap(), "first", "they are new enough");
        host.clock.advance(Duration::from_mins(1));
        for _ in 0..10 {
            assert_eq!(host.get_anew().await.unwrap(), "rotated");
        }
        assert_eq!(host.get().await.unwrap(), "rotated");
        assert_eq!(host.requests(), 2);
    }

    #[tokio::test]
    async fn a_host_that_fails_is_not_asked_at_once_again_and_old_keys_are_used_meanwhile() {
        let host = Host::start().await;
        host.answers(status("503 Service Unavailable", ""));
        for _ in 0..10 {
            assert_eq!(host.get().await.unwrap_err().code(), "UNAVAILABLE");
        }
        assert_eq!(host.requests(), 1);
        host.clock.advance(Duration::from_secs(5));
        host.answers(ok("first"));
        assert_eq!(host.get().await.unwrap(), "first");
        host.answers(status("503 Service Unavailable", ""));
        host.clock.advance(KEYS_TTL);
        assert_eq!(host.get().await.unwrap(), "first");
        assert_eq!(host.get_anew().await.unwrap_err().code(), "UNAVAILABLE");
    }

    #[tokio::test]
    async fn keys_that_are_too_large_or_cut_are_refused() {
        let whole = "x".repeat(KEYS_BYTES_MAX);
        let chunk = format!("{:x}\r\n{whole}\r\n", whole.len());
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
        for (answer, is_read) in [
            (ok(&whole), true),
            (ok(&format!("{whole}x")), false),
            (Answer::Response(format!("{head}{chunk}0\r\n\r\n").into()), true),
            (Answer::Response(format!("{head}{chunk}{chunk}0\r\n\r\n").into()), false),
            (Answer::Response(b"garbage\r\n\r\n".to_vec()), false),
        ] {
            let host = Host::start().await;
            host.answers(answer);
            let read = host.get().await;
            assert_eq!(read.as_ref().map(String::len).ok(), is_read.then_some(KEYS_BYTES_MAX));
        }
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let host = Host::start().await;
        let elsewhere = host.url.replace("/keys", "/elsewhere");
        host.answers(status("302 Found", &format!("Location: {elsewhere}\r\n")));
        assert_eq!(host.get().await.unwrap_err().code(), "UNAVAILABLE");
        assert_eq!(*host.requested.lock().unwrap(), ["/keys"]);
    }

    #[tokio::test]
    async fn a_host_that_does_not_answer_is_given_up() {
        let mut host = Host::start().await;
        host.keys.timeout = Duration::from_millis(100);
        host.answers(Answer::Silence);
        let error = host.get().await.unwrap_err();
        assert_eq!(error.code(), "UNAVAILABLE");
        assert!(error.to_string().contains("did not respond in time"), "{error}");
    }

    #[tokio::test]
    async fn nothing_but_a_host_of_keys_is_asked() {
        let keys = PublishedKeys::new(Arc::new(ManualClock::default()));
        for url in [
            "",
            "http://www.googleapis.com/oauth2/v3/certs",
            "https://www.googleapis.com:8443/oauth2/v3/certs",
            "https://www.googleapis.com@127.0.0.1/",
            "https://user@www.googleapis.com/",
            "https://www.googleapis.com.evil.example/",
            "https://evil.example/-eventbridge.oss-accelerate.aliyuncs.com",
            "https://169.254.169.254/",
            "https://login.microsoftonline.de/0/discovery/v2.0/keys",
            "https://login.microsoftonline.com.cn/0/discovery/v2.0/keys",
            "http://127.0.0.1/keys",
            "file:///etc/passwd",
        ] {
            let error = keys.keys(url).await.unwrap_err();
            assert_eq!(error.code(), "UNAVAILABLE", "{url}");
            assert!(
                error.to_string().contains("not that of a host of keys"),
                "{url}: {error}"
            );
        }
        for url in [
            "https://www.googleapis.com/oauth2/v3/certs",
            "https://login.microsoftonline.com/0/discovery/v2.0/keys",
            "https://login.microsoftonline.us/0/discovery/v2.0/keys",
            "https://login.partner.microsoftonline.cn/0/discovery/v2.0/keys",
            "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/x.pem",
        ] {
            assert!(is_of_keys(&Url::parse(url).unwrap()), "{url}");
        }
    }
}
