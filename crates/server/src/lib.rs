//! The server as a whole: command line, wiring of the rooms, signals, start and stop.
//!
//! * [`cli`] is the command line, [`sources`] what it and the environment say about the configuration, [`whereabouts`] where a
//!   server on this machine is to be found by it.
//! * [`run`] starts the rooms in their order, [`lifecycle`] stops them; [`reload`] changes settings in between.
//! * [`house`] is what HTTP sees of the rooms, [`welcome`] what a developer reads at the start.
//! * [`check`], [`health_command`], [`config_command`], [`queue_command`], [`migrate_command`], [`history_command`], [`server_command`],
//!   [`drain_command`], [`token_command`] and [`directory_command`] are the other commands; [`admin_client`] talks to a running server.
//! * [`mod@sendmail`] and [`mailq`] are the programs of those names; [`completions`] makes shells and readers of manuals know all commands.
//! * [`exit`] is how each of them ends, [`failed_start`] what the log has of a server that could not start.

mod admin_client;
mod check;
mod cli;
mod completions;
mod config_command;
mod directory_command;
mod directory_table;
mod drain_command;
mod exit;
mod failed_start;
mod farewell;
mod health_command;
mod history;
mod history_command;
mod house;
mod lifecycle;
mod mailq;
mod migrate_command;
mod next_hops;
mod output;
mod people;
mod pod;
mod progress;
mod queue_command;
mod queue_table;
mod reload;
mod run;
mod sendmail;
mod server_command;
mod server_table;
mod sources;
mod storage;
mod token_command;
mod welcome;
mod whereabouts;

use clap::Parser;
use cli::{Cli, Command};
use exit::{Exit, Failure};
use std::process::ExitCode;

/// Gives memory back to the system soon after a burst; its options are set in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Runs what the command line says.
pub fn main() -> ExitCode {
    // Fails only when there is one already, which serves as well.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = match Cli::try_parse_from(cli::command_line(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match dispatch(cli) {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => failure.report(),
    }
}

/// Prints help, version or what is wrong with the command line.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() {
        Exit::Usage.into()
    } else {
        Exit::Ok.into()
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        None => run::run(&cli.sources),
        Some(Command::Run(sources)) => run::run(&sources),
        Some(Command::Health(args)) => health_command::health(&args),
        Some(Command::Check(args)) => check::check(&args),
        Some(Command::Migrate { sources, dry_run }) => migrate_command::schema(&sources, dry_run),
        Some(Command::Config(command)) => config_command::config(&command),
        Some(Command::Queue(command)) => queue_command::queue(&command),
        Some(Command::Account(command)) => directory_command::account(&command),
        Some(Command::Domain(command)) => directory_command::domain(&command),
        Some(Command::Alias(command)) => directory_command::alias(&command),
        Some(Command::Dkim(command)) => directory_command::dkim(&command),
        Some(Command::History(command)) => history_command::history(&command),
        Some(Command::Status { server }) => server_command::status(&server),
        Some(Command::Servers { server }) => server_command::servers(&server),
        Some(Command::Sessions { server }) => server_command::sessions(&server),
        Some(Command::Destinations { server }) => server_command::destinations(&server),
        Some(Command::Webhooks { retry, server }) => server_command::webhooks(retry.as_deref(), &server),
        Some(Command::Drain {
            status,
            now,
            no_wait,
            server,
        }) => drain_command::drain(status, now, no_wait, &server),
        Some(Command::Token(command)) => token_command::token(&command),
        Some(Command::Audit { limit, server }) => queue_command::audit(limit, &server),
        Some(Command::Sendmail(args)) => sendmail::sendmail(&args),
        Some(Command::Mailq(args)) => mailq::mailq(&args),
        Some(Command::Completions { shell }) => completions::completions(shell),
        Some(Command::Man(args)) => completions::man(&args),
    }
}
