//! How our types stand in an item: times as milliseconds, names as their text, a target with its `:` or `@`.

use std::str::FromStr;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use transship_engine::TaskState;
use transship_oci::Target;

use super::table::{Answered, Item};
use crate::error::AwsError;

/// The time-to-live of what ends by the caller's clock: late enough that the table's clock cannot end it first.
pub(super) const EXPIRY_GRACE: Duration = Duration::from_hours(1);

/// A text.
pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A count or a number of milliseconds.
pub(super) fn number(value: impl Into<i128>) -> AttributeValue {
    AttributeValue::N(Into::<i128>::into(value).to_string())
}

/// A time in milliseconds.
pub(super) fn time(value: Timestamp) -> AttributeValue {
    number(value.as_millisecond())
}

/// Texts in their order.
pub(super) fn texts<T: ToString>(values: &[T]) -> AttributeValue {
    AttributeValue::L(values.iter().map(|value| text(value.to_string())).collect())
}

/// When the table may forget: `after` that time, in the seconds of the time-to-live.
pub(super) fn expires(time: Timestamp, after: Duration) -> AttributeValue {
    number(time.saturating_add(after).unwrap_or(Timestamp::MAX).as_second())
}

/// The key of an item.
pub(super) fn key(partition: impl Into<String>, sort: impl Into<String>) -> Item {
    Item::from([("pk".to_owned(), text(partition)), ("sk".to_owned(), text(sort))])
}

/// The key within an item, or within what an index tells of one.
pub(super) fn key_of(item: &Item) -> Item {
    let is_key = |(name, _): &(&String, &AttributeValue)| matches!(name.as_str(), "pk" | "sk");
    item.iter()
        .filter(is_key)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The item of a key and its attributes.
pub(super) fn item<const COUNT: usize>(key: Item, attributes: [(&str, AttributeValue); COUNT]) -> Item {
    let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value));
    key.into_iter().chain(attributes).collect()
}

/// `:tag` or `@digest`.
pub(super) fn target_text(target: &Target) -> String {
    format!("{}{target}", target.separator())
}

/// Reads [`target_text`].
pub(super) fn target_parse(text: &str) -> Answered<Target> {
    match text.split_at_checked(1) {
        Some((":", tag)) => parse(tag).map(Target::Tag),
        Some(("@", digest)) => parse(digest).map(Target::Digest),
        _ => Err(unreadable("a target")),
    }
}

/// Reads one of our names.
pub(super) fn parse<T: FromStr>(text: &str) -> Answered<T> {
    text.parse().map_err(|_| unreadable(std::any::type_name::<T>()))
}

/// A text of the item.
pub(super) fn text_of<'a>(item: &'a Item, name: &str) -> Answered<&'a str> {
    text_option(item, name).ok_or_else(|| unreadable(name))
}

/// The same where it may be absent.
pub(super) fn text_option<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// A number of the item.
pub(super) fn number_of<T: FromStr>(item: &Item, name: &str) -> Answered<T> {
    let value = item.get(name).and_then(|value| value.as_n().ok());
    let number = value.and_then(|value| value.parse().ok());
    number.ok_or_else(|| unreadable(name))
}

/// The same where it may be absent, which is 0.
pub(super) fn count_of<T: FromStr + Default>(item: &Item, name: &str) -> Answered<T> {
    if item.contains_key(name) {
        number_of(item, name)
    } else {
        Ok(T::default())
    }
}

/// A time of the item.
pub(super) fn time_of(item: &Item, name: &str) -> Answered<Timestamp> {
    Timestamp::from_millisecond(number_of(item, name)?).map_err(|_| unreadable(name))
}

/// The same where it may be absent.
pub(super) fn time_option(item: &Item, name: &str) -> Answered<Option<Timestamp>> {
    item.get(name).map(|_| time_of(item, name)).transpose()
}

/// A list of our names, empty if absent.
pub(super) fn list_of<T: FromStr>(item: &Item, name: &str) -> Answered<Vec<T>> {
    let Some(list) = item.get(name) else {
        return Ok(Vec::new());
    };
    let list = list.as_l().map_err(|_| unreadable(name))?;
    list.iter()
        .map(|value| parse(value.as_s().map_err(|_| unreadable(name))?))
        .collect()
}

/// The state of a task.
pub(super) fn state_of(item: &Item) -> Answered<TaskState> {
    TaskState::parse(text_of(item, "state")?).ok_or_else(|| unreadable("state"))
}

/// A value that another release or another writer wrote.
pub(super) fn unreadable(what: &str) -> AwsError {
    AwsError {
        code: "ItemUnreadable".to_owned(),
        message: format!("an item has no {what} that this release can read"),
    }
}

#[cfg(test)]
mod tests {
    use transship_oci::{Digest, Tag};

    use super::*;

    #[test]
    fn a_target_comes_back_as_it_was_written() {
        let tag = Target::Tag("v1".parse::<Tag>().unwrap());
        let digest = Target::Digest(Digest::sha256(b"manifest"));
        for target in [tag, digest] {
            assert_eq!(target_parse(&target_text(&target)).unwrap(), target);
        }
        for strange in ["", "v1", ":", "@v1"] {
            assert_eq!(target_parse(strange).unwrap_err().code, "ItemUnreadable");
        }
    }

    #[test]
    fn an_item_of_another_release_is_refused_and_not_guessed_at() {
        let strange = item(
            key("E#1", "T#1"),
            [
                ("state", text("dreaming")),
                ("attempts", text("three")),
                ("digests", text("x")),
            ],
        );
        assert!(state_of(&strange).is_err());
        assert!(number_of::<u32>(&strange, "attempts").is_err());
        assert!(list_of::<Digest>(&strange, "digests").is_err());
    }
}
