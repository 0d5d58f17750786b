//! LOGIN (draft-murchison-sasl-login): name and password, each asked for. Clients do not read the questions
//! but count them; these are the words that all of them know.

/// Asks for the name.
pub(crate) const ASK_NAME: &[u8] = b"Username:";
/// Asks for the password.
pub(crate) const ASK_PASSWORD: &[u8] = b"Password:";
