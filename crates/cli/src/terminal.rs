//! The width of the terminal, and lists that fit into it.

use std::io::IsTerminal as _;

/// The shortest hash that is shown of a digest.
const DIGEST_DIGITS: usize = 12;
/// The narrowest width that is fitted into.
const WIDTH_MIN: usize = 40;

/// The number of columns of standard output if that is a terminal, otherwise `COLUMNS`; [`None`]: as many as there are.
pub(crate) fn width() -> Option<usize> {
    let out = std::io::stdout();
    let known = if out.is_terminal() {
        let size = rustix::termios::tcgetwinsize(&out).ok();
        size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
    } else {
        None
    };
    let named = || std::env::var("COLUMNS").ok()?.parse().ok();
    known.or_else(named).map(|columns: usize| columns.max(WIDTH_MIN))
}

/// True if every line of `text` has at most `width` characters.
pub(crate) fn fits(text: &str, width: usize) -> bool {
    text.lines().all(|line| line.chars().count() <= width)
}

/// `lines` in at most `width` columns: those after the first are indented, and one that is too long continues below.
pub(crate) fn block(lines: &[String], width: usize) -> String {
    let mut text = String::new();
    for (number, line) in lines.iter().filter(|line| !line.is_empty()).enumerate() {
        let indent = if number == 0 { "" } else { "  " };
        for part in wrapped(line, width - indent.len()) {
            text.push_str(indent);
            text.push_str(&part);
            text.push('\n');
        }
    }
    text
}

/// `text` broken between words, and within a word that is longer than `width`.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let joined = line.chars().count() + 1 + word.chars().count();
        if !line.is_empty() && joined <= width {
            line.push(' ');
        } else if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for c in word.chars() {
            if line.chars().count() == width {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    lines.push(line);
    lines
}

/// `text` with its digests cut to their first digits.
pub(crate) fn short_digests(text: &str) -> String {
    let mut rest = text;
    let mut short = String::new();
    while let Some((before, after)) = rest.split_once("sha256:") {
        let hex = after.bytes().take_while(u8::is_ascii_hexdigit).count();
        let shown = if hex == 64 { DIGEST_DIGITS } else { hex };
        short.push_str(before);
        short.push_str("sha256:");
        short.push_str(&after[..shown]);
        rest = &after[hex..];
    }
    short.push_str(rest);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_no_line_that_is_too_long() {
        let lines = [
            "t-1  failed  core",
            "",
            "hub/core/a-very-long-name:v1 -> b",
            "one two three",
        ]
        .map(str::to_owned);
        let text = block(&lines, 20);
        assert!(fits(&text, 20), "{text}");
        assert_eq!(
            text,
            "t-1  failed  core\n  hub/core/a-very-lo\n  ng-name:v1 -> b\n  one two three\n"
        );
        assert!(!fits("too long", 5));
    }

    #[test]
    fn whole_digests_are_cut_and_nothing_else() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(
            short_digests(&format!("hub/app@{digest} and {digest}.")),
            "hub/app@sha256:abababababab and sha256:abababababab."
        );
        for text in ["hub/app:sha256-abc", "sha256:abc", "no digest"] {
            assert_eq!(short_digests(text), text);
        }
    }
}
