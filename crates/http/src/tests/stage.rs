//! The stage of the tests: rooms in memory, and a client that writes raw HTTP.

use super::fake_store::FakeStore;
use crate::{
    Check, ConfigStatus, DeclaredToken, Destination, DrainStatus, Holding, Member, MetricsSettings, Reloaded,
    Rooms, Session, Setting, Settings, Status, Webhook, bind,
};
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use smtp_config::{Config, LocalDelivery, Profile, Scope};
use smtp_directory::testing::MemoryShelf;
use smtp_directory::{Declarations, Directory};
use smtp_history::History;
use smtp_observe::{Gauges, Observer};
use smtp_queue::{Filter, Store, StoreError};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

/// The password on this stage.
pub(super) const PASSWORD: &str = "correct horse";
/// A token that the configuration of this stage declares, for looking only.
pub(super) const DECLARED: &str = "a token that the configuration has";

/// Rooms that a test can put into any condition.
#[derive(Debug, Default)]
pub(super) struct FakeRooms {
    pub(super) stuck: AtomicBool,
    pub(super) draining: AtomicBool,
    pub(super) recovering: AtomicBool,
    pub(super) no_password: AtomicBool,
    pub(super) bad_config: AtomicBool,
    pub(super) woken: AtomicUsize,
    pub(super) captured: OnceLock<PathBuf>,
    pub(super) history: OnceLock<Arc<History>>,
    pub(super) asked_to_end: Mutex<Vec<(String, bool)>>,
    pub(super) store: Arc<FakeStore>,
    pub(super) directory: OnceLock<Arc<Directory>>,
    /// What DNS has: names and values.
    pub(super) txt: Mutex<Vec<(String, String)>>,
}

