//! Hints in SQLite.

use std::collections::HashMap;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use transship_engine::ledger::{Freshness, Hint, Hints, Key, Put};

use super::SqliteLedger;
use transship_oci::Result;

#[async_trait]
impl Hints for SqliteLedger {
    async fn get(&self, keys: &[Key], now: Timestamp, _: Freshness) -> Result<HashMap<Key, String>> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let keys = keys.to_vec();
        self.read("hints_get", move |connection| {
            let mut found = HashMap::new();
            for key in keys {
                if let Some(value) = value(connection, &key, now)? {
                    found.insert(key, value);
                }
            }
            Ok(found)
        })
        .await
    }

    async fn put(&self, hints: &[Hint]) -> Result<()> {
        if hints.is_empty() {
            return Ok(());
        }
        let hints = hints.to_vec();
        self.write("hints_put", move |transaction| {
            hints.iter().try_for_each(|hint| put(transaction, hint))
        })
        .await
    }

    async fn put_if(&self, hint: &Hint, expected: Option<&str>, now: Timestamp) -> Result<Put> {
        let (hint, expected) = (hint.clone(), expected.map(str::to_owned));
        self.write("hints_put_if", move |transaction| {
            let known = value(transaction, &hint.key, now)?;
            if known != expected {
                return Ok(Put::Refused(known));
            }
            put(transaction, &hint)?;
            Ok(Put::Done)
        })
        .await
    }

    async fn remove(&self, key: &Key, expected: Option<&str>) -> Result<()> {
        let (key, expected) = (key.clone(), expected.map(str::to_owned));
        self.write("hints_remove", move |transaction| {
            transaction
                .prepare_cached("DELETE FROM hint WHERE family = ?1 AND name = ?2 AND (?3 IS NULL OR value = ?3)")?
                .execute(params![key.family, key.name, expected])?;
            Ok(())
        })
        .await
    }

    async fn children(&self, family: &str, limit: usize, now: Timestamp) -> Result<Vec<(Key, String)>> {
        let family = family.to_owned();
        self.read("hints_children", move |connection| {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            connection
                .prepare_cached(
                    "SELECT name, value FROM hint WHERE family = ?1 AND expires > ?2 ORDER BY name LIMIT ?3",
                )?
                .query_map(params![family, now.as_millisecond(), limit], |row| {
                    Ok((Key::new(&family, row.get::<_, String>("name")?), row.get("value")?))
                })?
                .collect()
        })
        .await
    }
}

fn value(connection: &Connection, key: &Key, now: Timestamp) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT value FROM hint WHERE family = ?1 AND name = ?2 AND expires > ?3")?
        .query_row(params![key.family, key.name, now.as_millisecond()], |row| row.get(0))
        .optional()
}

fn put(transaction: &Transaction<'_>, hint: &Hint) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO hint (family, name, value, expires) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            hint.key.family,
            hint.key.name,
            hint.value,
            hint.expires.as_millisecond()
        ])?;
    Ok(())
}
