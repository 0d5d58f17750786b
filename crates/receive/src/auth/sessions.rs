//! How many sessions each account has at this server.

use parking_lot::Mutex;
use smtp_directory::Account;
use std::collections::HashMap;
use std::sync::Arc;

/// The sessions of all accounts whose clients are limited; those that have none are not in it.
#[derive(Debug, Default)]
pub(super) struct AccountSessions {
    open: Mutex<HashMap<Box<str>, usize>>,
}

/// One of an account's sessions; dropping it gives it back, also when the session panics.
#[derive(Debug)]
pub(crate) struct AccountSlot {
    all: Arc<AccountSessions>,
    account: Arc<Account>,
}

impl AccountSessions {
    /// One more session of an account; `None` when it has `most` already.
    pub(super) fn take(self: &Arc<Self>, account: &Arc<Account>, most: usize) -> Option<AccountSlot> {
        let mut open = self.open.lock();
        let own = open.get(&account.name).copied().unwrap_or(0);
        if own >= most {
            return None;
        }
        open.insert(account.name.clone(), own + 1);
        Some(AccountSlot {
            all: self.clone(),
            account: account.clone(),
        })
    }
}

impl Drop for AccountSlot {
    fn drop(&mut self) {
        let mut open = self.all.open.lock();
        match open.get_mut(&self.account.name) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                open.remove(&self.account.name);
            }
        }
    }
}
