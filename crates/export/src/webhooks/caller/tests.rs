use super::*;
use smtp_config::{Config, Sources};
use smtp_queue::sqlite::{SqliteSettings, SqliteStore};
use smtp_queue::{NewCall, QueueId};
use std::path::Path;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Long enough for a machine that does other things; nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

/// A receiver that takes every call, an outbox on a disk, and who calls the one of what is in the other.
struct Stage {
    folder: TempDir,
    store: Arc<SqliteStore>,
    caller: Caller,
    targets: watch::Sender<Option<Arc<Target>>>,
    standing: Arc<Mutex<WebhookStanding>>,
    /// The ids of the calls that were made, in order.
    made: Arc<Mutex<Vec<String>>>,
}

impl Stage {
    async fn set() -> Stage {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let made = Arc::<Mutex<Vec<String>>>::default();
        let seen = made.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(take_calls(stream, seen.clone()));
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let settings = SqliteSettings {
            path: folder.path().join("smtp.db"),
            min_free: 0,
            memory_budget: 1 << 20,
        };
        let (store, _) = SqliteStore::open(settings, Observer::silent()).unwrap();
        let target = target(folder.path(), port);
        let targets = watch::Sender::new(Some(target.clone()));
        let standing = Arc::<Mutex<WebhookStanding>>::default();
        let outbox: Arc<dyn Outbox> = store.clone();
        let caller = Caller::new(
            target,
            targets.subscribe(),
            outbox,
            Observer::silent(),
            standing.clone(),
            "0",
        );
        Stage {
            folder,
            store,
            caller,
            targets,
            standing,
            made,
        }
    }
}

/// Changes the database from outside.
fn change(folder: &Path, sql: &str) {
    let db = rusqlite::Connection::open(folder.join("smtp.db")).unwrap();
    db.execute_batch(sql).unwrap();
}

fn target(folder: &Path, port: u16) -> Arc<Target> {
    let file = folder.join("config.toml");
    let secret = "whsec_bmV3IHNlY3JldCBvZiB0aGlydHktdHdvIG9jdGV0cw==";
    let hook =
        format!("[[webhooks]]\nname = \"hook\"\nurl = \"http://127.0.0.1:{port}/\"\nsecret = \"{secret}\"\n");
    std::fs::write(&file, hook).unwrap();
    let sources = Sources {
        file: Some(file),
        ..Sources::default()
    };
    let config = Config::load(&sources).unwrap().config;
    Arc::new(Target::new(&config.webhooks[0]).unwrap())
}

/// Says 200 to all that comes over a connection, which is calls whose bodies are `{}`.
async fn take_calls(stream: TcpStream, made: Arc<Mutex<Vec<String>>>) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(id) = line.strip_prefix("webhook-id: ") {
            made.lock().push(id.to_owned());
        }
        if line.is_empty() {
            let mut body = [0; 2];
            let stream = lines.get_mut();
            stream.read_exact(&mut body).await.unwrap();
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }
}

/// Stores a call, and gives its id.
async fn tell(store: &SqliteStore) -> String {
    let call = NewCall {
        webhook: "hook".to_owned(),
        event: QueueId::generate(),
        body: "{}".to_owned(),
    };
    let id = call.event.to_string();
    store.add_calls(vec![call]).await.unwrap();
    id
}

async fn until(mut so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("it never came");
}

#[tokio::test]
async fn what_was_taken_while_the_store_was_away_is_not_told_again() {
    let stage = Stage::set().await;
    let (store, made) = (stage.store.clone(), stage.made.clone());
    let (standing, folder) = (stage.standing.clone(), stage.folder.path());
    let away = "CREATE TRIGGER away BEFORE DELETE ON webhook_calls BEGIN SELECT RAISE(ABORT, 'away'); END";
    change(folder, away);
    let first = tell(&store).await;
    let running = tokio::spawn(stage.caller.run());
    until(async || standing.lock().taken == 1).await;
    // The claim has ended by the time that the store is back, and there is something new to be claimed beside it.
    change(folder, "UPDATE webhook_calls SET due = 0");
    let second = tell(&store).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    change(folder, "DROP TRIGGER away");
    until(async || store.calls_waiting().await.unwrap().is_empty()).await;
    assert_eq!(*made.lock(), [first, second]);
    stage.targets.send_replace(None);
    running.await.unwrap();
}

#[tokio::test]
async fn no_call_is_begun_that_would_outlast_its_claim() {
    let mut stage = Stage::set().await;
    tell(&stage.store).await;
    stage.caller.claim().await;
    assert_eq!(stage.caller.waiting.len(), 1);
    // It stood still for so long that others may have claimed it.
    stage.caller.until = Steady::now() + REQUEST / 2;
    stage.caller.begin();
    let caller = &stage.caller;
    assert!(caller.waiting.is_empty() && caller.under_way.is_empty());
    // It looks at once what is still its own to make.
    assert!(caller.look_at <= Instant::now());
    change(stage.folder.path(), "UPDATE webhook_calls SET due = 0");
    stage.caller.claim().await;
    stage.caller.begin();
    assert_eq!(stage.caller.under_way.len(), 1);
}
