//! `token …`: who may use the admin API of a running server.

use crate::admin_client::{AdminClient, block_on};
use crate::cli::{ServerArgs, TokenCommand};
use crate::exit::Failure;
use crate::output::{Output, one, print, remark};
use crate::server_table as table;
use clap::ValueEnum;
use serde_json::{Value as Json, json};

pub(crate) fn token(command: &TokenCommand) -> Result<(), Failure> {
    block_on(async {
        match command {
            TokenCommand::Add {
                name,
                scope,
                expires_in,
                server,
            } => {
                let scope = scope.to_possible_value();
                let scope = scope.as_ref().map(|value| value.get_name());
                let mut body = json!({"name": name, "scope": scope});
                if let Some(seconds) = expires_in {
                    body["expires_in"] = (*seconds).into();
                }
                let made = AdminClient::new(server)?.post(&["tokens"], &body).await?;
                added(&made, server)
            }
            TokenCommand::List { server } => {
                let each = |entry: &Json| print(&one(entry, server.output, table::token));
                AdminClient::new(server)?.entries(&["tokens"], each).await
            }
            TokenCommand::Revoke { name, server } => {
                let done = AdminClient::new(server)?.delete(&["tokens", name], &[]).await?;
                match server.output {
                    Output::Json => print(&format!("{done}\n")),
                    Output::Table => print(&format!("token {name} revoked\n")),
                }
            }
        }
    })
}

/// The token stands alone on standard output, so that it can be piped.
fn added(made: &Json, server: &ServerArgs) -> Result<(), Failure> {
    if server.output == Output::Json {
        return print(&format!("{made}\n"));
    }
    let (name, token) = (made["name"].as_str(), made["token"].as_str());
    remark(&format!(
        "token {} added; it is shown this once:",
        name.unwrap_or_default()
    ));
    print(&format!("{}\n", token.unwrap_or_default()))
}
