//! Who sends a mail: an account that may use some addresses, or somebody without one.

use smtp::{Address, Enhanced, Reply};
use smtp_directory::{Account, Snapshot};
use std::sync::Arc;

/// Who sends a mail, as it is when the mail begins; what changes meanwhile counts for the next.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    /// The directory of that moment.
    pub(crate) directory: Arc<Snapshot>,
    /// After AUTH.
    pub(crate) account: Option<Arc<Account>>,
}

impl Sender {
    /// Whether the reverse path of MAIL may be this. The null path is everybody's: notifications of having read a message, which mail
    /// programs send, must have it (RFC 8098 3), and `From:` is looked at all the same.
    pub(crate) fn may_send_from(&self, path: Option<&Address>) -> Result<(), Reply> {
        self.check(path, 553)
    }

    /// Whether `From:` and `Sender:` may hold these. Without an account anything goes: others look at that.
    pub(crate) fn may_write_from(&self, addresses: &[Address]) -> Result<(), Reply> {
        self.check(addresses, 550)
    }

    fn check<'a>(&self, addresses: impl IntoIterator<Item = &'a Address>, code: u16) -> Result<(), Reply> {
        let Some(account) = &self.account else {
            return Ok(());
        };
        let mut addresses = addresses.into_iter();
        match addresses.find(|address| !self.directory.may_send_as(account, address)) {
            None => Ok(()),
            Some(address) => Err(sender_denied(code, account, address)),
        }
    }
}

/// An account may not use an address.
fn sender_denied(code: u16, account: &Account, address: &Address) -> Reply {
    let text = format!(
        "<{}>: Sender address not owned by account {}",
        address.as_str(),
        account.name
    );
    Reply::with(code, Enhanced(5, 7, 1), text)
}
