//! Records: an item for each, never expiring. One call each.

use async_trait::async_trait;
use transship_engine::ledger::{Cursor, Key, Page, Record, Records, first_version};
use transship_oci::Result;

use super::DynamoLedger;
use super::attributes::{key, number, number_of, text, text_of};
use super::expression::{Change, Values};
use super::table::{Answered, Item, Query, Written};

fn partition(family: &str) -> String {
    format!("V#{family}")
}

fn key_of(key_of_record: &Key) -> Item {
    key(partition(&key_of_record.family), &key_of_record.name)
}

fn read(item: &Item, family: &str) -> Answered<Record> {
    Ok(Record {
        key: Key::new(family, text_of(item, "sk")?),
        value: text_of(item, "value")?.to_owned(),
        version: number_of(item, "version")?,
    })
}

#[async_trait]
impl Records for DynamoLedger {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        let operation = "records_get";
        let found = self.table.get(operation, key_of(key)).await?;
        found
            .map(|item| read(&item, &key.family))
            .transpose()
            .map_err(|error| self.table.unreadable(error, operation))
    }

    async fn put_if(&self, key: &Key, expected: Option<u64>, value: &str) -> Result<Option<u64>> {
        let version = expected.map_or_else(first_version, |version| version.saturating_add(1));
        let change = Change::default()
            .set("value", text(value))
            .set("version", number(version));
        let change = match expected {
            None => change.only_if("attribute_not_exists(#pk)"),
            Some(expected) => change
                .only_if("#version = :expected")
                .value("expected", number(expected)),
        };
        let written = self.table.update("records_put_if", key_of(key), change).await?;
        Ok(matches!(written, Written::Done(_)).then_some(version))
    }

    async fn remove_if(&self, key: &Key, expected: u64) -> Result<bool> {
        let values = Values::from([(":expected".to_owned(), number(expected))]);
        let condition = Some(("#version = :expected", values));
        self.table.delete_if("records_remove_if", key_of(key), condition).await
    }

    async fn list(&self, family: &str, prefix: &str, after: Option<&Cursor>, limit: usize) -> Result<Page<Record>> {
        let operation = "records_list";
        let mut values = Values::from([(":pk".to_owned(), text(partition(family)))]);
        let mut condition = "#pk = :pk";
        if !prefix.is_empty() {
            values.insert(":prefix".to_owned(), text(prefix));
            condition = "#pk = :pk AND begins_with(#sk, :prefix)";
        }
        let query = Query {
            key: condition,
            values,
            page: Some(limit.max(1)),
            ..Query::default()
        };
        let from = after.map(|after| key_of(&Key::new(family, &after.0)));
        let page = self.table.page(operation, &query, from).await?;
        let items: Answered<Vec<Record>> = page.items.iter().map(|item| read(item, family)).collect();
        let items = items.map_err(|error| self.table.unreadable(error, operation))?;
        let last = items.last().filter(|_| page.next.is_some());
        let next = last.map(|last| Cursor(last.key.name.clone()));
        Ok(Page { items, next })
    }
}
