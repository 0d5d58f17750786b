//! `migrate` and `queue migrate`: another version of the schema, another database. The only commands that open one themselves.

use crate::admin_client::block_on;
use crate::cli::{MigrateArgs, SourceArgs};
use crate::exit::{Exit, Failure};
use crate::house::VERSION;
use crate::output::{Output, print, remark};
use crate::progress::Progress;
use crate::sources;
use crate::storage;
use serde_json::json;
use smtp_observe::Observer;
use smtp_queue::moving::{Moved, Side, move_all};
use smtp_queue::postgres::{Database, Patience, PostgresSettings, PostgresStore};
use smtp_queue::sqlite::{SqliteSettings, SqliteStore};
use smtp_queue::{Store, StoreError};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Connections to a database.
const POOL: usize = 8;
/// Octets of bodies in memory.
const MEMORY: usize = 32 << 20;

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
    let from = open(&args.from, args, "from").await?;
    let to = open(&args.to, args, "to").await?;
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
            pooler: false,
        },
        name: "queue migrate".into(),
        version: VERSION,
        folder: args.scratch.join(side),
        min_free: 0,
        memory_budget: MEMORY,
        scratch_size: 0,
    };
    let (store, spool) = PostgresStore::open(settings, Observer::silent(), Patience::NONE).await?;
    if store.other_servers().await? > 0 {
        store.close().await?;
        return Err(StoreError::Unavailable(
            "servers used this database within the last minute: stop them first, or what they deliver meanwhile would come again".into(),
        ));
    }
    Ok(Side {
        outbox: store.clone(),
        shelf: store,
        spool,
    })
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
