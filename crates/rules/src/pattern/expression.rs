//! Globs and regular expressions. They are checked when the document is read, and small ones are compiled when they are first
//! used: a document may have ten thousand rules, of which a process uses a few at a time.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use regex_automata::nfa::thompson;
use regex_automata::nfa::thompson::backtrack::BoundedBacktracker;
use regex_automata::util::syntax;
use regex_syntax::hir::Hir;

use super::Scope;
use super::shape::{self, Alphabet};
use transship_oci::{Code, Result};

use crate::error::{fault, shown};

/// Maximum length of a pattern in bytes.
const MAX_PATTERN_BYTES: usize = 4096;
/// Maximum size of a compiled pattern in bytes.
const MAX_COMPILED_BYTES: usize = 1 << 20;
/// Memory of one search in bytes: a bit for each state of the largest pattern and each byte of the longest name.
const MAX_VISITED_BYTES: usize = 2 << 20;
/// Maximum nesting of a regular expression.
const MAX_NESTING: u32 = 50;
/// Maximum size of all patterns of a document together. A unit needs up to 1 KiB of memory when it is compiled.
const PATTERN_UNITS_MAX: u64 = 50_000;
/// Size of a pattern that does not count and that always compiles: a document may have any number of ordinary patterns.
const ORDINARY_UNITS: u64 = 64;

/// What an expression is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// Matches the whole text: `*` within a component, `**` across components.
    Glob,
    /// Matches anywhere in the text. `\w`, `\d` and `\s` mean ASCII: names have nothing else.
    Regex,
}

/// A glob or a regular expression.
pub(crate) struct Expression {
    form: Form,
    text: Box<str>,
    scope: Scope,
    /// It matches every name of its scope.
    is_whole: bool,
    compiled: OnceLock<Option<BoundedBacktracker>>,
}

/// The expressions of a document. Equal ones exist once.
#[derive(Debug, Default)]
pub(crate) struct Expressions {
    known: HashMap<(Form, Alphabet, Box<str>), Arc<Expression>>,
    /// Size of all patterns so far.
    units: u64,
}

impl Expressions {
    /// The expression `text` for names of `alphabet`. `RULE_INVALID` or `RULE_NEVER_MATCHES`.
    pub(crate) fn read(&mut self, form: Form, text: &str, alphabet: Alphabet) -> Result<Arc<Expression>> {
        let key = (form, alphabet, Box::from(text));
        if let Some(known) = self.known.get(&key) {
            return Ok(Arc::clone(known));
        }
        let (expression, units) = Expression::read(form, text, alphabet)?;
        self.units = self.units.saturating_add(units.saturating_sub(ORDINARY_UNITS));
        if self.units > PATTERN_UNITS_MAX {
            return Err(invalid(
                "the patterns of the document are too large together: use smaller repetitions and shorter lists"
                    .to_owned(),
            ));
        }
        if units > ORDINARY_UNITS {
            let compiled = compile(form, text).map_err(|error| invalid(why(form, text, &error)))?;
            // It was just made, so it is empty.
            let _ = expression.compiled.set(Some(compiled));
        }
        let expression = Arc::new(expression);
        self.known.insert(key, Arc::clone(&expression));
        Ok(expression)
    }
}

impl Expression {
    /// The expression, not compiled, and its size.
    fn read(form: Form, text: &str, alphabet: Alphabet) -> Result<(Self, u64)> {
        check_length(text).map_err(invalid)?;
        let parsed = match form {
            Form::Glob => parse(&glob(text).map_err(invalid)?),
            Form::Regex => parse(text),
        };
        let parsed = parsed.map_err(|error| invalid(not_valid(form, text, &error.to_string())))?;
        let (units, (scope, is_whole)) = match form {
            Form::Glob => (text.len() as u64, glob_scope(text, alphabet)),
            Form::Regex => (shape::units(&parsed), shape::scope(&parsed)),
        };
        if units > PATTERN_UNITS_MAX {
            return Err(invalid(why(form, text, "it is too large: use smaller repetitions")));
        }
        if !shape::can_match(&parsed, alphabet) {
            let (form, what, grammar) = (form.word(), alphabet.what(), alphabet.grammar());
            let sentence = format!("the {form} {} cannot match any {what}: {grammar}", shown(text));
            return Err(fault(Code::RuleNeverMatches, sentence));
        }
        let expression = Self {
            form,
            text: text.into(),
            scope,
            is_whole,
            compiled: OnceLock::new(),
        };
        Ok((expression, units))
    }

