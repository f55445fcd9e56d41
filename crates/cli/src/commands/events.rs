//! `transship events parse`: prints the normalized events of a delivery.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use http::{HeaderMap, HeaderName, HeaderValue};
use transship_notifications::{Delivery, Event, Expected, Format, Origin, Part, authenticate, parse};
use transship_oci::{Code, Error};

use crate::failure::{Exit, Failure};
use crate::output;
use transship_oci::Result;

/// Maximum size of a delivery in bytes. The webhook accepts at most 1 MiB.
const INPUT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Arguments of `transship events`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  transship events parse --provider distribution delivery.json")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the normalized events of a delivery, as a JSON array
    Parse(Parse),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  transship events parse --provider distribution delivery.json\n  transship events parse --provider harbor --secret s3cret --header 'Authorization: s3cret' body.json\n  transship events parse --provider ghcr --secret s3cret --header 'X-Hub-Signature-256: sha256=…' body.json\n\nExit code 2: the body is not a valid delivery of this format.\nExit code 3: the delivery is not authentic (checked only with --secret)."
)]
struct Parse {
    #[arg(long, value_name = "FORMAT", value_parser = format, help = format_help())]
    provider: Format,
    /// Host of the registry; by default the host in the delivery
    #[arg(long, value_name = "HOST")]
    registry_host: Option<String>,
    /// Repository prefix in the delivery, and the prefix that clients use instead
    #[arg(long, value_name = "FROM=TO", value_parser = alias)]
    alias: Vec<(String, String)>,
    /// Header of the HTTP request
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// Secret of the webhook; visible to other users in the process list
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
    /// File that contains the body; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

fn format_help() -> String {
    let names: Vec<&str> = Format::all().map(Format::as_str).collect();
    format!("The format: {}", names.join(", "))
}

fn format(name: &str) -> Result<Format, String> {
    name.parse().map_err(|_| {
        let names: Vec<&str> = Format::all().map(Format::as_str).collect();
        format!("expected one of {}", names.join(", "))
    })
}

fn alias(text: &str) -> Result<(String, String), &'static str> {
    let (from, to) = text.split_once('=').ok_or("write FROM=TO")?;
    Ok((from.to_owned(), to.to_owned()))
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    const FORM: &str = "write NAME: VALUE";
    let (name, value) = text.split_once(':').ok_or(FORM)?;
    let name = name.trim().parse().map_err(|_| FORM)?;
    let value = value.trim().parse().map_err(|_| FORM)?;
    Ok((name, value))
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Command::Parse(arguments) = &arguments.command;
    let events = arguments.events(&read_input(&arguments.file)?)?;
    output::print_json(&events)
}

impl Parse {
    fn events(&self, body: &[u8]) -> Result<Vec<Event>, Failure> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.header {
            headers.append(name.clone(), value.clone());
        }
        let delivery = Delivery {
            headers: &headers,
            body,
            token: None,
        };
        if let Some(secret) = &self.secret {
            let expected = Expected {
                secret: Some(secret),
                ..Expected::default()
            };
            let checked = authenticate(self.provider, &delivery, Part::Whole, &expected, &|_| None);
            checked.map_err(|error| refused(&error))?;
        }
        let origin = Origin {
            registry_host: self.registry_host.as_deref(),
            fallback_host: None,
            aliases: &self.alias,
        };
        parse(self.provider, &delivery, &origin).map_err(|error| refused(&error))
    }
}

fn refused(error: &Error) -> Failure {
    let exit = if error.is(Code::NotAuthentic) {
        Exit::NotAuthentic
    } else {
        Exit::Input
    };
    // The cause is dropped, because it may quote the body.
    Failure::new(exit, error.code(), error)
}

/// Reads a file of the command line; `-` is standard input.
pub(crate) fn read_input(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(INPUT_BYTES_MAX).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(INPUT_BYTES_MAX).read_to_end(&mut bytes))
    };
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => {
            let sentence = format!("{}: {error}", path.display());
            Err(Failure::new(Exit::Input, "INPUT_UNREADABLE", sentence))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"events":[{"id":"1","timestamp":"2026-01-02T03:04:05Z","action":"push","target":{
        "mediaType":"application/vnd.oci.image.index.v1+json","size":5,"repository":"core/app","tag":"v1",
        "digest":"sha256:ababababababababababababababababababababababababababababababab00"},
        "request":{"host":"registry.example.com"},"actor":{"name":"robot"}}]}"#;

    fn parse_of(secret: Option<&str>, headers: &[&str]) -> Parse {
        Parse {
            provider: "distribution".parse().unwrap(),
            registry_host: None,
            alias: Vec::new(),
            header: headers.iter().map(|text| header(text).unwrap()).collect(),
            secret: secret.map(str::to_owned),
            file: "-".into(),
        }
    }

    #[test]
    fn events_have_the_keys_of_the_contract_in_order() {
        insta::assert_json_snapshot!(parse_of(None, &[]).events(BODY.as_bytes()).unwrap());
    }

    #[test]
    fn refusals_are_told_apart_by_their_exit() {
        let exit = |parse: Parse, body: &str| parse.events(body.as_bytes()).err().map(|failure| failure.exit());
        assert_eq!(exit(parse_of(Some("s"), &["Authorization: s"]), BODY), None);
        assert_eq!(exit(parse_of(Some("s"), &[]), BODY), Some(Exit::NotAuthentic));
        assert_eq!(exit(parse_of(None, &[]), "{"), Some(Exit::Input));
        assert_eq!(exit(parse_of(None, &[]), r#"{"events":[]}"#), None);
    }

    #[test]
    fn headers_and_aliases_are_taken_apart_at_their_first_sign() {
        let (name, value) = header("X-A: b: c").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-a", "b: c"));
        assert_eq!(alias("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(header("nothing").is_err() && alias("nothing").is_err());
    }
}
