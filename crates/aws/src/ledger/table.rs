//! The table: one method per request, with what every request needs. Unprocessed parts are sent again, and what a transaction
//! was in the way of; all else that can pass is tried again by the SDK.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::batch_write_item::BatchWriteItemOutput;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, Put, PutRequest, ReturnValue, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem, Update, WriteRequest,
};
use transship_engine::Result;

use super::expression::{Change, Values, names};
use crate::error::Answer;

/// An item, or the key of one.
pub(super) type Item = HashMap<String, AttributeValue>;
/// What a request ended with, before it is an error of the port.
pub(super) type Answered<T> = std::result::Result<T, Answer>;

/// Source: `BatchGetItem`.
const GET_MAX: usize = 100;
/// Source: `BatchWriteItem`.
const WRITE_MAX: usize = 25;
/// How often what was not processed, or was in another's way, is sent again.
const REPEATS: u32 = 8;
/// The longest first wait before that; each further one is at most twice as long.
const BACKOFF: Duration = Duration::from_millis(25);
/// What a request is answered that met a transaction, or a throttle within one. The SDK leaves it to its user.
const PASSING: [&str; 7] = [
    "TransactionConflictException",
    "TransactionInProgressException",
    "TransactionConflict",
    "ThrottlingError",
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
    "Unprocessed",
];
const REFUSED: &str = "ConditionalCheckFailed";

/// What became of a write that has a condition.
#[derive(Debug)]
pub(super) enum Written {
    /// Done; the item as it is now.
    Done(Item),
    /// The condition did not hold; the item as it is, empty if there is none.
    Refused(Item),
}

/// What became of a transaction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Transaction {
    Done,
    /// Nothing was written, because the conditions of those that are true here did not hold.
    Refused(Vec<bool>),
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

