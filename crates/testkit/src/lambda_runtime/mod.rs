//! The Lambda service for one function, on loopback: its Runtime API, real deadlines, crashes, several environments.
//!
//! A function is a program that polls the Runtime API for its next event. This service allows tests of the same binaries that
//! are deployed. A process must be killed at its deadline, as Lambda does; it must process one event at a time; a process that
//! ended must be replaced; and all processes must end when this value is dropped.
//! (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>)

mod api;
mod environment;
pub mod events;

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::{Error, ErrorKind, Result};
use environment::Environment;

/// A program and its limits.
#[derive(Debug, Clone)]
pub struct Function {
    /// The program.
    pub program: PathBuf,
    /// Environment variables in addition to those of Lambda. None are inherited.
    pub environment: Vec<(String, String)>,
    /// Time limit for one event.
    pub timeout: Duration,
}

/// Result of an invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The response of the function.
    Answered(Value),
    /// The function reported an error: `{errorType, errorMessage}`.
    Failed(Value),
    /// The process was killed at its deadline.
    TimedOut,
    /// The process ended without a response, with this exit status.
    Crashed(String),
}

/// The service for one function.
pub struct Lambda {
    function: Function,
    turns: Semaphore,
    idle: Mutex<Vec<Environment>>,
    running: Arc<Mutex<Vec<u32>>>,
    starts: Mutex<Vec<Duration>>,
    invocations: AtomicU64,
    folder: TempDir,
}

impl Lambda {
    /// A service with up to `environments` processes at the same time, each started when it is needed.
    pub fn new(function: Function, environments: usize) -> Result<Self> {
        let failed = |error| Error::new(ErrorKind::FileFailed, "lambda folder").with_source(error);
        let folder = TempDir::new().map_err(failed)?;
        File::create(folder.path().join("log")).map_err(failed)?;
        Ok(Self {
            function,
            turns: Semaphore::new(environments),
            idle: Mutex::default(),
            running: Arc::default(),
            starts: Mutex::default(),
            invocations: AtomicU64::new(0),
            folder,
        })
    }

    /// Waits for a free environment, invokes the function and returns the result. An error means that the program cannot be
    /// started at all.
    pub async fn invoke(&self, event: &Value) -> Result<Ended> {
        let _turn = self.turns.acquire().await;
        let number = self.invocations.fetch_add(1, Ordering::Relaxed);
        let request = format!("00000000-0000-4000-8000-{number:012}");
        let mut environment = match self.idle() {
            Some(environment) => environment,
            None => match self.start().await? {
                Ok(environment) => environment,
                Err(ended) => return Ok(ended),
            },
        };
        let ended = environment.invoke(&request, event, self.function.timeout).await;
        if matches!(ended, Ended::Answered(_) | Ended::Failed(_)) {
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(environment);
        }
        Ok(ended)
    }

    fn idle(&self) -> Option<Environment> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain_mut(Environment::is_alive);
        idle.pop()
    }

    async fn start(&self) -> Result<std::result::Result<Environment, Ended>> {
        let log = self.folder.path().join("log");
        let started = Environment::start(&self.function, &log, Arc::clone(&self.running)).await?;
        Ok(started.map(|(environment, took)| {
            self.starts.lock().unwrap_or_else(PoisonError::into_inner).push(took);
            environment
        }))
    }

    /// The ids of all running processes, including idle ones, to kill or measure them.
    pub fn processes(&self) -> Vec<u32> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The time from start to the first poll of the Runtime API, for each process that was started.
    pub fn starts(&self) -> Vec<Duration> {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Standard output and standard error of all processes.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}
