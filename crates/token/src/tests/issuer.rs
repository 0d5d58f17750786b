//! An issuer's HTTP server on loopback.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// What it serves, and how often it was asked.
#[derive(Default)]
struct Desk {
    keys: String,
    token: Option<String>,
    asked: watch::Sender<usize>,
}

pub(super) struct Issuer {
    address: SocketAddr,
    desk: Arc<Mutex<Desk>>,
    task: JoinHandle<()>,
}

impl Issuer {
    pub(super) async fn start(keys: String) -> Self {
        let desk = Arc::new(Mutex::new(Desk {
            keys,
            ..Desk::default()
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = router(desk.clone());
        let task = tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        Self { address, desk, task }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn serve(&self, keys: String) {
        self.desk.lock().keys = keys;
    }

    /// From now on, only who shows this token gets keys.
    pub(super) fn demand(&self, token: &str) {
        self.desk.lock().token = Some(format!("Bearer {token}"));
    }

    pub(super) fn asked(&self) -> usize {
        *self.desk.lock().asked.borrow()
    }

    /// Waits until it was asked that often; half a minute is never.
    pub(super) async fn until_asked(&self, times: usize) {
        let mut asked = self.desk.lock().asked.subscribe();
        let enough = asked.wait_for(|asked| *asked >= times);
        timeout(Duration::from_secs(30), enough)
            .await
            .expect("the issuer was not asked")
            .unwrap();
    }

    /// Nobody listens any more.
    pub(super) async fn stop(&mut self) {
        self.task.abort();
        (&mut self.task).await.unwrap_err();
    }
}

fn router(desk: Arc<Mutex<Desk>>) -> Router {
    Router::new()
        .route("/jwks", get(keys))
        .route("/moved", get(|| async { Redirect::temporary("/jwks") }))
        .with_state(desk)
}

async fn keys(State(desk): State<Arc<Mutex<Desk>>>, headers: HeaderMap) -> Response {
    let desk = desk.lock();
    desk.asked.send_modify(|asked| *asked += 1);
    let shown = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    match &desk.token {
        Some(token) if shown != Some(token.as_bytes()) => StatusCode::FORBIDDEN.into_response(),
        _ => desk.keys.clone().into_response(),
    }
}
