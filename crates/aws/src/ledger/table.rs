//! The table: one method per request on an item or a partition, with what every request needs. What can pass is tried again
//! by the SDK, but what met a transaction, which is tried again here.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use transship_oci::Result;

use super::expression::{Change, Values, names};
use super::repeats::{Repeats, is_passing};
use crate::error::AwsError;

/// An item, or the key of one.
pub(super) type Item = HashMap<String, AttributeValue>;
/// What a request ended with, before it is an error of the port.
pub(super) type Answered<T> = std::result::Result<T, AwsError>;

/// What became of a write that has a condition.
#[derive(Debug)]
pub(super) enum Written {
    /// Done; the item as it is now.
    Done(Item),
    /// The condition did not hold; the item as it is, empty if there is none.
    Refused(Item),
}

/// What is asked of one partition of the table or of an index.
#[derive(Debug, Clone, Default)]
pub(super) struct Query {
    /// The table itself if [`None`], and then consistently.
    pub(super) index: Option<&'static str>,
    pub(super) key: &'static str,
    pub(super) filter: Option<String>,
    pub(super) values: Values,
    pub(super) is_descending: bool,
    /// How many a page looks at; [`None`]: what fits into it.
    pub(super) page: Option<usize>,
    /// The attributes that are read; [`None`]: all there are.
    pub(super) attributes: Option<&'static str>,
}

/// A page of a query, and where the next one begins.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) items: Vec<Item>,
    pub(super) next: Option<Item>,
}

/// The code of a write whose condition did not hold.
const REFUSED: &str = "ConditionalCheckFailedException";

/// One table.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) client: Client,
    pub(super) name: String,
}

impl Table {
    pub(super) fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// One item, as it is now.
    pub(super) async fn get(&self, operation: &str, key: Item) -> Result<Option<Item>> {
        let request = self.client.get_item().table_name(&self.name).consistent_read(true);
        let found = request.set_key(Some(key)).send().await;
        found
            .map(|found| found.item)
            .map_err(|error| AwsError::of(&error).of_table(&self.name, operation))
    }

    /// Writes the item in place of what was there.
    pub(super) async fn put(&self, operation: &str, item: Item) -> Result<()> {
        self.again(operation, || async {
            let request = self.client.put_item().table_name(&self.name);
            let put = request.set_item(Some(item.clone())).send().await;
            put.map(drop).map_err(|error| AwsError::of(&error))
        })
        .await
    }

    /// Changes an item.
    pub(super) async fn update(&self, operation: &str, key: Item, change: Change) -> Result<Written> {
        self.again(operation, || async {
            let updated = self
                .client
                .update_item()
                .table_name(&self.name)
                .set_key(Some(key.clone()))
                .update_expression(change.expression())
                .set_condition_expression(change.condition())
                .set_expression_attribute_names(Some(change.names()))
                .set_expression_attribute_values(Some(change.values()).filter(|values| !values.is_empty()))
                .return_values(ReturnValue::AllNew)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .send()
                .await;
            match updated {
                Ok(updated) => Ok(Written::Done(updated.attributes.unwrap_or_default())),
                Err(error) => match error.as_service_error() {
                    Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                        Ok(Written::Refused(refused.item.clone().unwrap_or_default()))
                    }
                    _ => Err(AwsError::of(&error)),
                },
            }
        })
        .await
    }

    /// Removes an item if `condition` holds. It is not an error that it does not, or that there is no item.
    pub(super) async fn delete(&self, operation: &str, key: Item, condition: Option<(&str, Values)>) -> Result<()> {
        self.delete_if(operation, key, condition).await.map(drop)
    }

    /// The same; false if the condition did not hold.
    pub(super) async fn delete_if(
        &self,
        operation: &str,
        key: Item,
        condition: Option<(&str, Values)>,
    ) -> Result<bool> {
        self.again(operation, || async {
            let mut request = self.client.delete_item().table_name(&self.name);
            if let Some((condition, values)) = &condition {
                request = request
                    .condition_expression(*condition)
                    .set_expression_attribute_names(Some(names([*condition])))
                    .set_expression_attribute_values(Some(values.clone()));
            }
            let deleted = request.set_key(Some(key.clone())).send().await;
            match deleted.map_err(|error| AwsError::of(&error)) {
                Ok(_) => Ok(true),
                Err(error) if error.code == REFUSED => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// One page of a query.
    pub(super) async fn page(&self, operation: &str, query: &Query, from: Option<Item>) -> Result<Page> {
        let texts = [Some(query.key), query.filter.as_deref(), query.attributes];
        let answered = self
            .client
            .query()
            .table_name(&self.name)
            .set_index_name(query.index.map(str::to_owned))
            .consistent_read(query.index.is_none())
            .key_condition_expression(query.key)
            .set_filter_expression(query.filter.clone())
            .set_projection_expression(query.attributes.map(str::to_owned))
            .set_expression_attribute_names(Some(names(texts.into_iter().flatten())))
            .set_expression_attribute_values(Some(query.values.clone()))
            .scan_index_forward(!query.is_descending)
            .set_limit(query.page.map(|page| i32::try_from(page).unwrap_or(i32::MAX)))
            .set_exclusive_start_key(from)
            .send()
            .await;
        let found = answered.map_err(|error| AwsError::of(&error).of_table(&self.name, operation))?;
        Ok(Page {
            items: found.items.unwrap_or_default(),
            next: found.last_evaluated_key.filter(|key| !key.is_empty()),
        })
    }

    /// All pages of a query.
    pub(super) async fn all(&self, operation: &str, query: &Query) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        let mut from = None;
        loop {
            let page = self.page(operation, query, from).await?;
            items.extend(page.items);
            from = page.next;
            if from.is_none() {
                return Ok(items);
            }
        }
    }

    /// True if anything matches; nothing is read beyond the first page that says so.
    pub(super) async fn any(&self, operation: &str, query: &Query) -> Result<bool> {
        let mut from = None;
        loop {
            let page = self.page(operation, query, from).await?;
            from = page.next;
            if !page.items.is_empty() {
                return Ok(true);
            }
            if from.is_none() {
                return Ok(false);
            }
        }
    }

    /// An item that this release cannot read.
    pub(super) fn unreadable(&self, error: AwsError, operation: &str) -> transship_oci::Error {
        error.of_table(&self.name, operation)
    }

    pub(super) async fn again<T, F>(&self, operation: &str, attempt: impl Fn() -> F + Send) -> Result<T>
    where
        F: Future<Output = Answered<T>> + Send,
    {
        let mut repeats = Repeats::default();
        loop {
            match attempt().await {
                Err(error) if is_passing(&error) => {
                    repeats.next(&self.name, operation, error).await?;
                }
                ended => return ended.map_err(|error| error.of_table(&self.name, operation)),
            }
        }
    }
}

pub(super) fn invalid(error: &dyn std::error::Error) -> AwsError {
    AwsError {
        code: "RequestInvalid".to_owned(),
        message: error.to_string(),
    }
}
