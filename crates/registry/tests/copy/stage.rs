//! A listener that answers as a test says and writes down what it hears: the other hosts of the story.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::Body;
use http::{HeaderMap, Request, Response, header};
use transship_embedded_registry::server::{Handler, Server};

/// A request as it was heard.
#[derive(Debug, Clone)]
pub struct Heard {
    /// The host of the URL where there is one (a proxy hears whole URLs), else of the header.
    pub host: String,
    pub path: String,
    pub headers: HeaderMap,
}

impl Heard {
    /// The credentials it carries.
    pub fn authorization(&self) -> Option<&str> {
        self.headers.get(header::AUTHORIZATION)?.to_str().ok()
    }
}

/// The listener.
pub struct Stage {
    server: Server,
    heard: Arc<Mutex<Vec<Heard>>>,
}

struct Player<F> {
    answer: F,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Stage {
    pub async fn start(answer: impl Fn(&Heard) -> Response<Body> + Send + Sync + 'static) -> Self {
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let player = Player {
            answer,
            heard: Arc::clone(&heard),
        };
        let server = Server::bind().await.unwrap().serve(Arc::new(player), None);
        Self { server, heard }
    }

    pub fn port(&self) -> u16 {
        self.server.address().port()
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

#[async_trait]
impl<F> Handler for Player<F>
where
    F: Fn(&Heard) -> Response<Body> + Send + Sync + 'static,
{
    async fn handle(&self, request: Request<Body>) -> Response<Body> {
        let host = request.uri().host().map(str::to_owned);
        let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let heard = Heard {
            host: host.or_else(|| named.map(str::to_owned)).unwrap_or_default(),
            path: request.uri().path().to_owned(),
            headers: request.headers().clone(),
        };
        self.heard.lock().unwrap().push(heard.clone());
        // What is not read breaks the connection under the sender.
        axum::body::to_bytes(request.into_body(), 1 << 20).await.ok();
        (self.answer)(&heard)
    }
}

/// An answer.
pub fn reply(code: u16, headers: &[(&str, &str)], body: &str) -> Response<Body> {
    let mut response = Response::builder().status(code);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Body::from(body.to_owned())).unwrap()
}
