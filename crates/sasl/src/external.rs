//! EXTERNAL (RFC 4422, appendix A): the certificate says who the client is; the message says as whom it
//! wants to act, or nothing.

use crate::Failure;
use crate::prepare::optional_name;

/// The account that the client asks for, if it names one.
pub(crate) fn parse(message: &str) -> Result<Option<String>, Failure> {
    optional_name(message)
}
