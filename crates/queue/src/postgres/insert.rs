//! Storing a message: its row, its content, its recipients, in one transaction.

use super::error::Error;
use super::filter::plain;
use super::outbox;
use super::{Transaction, query_one, run};
use crate::message::{Beginning, Body, NewMessage, State};
use crate::store::StoreError;
use crate::stored;
use tokio::io::AsyncReadExt;
use uuid::Uuid;

/// Octets of a piece of a content.
const PIECE: usize = 256 << 10;

/// Writes all rows of a message; gives its key.
pub(super) async fn insert(
    t: &Transaction<'_>,
    server: Uuid,
    message: &NewMessage,
    beginning: &Beginning,
) -> Result<i64, StoreError> {
    if message.recipients.is_empty() {
        let text = format!("message {} has no recipients", message.id);
        return Err(StoreError::Unavailable(text));
    }
    let key = insert_message(t, message).await?;
    insert_body(t, key, &message.body).await?;
    insert_recipients(t, server, key, message, beginning).await?;
    if let Beginning::Deferred(deferrals) = beginning {
        let calls: Vec<_> = deferrals.iter().flat_map(|deferral| &deferral.calls).collect();
        outbox::insert(t, &calls).await?;
    }
    Ok(key)
}

async fn insert_message(t: &Transaction<'_>, message: &NewMessage) -> Result<i64, Error> {
    let options = &message.options;
    let sender = message.sender.as_ref().map_or("", |sender| sender.as_str());
    let row = query_one(
        t,
        "INSERT INTO messages (id, received_at, sender, size, body_type, smtputf8, has_8bit, header_8bit, ret, envid, origin,
                               account, traceparent, message_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) RETURNING key",
        &[
            &message.id.to_bytes().as_slice(),
            &message.received_at.as_millisecond(),
            &plain(sender),
            &i64::try_from(message.body.size()).unwrap_or(i64::MAX),
            &i16::from(stored::body_type_number(options.body_type)),
            &options.smtputf8,
            &options.has_8bit,
            &options.header_8bit,
            &options.ret.map(|ret| i16::from(stored::ret_number(ret))),
            &options.envid.as_deref().map(plain),
            &plain(&options.origin),
            &options.account.as_deref().map(plain),
            &options.traceparent.map(|context| context.to_string()),
            &options.message_id.as_deref().map(plain),
        ],
    )
    .await?;
    row.try_get(0)
}

/// In pieces, so that a large one is never held whole.
async fn insert_body(t: &Transaction<'_>, key: i64, body: &Body) -> Result<(), StoreError> {
    let sql = "INSERT INTO bodies (message, number, content) VALUES ($1, $2, $3)";
    match body {
        Body::Memory(octets) => {
            run(t, sql, &[&key, &0_i32, &&octets[..]]).await?;
        }
        Body::File { path, .. } => {
            let unreadable =
                |error: std::io::Error| StoreError::Unavailable(format!("{}: {error}", path.display()));
            let mut file = tokio::fs::File::open(path).await.map_err(unreadable)?;
            let (mut piece, mut number) = (Vec::with_capacity(PIECE), 0_i32);
            loop {
                piece.clear();
                let mut next = (&mut file).take(PIECE as u64);
                if next.read_to_end(&mut piece).await.map_err(unreadable)? == 0 {
                    break;
                }
                run(t, sql, &[&key, &number, &piece.as_slice()]).await?;
                number += 1;
            }
        }
    }
    Ok(())
}

async fn insert_recipients(
    t: &Transaction<'_>,
    server: Uuid,
    key: i64,
    message: &NewMessage,
    beginning: &Beginning,
) -> Result<(), Error> {
    let count = message.recipients.len();
    let received = message.received_at.as_millisecond();
    let (state, epoch, attempts, parked, owner) = match beginning {
        Beginning::Due => (State::Queued, 0_i64, 0_i32, false, None),
        Beginning::Leased(_) => (State::Leased, 1, 0, false, Some(server)),
        Beginning::Deferred(_) => (State::Deferred, 0, 1, false, None),
        Beginning::Parked(_) => (State::Queued, 0, 0, true, None),
    };
    let due: Vec<i64> = match beginning {
        Beginning::Due => vec![received; count],
        Beginning::Leased(until) | Beginning::Parked(until) => vec![until.as_millisecond(); count],
        Beginning::Deferred(deferrals) => deferrals.iter().map(|one| one.due.as_millisecond()).collect(),
    };
    let results: Vec<Option<String>> = match beginning {
        Beginning::Deferred(deferrals) => deferrals.iter().map(|one| Some(plain(&one.text))).collect(),
        _ => vec![None; count],
    };
    let of = |each: fn(&crate::message::NewRecipient) -> Option<String>| -> Vec<Option<String>> {
        message.recipients.iter().map(each).collect()
    };
    let addresses = of(|one| Some(one.address.as_str().to_owned()));
    let domains = of(|one| Some(one.address.domain().to_lowercase()));
    let orcpts = of(|one| one.orcpt.as_ref().map(|orcpt| plain(orcpt.as_str())));
    let notifies: Vec<Option<i16>> = message
        .recipients
        .iter()
        .map(|one| one.notify.map(|notify| notify.bits().into()))
        .collect();
    run(
        t,
        "INSERT INTO recipients (message, idx, address, domain, notify, orcpt, state, attempts, due, epoch, owner, delay_notified,
                                 last_result, parked)
         SELECT $1, (place - 1)::integer, address, domain, notify, orcpt, $2, $3, due, $4, $5, false, result, $6
         FROM unnest($7::text[], $8::text[], $9::smallint[], $10::text[], $11::bigint[], $12::text[]) WITH ORDINALITY
              AS given (address, domain, notify, orcpt, due, result, place)",
        &[
            &key, &(state as i16), &attempts, &epoch, &owner, &parked, &addresses, &domains, &notifies, &orcpts, &due, &results,
        ],
    )
    .await?;
    Ok(())
}
