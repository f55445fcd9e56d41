//! Representation of types in columns: times as milliseconds, names as text, a target with its `:` or `@`.

use std::str::FromStr;

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Error, Result, Row};
use transship_engine::ImageRef;
use transship_oci::Target;

/// A column with a name.
pub(crate) fn parsed<T: FromStr>(row: &Row<'_>, column: &str) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(column)?;
    text.parse().map_err(invalid)
}

/// The same for a nullable column.
pub(crate) fn parsed_option<T: FromStr>(row: &Row<'_>, column: &str) -> Result<Option<T>>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: Option<String> = row.get(column)?;
    text.map(|text| text.parse().map_err(invalid)).transpose()
}

/// A column with a word of the contract.
pub(crate) fn word<T>(row: &Row<'_>, column: &str, parse: fn(&str) -> Option<T>) -> Result<T> {
    let text: String = row.get(column)?;
    parse(&text).ok_or_else(|| invalid(UnknownWord(text)))
}

/// A column of milliseconds.
pub(crate) fn time(row: &Row<'_>, column: &str) -> Result<Timestamp> {
    Timestamp::from_millisecond(row.get(column)?).map_err(invalid)
}

/// The same for a nullable column.
pub(crate) fn time_option(row: &Row<'_>, column: &str) -> Result<Option<Timestamp>> {
    let milliseconds: Option<i64> = row.get(column)?;
    milliseconds
        .map(|value| Timestamp::from_millisecond(value).map_err(invalid))
        .transpose()
}

/// A column with a count.
pub(crate) fn count(row: &Row<'_>, column: &str) -> Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(invalid)
}

/// A count for a column. SQLite's integers end at 2^63, which no count of bytes reaches.
pub(crate) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// `:tag` or `@digest`.
pub(crate) fn target_text(target: &Target) -> String {
    format!("{}{target}", target.separator())
}

/// The three columns `{side}_registry`, `{side}_repository`, `{side}_target`.
pub(crate) fn place(row: &Row<'_>, side: &str) -> Result<ImageRef> {
    let target: String = row.get(&*format!("{side}_target"))?;
    Ok(ImageRef {
        registry: row.get(&*format!("{side}_registry"))?,
        repository: parsed(row, &format!("{side}_repository"))?,
        target: target_parse(&target)?,
    })
}

fn target_parse(text: &str) -> Result<Target> {
    match text.split_at_checked(1) {
        Some((":", tag)) => tag.parse().map(Target::Tag).map_err(invalid),
        Some(("@", digest)) => digest.parse().map(Target::Digest).map_err(invalid),
        _ => Err(invalid(UnknownWord(text.to_owned()))),
    }
}

/// A value that this release does not know.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a valid value of this column")]
struct UnknownWord(String);

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::FromSqlConversionFailure(0, Type::Text, Box::new(error))
}
