//! Buckets as stores of imports.

use std::sync::Arc;

use transship_engine::{StoreName, Stores, store_unknown};
use transship_layout::ObjectStore;

use crate::{Aws, S3Store};
use transship_oci::Result;

/// [`Stores`] of the account: `s3://bucket` is the whole of that bucket.
#[derive(Debug, Clone)]
pub struct BucketStores(Aws);

impl BucketStores {
    /// Buckets as this account may read them.
    pub const fn new(aws: Aws) -> Self {
        Self(aws)
    }
}

impl Stores for BucketStores {
    fn store(&self, name: &StoreName) -> Result<Arc<dyn ObjectStore>> {
        let bucket = match name.scheme() {
            "s3" => name.rest().strip_prefix("//").filter(|bucket| is_bucket(bucket)),
            _ => None,
        };
        let unknown = || store_unknown(name);
        let bucket = bucket.ok_or_else(unknown)?;
        Ok(Arc::new(S3Store::new(&self.0, bucket, "")))
    }
}

fn is_bucket(name: &str) -> bool {
    let is_of_name = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_');
    !name.is_empty() && name.chars().all(is_of_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bucket_is_a_store_and_nothing_else_is() {
        let stores = BucketStores::new(Aws::emulated("http://127.0.0.1:9").await);
        let store = |name: &str| stores.store(&name.parse()?);
        assert_eq!(store("s3://my-layouts.1").unwrap().name(), "s3://my-layouts.1");
        for name in [
            "",
            "s3://",
            "my-layouts",
            "/var/layouts",
            "s3://a/b",
            "s3://a/",
            "s3://a?b",
            "s3://a b",
            "S3://a",
            "s3://ü",
        ] {
            let refused = store(name).map(|store| store.name()).unwrap_err();
            assert_eq!(refused.code(), "STORE_UNKNOWN", "{name}");
            assert!(refused.persistence().is_permanent());
        }
    }
}
