use proptest::prelude::*;

use super::*;

fn read(form: Form, text: &str) -> Result<Arc<Expression>> {
    Expressions::default().read(form, text, Alphabet::Repository)
}

fn matcher(form: Form, text: &str) -> Arc<Expression> {
    read(form, text).unwrap()
}

fn glob(text: &str, name: &str) -> bool {
    matcher(Form::Glob, text).is_match(name)
}

#[test]
fn a_glob_matches_the_whole_text_and_a_star_one_component() {
    for (pattern, name, matches) in [
        ("**", "a/b/c", true),
        ("*", "app", true),
        ("*", "team/app", false),
        ("team/*", "team/app", true),
        ("team/*", "team/a/b", false),
        ("team/**", "team/a/b", true),
        ("team/**", "team", false),
        ("**/app", "app", true),
        ("**/app", "a/b/app", true),
        ("**/app", "a/xapp", false),
        ("app", "app2", false),
        ("v?.{1,2}", "v3.2", true),
        ("*-rc*", "v1-rc.1", true),
        ("*-rc*", "v1", false),
    ] {
        assert_eq!(glob(pattern, name), matches, "{pattern} {name}");
    }
}

#[test]
fn a_regex_is_searched_for() {
    let regex = matcher(Form::Regex, "^v\\d+");
    assert!(regex.is_match("v1.2"));
    assert!(!regex.is_match("rev1"));
    assert!(matcher(Form::Regex, "(a+)+$").is_match(&"a".repeat(128)));
}

#[test]
fn classes_are_ascii_so_that_the_grammar_of_tags_fits() {
    for text in [r"^[\w][\w.-]{0,127}$", r"^\w{1,128}$", r"^v\d{1,4}(\.\d{1,4}){2}$"] {
        assert!(read(Form::Regex, text).is_ok(), "{text}");
    }
    assert!(!matcher(Form::Regex, r"^\w+$").is_match("é"));
}

fn size(regex: &str) -> u64 {
    shape::units(&parse(regex).unwrap())
}

#[test]
fn the_size_of_a_regex_is_known_before_it_is_compiled() {
    assert_eq!(size("abc"), 3);
    assert_eq!(size("[a-c]{10}"), 10);
    assert!(size(r"(\w{1,100}){1,100}") > 10_000);
    assert!(size("x{1000}{1000}{1000}") >= 1_000_000_000);
}

#[test]
fn what_would_cost_too_much_is_refused() {
    let long = "x".repeat(50_000);
    for text in ["x{1000}{1000}", "(", "[z-a]", "", long.as_str(), "(?=x)"] {
        let why = read(Form::Regex, text).unwrap_err().message().to_owned();
        assert!(why.len() < 300 && !why.contains('\n'), "{why}");
    }
    let nested = format!("{}{}", "(".repeat(200), ")".repeat(200));
    assert!(read(Form::Regex, &nested).is_err());
    for text in ["", "[", "{a", "core**", "a/**b/c", long.as_str()] {
        assert!(read(Form::Glob, text).is_err(), "{text}");
    }
}

#[test]
fn the_scope_of_an_expression_is_what_every_match_begins_with() {
    for (form, text, scope, is_whole) in [
        (Form::Glob, "**", Scope::ALL, true),
        (Form::Glob, "*", Scope::ALL, false),
        (Form::Glob, "team/**", Scope::prefix("team/"), true),
        (Form::Glob, "a/b-*/c", Scope::prefix("a/b-"), false),
        (Form::Glob, "b*/**", Scope::prefix("b"), false),
        (Form::Glob, "a/b", Scope::exact("a/b"), true),
        (Form::Regex, "^team/", Scope::prefix("team/"), true),
        (Form::Regex, "^team/.+", Scope::prefix("team/"), false),
        (Form::Regex, "^app$", Scope::exact("app"), true),
        (Form::Regex, "(?m)^app", Scope::ALL, false),
        (Form::Regex, "app", Scope::ALL, false),
        (Form::Regex, "^a|b", Scope::ALL, false),
    ] {
        let expression = matcher(form, text);
        assert_eq!(*expression.scope(), scope, "{text}");
        assert_eq!(expression.whole(), is_whole.then_some(scope), "{text}");
    }
    let tags = Expressions::default().read(Form::Glob, "v*", Alphabet::Tag).unwrap();
    assert_eq!(tags.whole(), Some(Scope::prefix("v")));
}

