//! Where the database is: URL, `PG*` variables, password file, TLS.

use super::tls::{self, SslMode, TlsFiles};
use rustls::ClientConfig;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::TargetSessionAttrs;

/// How long a connection may take, all of its servers tried; and how long one is waited for when all are busy.
pub(super) const CONNECT: Duration = Duration::from_secs(5);
/// How long what was sent may go without an acknowledgement: then the other side is gone.
const SILENCE: Duration = Duration::from_secs(15);

/// Where the database is, and how it is reached.
#[derive(Clone)]
pub struct Database {
    /// `postgresql://user@host:port/name?sslmode=verify-full`, as for libpq; several hosts with commas between. What it does not say is taken
    /// from `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE`, `PGSSLMODE`, `PGSSLROOTCERT`, `PGSSLCERT`, `PGSSLKEY`,
    /// `PGTARGETSESSIONATTRS`. Servers that only read are refused.
    pub url: String,
    /// A file that holds the password.
    pub password_file: Option<PathBuf>,
    /// Most connections.
    pub pool_size: usize,
    /// There is a pooler in transaction mode before it: nothing is kept in a session.
    pub pooler: bool,
}

/// Without the password that the URL may have.
impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("shown", &self.shown())
            .finish_non_exhaustive()
    }
}

/// Gives what is set in the environment.
type Variables<'v> = &'v dyn Fn(&str) -> Option<String>;

impl Database {
    /// Whether a URL is one of this kind.
    pub fn is_meant(url: &str) -> bool {
        ["postgresql://", "postgres://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
    }

    /// What is wrong with the URL, the variables or the files, in words that do not give the password away.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), String> {
        let reached = Reached::of(self)?;
        reached.tls()?;
        reached.config().map(drop)
    }

    /// Where it is, for people: hosts and name, no password.
    pub fn shown(&self) -> String {
        match Reached::of(self) {
            Ok(reached) => {
                let hosts = reached.config.get_hosts().iter().map(|host| match host {
                    tokio_postgres::config::Host::Tcp(name) => name.clone(),
                    tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
                });
                let name = reached.config.get_dbname().unwrap_or_default();
                format!("{name} at {}", hosts.collect::<Vec<_>>().join(", "))
            }
            Err(_) => "the database of storage.url".into(),
        }
    }
}

/// The settings, understood.
pub(super) struct Reached {
    /// As the URL and the variables say it.
    pub(super) config: Config,
    password_file: Option<PathBuf>,
    mode: SslMode,
    files: TlsFiles,
}

impl Reached {
    /// With the process's variables.
    pub(super) fn of(database: &Database) -> Result<Reached, String> {
        Reached::read(database, &|name| std::env::var(name).ok())
    }

    fn read(database: &Database, variable: Variables<'_>) -> Result<Reached, String> {
        // Empty is as if it were not there, as for libpq.
        let variable = &|name: &str| variable(name).filter(|value| !value.is_empty());
        if !Database::is_meant(&database.url) {
            return Err("it has to begin with postgresql://".into());
        }
        let (address, query) = parts(&database.url)?;
        let Query {
            mode,
            mut files,
            session,
            rest,
        } = Query::of(query);
        let address = match rest.is_empty() {
            true => address.to_owned(),
            false => format!("{address}?{}", rest.join("&")),
        };
        let mut config = Config::from_str(&address).map_err(|error| wrong(&error, query))?;
        let path = |name: &str| variable(name).map(PathBuf::from);
        files.roots = files.roots.or_else(|| path("PGSSLROOTCERT"));
        files.certificate = files.certificate.or_else(|| path("PGSSLCERT"));
        files.key = files.key.or_else(|| path("PGSSLKEY"));
        let mode = mode.or_else(|| variable("PGSSLMODE"));
        let mode = tls::mode(mode.as_deref(), &files)?;
        complete(&mut config, variable)?;
        let session = match (session, variable("PGTARGETSESSIONATTRS")) {
            (Some(wanted), _) => session_of("target_session_attrs", &wanted)?,
            (None, Some(wanted)) => session_of("PGTARGETSESSIONATTRS", &wanted)?,
            (None, None) => TargetSessionAttrs::Any,
        };
        config.target_session_attrs(session);
        config.ssl_mode(mode.negotiated());
        config.connect_timeout(*config.get_connect_timeout().unwrap_or(&CONNECT));
        config.tcp_user_timeout(*config.get_tcp_user_timeout().unwrap_or(&SILENCE));
        config.keepalives_idle(SILENCE);
        if config.get_application_name().is_none() {
            config.application_name("smtp-server");
        }
        Ok(Reached {
            config,
            password_file: database.password_file.clone(),
            mode,
            files,
        })
    }

