//! The stable codes: what users, scripts and alarms rely on. The table of all of them is in `table.rs`.
//!
//! A code never changes and never vanishes. Several errors may share one: the message tells them apart.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::Persistence;

/// The same request fails in the same way.
pub(super) const PERMANENT: Persistence = Persistence::Permanent;
/// May pass without anybody's action; the owner of retries decides how long to wait.
pub(super) const TEMPORARY: Persistence = Persistence::Temporary(None);
/// Passes at once: the next worker goes on.
pub(super) const AT_ONCE: Persistence = Persistence::Temporary(Some(Duration::ZERO));
/// Passes within moments.
pub(super) const SOON: Persistence = Persistence::Temporary(Some(Duration::from_secs(1)));
/// Passes when an operator acts; tasks wait for a day.
pub(super) const PERSISTENT: Persistence = Persistence::Persistent;

/// Makes the enum and its attributes from rows `Variant => "CODE", persistence, meaning, advice;`.
macro_rules! codes {
    ($($variant:ident => $text:literal, $persistence:ident, $meaning:literal, $advice:literal;)+) => {
        /// A stable code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = concat!("`", $text, "`: ", $meaning, ".")] $variant,)+
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code as users see it: `RATE_LIMITED`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// Whether trying again can help, unless an error says otherwise.
            pub const fn persistence(self) -> crate::Persistence {
                match self { $(Self::$variant => super::code::$persistence,)+ }
            }

            /// What the code means: one sentence, lower case, without its full stop.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }

            /// What to do about it: sentences.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)+ }
            }
        }
    };
}

pub(super) use codes;

use super::table::Code;

/// A text that is not a code of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a code of Transship")]
pub struct UnknownCode;

impl FromStr for Code {
    type Err = UnknownCode;

    /// Upper and lower case are the same.
    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        Self::ALL
            .iter()
            .find(|code| code.as_str().eq_ignore_ascii_case(text))
            .copied()
            .ok_or(UnknownCode)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_is_there_once_and_can_be_explained() {
        let mut seen = HashSet::new();
        for code in Code::ALL {
            let text = code.as_str();
            assert!(seen.insert(text), "{text} is there twice");
            assert!(
                text.bytes()
                    .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_'),
                "{text}"
            );
            assert_eq!(text.to_lowercase().parse(), Ok(*code));
            let (meaning, advice) = (code.meaning(), code.advice());
            assert!(!meaning.is_empty() && !meaning.ends_with('.'), "{text}: {meaning}");
            assert!(advice.ends_with('.'), "{text}: {advice}");
        }
        assert_eq!("NO_SUCH_CODE".parse::<Code>(), Err(UnknownCode));
    }
}