#[test]
fn an_expression_that_no_name_matches_is_refused() {
    for (form, text, alphabet) in [
        (Form::Regex, "[A-Z]", Alphabet::Repository),
        (Form::Regex, "^v 1", Alphabet::Tag),
        (Form::Regex, "a/b", Alphabet::Tag),
        (Form::Regex, "x{129}", Alphabet::Tag),
        (Form::Regex, "[^\\x00-\\xFF]", Alphabet::Tag),
        (Form::Glob, "V*", Alphabet::Repository),
        (Form::Glob, "core/*", Alphabet::Tag),
    ] {
        let refusal = Expressions::default().read(form, text, alphabet).unwrap_err();
        assert_eq!(refusal.kind(), Code::RuleNeverMatches, "{text}: {refusal}");
    }
    assert!(
        Expressions::default()
            .read(Form::Regex, "(?i)^V", Alphabet::Repository)
            .is_ok()
    );
}

#[test]
fn equal_expressions_of_a_document_exist_once() {
    let mut expressions = Expressions::default();
    let mut read = |text| expressions.read(Form::Regex, text, Alphabet::Tag).unwrap();
    let (one, other, same) = (read("^v"), read("^w"), read("^v"));
    assert!(Arc::ptr_eq(&one, &same) && !Arc::ptr_eq(&one, &other));
}

/// The meaning of `*`, `**` and literals, written down the slow way.
fn naive(pattern: &[&str], name: &[&str]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((&"**", [])) => !name.is_empty(),
        Some((&"**", rest)) => (0..=name.len()).any(|skipped| naive(rest, &name[skipped..])),
        Some((component, rest)) => name.split_first().is_some_and(|(first, names)| {
            naive_component(component.as_bytes(), first.as_bytes()) && naive(rest, names)
        }),
    }
}

fn naive_component(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skipped| naive_component(rest, &text[skipped..])),
        Some((byte, rest)) => text
            .split_first()
            .is_some_and(|(first, text)| first == byte && naive_component(rest, text)),
    }
}

proptest! {
    #[test]
    fn globs_mean_what_the_naive_matcher_says(
        pattern in prop::collection::vec(prop_oneof![Just("**".to_owned()), "[ab]{0,2}\\*?[ab]{1,2}", Just("*".to_owned())], 1..4),
        name in prop::collection::vec("[ab]{1,3}", 1..5),
    ) {
        let components: Vec<&str> = pattern.iter().map(String::as_str).collect();
        let names: Vec<&str> = name.iter().map(String::as_str).collect();
        prop_assert_eq!(glob(&pattern.join("/"), &name.join("/")), naive(&components, &names));
    }

    #[test]
    fn no_pattern_panics(text in "\\PC{0,40}") {
        if let Ok(matcher) = read(Form::Glob, &text) {
            matcher.is_match("a/b");
        }
        if let Ok(matcher) = read(Form::Regex, &text) {
            matcher.is_match("a/b");
        }
    }

    /// So that what is compiled when it is first used cannot fail.
    #[test]
    fn an_ordinary_expression_compiles_and_is_small(text in "([a-c.?*+|()\\[\\]^$0-9{},\\\\wd-]|\\[a-z\\]|x\\{1,9\\}){1,24}") {
        for form in [Form::Glob, Form::Regex] {
            if let Ok((_, units)) = Expression::read(form, &text, Alphabet::Tag)
                && units <= ORDINARY_UNITS
            {
                let compiled = compile(form, &text);
                prop_assert!(compiled.as_ref().is_ok_and(|regex| regex.get_nfa().memory_usage() < 64 * 1024), "{text} {compiled:?}");
            }
        }
    }
}
