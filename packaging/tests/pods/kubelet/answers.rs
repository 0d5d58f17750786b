//! What probes are answered, one after the other.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A server whose answers are told beforehand: what is asked and how often is the test's to know.
#[derive(Clone)]
pub(super) struct Answers {
    pub(super) address: SocketAddr,
    told: Arc<Mutex<Told>>,
}

#[derive(Default)]
struct Told {
    answers: BTreeMap<String, VecDeque<Says>>,
    /// The paths that were asked, in order.
    asked: Vec<String>,
}

/// One answer.
#[derive(Clone, Copy)]
pub(super) enum Says {
    /// This status.
    Status(u16),
    /// Nothing, for as long as it is waited for.
    Nothing,
}

impl Answers {
    /// One that listens at this address as long as the test runs.
    pub(super) fn at(address: SocketAddr) -> Answers {
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        let answers = Answers {
            address: listener.local_addr().expect("an address"),
            told: Arc::default(),
        };
        let shared = answers.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = shared.clone();
                // A client that has gone is none of its business.
                std::thread::spawn(move || drop(shared.answer(client)));
            }
        });
        answers
    }

    /// What is answered from now on to who asks for `path`. The last one stays.
    pub(super) fn says(&self, path: &str, answers: &[Says]) {
        let mut told = self.told.lock().expect("answers");
        told.answers
            .insert(path.to_owned(), answers.iter().copied().collect());
    }

    /// What was asked that begins like this, in order.
    pub(super) fn asked(&self, prefix: &str) -> Vec<String> {
        let told = self.told.lock().expect("answers");
        let asked = told.asked.iter().filter(|path| path.starts_with(prefix));
        asked.cloned().collect()
    }

    fn answer(&self, mut client: TcpStream) -> std::io::Result<()> {
        let mut request = Vec::new();
        let mut block = [0; 1024];
        while !request.ends_with(b"\r\n\r\n") {
            match client.read(&mut block)? {
                0 => return Ok(()),
                count => request.extend_from_slice(&block[..count]),
            }
        }
        let request = String::from_utf8_lossy(&request);
        let path = request.split(' ').nth(1).unwrap_or_default();
        match self.next(path) {
            Says::Status(status) => {
                write!(client, "HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\r\n")
            }
            // Until the client has gone.
            Says::Nothing => client.read(&mut block).map(drop),
        }
    }

    fn next(&self, path: &str) -> Says {
        let mut told = self.told.lock().expect("answers");
        told.asked.push(path.to_owned());
        let answers = told.answers.get_mut(path);
        let answers = answers.unwrap_or_else(|| panic!("nothing is told about {path}"));
        match answers.len() {
            1 => answers[0],
            _ => answers.pop_front().expect("an answer"),
        }
    }
}
