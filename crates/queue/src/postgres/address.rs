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
        let (address, query) = database.url.split_once('?').unwrap_or((&database.url, ""));
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
        // Of what is wrong only the kind is said: the text might have the password in it.
        let mut config =
            Config::from_str(&address).map_err(|error| match std::error::Error::source(&error) {
                Some(cause) => cause.to_string(),
                None => error.to_string(),
            })?;
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
            match key {
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
mod tests {
    use super::*;
    use std::path::Path;

    fn database(url: &str) -> Database {
        Database {
            url: url.into(),
            password_file: None,
            pool_size: 1,
            pooler: false,
        }
    }

    fn read(url: &str, variables: &[(&str, &str)]) -> Result<Reached, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Reached::read(&database(url), &variable)
    }

    #[test]
    fn what_a_url_does_not_say_is_in_the_variables() {
        let variables = [
            ("PGHOST", "db.example"),
            ("PGUSER", "mail"),
            ("PGPASSWORD", "secret"),
            ("PGDATABASE", "queue"),
            ("PGPORT", "6432"),
            ("PGSSLMODE", "disable"),
            ("PGSSLROOTCERT", "/roots.pem"),
            ("PGSSLCERT", "/cert.pem"),
            ("PGSSLKEY", "/key.pem"),
            ("PGTARGETSESSIONATTRS", "primary"),
        ];
        let reached = read("postgresql://", &variables).unwrap();
        let config = &reached.config;
        assert_eq!(config.get_user(), Some("mail"));
        assert_eq!(config.get_password(), Some(&b"secret"[..]));
        assert_eq!(
            (config.get_dbname(), config.get_ports()),
            (Some("queue"), &[6432][..])
        );
        assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert!(reached.tls().unwrap().is_none());
        let files = &reached.files;
        for (file, path) in [
            (&files.roots, "/roots.pem"),
            (&files.certificate, "/cert.pem"),
            (&files.key, "/key.pem"),
        ] {
            assert_eq!(file.as_deref(), Some(Path::new(path)));
        }
        let empty = ["PGPORT", "PGSSLMODE", "PGSSLROOTCERT", "PGTARGETSESSIONATTRS"].map(|name| (name, ""));
        let reached = read("postgresql://", &[&empty[..], &[("PGUSER", "mail")]].concat()).unwrap();
        assert_eq!(
            (reached.mode, reached.config.get_ports().len()),
            (SslMode::Prefer, 0)
        );
        let reached = read(
            "postgresql://ann:p%40ss@h1,h2:5433/x?sslmode=require&target_session_attrs=read-write",
            &variables,
        );
        let config = reached.unwrap().config;
        assert_eq!((config.get_user(), config.get_dbname()), (Some("ann"), Some("x")));
        assert_eq!(config.get_password(), Some(&b"p@ss"[..]));
        assert_eq!(config.get_hosts().len(), 2);
    }

    #[test]
    fn a_standby_is_not_asked_for() {
        for wanted in ["standby", "read-only", "prefer-standby"] {
            let variables = [("PGUSER", "mail"), ("PGTARGETSESSIONATTRS", wanted)];
            let by_url = format!("postgresql://mail@db.example/x?target_session_attrs={wanted}");
            for reason in [
                read("postgresql://db.example/x", &variables).err(),
                read(&by_url, &[("PGTARGETSESSIONATTRS", "primary")]).err(),
            ] {
                let says = |reason: &String| reason.contains(wanted) && reason.contains("`read-write`");
                assert!(reason.as_ref().is_some_and(says), "{wanted}: {reason:?}");
            }
        }
        let url = "postgresql://mail@db.example/x?target_session_attrs=primary";
        let primary = read(url, &[("PGTARGETSESSIONATTRS", "any")]).unwrap().config;
        assert_eq!(primary.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
    }

    #[test]
    fn built_in_authorities_vouch_for_names_only() {
        let mode = |query: &str, variables: &[(&str, &str)]| {
            let variables = [&[("PGUSER", "mail")], variables].concat();
            read(&format!("postgresql://db.example/x?{query}"), &variables).map(|reached| reached.mode)
        };
        for (query, expected) in [
            ("sslrootcert=system", SslMode::VerifyFull),
            ("sslrootcert=system&sslmode=verify-full", SslMode::VerifyFull),
            ("sslmode=verify-full", SslMode::VerifyFull),
            ("sslmode=verify-ca&sslrootcert=/ca.pem", SslMode::VerifyCa),
            ("sslmode=require", SslMode::Require),
            ("sslrootcert=/ca.pem", SslMode::Prefer),
        ] {
            assert_eq!(mode(query, &[]).unwrap(), expected, "{query}");
        }
        let system = [("PGSSLROOTCERT", "system")];
        assert_eq!(mode("", &system).unwrap(), SslMode::VerifyFull);
        for weak in ["disable", "prefer", "require", "verify-ca"] {
            let reason = mode(&format!("sslmode={weak}"), &system).unwrap_err();
            assert!(reason.contains("verify-full"), "{weak}: {reason}");
        }
        let reason = mode("sslmode=verify-ca", &[]).unwrap_err();
        assert!(reason.contains("needs sslrootcert"), "{reason}");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (url, reason) in [
            ("mysql://x", "postgresql://"),
            ("postgresql://ann:secret@h/x?sslmode=maybe", "sslmode"),
            ("postgresql://ann:secret@h:port/x", "port"),
            ("postgresql://h/x", "user"),
            ("postgresql://ann:secret@h/x?nonsense=1", "nonsense"),
            (
                "postgresql://ann@h/x?sslmode=verify-full&sslrootcert=%2Fnowhere%2Fca.pem",
                "/nowhere/ca.pem",
            ),
        ] {
            let error = read(url, &[])
                .and_then(|reached| reached.tls().map(drop))
                .unwrap_err();
            assert!(
                error.contains(reason) && !error.contains("secret"),
                "{url}: {error}"
            );
        }
    }
}
