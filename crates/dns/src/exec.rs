//! A command of the operator as a DNS service: JSON on its standard input, JSON on its standard output.
//!
//! The command runs once for each operation, with a time limit. `docs/failover.md` has the protocol. Only the process that was
//! started with the command runs it, so a document alone cannot.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use transship_engine::names::{Answer, Entry, Names, Receipt, RecordSet};
use transship_oci::{Code, Error, Operation, Result, Verb};
use transship_rules::{Hostname, RecordKind};

/// Time limit of one run.
const RUN_TIMEOUT: Duration = Duration::from_mins(1);
/// The largest output in bytes.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;
/// The end of the standard error that is shown, in characters.
const ERROR_CHARS_MAX: usize = 200;
/// The version of the protocol.
const VERSION: u32 = 1;

/// A registered command.
pub struct DnsCommand {
    name: String,
    program: PathBuf,
}

impl DnsCommand {
    /// `name` is what documents call the command; `program` is run without arguments.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
        }
    }

    async fn run(&self, request: &Request<'_>, operation: &Operation) -> Result<Response> {
        let failed = |why: &dyn std::fmt::Display| {
            Error::of(Code::DnsCommandFailed, operation.clone()).because(format_args!("{}: {why}", self.name))
        };
        let input = serde_json::to_vec(request).map_err(|error| failed(&error))?;
        let child = Command::new(&self.program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(&format_args!("{} cannot be started: {error}", self.program.display())))?;
        let output = tokio::time::timeout(RUN_TIMEOUT, exchange(child, &input)).await;
        let output = output
            .map_err(|_| failed(&format_args!("it did not end within {} s", RUN_TIMEOUT.as_secs())))?
            .map_err(|error| failed(&error))?;
        // A command whose output is not read any more ends with an error.
        if output.standard.len() as u64 > OUTPUT_BYTES_MAX {
            return Err(failed(&format_args!(
                "its output is larger than {OUTPUT_BYTES_MAX} bytes"
            )));
        }
        if !output.is_success {
            let said = output.errors.trim();
            let start = said
                .char_indices()
                .rev()
                .nth(ERROR_CHARS_MAX - 1)
                .map_or(0, |(start, _)| start);
            let end = said.get(start..).unwrap_or_default();
            return Err(failed(&format_args!("it failed: {}", end.escape_debug())));
        }
        serde_json::from_slice(&output.standard)
            .map_err(|error| failed(&format_args!("its output is not valid: {error}")))
    }
}

struct Output {
    is_success: bool,
    standard: Vec<u8>,
    errors: String,
}

/// All three streams at once: a command may write before it has read.
async fn exchange(mut child: Child, input: &[u8]) -> std::io::Result<Output> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A command that does not need its input may close it.
            let _ = stdin.write_all(input).await;
        }
    };
    let mut output = Vec::new();
    let mut errors = Vec::new();
    let read = async {
        match stdout {
            Some(stdout) => stdout.take(OUTPUT_BYTES_MAX + 1).read_to_end(&mut output).await,
            None => Ok(0),
        }
    };
    let read_errors = async {
        match stderr {
            Some(stderr) => stderr.take(OUTPUT_BYTES_MAX).read_to_end(&mut errors).await,
            None => Ok(0),
        }
    };
    let ((), read, read_errors) = tokio::join!(write, read, read_errors);
    read?;
    read_errors?;
    let status = child.wait().await?;
    Ok(Output {
        is_success: status.success(),
        standard: output,
        errors: String::from_utf8_lossy(&errors).into_owned(),
    })
}

/// What the command receives.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
struct Request<'a> {
    version: u32,
    /// `zone`, `read`, `swap` or `answers`.
    operation: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Content>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Content>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<&'a str>,
}

impl<'a> Request<'a> {
    const fn of(operation: &'a str, name: Option<&'a str>) -> Self {
        Self {
            version: VERSION,
            operation,
            name,
            before: None,
            after: None,
            receipt: None,
        }
    }
}

/// The records of a name.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(default)]
    records: Vec<Record>,
    /// The texts of `_transship.<name>`.
    #[serde(default)]
    texts: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    #[serde(rename = "type")]
    kind: String,
    values: Vec<String>,
    ttl: u32,
}

