//! The deliveries in `events/`: one sample of each format, with the headers and the token that its sender would send.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "equipment of tests")]

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

/// The secret of all samples.
pub const SECRET: &str = "right";

/// The content of a file in `events/`.
pub fn file(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../events/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

/// The document under which the samples are accepted: each source has the name of its format.
pub fn document() -> String {
    String::from_utf8(file("document.json")).unwrap()
}

/// A row of `deliveries.json`, with the body of its file.
#[derive(Debug, Clone, Deserialize)]
pub struct SampleDelivery {
    /// The file of the body.
    pub file: String,
    /// The name of the format, and of the source in the document.
    pub format: String,
    /// The headers.
    pub headers: BTreeMap<String, String>,
    /// What follows `/hooks/{source}/` in the URL.
    pub token: Option<String>,
    /// The number of events.
    pub events: usize,
    /// The body.
    #[serde(skip)]
    pub body: Vec<u8>,
}

impl SampleDelivery {
    /// All samples.
    pub fn all() -> Vec<Self> {
        let mut samples: Vec<Self> = serde_json::from_slice(&file("deliveries.json")).unwrap();
        for sample in &mut samples {
            sample.body = file(&sample.file);
        }
        samples
    }

    /// The path of its URL.
    pub fn path(&self) -> String {
        let token = self.token.as_ref().map(|token| format!("/{token}"));
        format!("/hooks/{}{}", self.format, token.unwrap_or_default())
    }

    /// Its headers.
    pub fn header_map(&self) -> HeaderMap {
        headers_of(self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

/// These headers.
pub fn headers_of<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    map
}
