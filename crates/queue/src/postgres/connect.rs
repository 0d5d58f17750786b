//! Connections and their pool.
//!
//! Files are read anew for each connection, so that a password or certificate that is replaced is used without a restart.

use super::address::{CONNECT, Database, Reached};
use super::cancel;
use super::link::Link;
use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, QueueMode, RecyclingMethod, Runtime};
use parking_lot::Mutex;
use rustls::ClientConfig;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, CancelToken, Config, Connection, Error, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

impl Database {
    fn connector(&self) -> Result<Connector, String> {
        let reached = Reached::of(self)?;
        Ok(Connector {
            tls: Mutex::new(reached.tls()?),
            reached,
        })
    }

    /// What connects for hints; `None` where a pooler would not pass them on.
    pub(super) fn listener(&self) -> Result<Option<Connector>, String> {
        if self.pooler {
            return Ok(None);
        }
        let mut connector = self.connector()?;
        // So that people can tell it from those that work.
        let config = &mut connector.reached.config;
        let name = format!("{} hints", config.get_application_name().unwrap_or_default());
        config.application_name(name);
        Ok(Some(connector))
    }

    /// The pool; nothing is connected yet.
    pub(super) fn link(&self) -> Result<Arc<Link>, String> {
        let connector = self.connector()?;
        let (config, recycling_method) = (connector.reached.config.clone(), RecyclingMethod::Fast);
        let manager = Manager::from_connect(config, connector, ManagerConfig { recycling_method });
        let pool = Pool::builder(manager)
            .max_size(self.pool_size)
            // The one that was used last: its process has its plans, and the tables' pages, at hand. What is not used says nothing, and
            // whether the other side is still there is asked by the system (`SILENCE`).
            .queue_mode(QueueMode::Lifo)
            .wait_timeout(Some(CONNECT))
            .create_timeout(Some(CONNECT))
            .recycle_timeout(Some(CONNECT))
            .runtime(Runtime::Tokio1)
            .build();
        let pool = pool.map_err(|error| error.to_string())?;
        Ok(Link::new(pool, !self.pooler, self.connector()?))
    }
}

/// Connects, with the files as they are then.
pub(super) struct Connector {
    reached: Reached,
    /// As it was when the files could be read last.
    tls: Mutex<Option<ClientConfig>>,
}

type Connecting<'c> =
    Pin<Box<dyn Future<Output = Result<(tokio_postgres::Client, JoinHandle<()>), Error>> + Send + 'c>>;

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    fn current(&self) -> (Config, Option<ClientConfig>) {
        // A file that is just being replaced is read with the next connection.
        let config = self
            .reached
            .config()
            .unwrap_or_else(|_| self.reached.config.clone());
        if let Ok(tls) = self.reached.tls() {
            *self.tls.lock() = tls;
        }
        (config, self.tls.lock().clone())
    }

    /// Has the statement cancelled that a connection is at; see [`cancel::cancel`].
    pub(super) async fn cancel(&self, token: &CancelToken) -> bool {
        let (config, tls) = self.current();
        cancel::cancel(token, &config, tls.as_ref()).await
    }

    /// A connection, and the task that gives `hear` what is said on it, until it ends.
    pub(super) async fn listen(
        &self,
        hear: impl Fn(&str) + Send + 'static,
    ) -> Result<(tokio_postgres::Client, JoinHandle<Result<(), Error>>), Error> {
        let (config, tls) = self.current();
        Ok(match tls {
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                (client, tokio::spawn(pass_on(connection, hear)))
            }
            Some(tls) => {
                let (client, connection) = config.connect(MakeRustlsConnect::new(tls)).await?;
                (client, tokio::spawn(pass_on(connection, hear)))
            }
        })
    }
}

async fn pass_on<S, T>(mut connection: Connection<S, T>, hear: impl Fn(&str)) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notification(said) = message? {
            hear(said.payload());
        }
    }
    Ok(())
}

impl Connect for Connector {
    fn connect(&self, _config: &Config) -> Connecting<'_> {
        Box::pin(async {
            let (config, tls) = self.current();
            Ok(match tls {
                None => {
                    let (client, connection) = config.connect(NoTls).await?;
                    (
                        client,
                        tokio::spawn(async { connection.await.unwrap_or_default() }),
                    )
                }
                Some(tls) => {
                    let (client, connection) = config.connect(MakeRustlsConnect::new(tls)).await?;
                    (
                        client,
                        tokio::spawn(async { connection.await.unwrap_or_default() }),
                    )
                }
            })
        })
    }
}
