//! Rows of the database and what they mean. A row that means nothing gives a text that says why.

use crate::id::QueueId;
use crate::message::{MailOptions, Message, Recipient, State};
use crate::stored::{self, address};
use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::FromSql;
use smtp::Address;
use smtp_observe::TraceContext;

/// The columns of a message, in the order that [`message`] reads them.
pub(super) const MESSAGE_COLUMNS: &str = "key, id, received_at, sender, size, body_type, smtputf8, has_8bit, header_8bit, ret, envid, origin, account, \
     traceparent, message_id";
/// The columns of a recipient, in the order that [`recipient`] reads them; its epoch is the tenth.
pub(super) const RECIPIENT_COLUMNS: &str =
    "idx, address, notify, orcpt, state, attempts, due, delay_notified, last_result, epoch, parked";

type Readable<T> = Result<T, String>;

fn column<T: FromSql>(row: &Row<'_>, index: usize) -> Readable<T> {
    row.get(index).map_err(|error| error.to_string())
}

/// A text that is shown however broken it is.
fn lossy(row: &Row<'_>, index: usize) -> String {
    let bytes = row
        .get_ref(index)
        .ok()
        .and_then(|value| value.as_bytes().ok().map(<[u8]>::to_vec));
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

pub(super) fn id(row: &Row<'_>, index: usize) -> Readable<QueueId> {
    column::<[u8; 16]>(row, index).map(QueueId::from_bytes)
}

fn timestamp(row: &Row<'_>, index: usize) -> Readable<Timestamp> {
    let stored = column(row, index)?;
    Timestamp::from_millisecond(stored).map_err(|error| format!("time {stored}: {error}"))
}

pub(super) fn state(row: &Row<'_>, index: usize) -> Readable<State> {
    let stored = column(row, index)?;
    State::from_number(stored).ok_or_else(|| format!("state {stored}"))
}

/// A message, for delivery: right or not at all.
pub(super) fn message(row: &Row<'_>) -> Readable<Message> {
    let sender: String = column(row, 3)?;
    let sender = if sender.is_empty() {
        None
    } else {
        Some(address(&sender)?)
    };
    read_message(row, sender)
}

/// A message, for people: an unreadable sender is shown in its origin.
pub(super) fn message_lenient(row: &Row<'_>) -> Readable<Message> {
    message(row).or_else(|reason| {
        let mut message = read_message(row, None)?;
        message.options.origin = format!("unreadable ({reason}); {}", message.options.origin);
        Ok(message)
    })
}

fn read_message(row: &Row<'_>, sender: Option<Address>) -> Readable<Message> {
    Ok(Message {
        key: column(row, 0)?,
        id: id(row, 1)?,
        received_at: timestamp(row, 2)?,
        sender,
        size: column::<i64>(row, 4)?.unsigned_abs(),
        options: MailOptions {
            body_type: stored::body_type(column(row, 5)?)?,
            smtputf8: column(row, 6)?,
            has_8bit: column(row, 7)?,
            header_8bit: column(row, 8)?,
            ret: column::<Option<i64>>(row, 9)?.map(stored::ret).transpose()?,
            envid: column(row, 10)?,
            origin: column(row, 11)?,
            account: column(row, 12)?,
            // Nothing that delivery depends on: one that cannot be read is none.
            traceparent: column::<Option<String>>(row, 13)
                .ok()
                .flatten()
                .and_then(|text| TraceContext::parse(&text)),
            message_id: column(row, 14).ok().flatten(),
        },
    })
}

/// A recipient, for delivery: right or not at all.
pub(super) fn recipient(row: &Row<'_>) -> Readable<Recipient> {
    let notify: Option<i64> = column(row, 2)?;
    let notify = notify.map(stored::notify);
    let orcpt: Option<String> = column(row, 3)?;
    let orcpt = orcpt.map(|text| stored::orcpt(&text));
    Ok(Recipient {
        index: column(row, 0)?,
        address: address(&column::<String>(row, 1)?)?,
        notify: notify.transpose()?,
        orcpt: orcpt.transpose()?,
        state: state(row, 4)?,
        attempts: column(row, 5)?,
        due: timestamp(row, 6)?,
        delay_notified: column(row, 7)?,
        last_result: column(row, 8)?,
        parked: column(row, 10)?,
    })
}

/// A recipient, for people: what cannot be read is shown as `unreadable@invalid`, with its text.
pub(super) fn recipient_lenient(row: &Row<'_>) -> Readable<Recipient> {
    recipient(row).or_else(|reason| {
        Ok(Recipient {
            index: column(row, 0)?,
            address: address("unreadable@invalid")?,
            notify: None,
            orcpt: None,
            state: state(row, 4).unwrap_or(State::Quarantined),
            attempts: column(row, 5).unwrap_or(0),
            due: timestamp(row, 6).unwrap_or_default(),
            delay_notified: column(row, 7).unwrap_or(false),
            last_result: Some(format!("{reason}; {}", lossy(row, 8))),
            parked: column(row, 10).unwrap_or(false),
        })
    })
}

pub(super) fn epoch(row: &Row<'_>) -> Readable<i64> {
    column(row, 9)
}
