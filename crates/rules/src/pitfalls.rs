//! What to write instead where YAML does not mean what the author of the document meant. Judged by the text where the parser
//! stopped.

use crate::error::{Position, shown};

/// A place in the text.
pub(crate) struct Place<'t> {
    pub(crate) text: &'t str,
    pub(crate) position: Option<Position>,
}

impl<'t> Place<'t> {
    fn line(&self) -> Option<&'t str> {
        let line = usize::try_from(self.position?.line).ok()?;
        self.text.lines().nth(line.checked_sub(1)?)
    }

    /// The unquoted value at the place.
    pub(crate) fn token(&self) -> Option<&'t str> {
        let column = usize::try_from(self.position?.column).ok()?.checked_sub(1)?;
        let line = self.line()?;
        let start = line.char_indices().nth(column)?.0;
        let rest = line.get(start..)?;
        let end = rest.find([',', '}', ']', '#']).unwrap_or(rest.len());
        let token = rest.get(..end)?.trim();
        // The place of a value can be that of its key.
        let token = token.rsplit_once(": ").map_or(token, |(_, value)| value.trim());
        (!token.is_empty() && token.len() <= 80).then_some(token)
    }

    /// What to write where a number, a truth value or nothing is found instead of a text.
    pub(crate) fn type_advice(&self, expected: &str) -> Option<String> {
        if !expected.contains("text") && !expected.contains("string") {
            return None;
        }
        if let Some(advice) = self.comment_advice() {
            return Some(format!(": {advice}"));
        }
        let token = self.token()?;
        let is_plain = token
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-' | b'_'));
        is_plain.then(|| format!(": write {} in quotes", shown(token)))
    }

    /// The sentence for a value that begins with `#`.
    pub(crate) fn comment_advice(&self) -> Option<String> {
        let line = self.line()?;
        (line.contains(": #") || line.contains("- #"))
            .then(|| "what follows # is a comment: put the value in quotes if it is meant, as in \"#…\"".to_owned())
    }

    /// The sentence for a text that is not YAML.
    pub(crate) fn syntax_advice(&self) -> Option<String> {
        let line = self.line()?;
        let indentation = &line[..line.len() - line.trim_start().len()];
        let next = self
            .text
            .lines()
            .nth(usize::try_from(self.position?.line).ok()?)
            .unwrap_or_default();
        if indentation.contains('\t') || next.trim_start_matches(' ').starts_with('\t') {
            return Some("YAML allows no tabs for indentation: write spaces".to_owned());
        }
        if line.trim_start().starts_with('#') {
            return None;
        }
        let (_, value) = line.split_once(':').unwrap_or(("", line));
        if let Some(sign) = ['*', '!', '&', '%', '@', '`']
            .into_iter()
            .find(|sign| begins(value, *sign))
        {
            return Some(format!(
                "YAML gives {sign} at the start of a value a meaning of its own: put the value in quotes, as in \"{sign}…\""
            ));
        }
        if value.contains('"') && value.contains('\\') {
            return Some(
                "in double quotes a backslash starts an escape: put the value in single quotes, as in '^v\\d+$'"
                    .to_owned(),
            );
        }
        let is_bare = !value.contains(['"', '\'', '{']);
        if is_bare && value.contains(": ") {
            return Some("a value that contains \": \" must be in quotes, as in \"a: b\"".to_owned());
        }
        // The parser stops at the line after one that is not closed.
        let before = self.position?.line.checked_sub(2).and_then(|number| {
            let number = usize::try_from(number).ok()?;
            self.text.lines().nth(number)
        });
        let is_open = |line: &str, open: char, close: char| {
            let count = |sign: char| line.chars().filter(|character| *character == sign).count();
            count(open) != count(close)
        };
        let is_unmatched = |line: &str| is_open(line, '{', '}') || is_open(line, '[', ']');
        if is_unmatched(line) || before.is_some_and(is_unmatched) {
            return Some("the brackets do not match: close each { with } and each [ with ]".to_owned());
        }
        None
    }
}

/// True if a value in `text` begins with `sign`: after a bracket, a comma, a dash, or a key.
fn begins(text: &str, sign: char) -> bool {
    let after = |before: char| text.contains(&format!("{before} {sign}")) || text.contains(&format!("{before}{sign}"));
    text.trim_start().starts_with(sign) || [':', '[', '{', ',', '-'].into_iter().any(after)
}
