//! Which binary is started, and how.

use super::{PASSWORD, Server};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the binary is: `SMTP_SERVER_BIN`, or beside the test in the target folder.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("SMTP_SERVER_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("path of the test");
    let path = test
        .ancestors()
        .nth(2)
        .expect("target folder")
        .join("smtp-server");
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --release` first",
        path.display()
    );
    path
}

/// The program that plays the version after this one (`tests/next`), beside the binary.
pub fn next_version() -> PathBuf {
    let path = binary().with_file_name("next-version");
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --release -p smtp-server -p next-version` first",
        path.display()
    );
    path
}

/// How to start a server. The `testing` profile unless `env` says otherwise.
#[derive(Clone)]
pub struct Setup {
    pub config: String,
    /// The file that is read instead of one with `config` in it.
    pub config_file: Option<PathBuf>,
    pub env: BTreeMap<String, String>,
    /// Folder of the store; a new one unless given.
    pub data: Option<PathBuf>,
    /// A program and arguments to run the server under (strace, ip netns exec).
    pub under: Vec<String>,
    /// The server, if it is not [`binary`].
    pub program: Option<PathBuf>,
}

impl Setup {
    pub fn new(config: impl Into<String>) -> Self {
        let env = [
            ("SMTP_PROFILE", "testing"),
            ("SMTP_HOSTNAME", "mx.test"),
            ("SMTP_PORT", "0"),
            ("SMTP_SMTPS_PORT", "0"),
            ("SMTP_SUBMISSION_PORT", "0"),
            ("SMTP_HTTP_PORT", "0"),
            ("SMTP_LOG_FORMAT", "json"),
            ("SMTP_ADMIN_PASSWORD", PASSWORD),
        ];
        let env = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Setup {
            config: config.into(),
            config_file: None,
            env,
            data: None,
            under: Vec::new(),
            program: None,
        }
    }
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }
    pub fn without(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }
    pub fn data(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data = Some(folder.into());
        self
    }
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }
    pub fn config_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.config_file = Some(file.into());
        self
    }
    pub fn start(self) -> Server {
        Server::start(self)
    }
}

/// The command that starts it, with everything in `folder` that it needs.
pub(super) fn prepare(setup: &Setup, folder: &Path) -> Command {
    std::fs::write(folder.join("config.toml"), &setup.config).expect("config.toml");
    let data = setup.data.clone().unwrap_or_else(|| folder.join("data"));
    std::fs::create_dir_all(&data).expect("data folder");
    let server = setup.program.clone().unwrap_or_else(binary);
    let mut command = match setup.under.split_first() {
        None => Command::new(server),
        Some((program, args)) => {
            let mut command = Command::new(program);
            command.args(args).arg(server);
            command
        }
    };
    let config = setup.config_file.clone();
    let config = config.unwrap_or_else(|| folder.join("config.toml"));
    command.arg("run").arg("--config").arg(config);
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("SMTP_DB_PATH", data.join("smtp.db")).envs(&setup.env);
    command
}
