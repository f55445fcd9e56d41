//! Behaviours of [`Server`].

use std::time::Duration;

use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// A request that ends when the test says so.
#[derive(Default)]
struct Slow {
    begun: Notify,
    end: Notify,
}

impl Slow {
    async fn wait(&self) {
        self.begun.notify_one();
        self.end.notified().await;
    }
}

/// A server with `connections` places, whose `/slow` answers after `release.end`.
async fn server_with(
    head_timeout: Duration,
    connections: usize,
    release: Arc<Slow>,
) -> (std::net::SocketAddr, watch::Sender<bool>) {
    let router = Router::new()
        .route("/", get(|| async { "here" }))
        .route("/slow", get(move || async move { release.wait().await }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let mut server = Server::new(router, connections);
    server.head_timeout = head_timeout;
    tokio::spawn(server.run(listener, stopped));
    (address, stop)
}

async fn server(connections: usize, release: Arc<Slow>) -> (std::net::SocketAddr, watch::Sender<bool>) {
    server_with(HEAD_TIMEOUT, connections, release).await
}

/// The response of a new connection to `GET path`, and all after it until the server closes.
async fn request(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let (address, _stop) = server(8, Arc::default()).await;
    let mut silent = Vec::new();
    for number in 0..50 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
        }
        silent.push(stream);
    }
    assert!(request(address, "/").await.ends_with("here"));
    // The oldest had to leave.
    assert_eq!(silent[0].read(&mut [0; 10]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_request_in_progress_is_not_closed_for_another_one() {
    let release = Arc::<Slow>::default();
    let (address, _stop) = server(2, Arc::clone(&release)).await;
    let slow = tokio::spawn(request(address, "/slow"));
    release.begun.notified().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(address).await.unwrap());
        tokio::task::yield_now().await;
    }
    assert!(request(address, "/").await.ends_with("here"));
    release.end.notify_one();
    assert!(slow.await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_head_that_does_not_end_closes_its_connection() {
    let (address, _stop) = server_with(Duration::from_millis(50), 8, Arc::default()).await;
    for sent in [b"".as_slice(), b"GET / HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        // It ends at all: without the limit this waits forever.
        stream.read_to_end(&mut Vec::new()).await.ok();
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let (address, _stop) = server(8, Arc::default()).await;
    let long = format!("/{}", "x".repeat(HEAD_BYTES_MAX));
    assert!(!request(address, &long).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_stop_ends_silent_connections_and_lets_requests_end() {
    let release = Arc::<Slow>::default();
    let (address, stop) = server(8, Arc::clone(&release)).await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    let slow = tokio::spawn(request(address, "/slow"));
    release.begun.notified().await;
    stop.send_replace(true);
    assert_eq!(silent.read(&mut [0; 10]).await.unwrap_or(0), 0);
    release.end.notify_one();
    assert!(slow.await.unwrap().starts_with("HTTP/1.1 200"));
}