#[async_trait]
impl Rooms for FakeRooms {
    fn alive(&self) -> Result<(), String> {
        match self.stuck.load(Ordering::SeqCst) {
            true => Err("the scheduler has not moved for 60 s".into()),
            false => Ok(()),
        }
    }
    async fn ready(&self) -> Vec<Check> {
        let ok = !self.draining.load(Ordering::SeqCst);
        let detail = if ok { "" } else { "the server is stopping" };
        let storage = Check {
            name: "storage",
            ok: true,
            detail: String::new(),
        };
        vec![
            storage,
            Check {
                name: "draining",
                ok,
                detail: detail.into(),
            },
        ]
    }
    async fn gauges(&self) -> Gauges {
        Gauges {
            queue_depth: 17,
            ..Gauges::default()
        }
    }
    fn store(&self) -> Option<Arc<dyn Store>> {
        let store: Arc<dyn Store> = self.store.clone();
        (!self.recovering.load(Ordering::SeqCst)).then_some(store)
    }
    fn directory(&self) -> Option<Arc<Directory>> {
        self.directory.get().cloned()
    }
    async fn txt_records(&self, name: &str) -> Result<Vec<String>, String> {
        let txt = self.txt.lock().unwrap();
        let values = txt.iter().filter(|(at, _)| at == name);
        Ok(values.map(|(_, value)| value.clone()).collect())
    }
    fn retry_now(&self) {
        self.woken.fetch_add(1, Ordering::SeqCst);
    }
    async fn bounce(&self, filter: &Filter, _: Option<&str>) -> Result<(u64, bool), StoreError> {
        Ok((self.store.delete(filter.clone()).await?, false))
    }
    async fn suspensions_changed(&self) -> Result<(), StoreError> {
        Ok(())
    }
    fn admin_password(&self) -> Option<Arc<str>> {
        (!self.no_password.load(Ordering::SeqCst)).then(|| PASSWORD.into())
    }
    async fn reload(&self) -> Result<Reloaded, String> {
        match self.bad_config.load(Ordering::SeqCst) {
            true => Err("limits.max_recipients: not a number".into()),
            false => Ok(Reloaded {
                generation: 2,
                changed: vec!["logging.level".into()],
                needs_restart: vec![],
            }),
        }
    }
    fn config(&self) -> Vec<Setting> {
        let setting = |key: &str, value: &str| Setting {
            key: key.into(),
            value: value.into(),
            origin: "env".into(),
            reload: "live".into(),
        };
        vec![setting("admin.password", "***"), setting("logging.level", "info")]
    }
    fn status(&self) -> Status {
        Status {
            version: "0.1.0".into(),
            profile: "testing".into(),
            hostname: "mx.test".into(),
            uptime_seconds: 7,
            draining: false,
            connections: 0,
            listeners: [("smtp", vec!["127.0.0.1:25".into()])].into(),
            config: ConfigStatus {
                generation: 1,
                last_reload_succeeded: true,
                file: None,
            },
        }
    }
    fn history(&self) -> Option<Arc<History>> {
        self.history.get().cloned()
    }
    fn captured(&self) -> PathBuf {
        self.captured.get().cloned().unwrap_or_default()
    }
    fn drain(&self, who: &str, now: bool) {
        self.asked_to_end.lock().unwrap().push((who.to_owned(), now));
        self.draining.store(true, Ordering::SeqCst);
    }
    fn drain_status(&self) -> DrainStatus {
        let draining = self.draining.load(Ordering::SeqCst);
        DrainStatus {
            phase: if draining { "draining" } else { "running" },
            reason: None,
            since: None,
            left: None,
            count: 1,
            holding: vec![Holding {
                room: "receive",
                what: "session 1".into(),
                since: None,
            }],
        }
    }
    fn destinations(&self) -> Vec<Destination> {
        let one = |name: &str, state| Destination {
            name: name.into(),
            state,
            waiting: 1,
            sending: 0,
            connections: 0,
            concurrency: 2,
            max_concurrency: 20,
            max_rate: Some(0.5),
            waits_for_rate: state == "up",
            failures: 1,
            last_error: Some("connection refused".into()),
            last_error_at: Some(Timestamp::UNIX_EPOCH),
            next_attempt: None,
        };
        vec![one("a.test:25", "up"), one("b.test:25", "down")]
    }
    async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        let one = |name: &str, state| Webhook {
            name: name.into(),
            state,
            url: Some("https://hooks.test/mail".into()),
            events: vec!["bounced"],
            accounts: Vec::new(),
            waiting: 7,
            oldest: Some(Timestamp::UNIX_EPOCH),
            taken: 3,
            last_taken_at: None,
            last_error: Some("the receiver answered 503".into()),
            last_error_at: Some(Timestamp::UNIX_EPOCH),
        };
        Ok(vec![one("billing", "up"), one("crm", "down")])
    }
    async fn retry_webhook(&self, name: &str) -> Result<Option<u64>, StoreError> {
        Ok((name == "crm").then_some(7))
    }
    async fn servers(&self) -> Result<Vec<Member>, StoreError> {
        let one = |id: &str, version: Option<&str>| Member {
            id: id.into(),
            name: "mail-0 (1)".into(),
            version: version.map(str::to_owned),
            started: version.map(|_| Timestamp::UNIX_EPOCH),
            seen: Timestamp::UNIX_EPOCH,
            draining: false,
            leases: 3,
            this: version.is_some(),
        };
        Ok(vec![one("a", Some("0.1.0")), one("b", None)])
    }
    fn sessions(&self, after: Option<u64>, limit: usize) -> Vec<Session> {
        let one = |number| Session {
            number,
            since: Timestamp::UNIX_EPOCH,
            peer: "192.0.2.1:1234".into(),
            listener: "smtp",
            tls: None,
            account: None,
            state: "command",
            messages: 3,
        };
        let numbers = (1..=3).filter(|number| after.is_none_or(|after| *number > after));
        numbers.take(limit).map(one).collect()
    }
    fn declared_tokens(&self) -> Vec<DeclaredToken> {
        vec![DeclaredToken::new("declared", Scope::Read, DECLARED)]
    }
}

/// A directory with a declared domain and a declared account in it.
async fn directory() -> Arc<Directory> {
    let mut config = Config::defaults(Profile::Testing);
    config.domains = vec![smtp_config::Domain {
        name: "declared.test".into(),
        deliver: LocalDelivery::Capture,
        recipients: smtp_config::Recipients::Known,
    }];
    config.accounts = vec![smtp_config::Account {
        name: "ann@declared.test".into(),
        password: None,
        senders: Vec::new(),
        identities: Vec::new(),
        quota: Vec::new(),
    }];
    let declarations = Declarations::read(&config).unwrap();
    Directory::open(Arc::new(MemoryShelf::default()), declarations)
        .await
        .unwrap()
        .0
}

