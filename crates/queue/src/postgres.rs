//! The store that many servers share: PostgreSQL 14 or newer.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `open`, `wait`, `store` | opening, also of a database that is away; the contract, kept by what follows |
//! | `address`, `tls`, `connect` | where the database is, and how it is reached |
//! | `link`, `client`, `param`, `left`, `cancel`, `pause` | connections, statements, what is bound to them, and an end to waiting, also of statements that nobody waits for |
//! | `schema` | the schema and its migrations |
//! | `turns` | how much one of many servers asks of the database at once |
//! | `servers`, `pulse`, `calm` | the servers that share the queue, what each does again and again, and when nobody is taken for dead |
//! | `hints`, `pace` | what servers tell each other, so that nobody need wait for the next look; and how soon it is followed |
//! | `lane` | certainty about each change, and why nothing can be lost |
//! | `writer`, `results` | many messages, and many results, in one transaction |
//! | `insert` and its `columns`, `claim`, `finish`, `operate` | one file for each kind of change |
//! | `bodies` | large contents, in pieces |
//! | `clock` | the clock of the database |
//! | `records` | the audit trail, tokens, suspensions |
//! | `outbox`, `directory` | what webhooks are to be told; domains, accounts, aliases and keys |
//! | `history` | what happened to each message |
//! | `read`, `due` | questions; how much is due |
//! | `row`, `filter`, `error` | what rows, filters and errors mean |
//!
//! Every change that somebody is told of is one transaction with `synchronous_commit = on`, whatever a role or database sets, and is answered
//! after its COMMIT.

mod address;
mod bodies;
mod calm;
mod cancel;
mod claim;
mod client;
mod clock;
mod columns;
mod connect;
mod directory;
mod due;
mod error;
mod filter;
mod finish;
mod hints;
mod history;
mod insert;
mod lane;
mod left;
mod link;
mod open;
mod operate;
mod outbox;
mod pace;
mod param;
mod pause;
mod pulse;
mod read;
mod records;
mod results;
mod row;
mod schema;
mod servers;
mod store;
mod tls;
mod turns;
mod wait;
mod writer;

pub use address::Database;
pub use history::PostgresHistory;
pub use open::PostgresSettings;
pub use schema::{Migration, play_next_version};
pub use wait::{Patience, Waiting};

use crate::limits;
use crate::operator::Action;
use crate::spool::Spool;
use crate::store::{Filter, Shared, StoreError};
use claim::Unreadable;
use client::Client;
use due::Due;
use filter::Condition;
use hints::Hint;
use link::Link;
use records::Parks;
use results::Results;
use smtp_observe::Event;
use std::fs::File;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use turns::Turns;
use uuid::Uuid;
use writer::{Shop, Writer};

/// The PostgreSQL store.
#[derive(Debug)]
pub struct PostgresStore {
    link: Arc<Link>,
    shop: Shop,
    writer: Writer,
    /// The lane of results.
    results: tokio::sync::Mutex<Results>,
    spool: Spool,
    shared: watch::Sender<Shared>,
    turns: Arc<Turns>,
    due: Due,
    /// What this server does again and again: it says that it is there, and hears what others say.
    tasks: Vec<JoinHandle<()>>,
    /// Of the folder: no other server uses it.
    _lock: File,
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl PostgresStore {
    /// This process among those that share the queue.
    fn id(&self) -> Uuid {
        self.shop.me.id
    }

    fn is_open(&self) -> Result<(), StoreError> {
        match self.link.pool.is_closed() {
            true => Err(StoreError::Closed),
            false => Ok(()),
        }
    }

    async fn client(&self) -> Result<Client, StoreError> {
        self.is_open()?;
        Ok(self.link.client().await?)
    }

    fn report(&self, unreadable: Unreadable) {
        for (id, reason) in unreadable {
            self.shop.observer.emit(Event::Quarantined {
                id: &id,
                reason: &reason,
            });
        }
    }

    /// Does something to all messages of a filter, some at a time.
    async fn operate(&self, filter: &Filter, action: Action) -> Result<u64, StoreError> {
        let condition = Condition::new(filter);
        let (mut touched, mut after) = (0, i64::MIN);
        let client = self.client().await?;
        loop {
            let keys = read::keys(&client, &condition, after, limits::OPERATED).await?;
            let Some(&last) = keys.last() else {
                return Ok(touched);
            };
            after = last;
            let ids = operate::operate(&client, action, &condition, &keys).await?;
            let due = matches!(action, Action::Retry { .. } | Action::Unhold { .. });
            if due && !ids.is_empty() {
                hints::say(&client, self.id(), Hint::Due).await;
            }
            touched += ids.len() as u64;
            for id in ids {
                self.shop.observer.emit(action.event(&id.to_string()));
            }
        }
    }

    async fn parks(&self) -> Result<Parks, StoreError> {
        Ok(Parks {
            client: self.client().await?,
            me: self.id(),
        })
    }
}

#[cfg(test)]
mod tests;