    pub(crate) const fn form(&self) -> Form {
        self.form
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What every matching name begins with.
    pub(crate) const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The scope, if every name of it matches.
    pub(crate) fn whole(&self) -> Option<Scope> {
        self.is_whole.then(|| self.scope.clone())
    }

    /// The one name that matches, if it is written without wildcards.
    pub(crate) fn only_name(&self) -> Option<&str> {
        self.scope.is_exact.then_some(self.scope.text.as_str())
    }

    pub(crate) fn is_match(&self, name: &str) -> bool {
        // An expression that is compiled only now is small, and small ones compile.
        let compiled = self.compiled.get_or_init(|| compile(self.form, &self.text).ok());
        compiled.as_ref().is_some_and(|regex| {
            // A search fails only for texts that are longer than any name.
            regex.try_is_match(&mut regex.create_cache(), name).unwrap_or(false)
        })
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {:?}", self.form.word(), self.text)
    }
}

impl Form {
    const fn word(self) -> &'static str {
        match self {
            Self::Glob => "glob",
            Self::Regex => "regex",
        }
    }
}

/// The regular expression of a glob.
fn glob(text: &str) -> std::result::Result<String, String> {
    let is_mixed = |component: &str| component.contains("**") && component != "**";
    if text.split('/').any(is_mixed) {
        return Err(format!(
            "the glob {} has ** within a component: ** matches whole components, as in core/**; use * within one",
            shown(text)
        ));
    }
    let glob = globset::GlobBuilder::new(text)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|error| format!("the glob {} is not valid: {}", shown(text), error.kind()))?;
    Ok(glob.regex().to_owned())
}

fn syntax() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false).nest_limit(MAX_NESTING)
}

fn parse(regex: &str) -> std::result::Result<Hir, Box<regex_syntax::Error>> {
    syntax::parse_with(regex, &syntax()).map_err(Box::new)
}

/// Names are short, so the automaton that needs least memory is the fastest in sum. It is linear in the size of the pattern
/// and of the text.
fn compile(form: Form, text: &str) -> std::result::Result<BoundedBacktracker, String> {
    let regex = match form {
        Form::Glob => glob(text)?,
        Form::Regex => text.to_owned(),
    };
    let automaton = thompson::Config::new()
        .utf8(false)
        .nfa_size_limit(Some(MAX_COMPILED_BYTES))
        .which_captures(thompson::WhichCaptures::None);
    BoundedBacktracker::builder()
        .configure(BoundedBacktracker::config().visited_capacity(MAX_VISITED_BYTES))
        .syntax(syntax())
        .thompson(automaton)
        .build(&regex)
        .map_err(|error| match error.size_limit() {
            Some(limit) => format!("it is larger than {limit} bytes when compiled: use smaller repetitions"),
            None => error.to_string(),
        })
}

/// The scope of a glob, and whether it matches all of it.
fn glob_scope(text: &str, alphabet: Alphabet) -> (Scope, bool) {
    let Some(meta) = text.find(['*', '?', '[', ']', '{', '}', '\\']) else {
        return (Scope::exact(text), true);
    };
    // `team/**` does not match `team/`, which is not a name. A tag is one component.
    let is_whole = match &text[meta..] {
        "**" => true,
        "*" => alphabet == Alphabet::Tag,
        _ => false,
    };
    (Scope::prefix(&text[..meta]), is_whole)
}

fn check_length(text: &str) -> std::result::Result<(), String> {
    if text.is_empty() {
        return Err("the pattern is empty: omit it to match everything".to_owned());
    }
    if text.len() > MAX_PATTERN_BYTES {
        return Err(format!(
            "the pattern has {} bytes, but the limit is {MAX_PATTERN_BYTES}: split it into several rules",
            text.len()
        ));
    }
    Ok(())
}

fn invalid(sentence: String) -> transship_oci::Error {
    fault(Code::RuleInvalid, sentence)
}

fn why(form: Form, text: &str, sentence: &str) -> String {
    format!("the {} {}: {sentence}", form.word(), shown(text))
}

/// The library's message has several lines; the last one is the sentence.
fn not_valid(form: Form, text: &str, picture: &str) -> String {
    let sentence = picture.lines().last().unwrap_or_default();
    let sentence = sentence.trim_start_matches("error: ");
    format!("the {} {} is not valid: {sentence}", form.word(), shown(text))
}

#[cfg(test)]
mod tests;
