//! The public keys that clouds publish, for the tokens and signatures of senders.
//!
//! What must hold: nothing but a key of a fixed list of hosts is ever fetched, regardless of the delivery, and not often.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use transship_copy::Clock;
use transship_engine::SigningKeys;
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
const HOSTS: [&str; 2] = ["www.googleapis.com", "login.microsoftonline.com"];
/// The hosts of the event bus of Alibaba Cloud end so; the check of a delivery compares the whole host with the document.
const BUS: &str = "-eventbridge.oss-accelerate.aliyuncs.com";

/// [`SigningKeys`] over HTTPS, kept for half an hour.
pub struct PublishedKeys {
    cache: FetchCache<Arc<[u8]>>,
}

impl PublishedKeys {
    /// No key is fetched before it is needed.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            cache: FetchCache::new(clock),
        }
    }

    async fn get(&self, text: &str, freshness: Freshness) -> Result<Arc<[u8]>> {
        let url = Url::parse(text).ok().filter(is_of_keys).ok_or_else(|| {
            let operation = Verb::Read.on("keys");
            Error::new(Code::Unavailable, operation, "the URL is not that of a host of keys")
        })?;
        let fetch = async {
            let value = fetch_public(&url, KEYS_BYTES_MAX, FETCH_TIMEOUT).await?;
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
        .is_some_and(|host| HOSTS.contains(&host) || host.ends_with(BUS));
    let is_plain = url.username().is_empty() && url.password().is_none() && url.port().is_none();
    is_known && is_plain && url.scheme() == "https"
}

#[cfg(test)]
mod tests {
    use transship_testkit::clock::ManualClock;

    use super::*;

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
            "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/x.pem",
        ] {
            assert!(is_of_keys(&Url::parse(url).unwrap()), "{url}");
        }
    }
}
