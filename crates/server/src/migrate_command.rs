//! `migrate` and `queue migrate`: another version of the schema, another database. The only commands that open one themselves.

use crate::admin_client::block_on;
use crate::cli::{MigrateArgs, SourceArgs};
use crate::exit::{Exit, Failure};
use crate::house::VERSION;
use crate::output::{Output, print, remark};
use crate::progress::Progress;
use crate::sources;
use crate::storage;
use jiff::{SignedDuration, Timestamp};
use nix::unistd::geteuid;
use serde_json::json;
use smtp_observe::Observer;
use smtp_queue::moving::{Moved, Side, move_all};
use smtp_queue::postgres::{Database, Patience, PostgresSettings, PostgresStore};
use smtp_queue::sqlite::{SqliteSettings, SqliteStore};
use smtp_queue::{Store, StoreError};
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The side that is left, and the other one.
const FROM: &str = "from";
const TO: &str = "to";
/// Connections to a database.
const POOL: usize = 8;
/// Octets of bodies in memory.
const MEMORY: usize = 32 << 20;
/// How often it is looked whether other servers are gone.
const LOOK: Duration = Duration::from_secs(1);
/// Servers say every 10 s that they are there. Points in time are told by two clocks, so less than that is no word of theirs.
const BETWEEN_BEATS: SignedDuration = SignedDuration::from_secs(5);
/// Servers are dead after a minute. Nobody is waited for longer than that takes.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// `migrate`: brings the schema up to date, or says what that would do.
pub(crate) fn schema(args: &SourceArgs, dry_run: bool) -> Result<(), Failure> {
    let config = sources::load(&args.sources())?.config;
    let database = storage::database(&config).map_err(|reason| Failure::new(Exit::Config, reason))?;
    let none = "there is nothing to migrate: storage.url is not set, and SQLite's schema is brought up to date with each start";
    let database = database.ok_or_else(|| Failure::new(Exit::Usage, none))?;
    block_on(async {
        // In a pipeline it comes with the database, as the servers do; who sits before it sees why nothing happens.
        let told = AtomicBool::new(false);
        let patience = Patience {
            at_most: config.storage.wait,
            tell: &|waiting| {
                if !told.swap(true, Ordering::Relaxed) {
                    let seconds = config.storage.wait.as_secs();
                    remark(&format!(
                        "{}; it is tried again for {seconds} s (storage.wait)",
                        waiting.error
                    ));
                }
            },
        };
        let steps = PostgresStore::migrate(&database, dry_run, patience).await;
        let steps = steps.map_err(|error| storage::failure(&config, &error))?;
        for step in &steps {
            match dry_run {
                true => print(&format!(
                    "-- to version {}\n{}\n",
                    step.version,
                    step.sql.trim_end()
                ))?,
                false => print(&format!("migrated to version {}\n", step.version))?,
            }
        }
        if steps.is_empty() {
            remark("the schema is up to date");
        }
        Ok(())
    })
}

/// `queue migrate`: moves everything to another database.
pub(crate) async fn queue(args: &MigrateArgs) -> Result<(), Failure> {
    if args.from == args.to {
        return Err(Failure::new(Exit::Usage, "--from and --to are the same database"));
    }
    is_meant(&args.from, FROM)?;
    is_meant(&args.to, TO)?;
    is_ours(&args.scratch)?;
    let from = open(&args.from, args, FROM).await?;
    let to = open(&args.to, args, TO).await?;
    let failed = |error: StoreError| {
        Failure::new(
            exit(&error),
            format_args!("{error}; what was moved is moved, and the rest can be later"),
        )
    };
    let all = from.outbox.stats().await.map_err(failed)?.messages;
    let progress = Progress::always("moving", all);
    let moved = move_all(&from, &to, |moved| {
        progress.reached(moved.messages + moved.already)
    })
    .await;
    drop(progress);
    let closed = (from.outbox.close().await, to.outbox.close().await);
    let moved = moved.map_err(failed)?;
    closed.0.and(closed.1).map_err(failed)?;
    tell(&moved, args.output)
}

fn tell(moved: &Moved, output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => {
            let left: Vec<_> = moved
                .left
                .iter()
                .map(|one| json!({"id": one.id, "reason": one.reason}))
                .collect();
            let line = json!({
                "messages": moved.messages, "already_there": moved.already, "directory_records": moved.records,
                "suspensions_and_tokens": moved.settings, "webhook_calls": moved.calls, "left": left,
            });
            print(&format!("{line}\n"))?;
        }
        Output::Table => print(&format!(
            "moved {} messages ({} were there already), {} records of the directory, {} suspensions and tokens, {} calls of webhooks\n",
            moved.messages, moved.already, moved.records, moved.settings, moved.calls
        ))?,
    }
    if moved.left.is_empty() {
        return Ok(());
    }
    for one in &moved.left {
        remark(&format!("{} stays where it is: {}", one.id, one.reason));
    }
    Err(Failure::new(
        Exit::Data,
        "what cannot be read was left: look at it with `queue show` on a server of the old database",
    ))
}