/// What the command answers; which field depends on the operation.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Response {
    Zone(String),
    Found(Content),
    /// The change is made; the text is given to `answers`.
    Changed(String),
    /// The records are others.
    Moved(Content),
    /// The service refuses, with the reason.
    Refused(String),
    /// The service does not answer, or the outcome is not known.
    Unavailable(String),
    Answers(Vec<ServerAnswer>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerAnswer {
    server: String,
    /// Absent: the change is under way.
    #[serde(default)]
    found: Option<Content>,
    /// Why it does not answer.
    #[serde(default)]
    unavailable: Option<String>,
}

impl From<&Entry> for Content {
    fn from(entry: &Entry) -> Self {
        let record = |set: &RecordSet| Record {
            kind: set.kind.as_str().to_owned(),
            values: set.values.clone(),
            ttl: set.ttl_seconds,
        };
        Self {
            records: entry.records.iter().map(record).collect(),
            texts: entry.texts.clone(),
            owner: None,
        }
    }
}

impl DnsCommand {
    fn entry(&self, records: Content, operation: &Operation) -> Result<Entry> {
        let invalid = |why: String| {
            Error::of(Code::DnsCommandFailed, operation.clone())
                .because(format_args!("{}: its output is not valid: {why}", self.name))
        };
        let mut entry = Entry {
            texts: records.texts,
            owner: records.owner,
            ..Entry::default()
        };
        for record in records.records.into_iter().filter(|record| !record.values.is_empty()) {
            let kind = RecordKind::of(&record.kind)
                .filter(|kind| entry.set(*kind).is_none())
                .ok_or_else(|| invalid(format!("type {:?}: write CNAME, A and AAAA, each once", record.kind)))?;
            let set = RecordSet::parse(kind, &record.values, record.ttl);
            entry
                .records
                .push(set.map_err(|value| invalid(format!("{value:?} is not a value of {kind}")))?);
        }
        entry.records.sort_by_key(|set| set.kind);
        entry.texts.sort_unstable();
        Ok(entry)
    }

    /// An answer that is not the expected one.
    fn other(&self, response: Response, operation: &Operation) -> Error {
        let (code, why) = match response {
            Response::Refused(why) => (Code::DnsRefused, why),
            Response::Unavailable(why) => (Code::DnsUnavailable, why),
            Response::Moved(records) => match self.entry(records, operation) {
                Ok(found) => (Code::DnsRecordChanged, format!("found {found}")),
                Err(error) => return error,
            },
            _ => (
                Code::DnsCommandFailed,
                "its output belongs to another operation".to_owned(),
            ),
        };
        let why: String = why.chars().take(ERROR_CHARS_MAX).collect();
        Error::of(code, operation.clone()).because(format_args!("{}: {}", self.name, why.escape_debug()))
    }
}

#[async_trait]
impl Names for DnsCommand {
    /// Whether the command compares and replaces in one step is not known here.
    fn is_atomic(&self) -> bool {
        false
    }

    async fn zone(&self) -> Result<Hostname> {
        let operation = Verb::Names.on(&self.name);
        match self.run(&Request::of("zone", None), &operation).await? {
            Response::Zone(zone) => zone.parse().map_err(|why| {
                let why = format!("{}: the zone {zone:?} {why}", self.name);
                Error::of(Code::DnsCommandFailed, operation).because(why)
            }),
            other => Err(self.other(other, &operation)),
        }
    }

    async fn read(&self, name: &Hostname) -> Result<Entry> {
        let operation = Verb::Names.on(name);
        match self.run(&Request::of("read", Some(name.as_str())), &operation).await? {
            Response::Found(records) => self.entry(records, &operation),
            other => Err(self.other(other, &operation)),
        }
    }

    async fn swap(&self, name: &Hostname, before: &Entry, after: &Entry) -> Result<Receipt> {
        let operation = Verb::Names.on(name);
        let request = Request {
            before: Some(before.into()),
            after: Some(after.into()),
            ..Request::of("swap", Some(name.as_str()))
        };
        match self.run(&request, &operation).await? {
            Response::Changed(receipt) => Ok(Receipt(receipt)),
            other => Err(self.other(other, &operation)),
        }
    }

    async fn answers(&self, name: &Hostname, receipt: &Receipt) -> Result<Vec<Answer>> {
        let operation = Verb::Names.on(name);
        let request = Request {
            receipt: Some(&receipt.0),
            ..Request::of("answers", Some(name.as_str()))
        };
        let answers = match self.run(&request, &operation).await? {
            Response::Answers(answers) if !answers.is_empty() => answers,
            other => return Err(self.other(other, &operation)),
        };
        let answer = |answer: ServerAnswer| Answer {
            server: answer.server,
            entry: match (answer.unavailable, answer.found) {
                (Some(why), _) => Err(self.other(Response::Unavailable(why), &operation)),
                (None, found) => found.map(|found| self.entry(found, &operation)).transpose(),
            },
        };
        Ok(answers.into_iter().map(answer).collect())
    }
}
