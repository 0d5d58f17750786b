//! Rows of the database and what they mean. A row that means nothing gives a text that says why.

use crate::id::QueueId;
use crate::message::{MailOptions, Message, Recipient, State};
use crate::stored::{self, address};
use jiff::Timestamp;
use smtp::Address;
use smtp_observe::TraceContext;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

/// The columns of a message, in the order that [`message`] reads them.
pub(super) const MESSAGE_COLUMNS: &str = "m.key, m.id, m.received_at, m.sender, m.size, m.body_type, m.smtputf8, m.has_8bit, m.header_8bit, m.ret, \
     m.envid, m.origin, m.account, m.traceparent, m.message_id";
/// The columns of a recipient, in the order that [`recipient`] reads them, then its epoch and its message.
pub(super) const RECIPIENT_COLUMNS: &str = "r.idx, r.address, r.notify, r.orcpt, r.state, r.attempts, r.due, r.delay_notified, r.last_result, r.parked, \
     r.epoch, r.message";

type Readable<T> = Result<T, String>;

fn column<'r, T: FromSql<'r>>(row: &'r Row, index: usize) -> Readable<T> {
    row.try_get(index).map_err(|error| error.to_string())
}

fn timestamp(stored: i64) -> Readable<Timestamp> {
    Timestamp::from_millisecond(stored).map_err(|error| format!("time {stored}: {error}"))
}

/// A time of which nobody needs more than an idea.
pub(super) fn about(stored: i64) -> Timestamp {
    Timestamp::from_millisecond(stored).unwrap_or_default()
}

pub(super) fn id(row: &Row, index: usize) -> Readable<QueueId> {
    let octets: &[u8] = column(row, index)?;
    let octets = octets
        .try_into()
        .map_err(|_| format!("an id of {} octets", octets.len()))?;
    Ok(QueueId::from_bytes(octets))
}

/// A message, for delivery: right or not at all. Its columns are those from `first` on.
pub(super) fn message(row: &Row, first: usize) -> Readable<Message> {
    let sender: &str = column(row, first + 3)?;
    let sender = match sender {
        "" => None,
        text => Some(address(text)?),
    };
    read_message(row, first, sender)
}

/// A message, for people: an unreadable sender is shown in its origin.
pub(super) fn message_lenient(row: &Row) -> Readable<Message> {
    message(row, 0).or_else(|reason| {
        let mut message = read_message(row, 0, None)?;
        message.options.origin = format!("unreadable ({reason}); {}", message.options.origin);
        Ok(message)
    })
}

fn read_message(row: &Row, first: usize, sender: Option<Address>) -> Readable<Message> {
    let traceparent: Option<&str> = column(row, first + 13)?;
    Ok(Message {
        key: column(row, first)?,
        id: id(row, first + 1)?,
        received_at: timestamp(column(row, first + 2)?)?,
        sender,
        size: column::<i64>(row, first + 4)?.unsigned_abs(),
        options: MailOptions {
            body_type: stored::body_type(column::<i16>(row, first + 5)?.into())?,
            smtputf8: column(row, first + 6)?,
            has_8bit: column(row, first + 7)?,
            header_8bit: column(row, first + 8)?,
            ret: column::<Option<i16>>(row, first + 9)?
                .map(|number| stored::ret(number.into()))
                .transpose()?,
            envid: column(row, first + 10)?,
            origin: column(row, first + 11)?,
            account: column(row, first + 12)?,
            traceparent: traceparent.and_then(TraceContext::parse),
            message_id: column(row, first + 14)?,
        },
    })
}

/// A recipient, for delivery: right or not at all.
pub(super) fn recipient(row: &Row) -> Readable<Recipient> {
    let address = address(column(row, 1)?)?;
    read_recipient(row, address)
}

/// A recipient, for people: what cannot be read is shown as `unreadable@invalid`, with its text.
pub(super) fn recipient_lenient(row: &Row) -> Readable<Recipient> {
    recipient(row).or_else(|reason| {
        let mut recipient = read_recipient(row, address("unreadable@invalid")?)?;
        let before = recipient.last_result.unwrap_or_default();
        recipient.last_result = Some(format!("{reason}; {before}"));
        Ok(recipient)
    })
}

fn read_recipient(row: &Row, address: Address) -> Readable<Recipient> {
    let notify: Option<i16> = column(row, 2)?;
    let notify = notify.map(|bits| stored::notify(bits.into()));
    let orcpt: Option<&str> = column(row, 3)?;
    let orcpt = orcpt.map(stored::orcpt);
    Ok(Recipient {
        index: column::<i32>(row, 0)?.unsigned_abs(),
        address,
        notify: notify.transpose()?,
        orcpt: orcpt.transpose()?,
        state: state(row, 4)?,
        attempts: column::<i32>(row, 5)?.unsigned_abs(),
        due: timestamp(column(row, 6)?)?,
        delay_notified: column(row, 7)?,
        last_result: column(row, 8)?,
        parked: column(row, 9)?,
    })
}

pub(super) fn state(row: &Row, index: usize) -> Readable<State> {
    let stored: i16 = column(row, index)?;
    State::from_number(stored.into()).ok_or_else(|| format!("state {stored}"))
}
