//! `s3://bucket/key`: names of objects on the command line, and the store that contains them.
//!
//! A build without AWS must parse such names, report that it cannot read them, and say what to do.

use std::sync::Arc;

use transship_layout::ObjectStore;
use transship_oci::{Digest, Result};

use crate::failure::Failure;

/// Prefix of a name in object storage.
const SCHEME: &str = "s3://";

/// A bucket and a key or prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InBucket {
    /// The bucket's name.
    pub(crate) bucket: String,
    /// The key of an object, or a prefix of keys; empty for the whole bucket.
    pub(crate) key: String,
}

impl InBucket {
    /// Parses `s3://bucket/key`; [`None`] for a text without this prefix.
    pub(crate) fn parse(text: &str) -> Option<Result<Self, Failure>> {
        let place = text.strip_prefix(SCHEME)?;
        let (bucket, key) = place.split_once('/').unwrap_or((place, ""));
        Some(Self::checked(bucket, key))
    }

    /// Parses `s3://bucket/key[:reference]`: the reference follows the last colon after the last slash, or is a digest there.
    pub(crate) fn parse_with_reference(text: &str) -> Option<Result<(Self, Option<String>), Failure>> {
        let place = text.strip_prefix(SCHEME)?;
        let (place, reference) = split(place);
        let (bucket, key) = place.split_once('/').unwrap_or((place, ""));
        let reference = reference.filter(|reference| !reference.is_empty());
        Some(Self::checked(bucket, key).map(|place| (place, reference.map(str::to_owned))))
    }

    fn checked(bucket: &str, key: &str) -> Result<Self, Failure> {
        let is_bucket = !bucket.is_empty()
            && bucket
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if !is_bucket {
            return Err(Failure::usage(format!(
                "{bucket:?} is not a valid bucket name: expected {SCHEME}BUCKET or {SCHEME}BUCKET/PREFIX"
            )));
        }
        if key.starts_with('/') || key.split('/').any(|part| part == "..") {
            return Err(Failure::usage(format!(
                "{key:?} is not a valid path in a bucket: remove a leading slash and parts that are . or .."
            )));
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
        })
    }

    /// The bucket as a store, in which `key` is a key. `S3_NOT_BUILT` in a build without AWS.
    pub(crate) async fn store(&self) -> Result<Arc<dyn ObjectStore>, Failure> {
        s3::store(&self.bucket).await
    }
}

/// `path[:reference]`.
fn split(text: &str) -> (&str, Option<&str>) {
    let name = text.rfind('/').map_or(0, |slash| slash + 1);
    let colons: Vec<usize> = text
        .match_indices(':')
        .map(|(at, _)| at)
        .filter(|at| *at >= name)
        .collect();
    // A digest contains a colon.
    let digest = colons.iter().find(|at| text[*at + 1..].parse::<Digest>().is_ok());
    match digest.or(colons.last()) {
        Some(&at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

#[cfg(feature = "aws")]
mod s3 {
    use std::sync::Arc;

    use transship_aws::{Aws, S3Store};
    use transship_layout::ObjectStore;

    use crate::failure::Failure;

    pub(super) async fn store(bucket: &str) -> Result<Arc<dyn ObjectStore>, Failure> {
        let aws = Aws::load().await;
        Ok(Arc::new(S3Store::new(&aws, bucket, "")))
    }
}

#[cfg(not(feature = "aws"))]
mod s3 {
    use std::sync::Arc;

    use transship_layout::ObjectStore;

    use crate::failure::{Exit, Failure};

    pub(super) fn store(bucket: &str) -> std::future::Ready<Result<Arc<dyn ObjectStore>, Failure>> {
        let sentence = format!(
            "this build cannot read the bucket {bucket}: install one that can with `cargo install --path crates/cli --features aws`, or download the objects to a folder and use that"
        );
        std::future::ready(Err(Failure::new(Exit::Input, "S3_NOT_BUILT", sentence)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_and_a_key_are_told_apart() {
        let read = |text: &str| {
            let place = InBucket::parse(text).unwrap().unwrap();
            (place.bucket, place.key)
        };
        let place = |bucket: &str, key: &str| (bucket.to_owned(), key.to_owned());
        assert_eq!(read("s3://layouts"), place("layouts", ""));
        assert_eq!(read("s3://layouts/"), place("layouts", ""));
        assert_eq!(read("s3://layouts/seed/"), place("layouts", "seed/"));
        assert_eq!(read("s3://layouts/a/ü+%2B:1.tar"), place("layouts", "a/ü+%2B:1.tar"));
        assert!(InBucket::parse("./layouts").is_none());
        for text in [
            "s3://",
            "s3:///seed",
            "s3://a:b/seed",
            "s3://a b",
            "s3://a//b",
            "s3://a/../b",
            "s3://a/b/..",
        ] {
            assert_eq!(InBucket::parse(text).unwrap().unwrap_err().code(), "USAGE", "{text}");
        }
    }

    #[test]
    fn a_reference_follows_the_last_colon_behind_the_last_slash() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let digested = format!("s3://layouts/seed/app:{digest}");
        for (text, key, reference) in [
            ("s3://layouts/seed/app:v1", "seed/app", Some("v1")),
            ("s3://layouts/seed/app:", "seed/app", None),
            ("s3://layouts/seed/app", "seed/app", None),
            ("s3://layouts/seed:1/app", "seed:1/app", None),
            ("s3://layouts/seed/a:b:v1", "seed/a:b", Some("v1")),
            ("s3://layouts/seed/app.tar:v1", "seed/app.tar", Some("v1")),
            ("s3://layouts/:v1", "", Some("v1")),
            ("s3://layouts:v1", "", Some("v1")),
            (&digested, "seed/app", Some(digest.as_str())),
        ] {
            let (place, read) = InBucket::parse_with_reference(text).unwrap().unwrap();
            assert_eq!((place.bucket.as_str(), place.key.as_str()), ("layouts", key), "{text}");
            assert_eq!(read.as_deref(), reference, "{text}");
        }
    }
}