/// A server on a free port of loopback.
pub(super) struct Stage {
    pub(super) rooms: Arc<FakeRooms>,
    pub(super) observer: Observer,
    pub(super) address: SocketAddr,
    pub(super) metrics_address: Option<SocketAddr>,
    pub(super) stop: oneshot::Sender<()>,
    pub(super) served: tokio::task::JoinHandle<()>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}

impl Stage {
    /// Health, API and metrics on one listener, or metrics on one of their own.
    pub(super) async fn open(own_metrics: bool) -> Stage {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listen = if own_metrics { vec![any] } else { Vec::new() };
        let metrics = Some(MetricsSettings {
            path: "/metrics".into(),
            listen,
        });
        let observer = Observer::silent();
        let server = bind(
            Settings {
                listen: vec![any],
                metrics,
                console: true,
                ..Settings::default()
            },
            observer.clone(),
        )
        .await
        .unwrap();
        let rooms = Arc::new(FakeRooms::default());
        rooms.directory.set(directory().await).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (address, metrics_address) = (server.addresses()[0], server.metrics_addresses().first().copied());
        let theirs = rooms.clone();
        let served = tokio::spawn(async move { server.serve(theirs, async { drop(stopped.await) }).await });
        Stage {
            rooms,
            observer,
            address,
            metrics_address,
            stop,
            served,
        }
    }

    /// A request without credentials.
    pub(super) async fn get(&self, path: &str) -> Answer {
        exchange(
            self.address,
            &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        )
        .await
    }

    /// A request with the password.
    pub(super) async fn admin_get(&self, path: &str) -> Answer {
        self.get_as(path, &format!("Bearer {PASSWORD}")).await
    }

    pub(super) async fn get_as(&self, path: &str, authorization: &str) -> Answer {
        let head = format!("Host: x\r\nConnection: close\r\nAuthorization: {authorization}");
        exchange(self.address, &format!("GET {path} HTTP/1.1\r\n{head}\r\n\r\n")).await
    }

    /// A change with the password.
    pub(super) async fn admin_post(&self, path: &str, kind: &str, body: &str) -> Answer {
        let head = format!("Host: x\r\nConnection: close\r\nAuthorization: Bearer {PASSWORD}");
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\n{head}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        exchange(self.address, &request).await
    }

    /// Any request with the password and a body.
    pub(super) async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        self.ask_with(PASSWORD, method, path, body).await
    }

    /// Any request with a bearer token and a body.
    pub(super) async fn ask_with(&self, token: &str, method: &str, path: &str, body: Value) -> Answer {
        exchange(self.address, &request(Some(token), method, path, &body)).await
    }

    pub(super) async fn change(&self, path: &str, body: Value) -> Answer {
        self.admin_post(path, "application/json", &body.to_string()).await
    }

    /// The value of a metric.
    pub(super) fn metric(&self, series: &str) -> String {
        let text = self.observer.metrics(&Gauges::default());
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or("none").to_owned()
    }
}

/// A request with a body, and credentials if they are given.
pub(super) fn request(token: Option<&str>, method: &str, path: &str, body: &Value) -> String {
    let body = body.to_string();
    let credentials = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{credentials}\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// The same over a connection of its own.
pub(super) async fn exchange(address: SocketAddr, request: &str) -> Answer {
    exchange_over(TcpStream::connect(address).await.unwrap(), request).await
}

/// The same, as a client of another address: each of 127/8 is one.
pub(super) async fn exchange_from(client: [u8; 4], address: SocketAddr, request: &str) -> Answer {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((client, 0))).unwrap();
    exchange_over(socket.connect(address).await.unwrap(), request).await
}

/// Writes `request`, or what is left of it, and reads until the server closes.
pub(super) async fn exchange_over(mut stream: TcpStream, request: &str) -> Answer {
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_default();
    Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}