/// One table.
#[derive(Debug, Clone)]
pub(super) struct Table {
    client: Client,
    name: String,
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
            .map_err(|error| Answer::of(&error).of_table(&self.name, operation))
    }

    /// Writes the item in place of what was there.
    pub(super) async fn put(&self, operation: &str, item: Item) -> Result<()> {
        self.again(operation, || async {
            let request = self.client.put_item().table_name(&self.name);
            let put = request.set_item(Some(item.clone())).send().await;
            put.map(drop).map_err(|error| Answer::of(&error))
        })
        .await
    }

    /// Writes the item, unless one is there.
    pub(super) async fn put_new(&self, operation: &str, item: Item) -> Result<()> {
        self.again(operation, || async {
            let request = self.client.put_item().table_name(&self.name);
            let put = request
                .set_item(Some(item.clone()))
                .condition_expression("attribute_not_exists(pk)")
                .send()
                .await;
            unless_refused(put.map(drop).map_err(|error| Answer::of(&error)))
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
                    _ => Err(Answer::of(&error)),
                },
            }
        })
        .await
    }

    /// Removes an item if `condition` holds. That it does not, or that there is no item, is no error.
    pub(super) async fn delete(&self, operation: &str, key: Item, condition: Option<(&str, Values)>) -> Result<()> {
        self.again(operation, || async {
            let mut request = self.client.delete_item().table_name(&self.name);
            if let Some((condition, values)) = &condition {
                request = request
                    .condition_expression(*condition)
                    .set_expression_attribute_names(Some(names([*condition])))
                    .set_expression_attribute_values(Some(values.clone()));
            }
            let deleted = request.set_key(Some(key.clone())).send().await;
            unless_refused(deleted.map(drop).map_err(|error| Answer::of(&error)))
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
        let found = answered.map_err(|error| Answer::of(&error).of_table(&self.name, operation))?;
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

    /// The items of these keys, each different from the others, in any order.
    pub(super) async fn batch_get(&self, operation: &str, keys: Vec<Item>, is_consistent: bool) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for chunk in keys.chunks(GET_MAX) {
            let mut wanted = chunk.to_vec();
            let mut repeats = Repeats::default();
            while !wanted.is_empty() {
                let (found, left) = self
                    .batch_get_once(wanted, is_consistent)
                    .await
                    .map_err(|answer| answer.of_table(&self.name, operation))?;
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
        let found = request.send().await.map_err(|error| Answer::of(&error))?;
        let items = found.responses.unwrap_or_default().remove(&self.name);
        let left = found.unprocessed_keys.unwrap_or_default().remove(&self.name);
        Ok((
            items.unwrap_or_default(),
            left.map(|left| left.keys).unwrap_or_default(),
        ))
    }

    /// Writes the items, each different from the others, in place of what was there.
    pub(super) async fn batch_put(&self, operation: &str, items: Vec<Item>) -> Result<()> {
        for chunk in items.chunks(WRITE_MAX) {
            let mut left = chunk
                .iter()
                .map(|item| write_request(item.clone()))
                .collect::<Answered<Vec<_>>>()
                .map_err(|answer| answer.of_table(&self.name, operation))?;
            let mut repeats = Repeats::default();
            while !left.is_empty() {
                let request = self.client.batch_write_item().request_items(&self.name, left);
                let written: BatchWriteItemOutput = request
                    .send()
                    .await
                    .map_err(|error| Answer::of(&error).of_table(&self.name, operation))?;
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

    /// All of it or nothing.
    pub(super) async fn transact(&self, operation: &str, writes: Vec<TransactWriteItem>) -> Result<Transaction> {
        self.again(operation, || async {
            let request = self.client.transact_write_items();
            let done = request.set_transact_items(Some(writes.clone())).send().await;
            match done {
                Ok(_) => Ok(Transaction::Done),
                Err(error) => match error.as_service_error() {
                    Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                        let reasons = cancelled.cancellation_reasons().iter();
                        judge(reasons.map(|reason| (reason.code(), reason.message())))
                    }
                    _ => Err(Answer::of(&error)),
                },
            }
        })
        .await
    }

    /// A write of a transaction: the item, unless one is there.
    pub(super) fn new_of_transaction(&self, operation: &str, item: Item) -> Result<TransactWriteItem> {
        self.put_of_transaction(operation, item, Some("attribute_not_exists(pk)"))
    }

    /// A write of a transaction: the item, if the condition holds.
    pub(super) fn put_of_transaction(
        &self,
        operation: &str,
        item: Item,
        condition: Option<&str>,
    ) -> Result<TransactWriteItem> {
        let put = Put::builder()
            .table_name(&self.name)
            .set_item(Some(item))
            .set_condition_expression(condition.map(str::to_owned))
            .build()
            .map_err(|error| invalid(&error).of_table(&self.name, operation))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// A write of a transaction: the change.
    pub(super) fn change_of_transaction(
        &self,
        operation: &str,
        key: Item,
        change: &Change,
    ) -> Result<TransactWriteItem> {
        let update = Update::builder()
            .table_name(&self.name)
            .set_key(Some(key))
            .update_expression(change.expression())
            .set_condition_expression(change.condition())
            .set_expression_attribute_names(Some(change.names()))
            .set_expression_attribute_values(Some(change.values()))
            .build()
            .map_err(|error| invalid(&error).of_table(&self.name, operation))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// An item that this release cannot read.
    pub(super) fn unreadable(&self, answer: Answer, operation: &str) -> transship_engine::Error {
        answer.of_table(&self.name, operation)
    }

    async fn again<T, F>(&self, operation: &str, attempt: impl Fn() -> F + Send) -> Result<T>
    where
        F: Future<Output = Answered<T>> + Send,
    {
        let mut repeats = Repeats::default();
        loop {
            match attempt().await {
                Err(answer) if PASSING.contains(&answer.code.as_str()) => {
                    repeats.next(&self.name, operation, answer).await?;
                }
                ended => return ended.map_err(|answer| answer.of_table(&self.name, operation)),
            }
        }
    }
}

/// How often something was sent again.
#[derive(Default)]
struct Repeats(u32);

impl Repeats {
    /// Waits, or says that it was often enough.
    async fn next(&mut self, table: &str, operation: &str, answer: Answer) -> Result<()> {
        if self.0 >= REPEATS {
            return Err(answer.of_table(table, operation));
        }
        let longest = u64::try_from(BACKOFF.as_millis()).unwrap_or_default() << self.0;
        // Those who met each other must not meet again: RandomState is the standard library's only source of chance.
        let chance = RandomState::new().build_hasher().finish();
        tokio::time::sleep(Duration::from_millis(chance % longest + 1)).await;
        self.0 += 1;
        Ok(())
    }
}

/// A transaction is refused if nothing but conditions was in its way.
fn judge<'a>(reasons: impl Iterator<Item = (Option<&'a str>, Option<&'a str>)>) -> Answered<Transaction> {
    let mut refused = Vec::new();
    for (code, message) in reasons {
        match code.unwrap_or("None") {
            "None" => refused.push(false),
            REFUSED => refused.push(true),
            code => {
                return Err(Answer {
                    code: code.to_owned(),
                    message: message.unwrap_or("the transaction was cancelled").to_owned(),
                });
            }
        }
    }
    if refused.contains(&true) {
        return Ok(Transaction::Refused(refused));
    }
    Err(Answer {
        code: "TransactionCanceledException".to_owned(),
        message: "no reason is given".to_owned(),
    })
}

fn unless_refused(answered: Answered<()>) -> Answered<()> {
    answered.or_else(|answer| match answer.code.as_str() {
        "ConditionalCheckFailedException" => Ok(()),
        _ => Err(answer),
    })
}

fn write_request(item: Item) -> Answered<WriteRequest> {
    let put = PutRequest::builder().set_item(Some(item)).build();
    let put = put.map_err(|error| invalid(&error))?;
    Ok(WriteRequest::builder().put_request(put).build())
}

fn unprocessed(count: usize) -> Answer {
    Answer {
        code: "Unprocessed".to_owned(),
        message: format!("{count} items of a batch were not processed"),
    }
}

fn invalid(error: &dyn std::error::Error) -> Answer {
    Answer {
        code: "RequestInvalid".to_owned(),
        message: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_refused_by_conditions_alone() {
        let judge = |codes: &[&'static str]| judge(codes.iter().map(|code| (Some(*code), None)));
        assert_eq!(
            judge(&["None", REFUSED]).unwrap(),
            Transaction::Refused(vec![false, true])
        );
        for codes in [&[REFUSED, "TransactionConflict"], &["ThrottlingError", REFUSED]] {
            let answer = judge(codes).unwrap_err();
            assert!(PASSING.contains(&answer.code.as_str()), "{answer}");
        }
        assert_eq!(judge(&["None", "ValidationError"]).unwrap_err().code, "ValidationError");
        assert_eq!(judge(&[]).unwrap_err().code, "TransactionCanceledException");
    }
}
