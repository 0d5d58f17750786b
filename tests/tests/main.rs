//! The black-box tests, one binary. Each module is one subject.

mod accounts;
mod auth;
mod clients;
mod configuration;
mod crash;
mod dialogs;
mod directory;
mod disk;
mod durable;
mod http;
mod lifecycle;
mod limits;
mod next_hop;
mod outbound;
mod postfix;
mod profiles;
mod quarantine;
mod queue_commands;
mod reload;
mod reports;
mod resolving;
mod signing;
mod slow_hops;
mod start;
mod tls;
