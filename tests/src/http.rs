//! A client of a few lines over a plain socket: one request, one connection, the whole answer in memory.
//!
//! The tests post deliveries and push images with it, some of them in ways a polite client refuses to. It knows
//! `Content-Length`, chunked answers and nothing else.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};

/// No answer of a loopback server takes longer.
const TIMEOUT: Duration = Duration::from_mins(1);

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends one request to `host` (`127.0.0.1:5000`, or `user:password@127.0.0.1:5000`); `path` starts with `/`.
pub fn request(
    method: &str,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Response> {
    let (login, host) = host
        .rsplit_once('@')
        .map_or((None, host), |(login, host)| (Some(login), host));
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // Head and body are two writes: the second must not wait for the first to be acknowledged.
    stream.set_nodelay(true)?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n").into_bytes();
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n")?;
    }
    if let Some(login) = login {
        write!(head, "Authorization: Basic {}\r\n", BASE64_STANDARD.encode(login))?;
    }
    write!(head, "Content-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(&head)?;
    // A server may answer and stop reading before it has the whole body (413): its answer still counts.
    let sent = stream.write_all(body);
    match read_response(&mut BufReader::new(stream), method == "HEAD") {
        Ok(response) => Ok(response),
        Err(error) => Err(sent.err().unwrap_or(error)),
    }
}

/// A path whose parts may hold anything, as a URL spells it (RFC 3986, section 2.3).
pub fn encoded_path(path: &str) -> String {
    encoded(path, b"-._~/")
}

/// A part of a path or query that may hold anything.
pub fn encoded_part(part: &str) -> String {
    encoded(part, b"-._~")
}

fn encoded(text: &str, kept: &[u8]) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// GET without headers.
pub fn get(host: &str, path: &str) -> std::io::Result<Response> {
    request("GET", host, path, &[], &[])
}

fn read_response(reader: &mut impl BufRead, without_body: bool) -> std::io::Result<Response> {
    let status_line = read_line(reader)?;
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| std::io::Error::other(format!("no HTTP answer: {status_line:?}")))?;
    let headers = read_headers(reader)?;
    // An interim answer (100 Continue) comes before the real one.
    if (100..200).contains(&status) {
        return read_response(reader, without_body);
    }
    let body = if without_body {
        Vec::new()
    } else {
        read_body(reader, &headers, false)?
    };
    Ok(Response { status, headers, body })
}

/// Reads header lines up to the empty line; names in lower case.
pub(crate) fn read_headers(reader: &mut impl BufRead) -> std::io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Ok(headers);
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
}

/// Reads the body its headers announce. A request without a length has none; an answer without one lasts until the end.
pub(crate) fn read_body(
    reader: &mut impl BufRead,
    headers: &[(String, String)],
    is_request: bool,
) -> std::io::Result<Vec<u8>> {
    let header = |wanted: &str| {
        headers
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.as_str())
    };
    let mut body = Vec::new();
    if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        loop {
            let line = read_line(reader)?;
            let digits = line.split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(digits, 16).map_err(std::io::Error::other)?;
            read_exactly(reader, size, &mut body)?;
            read_line(reader)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    match header("content-length").and_then(|value| value.parse::<u64>().ok()) {
        Some(length) => read_exactly(reader, length, &mut body)?,
        None if is_request => {}
        None => {
            reader.read_to_end(&mut body)?;
        }
    }
    Ok(body)
}

fn read_exactly(reader: &mut impl BufRead, size: u64, body: &mut Vec<u8>) -> std::io::Result<()> {
    let read = reader.by_ref().take(size).read_to_end(body)?;
    if read as u64 == size {
        Ok(())
    } else {
        Err(std::io::ErrorKind::UnexpectedEof.into())
    }
}

/// One line without its end.
pub(crate) fn read_line(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
