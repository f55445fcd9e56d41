//! One execution environment: a process and its Runtime API.

use std::fs::OpenOptions;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::api::{Invocation, Said, router};
use super::{Ended, Function};
use crate::{Error, ErrorKind, Result};

/// Time limit from the start of a process to its first poll.
const INIT: Duration = Duration::from_secs(10);

pub(super) struct Environment {
    child: Child,
    id: u32,
    said: mpsc::Receiver<Said>,
    /// The pending poll of the process, while it waits for its next event.
    next: Option<oneshot::Sender<Invocation>>,
    api: JoinHandle<()>,
    running: Arc<Mutex<Vec<u32>>>,
}

impl Environment {
    /// Starts a process, waits for its first poll, and returns the time it took, or how the process ended before.
    pub(super) async fn start(
        function: &Function,
        log: &Path,
        running: Arc<Mutex<Vec<u32>>>,
    ) -> Result<std::result::Result<(Self, Duration), Ended>> {
        let failed = |kind, error| Error::new(kind, "lambda environment").with_source(error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(|error| failed(ErrorKind::BindFailed, error))?;
        let address = listener
            .local_addr()
            .map_err(|error| failed(ErrorKind::BindFailed, error))?;
        let (heard, said) = mpsc::channel(8);
        let serve = axum::serve(listener, router(heard)).into_future();
        let api = tokio::spawn(async move { drop(serve.await) });
        let log = OpenOptions::new().append(true).create(true).open(log);
        let log = log.map_err(|error| failed(ErrorKind::FileFailed, error))?;
        let errors = log.try_clone().map_err(|error| failed(ErrorKind::FileFailed, error))?;
        let began = Instant::now();
        let child = Command::new(&function.program)
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "test")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/test")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", format!("[$LATEST]{}", address.port()))
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .envs(function.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(ErrorKind::ProcessFailed { log: String::new() }, error))?;
        let id = child.id().unwrap_or_default();
        running.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        let mut environment = Self {
            child,
            id,
            said,
            next: None,
            api,
            running,
        };
        let polled = environment.until_it_polls(INIT).await;
        Ok(polled.map(|()| (environment, began.elapsed())))
    }

    async fn until_it_polls(&mut self, patience: Duration) -> std::result::Result<(), Ended> {
        let deadline = tokio::time::Instant::now() + patience;
        while self.next.is_none() {
            tokio::select! {
                said = self.said.recv() => match said {
                    Some(Said::Next(next)) => self.next = Some(next),
                    Some(Said::InitError(error)) => return Err(Ended::Failed(error)),
                    _ => {}
                },
                status = self.child.wait() => return Err(crashed(status)),
                () = tokio::time::sleep_until(deadline) => return Err(Ended::TimedOut),
            }
        }
        Ok(())
    }

    /// Passes the event to the process and waits for its response. After `timeout` the process is killed.
    pub(super) async fn invoke(&mut self, request: &str, event: &Value, timeout: Duration) -> Ended {
        if let Err(ended) = self.until_it_polls(INIT).await {
            return ended;
        }
        let deadline = tokio::time::Instant::now() + timeout;
        let invocation = Invocation {
            request: request.to_owned(),
            event: event.to_string().into_bytes(),
            deadline: SystemTime::now() + timeout,
        };
        // If the process has ended, this is detected below.
        let _ = self.next.take().map(|next| next.send(invocation).ok());
        loop {
            tokio::select! {
                biased;
                said = self.said.recv() => match said {
                    Some(Said::Response(of, value)) if of == request => return Ended::Answered(value),
                    Some(Said::Error(of, value)) if of == request => return Ended::Failed(value),
                    Some(Said::Next(next)) => self.next = Some(next),
                    _ => {}
                },
                status = self.child.wait() => return crashed(status),
                () = tokio::time::sleep_until(deadline) => {
                    let _ = self.child.kill().await;
                    return Ended::TimedOut;
                }
            }
        }
    }

    /// False if the process has ended since its last event.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        self.api.abort();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|id| *id != self.id);
    }
}

fn crashed(status: std::io::Result<std::process::ExitStatus>) -> Ended {
    Ended::Crashed(status.map_or_else(|error| error.to_string(), |status| status.to_string()))
}