/// Nothing is made of a name with a mistake in it: who is told that nothing was there to be moved takes it that the old database can go, and what is
/// moved to a file that nobody meant is as good as lost.
///
/// # Errors
/// What is wrong, without what may be a URL with a password in it.
fn is_meant(place: &str, side: &str) -> Result<(), Failure> {
    if Database::is_meant(place) {
        return Ok(());
    }
    let wrong = |reason: String| Err(Failure::new(Exit::Usage, format_args!("--{side}: {reason}")));
    if place.contains("://") {
        return wrong("it is no file, and does not begin with postgresql://".to_owned());
    }
    if side == FROM && !Path::new(place).is_file() {
        return wrong(format!(
            "there is no file {place}: nothing was moved; is its volume mounted, is the name right?"
        ));
    }
    Ok(())
}

/// Mail passes through the folder, whose name everybody knows: it is not to be somebody else's who made it before us in `/tmp`. An `emptyDir` is root's.
///
/// # Errors
/// It is.
fn is_ours(scratch: &Path) -> Result<(), Failure> {
    let owner = std::fs::symlink_metadata(scratch).map(|there| there.uid());
    match owner {
        Ok(owner) if owner != 0 && owner != geteuid().as_raw() => {
            let reason = format_args!(
                "--scratch: {} belongs to another user ({owner}): name a folder of your own",
                scratch.display()
            );
            Err(Failure::new(Exit::Usage, reason))
        }
        _ => Ok(()),
    }
}

/// Opens a store that no server uses.
async fn open(place: &str, args: &MigrateArgs, side: &str) -> Result<Side, Failure> {
    let opened = match Database::is_meant(place) {
        true => in_postgres(place, args, side).await,
        false => in_sqlite(place.into()).await,
    };
    opened.map_err(|error| Failure::new(exit(&error), format_args!("--{side}: {error}")))
}

async fn in_postgres(url: &str, args: &MigrateArgs, side: &str) -> Result<Side, StoreError> {
    let settings = PostgresSettings {
        database: Database {
            url: url.to_owned(),
            password_file: args.password_file.clone(),
            pool_size: POOL,
            pooler: args.pooler,
        },
        name: "queue migrate".into(),
        version: VERSION,
        folder: args.scratch.join(side),
        min_free: 0,
        memory_budget: MEMORY,
        scratch_size: 0,
    };
    let (store, spool) = PostgresStore::open(settings, Observer::silent(), Patience::NONE).await?;
    if let Err(error) = until_alone(&*store, side).await {
        store.close().await?;
        return Err(error);
    }
    Ok(Side {
        outbox: store.clone(),
        shelf: store,
        spool,
    })
}

/// Waits until servers that were killed, or an earlier attempt that was, are certainly gone: their entries are there for a minute. One that is
/// heard of meanwhile is at work.
///
/// # Errors
/// `Unavailable`: a server is at work, or came. The database's.
async fn until_alone(store: &dyn Store, side: &str) -> Result<(), StoreError> {
    let mut seen_first: Option<HashMap<String, Timestamp>> = None;
    let end = Instant::now() + LONGEST_WAIT;
    loop {
        let servers = store.servers().await?.unwrap_or_default();
        let others: HashMap<String, Timestamp> = servers
            .into_iter()
            .filter(|server| !server.this)
            .map(|server| (server.id, server.seen))
            .collect();
        if others.is_empty() {
            return Ok(());
        }
        let is_at_work = |before: &HashMap<String, Timestamp>| {
            others.iter().any(|(id, seen)| {
                let before = before.get(id);
                before.is_none_or(|before| seen.duration_since(*before) > BETWEEN_BEATS)
            })
        };
        if seen_first.as_ref().is_some_and(is_at_work) || Instant::now() > end {
            return Err(StoreError::Unavailable(
                "servers use this database: stop them first, or what they deliver meanwhile would come again"
                    .into(),
            ));
        }
        if seen_first.is_none() {
            remark(&format!(
                "--{side}: a server used this database within the last minute; it is waited for to be certainly gone"
            ));
            seen_first = Some(others);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn in_sqlite(path: PathBuf) -> Result<Side, StoreError> {
    let settings = SqliteSettings {
        path,
        min_free: 0,
        memory_budget: MEMORY,
    };
    let opened = tokio::task::spawn_blocking(move || SqliteStore::open(settings, Observer::silent())).await;
    let broken = |error| StoreError::Unavailable(format!("opening broke off: {error}"));
    let (store, spool): (Arc<SqliteStore>, _) = opened.map_err(broken)??;
    Ok(Side {
        outbox: store.clone(),
        shelf: store,
        spool,
    })
}

fn exit(error: &StoreError) -> Exit {
    match error {
        StoreError::Unsuitable(_) => Exit::Usage,
        StoreError::Full(_) | StoreError::Unavailable(_) => Exit::Temporary,
        StoreError::Damaged(_) | StoreError::Closed => Exit::Io,
    }
}
