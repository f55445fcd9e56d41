//! Executions newest first: the months backwards, or the list of a rule.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan as _};
use transship_oci::Result;

use super::cursors::Spot;
use super::keys;
use crate::ledger::attributes::text;
use crate::ledger::expression::Values;
use crate::ledger::table::{Query, Table};

/// A clock may be ahead of ours.
const CLOCK_SKEW_MAX: Duration = Duration::from_hours(1);
/// An execution that has not ended is kept longer than the retention.
const WINDOW_MAX: Duration = Duration::from_hours(60 * 24);
/// Behind every name in the order of an index.
const END: &str = "~";

/// The keys of executions, some at a time.
pub(super) struct Walk<'a> {
    table: &'a Table,
    operation: &'static str,
    /// The index, its two attributes, and the condition on them.
    index: &'static str,
    attributes: (&'static str, &'static str),
    key: &'static str,
    /// The first and last order that count.
    bounds: (String, String),
    /// The partition that is read now; [`None`] at the end.
    partition: Option<Partition>,
    /// Behind this one in it.
    after: Option<Spot>,
}

enum Partition {
    Rule(String),
    /// A day of the month, and the oldest month.
    Month(Date, String),
}

impl Partition {
    fn name(&self) -> String {
        match self {
            Self::Rule(name) => name.clone(),
            Self::Month(date, _) => date.strftime("%Y-%m").to_string(),
        }
    }

    fn next(self) -> Option<Self> {
        let Self::Month(date, oldest) = self else { return None };
        let month: Span = 1.month();
        let before = date.first_of_month().checked_sub(month).ok()?;
        (before.strftime("%Y-%m").to_string() >= oldest).then_some(Self::Month(before, oldest))
    }
}

fn date(time: Timestamp) -> Date {
    time.to_zoned(TimeZone::UTC).date()
}

impl<'a> Walk<'a> {
    /// The executions of `rule`, or all, created in the interval, behind `after`.
    pub(super) fn new(
        table: &'a Table,
        operation: &'static str,
        rule: Option<&str>,
        (from, until): (Option<Timestamp>, Option<Timestamp>),
        retention: Duration,
        after: Option<Spot>,
    ) -> Self {
        let now = Timestamp::now();
        let oldest = now.saturating_sub(retention + WINDOW_MAX).unwrap_or(Timestamp::MIN);
        let newest = now.saturating_add(CLOCK_SKEW_MAX).unwrap_or(Timestamp::MAX);
        let first = keys::order(from.unwrap_or(Timestamp::UNIX_EPOCH), "");
        // An order begins with its time, so the time itself is before every name of it.
        let last = until.map_or(END.to_owned(), |until| {
            keys::order(until, "").trim_end_matches('#').to_owned()
        });
        let bounds = (first, last);
        let (index, attributes, key, partition) = if let Some(rule) = rule {
            (
                "lists",
                ("list", "list_order"),
                "#list = :hash AND #list_order BETWEEN :from AND :until",
                Partition::Rule(keys::rule_list(rule)),
            )
        } else {
            let oldest = keys::month(from.map_or(oldest, |from| from.max(oldest)));
            let newest = date(until.map_or(newest, |until| until.min(newest)));
            let first = after
                .as_ref()
                .and_then(|after| format!("{}-01", after.hash).parse().ok());
            (
                "months",
                ("month", "month_order"),
                "#month = :hash AND #month_order BETWEEN :from AND :until",
                Partition::Month(first.unwrap_or(newest), oldest),
            )
        };
        let is_empty = until.is_some_and(|until| from.is_some_and(|from| from >= until));
        Self {
            table,
            operation,
            index,
            attributes,
            key,
            bounds,
            partition: (!is_empty).then_some(partition),
            after,
        }
    }

    /// At most `limit`, at least one; none at the end.
    pub(super) async fn next(&mut self, limit: usize) -> Result<Vec<Spot>> {
        let (hash, range) = self.attributes;
        while let Some(partition) = self.partition.take() {
            let query = Query {
                index: Some(self.index),
                key: self.key,
                values: Values::from([
                    (":hash".to_owned(), text(partition.name())),
                    (":from".to_owned(), text(&self.bounds.0)),
                    (":until".to_owned(), text(&self.bounds.1)),
                ]),
                is_descending: true,
                page: Some(limit.max(1)),
                ..Query::default()
            };
            let start = self.after.take().map(|after| after.start(hash, range));
            let page = self.table.page(self.operation, &query, start).await?;
            let spots: Vec<Spot> = page
                .items
                .iter()
                .filter_map(|item| Spot::read(item, hash, range).ok())
                .filter(|spot| spot.pk.starts_with("E#") && spot.sk == keys::OWN)
                .collect();
            let has_more = page.next.is_some();
            self.after = spots.last().filter(|_| has_more).cloned();
            self.partition = if self.after.is_some() {
                Some(partition)
            } else {
                partition.next()
            };
            if !spots.is_empty() {
                return Ok(spots);
            }
        }
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_walked_backwards_over_the_year() {
        let mut partition = Some(Partition::Month("2026-03-31".parse().unwrap(), "2025-12".to_owned()));
        let mut months = Vec::new();
        while let Some(month) = partition {
            months.push(month.name());
            partition = month.next();
        }
        assert_eq!(months, ["2026-03", "2026-02", "2026-01", "2025-12"]);
    }
}
