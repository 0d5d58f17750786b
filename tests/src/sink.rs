//! A next hop that keeps what it gets, and misbehaves as told.

mod conversation;

use crate::wait_for_secs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A message that arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The MAIL command's text after `MAIL FROM:`.
    pub from: String,
    /// The RCPT commands' texts after `RCPT TO:`.
    pub to: Vec<String>,
    /// The content, unstuffed, without the final dot.
    pub content: Vec<u8>,
    /// Which connection brought it, from 1.
    pub connection: usize,
    /// Who that was.
    pub peer: Option<IpAddr>,
    /// As whom it greeted.
    pub client: String,
}

impl Message {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }
    /// The value of a header field, unfolded; `None` when there is none.
    pub fn field(&self, name: &str) -> Option<String> {
        let text = self.text();
        let header = text
            .split("\r\n\r\n")
            .next()
            .unwrap_or_default()
            .replace("\r\n ", " ")
            .replace("\r\n\t", " ");
        header.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim().to_string())
        })
    }
}

/// Where in the conversation the sink is asked what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    Greeting,
    /// A command line without its CRLF.
    Command(String),
    /// The whole message was read.
    EndOfData(Message),
}

/// What the sink does.
#[derive(Clone, Debug)]
pub enum Act {
    /// What an honest server does.
    Default,
    /// This reply instead, CRLF added. For end of data a reply below 300 keeps the message.
    Say(String),
    /// These octets, then what an honest server does not do: nothing more.
    Raw(Vec<u8>),
    /// These octets, then what an honest server does.
    Inject(Vec<u8>),
    /// These octets, then the connection closes.
    RawClose(Vec<u8>),
    /// Closes.
    Close,
    /// Says nothing, and keeps the connection open until the test ends.
    Hang,
    /// To DATA: 354, and a pause of this length after each 64 KiB of the content.
    Crawl(Duration),
    /// To DATA: 354, and after 64 KiB of the content nothing is read until this is true.
    Stall(Arc<AtomicBool>),
    /// Takes the message as an honest server does, and does not keep it.
    Forget,
    /// Keeps the message although it says nothing and closes: a lost reply.
    KeepAndClose,
}

type Script = dyn Fn(usize, &Moment) -> Act + Send + Sync;

struct Shared {
    messages: Mutex<Vec<Message>>,
    /// When each of them had arrived.
    arrivals: Mutex<Vec<Instant>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    stop: AtomicBool,
    ehlo: Vec<String>,
    script: Box<Script>,
}

/// A running sink. Dropped, it stops listening.
pub struct Sink {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Sink {
    /// An honest sink with the usual extensions.
    pub fn start() -> Sink {
        Sink::scripted(|_, _| Act::Default)
    }
    /// A sink that asks the script at each moment; the script also gets the connection's number, from 1.
    pub fn scripted(script: impl Fn(usize, &Moment) -> Act + Send + Sync + 'static) -> Sink {
        Sink::on(
            "127.0.0.1:0",
            &["PIPELINING", "SIZE 100000000", "8BITMIME", "SMTPUTF8", "DSN"],
            script,
        )
    }
    /// A sink that puts off every recipient as long as this is true.
    pub fn busy_while(busy: &Arc<AtomicBool>) -> Sink {
        Sink::scripted(put_off_while(busy))
    }
    /// A sink with these extensions.
    pub fn offering(ehlo: &[&str]) -> Sink {
        Sink::on("127.0.0.1:0", ehlo, |_, _| Act::Default)
    }
    /// A sink on a given address.
    pub fn on(
        address: &str,
        ehlo: &[&str],
        script: impl Fn(usize, &Moment) -> Act + Send + Sync + 'static,
    ) -> Sink {
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        let address = listener.local_addr().expect("address");
        let shared = Arc::new(Shared {
            messages: Mutex::default(),
            arrivals: Mutex::default(),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            ehlo: ehlo.iter().map(|line| line.to_string()).collect(),
            script: Box::new(script),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || conversation::accept(&listener, &accepting));
        Sink { address, shared }
    }
    /// `smtp://…` for `relay.smarthost`.
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }
    /// A configuration that relays everything from loopback to this sink.
    pub fn relay_config(&self) -> String {
        format!(
            "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"{}\"\n",
            self.url()
        )
    }
    pub fn messages(&self) -> Vec<Message> {
        self.shared.messages.lock().expect("messages").clone()
    }
    pub fn count(&self) -> usize {
        self.shared.messages.lock().expect("messages").len()
    }
    /// Looks at each message, and when it had arrived.
    pub fn each(&self, mut look: impl FnMut(&Message, Instant)) {
        let messages = self.shared.messages.lock().expect("messages");
        let arrivals = self.shared.arrivals.lock().expect("arrivals");
        for (message, at) in messages.iter().zip(arrivals.iter()) {
            look(message, *at);
        }
    }
    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
    /// Connections open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
    /// Waits for this many messages; gives all.
    pub fn wait(&self, count: usize) -> Vec<Message> {
        wait_for_secs(&format!("{count} messages at the next hop"), 60, || {
            self.count() >= count
        });
        self.messages()
    }
    /// Waits for a message, the only one that there is, with this subject.
    pub fn only(&self, subject: &str) -> Message {
        let mut messages = self.wait(1);
        assert_eq!(messages.len(), 1, "{messages:?}");
        let message = messages.remove(0);
        let found = message.field("Subject");
        assert_eq!(found.as_deref(), Some(subject), "{}", message.text());
        message
    }
    pub fn clear(&self) {
        self.shared.messages.lock().expect("messages").clear();
        self.shared.arrivals.lock().expect("arrivals").clear();
    }
    /// Since `began` never more had arrived than so many at once and so many a second.
    pub fn assert_pace(&self, began: Instant, burst: f64, per_second: f64) {
        for (before, at) in self.shared.arrivals.lock().expect("arrivals").iter().enumerate() {
            let seconds = at.duration_since(began).as_secs_f64();
            let most = burst + per_second * seconds;
            assert!(before as f64 + 1.0 <= most, "{} within {seconds} s", before + 1);
        }
    }
}

/// A script that puts off every recipient as long as this is true.
pub fn put_off_while(busy: &Arc<AtomicBool>) -> impl Fn(usize, &Moment) -> Act + Send + Sync + use<> {
    let busy = busy.clone();
    move |_, moment| match moment {
        Moment::Command(line) if line.starts_with("RCPT") && busy.load(Ordering::SeqCst) => {
            Act::Say("450 4.2.1 later".into())
        }
        _ => Act::Default,
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}
