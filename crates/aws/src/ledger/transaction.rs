//! Writes that happen all or not at all.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{Put, TransactWriteItem, Update};
use transship_oci::Result;

use super::expression::Change;
use super::table::{Answered, Item, Table, invalid};
use crate::error::AwsError;

/// The code of a part whose condition did not hold.
const REFUSED: &str = "ConditionalCheckFailed";

/// What became of a transaction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Transaction {
    Done,
    /// Nothing was written, because the conditions of those that are true here did not hold.
    Refused(Vec<bool>),
}

impl Table {
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
                    _ => Err(AwsError::of(&error)),
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
}

/// A transaction is refused if nothing but conditions was in its way.
fn judge<'a>(reasons: impl Iterator<Item = (Option<&'a str>, Option<&'a str>)>) -> Answered<Transaction> {
    let mut refused = Vec::new();
    for (code, message) in reasons {
        match code.unwrap_or("None") {
            "None" => refused.push(false),
            REFUSED => refused.push(true),
            code => {
                return Err(AwsError {
                    code: code.to_owned(),
                    message: message.unwrap_or("the transaction was cancelled").to_owned(),
                });
            }
        }
    }
    if refused.contains(&true) {
        return Ok(Transaction::Refused(refused));
    }
    Err(AwsError {
        code: "TransactionCanceledException".to_owned(),
        message: "no reason given".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::repeats::is_passing;

    #[test]
    fn a_transaction_is_refused_by_conditions_alone() {
        let judge = |codes: &[&'static str]| judge(codes.iter().map(|code| (Some(*code), None)));
        assert_eq!(
            judge(&["None", REFUSED]).unwrap(),
            Transaction::Refused(vec![false, true])
        );
        for codes in [&[REFUSED, "TransactionConflict"], &["ThrottlingError", REFUSED]] {
            let error = judge(codes).unwrap_err();
            assert!(is_passing(&error), "{error}");
        }
        assert_eq!(judge(&["None", "ValidationError"]).unwrap_err().code, "ValidationError");
        assert_eq!(judge(&[]).unwrap_err().code, "TransactionCanceledException");
    }
}
