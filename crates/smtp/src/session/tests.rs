//! Dialogs with a session, from the client's side.

mod content;
mod dialogs;
mod driver;
mod manners;
mod properties;
