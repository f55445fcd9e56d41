//! Objects on their way into a bucket: in any order, some of them twice, by several hands at once; and what S3 tells of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::http;
use crate::random::Random;

/// Number of concurrent uploads. More would not be faster, because the emulator processes one request at a time.
const HANDS: usize = 3;
/// So much of all is uploaded twice.
const TWICE_PERCENT: usize = 10;

/// Objects by their keys, in the order of their uploads.
#[derive(Debug, Clone)]
pub struct Objects(Vec<(String, Vec<u8>)>);

impl Objects {
    /// In an order that the seed draws, one in ten of them twice.
    pub fn shuffled(objects: BTreeMap<String, Vec<u8>>, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut all: Vec<_> = objects.into_iter().collect();
        for _ in 0..all.len() * TWICE_PERCENT / 100 {
            all.push(all[random.below(all.len())].clone());
        }
        for end in (1..all.len()).rev() {
            all.swap(end, random.below(end + 1));
        }
        Self(all)
    }

    /// Takes those out whose keys are so.
    #[must_use]
    pub fn held_back(&mut self, is_held: impl Fn(&str) -> bool) -> Self {
        let (held, rest) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(key, _)| is_held(key));
        self.0 = rest;
        Self(held)
    }

    /// The keys, as often as they are uploaded.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    /// Hands each to `put`; how many.
    pub fn upload(&self, put: impl Fn(&str, &[u8]) + Sync) -> usize {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..HANDS {
                scope.spawn(|| {
                    while let Some((key, bytes)) = self.0.get(next.fetch_add(1, Ordering::Relaxed)) {
                        put(key, bytes);
                    }
                });
            }
        });
        self.0.len()
    }
}

/// What S3 tells a function of these keys, in one event.
pub fn events_of<'k>(bucket: &str, keys: impl IntoIterator<Item = &'k str>) -> Value {
    let record = |(number, key): (usize, &str)| {
        json!({
            "eventVersion": "2.3",
            "eventSource": "aws:s3",
            "awsRegion": "us-east-1",
            "eventTime": "2026-01-02T03:04:05.678Z",
            "eventName": "ObjectCreated:Put",
            "s3": {
                "bucket": { "name": bucket, "arn": format!("arn:aws:s3:::{bucket}") },
                // A space is a plus here.
                "object": { "key": http::encoded_path(key).replace("%20", "+"), "size": 1, "eTag": "0", "sequencer": format!("{number:016X}") },
            },
        })
    };
    let records: Vec<Value> = keys.into_iter().enumerate().map(record).collect();
    json!({ "Records": records })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_uploaded_and_some_twice_in_an_order_of_their_own() {
        let objects: BTreeMap<_, _> = (0..100).map(|number| (format!("{number:03}"), Vec::new())).collect();
        let mut shuffled = Objects::shuffled(objects.clone(), 7);
        assert_eq!(shuffled.keys().count(), 110);
        assert!(objects.keys().all(|key| shuffled.keys().any(|other| other == key)));
        assert!(!shuffled.keys().is_sorted());
        let held = shuffled.held_back(|key| key == "050");
        assert!(held.keys().all(|key| key == "050") && shuffled.keys().all(|key| key != "050"));
    }

    #[test]
    fn s3_tells_keys_as_forms_spell_them() {
        let event = events_of("b", ["a b/ü+c"]);
        assert_eq!(event["Records"][0]["s3"]["object"]["key"], "a+b/%C3%BC%2Bc");
    }
}
