//! Requests over HTTP, to a server or to whoever else listens.

use super::Server;
use crate::wait_for_secs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

impl Server {
    /// A GET without authentication: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        http(
            self.http,
            &format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"),
        )
    }
    /// A request with a bearer token (the admin password is one too) or without, and JSON as its body: status and body.
    pub fn ask(&self, bearer: Option<&str>, method: &str, path: &str, body: &str) -> (u16, String) {
        let authorization = bearer.map(|bearer| format!("Authorization: Bearer {bearer}\r\n"));
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            authorization.unwrap_or_default(),
            body.len()
        );
        http(self.http, &request)
    }
    /// The value of a metric's series, named as in the output (`smtp_queue_depth`, `x_total{a="b"}`).
    pub fn metric(&self, series: &str) -> f64 {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        let line = text.lines().find(|line| {
            line.strip_prefix(series)
                .is_some_and(|rest| rest.starts_with(' '))
        });
        let line = line.unwrap_or_else(|| panic!("no series {series} in\n{text}"));
        line.rsplit(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or_else(|| panic!("no number in {line}"))
    }
    /// Waits until nothing is queued.
    pub fn wait_empty(&self) {
        wait_for_secs("the queue to be empty", 60, || {
            self.metric("smtp_queue_depth") == 0.0
        });
    }
}

/// One HTTP request on a connection of its own: status and body.
pub fn http(address: SocketAddr, request: &str) -> (u16, String) {
    let stream = TcpStream::connect(address).expect("connect to the HTTP listener");
    parts(&exchange(stream, request.as_bytes()))
}

/// One HTTP request on a connection: the whole answer. What does not come within 20 s does not come.
pub fn exchange(mut stream: TcpStream, request: &[u8]) -> String {
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("timeout");
    stream.write_all(request).expect("send the request");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Status and body of an answer.
pub fn parts(answer: &str) -> (u16, String) {
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_string())
        .unwrap_or_default();
    (status, body)
}
