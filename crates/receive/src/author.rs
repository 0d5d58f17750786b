//! What is done to the header of a mail, by whom it comes from: an account's is checked and completed, and what accounts and trusted
//! networks send is signed.

use jiff::Timestamp;
use smtp::{Address, Enhanced, Reply};
use smtp_directory::{Account, Snapshot};
use smtp_dkim::{Header, Signer};
use std::sync::Arc;

/// The account that a mail comes from.
#[derive(Clone, Debug)]
pub(crate) struct Author {
    pub(crate) account: Arc<Account>,
    /// The directory as it was when the mail began.
    pub(crate) directory: Arc<Snapshot>,
}

impl Author {
    /// Whether it may use these addresses: in MAIL, or all together in `From:` and `Sender:`.
    ///
    /// # Errors
    /// `550 5.7.1`, naming the first one that it may not use.
    pub(crate) fn may_write_from(&self, addresses: &[Address]) -> Result<(), Reply> {
        let foreign = addresses
            .iter()
            .find(|address| !self.directory.may_send_as(&self.account, address));
        foreign.map_or(Ok(()), |address| {
            let text = format!(
                "<{}>: your account may not send as this address",
                address.as_str()
            );
            Err(Reply::with(550, Enhanced(5, 7, 1), text))
        })
    }
}

/// Who signs a mail.
#[derive(Debug)]
pub(crate) enum Signing {
    /// This one.
    Signer(Box<Signer>),
    /// Nobody: this domain has no key that signs now, though the server has keys. Somebody should know.
    NoKey(Box<str>),
    /// Nobody, as it should be.
    Nobody,
}

/// What is done to the header of a mail.
#[derive(Debug, Default)]
pub(crate) enum Treatment {
    /// It passes as it is.
    #[default]
    Passed,
    /// It is signed: a trusted network's.
    Signed(Arc<Snapshot>),
    /// It is checked, completed and signed.
    Authored(Author),
}

impl Treatment {
    pub(crate) fn author(&self) -> Option<&Author> {
        match self {
            Treatment::Authored(author) => Some(author),
            Treatment::Passed | Treatment::Signed(_) => None,
        }
    }

    fn directory(&self) -> Option<&Snapshot> {
        match self {
            Treatment::Passed => None,
            Treatment::Signed(directory) => Some(directory),
            Treatment::Authored(author) => Some(&author.directory),
        }
    }

    /// Who signs a mail with this header: the keys of the domain of its first author (RFC 6376 6.3 and RFC 7489 3.1.1 want the two
    /// to agree). Mail whose author cannot be read goes unsigned.
    pub(crate) fn signing(&self, header: &[u8], now: Timestamp) -> Signing {
        let Some(directory) = self.directory() else {
            return Signing::Nobody;
        };
        let fields = Header::new(header);
        let authors = fields.authors().unwrap_or_default();
        let Some(author) = authors.first() else {
            return Signing::Nobody;
        };
        let identities = directory.signing_keys(author.domain(), now);
        if identities.is_empty() {
            // A server without keys signs nothing on purpose. Mail that comes signed was signed by whom it is from: it is passed on.
            let lacks_key = directory.has_keys() && fields.find("DKIM-Signature").next().is_none();
            return match lacks_key {
                true => Signing::NoKey(author.domain().to_lowercase().into()),
                false => Signing::Nobody,
            };
        }
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        // What cannot be signed goes unsigned, as a mail from elsewhere would.
        Signer::new(header, &identities, seconds, None)
            .map_or(Signing::Nobody, |signer| Signing::Signer(Box::new(signer)))
    }
}
