//! A server that says what a test wants, and remembers what it was told.

use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// What the server does next.
pub(super) enum Say {
    /// These octets.
    Text(String),
    /// These octets, and hang up.
    Last(String),
    /// These octets; then the content is read, about 8 MiB of it in a second.
    Crawl(String),
    /// Nothing, for ever.
    Hang,
}

/// A reply of one line.
pub(super) fn say(line: &str) -> Say {
    Say::Text(format!("{line}\r\n"))
}

/// Chooses what is said to a command (`CONNECT` for the greeting, `.` after the content) on the
/// connection of that number, from 1.
pub(super) type Script = Arc<dyn Fn(&str, usize) -> Say + Send + Sync>;

/// What a script says, which may take its time: what else is to be done on its thread goes on elsewhere.
fn asked(script: &Script, command: &str, number: usize) -> Say {
    tokio::task::block_in_place(|| script(command, number))
}

/// A server that takes everything.
pub(super) fn polite(command: &str) -> Say {
    match command.split([' ', ':']).next().unwrap_or("") {
        "CONNECT" => say("220 fake.test ESMTP"),
        "EHLO" => say("250-fake.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 0"),
        "DATA" => say("354 go on"),
        "QUIT" => Say::Last("221 bye\r\n".into()),
        "." => say("250 2.0.0 taken"),
        _ => say("250 2.1.0 ok"),
    }
}

/// A message as the server got it.
#[derive(Clone, Debug, Default)]
pub(super) struct Got {
    pub(super) sender: String,
    pub(super) recipients: Vec<String>,
    pub(super) content: Vec<u8>,
}

#[derive(Clone)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) got: Arc<Mutex<Vec<Got>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub(super) async fn start(script: impl Fn(&str, usize) -> Say + Send + Sync + 'static) -> Server {
        Server::start_on("127.0.0.1:0", script).await
    }

    pub(super) async fn start_on(
        address: &str,
        script: impl Fn(&str, usize) -> Say + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind(address).await.unwrap();
        let server = Server {
            address: listener.local_addr().unwrap(),
            got: Arc::default(),
            connections: Arc::default(),
        };
        let script: Script = Arc::new(script);
        let me = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let number = me.connections.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::spawn(converse(stream, number, script.clone(), me.got.clone()));
            }
        });
        server
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn messages(&self) -> Vec<Got> {
        self.got.lock().clone()
    }
}

/// One connection. Any error of the stream is its end.
async fn converse(stream: TcpStream, number: usize, script: Script, got: Arc<Mutex<Vec<Got>>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut message = Got::default();
    answer(&mut stream, asked(&script, "CONNECT", number)).await?;
    loop {
        let line = read_line(&mut stream).await?;
        let command = String::from_utf8_lossy(&line).trim_end().to_owned();
        if command.starts_with("MAIL") {
            message = Got {
                sender: command.clone(),
                ..Got::default()
            };
        }
        if command.starts_with("RCPT") {
            message.recipients.push(command.clone());
        }
        let reply = asked(&script, &command, number);
        let crawls = matches!(reply, Say::Crawl(_));
        let goes_on = command == "DATA"
            && matches!(&reply, Say::Text(text) | Say::Crawl(text) if text.starts_with("354"));
        answer(&mut stream, reply).await?;
        if goes_on {
            message.content = read_content(&mut stream, crawls).await?;
            let reply = asked(&script, ".", number);
            if matches!(&reply, Say::Text(text) if text.starts_with('2')) {
                got.lock().push(message.clone());
            }
            answer(&mut stream, reply).await?;
        }
    }
}

async fn answer(stream: &mut BufReader<TcpStream>, what: Say) -> Option<()> {
    match what {
        Say::Text(text) | Say::Crawl(text) => stream.get_mut().write_all(text.as_bytes()).await.ok(),
        Say::Last(text) => {
            stream.get_mut().write_all(text.as_bytes()).await.ok()?;
            None
        }
        Say::Hang => std::future::pending().await,
    }
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    match stream.read_until(b'\n', &mut line).await {
        Ok(read) if read > 0 => Some(line),
        _ => None,
    }
}

/// The content up to the final dot, dots unstuffed.
async fn read_content(stream: &mut BufReader<TcpStream>, crawls: bool) -> Option<Vec<u8>> {
    const BLOCK: usize = 1 << 16;
    let mut content = Vec::new();
    loop {
        let line = read_line(stream).await?;
        if line == b".\r\n" {
            return Some(content);
        }
        let before = content.len();
        content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        if crawls && content.len() / BLOCK > before / BLOCK {
            sleep(Duration::from_millis(8)).await;
        }
    }
}
