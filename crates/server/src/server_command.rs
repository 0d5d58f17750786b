//! `status`, `servers`, `sessions`, `destinations`, `webhooks`: a running server, through its admin API.

use crate::admin_client::{AdminClient, block_on};
use crate::cli::ServerArgs;
use crate::exit::Failure;
use crate::output::{Output, one, print};
use crate::server_table as table;
use serde_json::{Value as Json, json};

pub(crate) fn status(server: &ServerArgs) -> Result<(), Failure> {
    block_on(async {
        let client = AdminClient::new(server)?;
        let status = client.get(&["status"], &[]).await?;
        let statistics = client.get(&["statistics"], &[]).await?;
        match server.output {
            Output::Json => {
                let both = json!({"status": status, "statistics": statistics});
                print(&format!("{both}\n"))
            }
            Output::Table => print(&table::status(&status, &statistics)),
        }
    })
}

pub(crate) fn sessions(server: &ServerArgs) -> Result<(), Failure> {
    block_on(async {
        let each = |entry: &Json| print(&one(entry, server.output, table::session));
        AdminClient::new(server)?.entries(&["sessions"], each).await
    })
}

pub(crate) fn servers(server: &ServerArgs) -> Result<(), Failure> {
    block_on(async {
        let each = |entry: &Json| print(&one(entry, server.output, table::server));
        AdminClient::new(server)?.entries(&["servers"], each).await
    })
}

pub(crate) fn destinations(server: &ServerArgs) -> Result<(), Failure> {
    block_on(async {
        let each = |entry: &Json| print(&one(entry, server.output, table::destination));
        AdminClient::new(server)?.entries(&["destinations"], each).await
    })
}

pub(crate) fn webhooks(retry: Option<&str>, server: &ServerArgs) -> Result<(), Failure> {
    block_on(async {
        let client = AdminClient::new(server)?;
        if let Some(name) = retry {
            let retried = client.post(&["webhooks", name, "retry"], &json!({})).await?;
            return print(&one(&retried, server.output, |retried, _| {
                format!("{} calls are due now\n", retried["touched"])
            }));
        }
        let each = |entry: &Json| print(&one(entry, server.output, table::webhook));
        client.entries(&["webhooks"], each).await
    })
}
