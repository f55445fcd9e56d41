//! `transship explain CODE`: what a code means, whether it is tried again, and what to do.

use std::time::Duration;

use serde::Serialize;
use transship_oci::{Code, Persistence};

use crate::failure::Failure;
use crate::output::Form;

/// A code whose name is at least this similar to the one asked for is suggested.
const SIMILARITY_MIN: f64 = 0.8;

/// One code.
#[derive(Debug, Serialize)]
struct Explained {
    code: &'static str,
    meaning: &'static str,
    /// `permanent`, `temporary` or `persistent`.
    persistence: &'static str,
    /// What happens without an operator.
    retries: &'static str,
    advice: &'static str,
}

/// Prints what `text` means. Lower case is accepted.
pub(super) fn run(text: &str, form: Form) -> Result<(), Failure> {
    let code: Code = text.parse().map_err(|_| unknown(text))?;
    form.print(&Explained::from(code), |explained| {
        format!(
            "{}: {}\n\nRetries: {}\nWhat to do: {}\n",
            explained.code, explained.meaning, explained.retries, explained.advice
        )
    })
}

impl From<Code> for Explained {
    fn from(code: Code) -> Self {
        let (persistence, retries) = match code.persistence() {
            Persistence::Permanent => ("permanent", "none, the same request fails in the same way"),
            Persistence::Temporary(Some(wait)) if wait <= Duration::from_secs(1) => {
                ("temporary", "within moments, a task for up to a day")
            }
            Persistence::Temporary(_) => ("temporary", "with growing waits, a task for up to a day"),
            Persistence::Persistent => (
                "persistent",
                "a task for up to a day, until an operator repairs the cause",
            ),
        };
        Self {
            code: code.as_str(),
            meaning: code.meaning(),
            persistence,
            retries,
            advice: code.advice(),
        }
    }
}

fn unknown(text: &str) -> Failure {
    let asked = text.to_ascii_uppercase();
    let nearest = Code::ALL
        .iter()
        .map(|code| (strsim::jaro_winkler(&asked, code.as_str()), code))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN);
    let advice = match nearest {
        Some((_, code)) => format!("did you mean {code}?"),
        None => "docs/codes.md lists all codes".to_owned(),
    };
    Failure::usage(format!("{text:?} is not a code of Transship: {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    #[test]
    fn every_code_can_be_explained() {
        for code in Code::ALL {
            let explained = Explained::from(*code);
            assert_eq!(explained.code, code.as_str());
            assert!(!explained.retries.is_empty());
        }
        assert_eq!(Explained::from(Code::Tls).persistence, "persistent");
        assert_eq!(Explained::from(Code::RateLimited).persistence, "temporary");
    }

    #[test]
    fn an_unknown_code_is_refused_with_the_nearest_one() {
        for (text, part) in [
            ("tls_eror", "did you mean TLS_ERROR?"),
            ("AUTHFAILED", "did you mean AUTH_FAILED?"),
            ("xyz", "docs/codes.md"),
        ] {
            let failure = unknown(text);
            assert_eq!((failure.code(), failure.exit()), ("USAGE", Exit::Input));
            assert!(format!("{failure:?}").contains(part), "{failure:?}");
        }
        assert!(run("rate_limited", Form::Text).is_ok());
    }
}
