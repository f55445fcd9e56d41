//! Prints rows in columns that are as wide as their widest cell; the last column is not padded.

use std::fmt::Write as _;

/// Formats a table with its first row in capitals. Control characters are escaped, because some cells contain data from
/// registries.
pub(crate) fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    let heads = heads.map(str::to_uppercase);
    let rows: Vec<[String; N]> = std::iter::once(heads)
        .chain(rows.iter().map(|row| row.clone().map(|cell| shown(&cell))))
        .collect();
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `cell` with its control characters escaped.
pub(crate) fn shown(cell: &str) -> String {
    cell.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = (!c.is_control()).then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [
            ["a".to_owned(), "succeeded".to_owned(), String::new()],
            ["longer".to_owned(), "x".to_owned(), "bad\u{1b}\n".to_owned()],
        ];
        assert_eq!(
            table(["id", "state", "note"], &rows),
            "ID      STATE      NOTE\na       succeeded\nlonger  x          bad\\u{1b}\\n\n"
        );
    }
}
