//! Comparisons that were made earlier than they were, so that a test need not wait until they are old.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;
use serde_json::Value;

/// Moves every time in the comparisons of the ledger in `data` back. No process may write them meanwhile.
///
/// # Panics
/// If the ledger has no comparison.
pub fn age_comparisons(data: &Path, by: Duration) {
    let connection = Connection::open(data.join("transship.db")).expect("the ledger can be opened");
    let query = "SELECT name, value FROM record WHERE family = 'compared'";
    let mut statement = connection.prepare(query).expect("the ledger can be read");
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .expect("comparisons can be read");
    assert!(!rows.is_empty(), "nothing was compared");
    for (name, value) in rows {
        let mut value: Value = serde_json::from_str(&value).expect("a comparison is JSON");
        move_back(&mut value, by);
        let update = "UPDATE record SET value = ?1, version = version + 1 WHERE family = 'compared' AND name = ?2";
        connection
            .execute(update, [value.to_string(), name])
            .expect("a comparison can be written");
    }
}

fn move_back(value: &mut Value, by: Duration) {
    match value {
        Value::String(text) => {
            if let Ok(at) = text.parse::<Timestamp>() {
                *text = at.checked_sub(by).unwrap_or(Timestamp::MIN).to_string();
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|value| move_back(value, by)),
        Value::Object(all) => all.values_mut().for_each(|value| move_back(value, by)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
