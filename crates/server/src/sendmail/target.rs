//! The server that `sendmail` hands mail to, as its options and environment say.

use crate::cli::TargetArgs;
use crate::exit::{Exit, Failure};
use smtp_config::{NextHop, TlsPolicy, system_hostname};
use smtp_deliver::NamedServer;
use std::path::PathBuf;

/// Where the server of this machine listens by default.
const PORT: u16 = 2525;

#[derive(Debug)]
pub(super) struct Target {
    hop: NextHop,
    tls: TlsPolicy,
    ca_file: Option<PathBuf>,
    pub(super) hostname: String,
}

impl Target {
    pub(super) fn new(args: &TargetArgs) -> Result<Target, Failure> {
        let wrong = |why: String| {
            Failure::new(
                Exit::Config,
                format_args!("the server of sendmail (--server, SMTP_SENDMAIL_URL): {why}"),
            )
        };
        let url = args.server.clone().unwrap_or_else(default_url);
        let mut hop = NextHop::parse_url(&url).map_err(wrong)?;
        if let Some(file) = &args.password_file {
            hop = hop.with_password_file(file).map_err(wrong)?;
        }
        let tls = args
            .tls
            .unwrap_or_else(|| hop.default_tls(TlsPolicy::Opportunistic));
        hop.check(tls).map_err(wrong)?;
        Ok(Target {
            hop,
            tls,
            ca_file: args.ca_file.clone(),
            hostname: args.hostname.clone().unwrap_or_else(system_hostname),
        })
    }

    pub(super) fn server(&self) -> NamedServer<'_> {
        NamedServer {
            hop: &self.hop,
            tls: self.tls,
            ca_file: self.ca_file.as_deref(),
            hostname: &self.hostname,
            announce: None,
        }
    }
}

/// A server in the same place, where the environment is the same.
fn default_url() -> String {
    let port = std::env::var("SMTP_PORT").ok().and_then(|port| port.parse().ok());
    format!(
        "smtp://127.0.0.1:{}",
        port.filter(|port| *port != 0).unwrap_or(PORT)
    )
}
