//! One connection to a name server, over TCP: an answer is never truncated, and cannot be forged by a host that does not see it.

use std::time::Duration;

use domain::base::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use transship_oci::{Code, Error, Operation, Result};
use transship_rules::ServerAddress;

/// Time limit of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time limit of one request and its answer. A server writes its journal to disk before it answers an update.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection to one server.
pub(super) struct Connection {
    stream: TcpStream,
    server: String,
    operation: Operation,
}

impl Connection {
    pub(super) async fn open(server: &ServerAddress, operation: &Operation) -> Result<Self> {
        let connect = TcpStream::connect((server.host.as_str(), server.port));
        let stream = match timeout(CONNECT_TIMEOUT, connect).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(unavailable(operation, server, error)),
            Err(_) => return Err(unavailable(operation, server, "no connection in time")),
        };
        // A request is two small writes otherwise.
        let _ = stream.set_nodelay(true);
        Ok(Self {
            stream,
            server: server.to_string(),
            operation: operation.clone(),
        })
    }

    /// Sends `request` and returns the answer with the same id.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> Result<Message<Vec<u8>>> {
        let answered = timeout(ANSWER_TIMEOUT, self.send_and_receive(request)).await;
        let bytes = match answered {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => return Err(unavailable(&self.operation, &self.server, error)),
            Err(_) => return Err(unavailable(&self.operation, &self.server, "no answer in time")),
        };
        let is_answer = |message: &Message<Vec<u8>>| {
            let header = message.header();
            header.qr() && request.get(..2) == Some(&header.id().to_be_bytes()[..])
        };
        Message::from_octets(bytes)
            .ok()
            .filter(is_answer)
            .ok_or_else(|| unavailable(&self.operation, &self.server, "its answer is not a DNS message"))
    }

    /// Messages over TCP have their length in front. Source: RFC 1035, section 4.2.2.
    async fn send_and_receive(&mut self, request: &[u8]) -> std::io::Result<Vec<u8>> {
        let length = u16::try_from(request.len()).map_err(std::io::Error::other)?;
        let framed = [&length.to_be_bytes(), request].concat();
        self.stream.write_all(&framed).await?;
        let length = self.stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        self.stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }
}

fn unavailable(operation: &Operation, server: impl std::fmt::Display, why: impl std::fmt::Display) -> Error {
    Error::of(Code::DnsUnavailable, operation.clone()).because(format_args!("{server}: {why}"))
}