    /// With the password that is in its file now.
    pub(super) fn config(&self) -> Result<Config, String> {
        let mut config = self.config.clone();
        if let Some(path) = &self.password_file {
            let password =
                std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            config.password(password.trim_end_matches(['\r', '\n']));
        }
        Ok(config)
    }

    /// With the files as they are now.
    pub(super) fn tls(&self) -> Result<Option<ClientConfig>, String> {
        tls::client(self.mode, &self.files)
    }
}

/// What stands behind the `?` of a URL.
#[derive(Default)]
struct Query<'u> {
    mode: Option<String>,
    files: TlsFiles,
    /// Which of several servers is meant.
    session: Option<String>,
    /// What tokio-postgres understands itself.
    rest: Vec<&'u str>,
}

impl<'u> Query<'u> {
    fn of(query: &'u str) -> Self {
        let mut all = Query::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match &*decoded(key) {
                "sslmode" => all.mode = Some(decoded(value)),
                "sslrootcert" => all.files.roots = Some(decoded(value).into()),
                "sslcert" => all.files.certificate = Some(decoded(value).into()),
                "sslkey" => all.files.key = Some(decoded(value).into()),
                "target_session_attrs" => all.session = Some(decoded(value)),
                _ => all.rest.push(pair),
            }
        }
        all
    }
}

/// Where it leads to, and what is said about it behind a question mark. What divides the parts of a URL divides them wherever it stands: in a
/// password it would make a host of what follows, for DNS and for whoever reads the log, or an end of what is asked of TLS.
fn parts(url: &str) -> Result<(&str, &str), String> {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let signs = address.matches('@').count();
    if signs > 1 || (signs == 0 && query.contains('@')) {
        return Err(
            "there is an @ or ? too many in it: in a user or a password (in an option too) they are written %40 and %3F, \
             and / is written %2F"
                .into(),
        );
    }
    Ok((address, query))
}

/// What is wrong, of which only the kind is said where the text might have the password in it.
fn wrong(error: &tokio_postgres::Error, query: &str) -> String {
    let text = match std::error::Error::source(error) {
        Some(cause) => cause.to_string(),
        None => error.to_string(),
    };
    let is_password = |pair: &str| decoded(pair.split('=').next().unwrap_or_default()) == "password";
    match text.starts_with("unknown option") && query.split('&').any(is_password) {
        true => "there is an unknown option behind the ? (which, is not said: it may be a piece of the password, where & is written %26)".into(),
        false => text,
    }
}

/// What the URL does not say.
fn complete(config: &mut Config, variable: Variables<'_>) -> Result<(), String> {
    if config.get_hosts().is_empty() {
        let hosts = variable("PGHOST").unwrap_or_else(|| "localhost".into());
        hosts.split(',').for_each(|host| {
            config.host(host);
        });
    }
    if config.get_ports().is_empty()
        && let Some(ports) = variable("PGPORT")
    {
        for port in ports.split(',') {
            config.port(port.parse().map_err(|_| format!("PGPORT: {port} is no port"))?);
        }
    }
    if config.get_user().is_none()
        && let Some(user) = variable("PGUSER").or_else(|| variable("USER"))
    {
        config.user(&user);
    }
    if config.get_password().is_none()
        && let Some(password) = variable("PGPASSWORD")
    {
        config.password(password);
    }
    if config.get_dbname().is_none()
        && let Some(name) = variable("PGDATABASE")
    {
        config.dbname(&name);
    }
    if config.get_user().is_none() {
        return Err("there is no user in it, and none in PGUSER".into());
    }
    Ok(())
}

/// Which of several servers is meant, by the words of libpq: the one that writes, or any.
fn session_of(said_by: &str, wanted: &str) -> Result<TargetSessionAttrs, String> {
    match wanted {
        "any" => Ok(TargetSessionAttrs::Any),
        "read-write" | "primary" => Ok(TargetSessionAttrs::ReadWrite),
        other => Err(format!(
            "{said_by}: {other}: a queue needs `read-write` (or `primary`, `any`)"
        )),
    }
}

/// `%2F` and the like.
fn decoded(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *first == b'%');
        let hex = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        octets.push(hex.unwrap_or(*first));
        rest = if hex.is_some() {
            after.get(2..).unwrap_or_default()
        } else {
            after
        };
    }
    String::from_utf8_lossy(&octets).into_owned()
}

#[cfg(test)]
mod tests;
