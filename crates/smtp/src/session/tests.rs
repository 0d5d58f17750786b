//! Dialogs with a session, from the client's side.

mod auth;
mod content;
mod dialogs;
mod driver;
mod manners;
mod properties;
mod tls;
