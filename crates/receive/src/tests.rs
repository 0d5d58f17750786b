//! Reception over real sockets, with the real queue in a folder of its own.

mod accounts;
mod auth;
mod limits;
mod mail;
mod stop;
mod tls;

use super::*;
use smtp_config::{Domain, LocalDelivery, Profile};
use smtp_directory::Declarations;
use smtp_directory::testing::MemoryShelf;
use smtp_queue::sqlite::{SqliteSettings, SqliteStore};
use smtp_queue::{Body, Filter, MessageSummary};
use std::path::Path;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest any one step of a test may take: a server that hangs fails the test rather than hang it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server on loopback, not yet accepting.
struct Stage {
    reception: Reception,
    queue: Queue,
    config: Arc<ArcSwap<Config>>,
    folder: TempDir,
}

fn config() -> Config {
    let mut config = Config::defaults(Profile::Testing);
    config.server.hostname = "mx.test".into();
    config.server.host = vec!["127.0.0.1".parse().unwrap()];
    (config.server.port, config.smtps.port, config.submission.port) = (0, 0, 0);
    config.domains = vec![Domain {
        recipients: smtp_config::Recipients::Any,
        name: "local.test".into(),
        deliver: LocalDelivery::Capture,
    }];
    config
}

/// The directory of a configuration, with nothing stored beside it.
pub(crate) fn directory(config: &Config) -> Arc<Directory> {
    let declarations = Declarations::read(config).unwrap();
    let opening = async {
        let shelf = Arc::new(MemoryShelf::default());
        Directory::open(shelf, declarations).await.unwrap().0
    };
    // On a runtime of its own: most callers are on one already.
    let open = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(opening)
    };
    std::thread::scope(|scope| scope.spawn(open).join().unwrap())
}

impl Stage {
    fn open(config: Config) -> Self {
        Stage::with(config, None)
    }

    fn with(mut config: Config, callout: Option<Arc<dyn Callout>>) -> Self {
        let folder = TempDir::new().unwrap();
        config.storage.path = folder.path().join("smtp.db");
        let settings = SqliteSettings {
            path: config.storage.path.clone(),
            min_free: config.storage.min_free,
            memory_budget: config.storage.memory_budget,
        };
        let (store, spool) = SqliteStore::open(settings, Observer::silent()).unwrap();
        let queue = Queue::new(store, spool);
        let neighbours = Neighbours {
            queue: queue.clone(),
            directory: directory(&config),
            tokens: Arc::default(),
            callout,
        };
        let config = Arc::new(ArcSwap::from_pointee(config));
        let reception = Reception::bind(config.clone(), neighbours, Observer::silent()).unwrap();
        Stage {
            reception,
            queue,
            config,
            folder,
        }
    }

    fn start(config: Config) -> Self {
        let stage = Stage::open(config);
        stage.reception.start().unwrap();
        stage
    }

    async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.reception.addresses(Listener::Smtp)[0])
            .await
            .unwrap();
        Client {
            stream,
            unread: Vec::new(),
        }
    }

    /// A client that has said EHLO.
    async fn greeted(&self) -> Client {
        let mut client = self.connect().await;
        client.expect("220 mx.test").await;
        client.say("EHLO client.test", "250").await;
        client
    }

    async fn messages(&self) -> Vec<MessageSummary> {
        self.queue
            .store()
            .list(Filter::default(), None, 100)
            .await
            .unwrap()
    }

    async fn content(&self, summary: &MessageSummary) -> String {
        match self.queue.store().body(&summary.message).await.unwrap() {
            Body::Memory(octets) => String::from_utf8(octets.to_vec()).unwrap(),
            Body::File { path, .. } => std::fs::read_to_string(path).unwrap(),
        }
    }

    async fn until_connections(&self, wanted: usize) {
        let reached = async {
            while self.reception.connections() != wanted {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, reached)
            .await
            .expect("the number of connections");
    }

    /// Octets of bodies that are files, finished or not.
    fn left_behind(&self) -> u64 {
        octets_below(&self.folder.path().join("bodies"))
    }
}

fn octets_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.metadata().unwrap() {
            metadata if metadata.is_dir() => octets_below(&entry.path()),
            // Says whose folder it is.
            _ if entry.file_name() == "owner" => 0,
            metadata => metadata.len(),
        })
        .sum()
}

/// A client that says what it is told.
struct Client<S = TcpStream> {
    stream: S,
    unread: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn send(&mut self, octets: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(octets))
            .await
            .expect("writing in time")
            .unwrap();
    }

    /// The next reply, all its lines.
    async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let line = self.line().await;
            reply.push_str(&line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return reply;
            }
        }
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.iter().position(|octet| *octet == b'\n') {
                return String::from_utf8(self.unread.drain(..=end).collect()).unwrap();
            }
            assert_ne!(
                self.read().await,
                0,
                "closed instead of a reply; unread: {:?}",
                self.unread
            );
        }
    }

    /// One read of the socket. 0 is the end.
    async fn read(&mut self) -> usize {
        self.unread.reserve(16 * 1024);
        let read = self.stream.read_buf(&mut self.unread);
        timeout(PATIENCE, read)
            .await
            .expect("a reply in time")
            .unwrap_or(0)
    }

    async fn expect(&mut self, start: &str) -> String {
        let reply = self.reply().await;
        assert!(reply.starts_with(start), "wanted {start:?}, got {reply:?}");
        reply
    }

    async fn say(&mut self, command: &str, start: &str) -> String {
        self.send(format!("{command}\r\n").as_bytes()).await;
        self.expect(start).await
    }

    async fn expect_end(&mut self) {
        assert_eq!(
            self.read().await,
            0,
            "unread: {:?}",
            String::from_utf8_lossy(&self.unread)
        );
    }

    /// MAIL, RCPT and DATA.
    async fn begin_data(&mut self) {
        self.say("MAIL FROM:<ann@client.test>", "250 2.1.0").await;
        self.say("RCPT TO:<bob@local.test>", "250 2.1.5").await;
        self.say("DATA", "354").await;
    }
}
