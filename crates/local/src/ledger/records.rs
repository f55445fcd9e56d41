//! Records in SQLite.

use async_trait::async_trait;
use rusqlite::{OptionalExtension as _, Row, params};
use transship_engine::ledger::{Cursor, Key, Page, Record, Records, first_version};

use super::SqliteLedger;
use transship_oci::Result;

#[async_trait]
impl Records for SqliteLedger {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        let key = key.clone();
        self.read("records_get", move |connection| {
            connection
                .prepare_cached("SELECT * FROM record WHERE family = ?1 AND name = ?2")?
                .query_row([&key.family, &key.name], record)
                .optional()
        })
        .await
    }

    async fn put_if(&self, key: &Key, expected: Option<u64>, value: &str) -> Result<Option<u64>> {
        let (key, value) = (key.clone(), value.to_owned());
        self.write("records_put_if", move |transaction| {
            let (written, version) = match expected {
                None => {
                    let version = first_version();
                    let written = transaction
                        .prepare_cached(
                            "INSERT INTO record (family, name, value, version) VALUES (?1, ?2, ?3, ?4)
                             ON CONFLICT DO NOTHING",
                        )?
                        .execute(params![key.family, key.name, value, stored(version)])?;
                    (written, version)
                }
                Some(expected) => {
                    let version = expected.saturating_add(1);
                    let written = transaction
                        .prepare_cached(
                            "UPDATE record SET value = ?3, version = ?4
                             WHERE family = ?1 AND name = ?2 AND version = ?5",
                        )?
                        .execute(params![key.family, key.name, value, stored(version), stored(expected)])?;
                    (written, version)
                }
            };
            Ok((written > 0).then_some(version))
        })
        .await
    }

    async fn remove_if(&self, key: &Key, expected: u64) -> Result<bool> {
        let key = key.clone();
        self.write("records_remove_if", move |transaction| {
            let removed = transaction
                .prepare_cached("DELETE FROM record WHERE family = ?1 AND name = ?2 AND version = ?3")?
                .execute(params![key.family, key.name, stored(expected)])?;
            Ok(removed > 0)
        })
        .await
    }

    async fn list(&self, family: &str, prefix: &str, after: Option<&Cursor>, limit: usize) -> Result<Page<Record>> {
        let (family, prefix) = (family.to_owned(), prefix.to_owned());
        let (after, limit) = (after.map(|after| after.0.clone()), limit.max(1));
        self.read("records_list", move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT * FROM record WHERE family = ?1 AND name >= ?2 AND (?3 IS NULL OR name > ?3)
                 AND substr(name, 1, length(?2)) = ?2 ORDER BY name LIMIT ?4",
            )?;
            let read_max = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
            let found = statement.query_map(params![family, prefix, after, read_max], record)?;
            let mut items: Vec<Record> = found.collect::<rusqlite::Result<_>>()?;
            let has_more = items.len() > limit;
            items.truncate(limit);
            let next = items.last().filter(|_| has_more);
            let next = next.map(|last| Cursor(last.key.name.clone()));
            Ok(Page { items, next })
        })
        .await
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        key: Key {
            family: row.get("family")?,
            name: row.get("name")?,
        },
        value: row.get("value")?,
        version: row.get::<_, i64>("version")?.unsigned_abs(),
    })
}

/// Versions are far below 2^63.
fn stored(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}
