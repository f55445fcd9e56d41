//! Many items in one request. AWS may do a part of it and say so: the rest is sent again.

use aws_sdk_dynamodb::operation::batch_write_item::BatchWriteItemOutput;
use aws_sdk_dynamodb::types::{KeysAndAttributes, PutRequest, WriteRequest};
use transship_oci::Result;

use super::repeats::Repeats;
use super::table::{Answered, Item, Table, invalid};
use crate::error::AwsError;

/// Source: `BatchGetItem`.
const GET_ITEMS_MAX: usize = 100;
/// Source: `BatchWriteItem`.
const WRITE_ITEMS_MAX: usize = 25;

impl Table {
    /// The items of these keys, each different from the others, in any order.
    pub(super) async fn batch_get(&self, operation: &str, keys: Vec<Item>, is_consistent: bool) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for chunk in keys.chunks(GET_ITEMS_MAX) {
            let mut wanted = chunk.to_vec();
            let mut repeats = Repeats::default();
            while !wanted.is_empty() {
                let (found, left) = self
                    .batch_get_once(wanted, is_consistent)
                    .await
                    .map_err(|error| error.of_table(&self.name, operation))?;
                items.extend(found);
                wanted = left;
                if !wanted.is_empty() {
                    repeats.next(&self.name, operation, unprocessed(wanted.len())).await?;
                }
            }
        }
        Ok(items)
    }

    async fn batch_get_once(&self, keys: Vec<Item>, is_consistent: bool) -> Answered<(Vec<Item>, Vec<Item>)> {
        let asked = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(is_consistent)
            .build()
            .map_err(|error| invalid(&error))?;
        let request = self.client.batch_get_item().request_items(&self.name, asked);
        let found = request.send().await.map_err(|error| AwsError::of(&error))?;
        let items = found.responses.unwrap_or_default().remove(&self.name);
        let left = found.unprocessed_keys.unwrap_or_default().remove(&self.name);
        Ok((
            items.unwrap_or_default(),
            left.map(|left| left.keys).unwrap_or_default(),
        ))
    }

    /// Writes the items, each different from the others, in place of what was there.
    pub(super) async fn batch_put(&self, operation: &str, items: Vec<Item>) -> Result<()> {
        for chunk in items.chunks(WRITE_ITEMS_MAX) {
            let mut left = chunk
                .iter()
                .map(|item| write_request(item.clone()))
                .collect::<Answered<Vec<_>>>()
                .map_err(|error| error.of_table(&self.name, operation))?;
            let mut repeats = Repeats::default();
            while !left.is_empty() {
                let request = self.client.batch_write_item().request_items(&self.name, left);
                let written: BatchWriteItemOutput = request
                    .send()
                    .await
                    .map_err(|error| AwsError::of(&error).of_table(&self.name, operation))?;
                left = written
                    .unprocessed_items
                    .unwrap_or_default()
                    .remove(&self.name)
                    .unwrap_or_default();
                if !left.is_empty() {
                    repeats.next(&self.name, operation, unprocessed(left.len())).await?;
                }
            }
        }
        Ok(())
    }
}

fn write_request(item: Item) -> Answered<WriteRequest> {
    let put = PutRequest::builder().set_item(Some(item)).build();
    let put = put.map_err(|error| invalid(&error))?;
    Ok(WriteRequest::builder().put_request(put).build())
}

fn unprocessed(count: usize) -> AwsError {
    AwsError {
        code: "Unprocessed".to_owned(),
        message: format!("{count} items of a batch were not processed"),
    }
}
