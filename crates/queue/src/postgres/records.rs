//! What operators did and by what they are known: the audit trail, tokens, suspensions.

use super::client::{Client, query, query_one, run};
use super::error::Error;
use super::filter::plain;
use super::hints::{self, Hint};
use super::row::about;
use crate::limits;
use crate::operator::{ApiToken, AuditRecord, Suspension, SuspensionKind, TokenAdded};
use crate::parking::{PORTION, Parked, Parking, Place};
use crate::store::StoreError;
use crate::stored;
use async_trait::async_trait;
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

pub(super) async fn audit(db: &Client, one: &AuditRecord) -> Result<(), Error> {
    db.change(|| audit_once(db, one)).await
}

async fn audit_once(t: &Client, one: &AuditRecord) -> Result<(), Error> {
    let row = query_one(
        t,
        "INSERT INTO audit (at, who, peer, action, target, touched, before, after)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING number",
        &[
            &one.at.as_millisecond(),
            &plain(&one.who),
            &plain(&one.peer),
            &plain(&one.action),
            &plain(&one.target),
            &i64::try_from(one.touched).unwrap_or(i64::MAX),
            &one.before.as_deref().map(plain),
            &one.after.as_deref().map(plain),
        ],
    )
    .await?;
    let oldest = row.get::<_, i64>(0) - limits::AUDITED;
    run(t, "DELETE FROM audit WHERE number <= $1", &[&oldest]).await?;
    Ok(())
}

pub(super) async fn audited(
    db: &Client,
    before: Option<i64>,
    limit: usize,
) -> Result<Vec<AuditRecord>, Error> {
    let rows = query(
        db,
        "SELECT number, at, who, peer, action, target, touched, before, after FROM audit
         WHERE number < $1 ORDER BY number DESC LIMIT $2",
        &[
            &before.unwrap_or(i64::MAX),
            &(limit.min(limits::AUDITED_PAGE) as i64),
        ],
    )
    .await?;
    let record = |row: &Row| AuditRecord {
        number: row.get(0),
        at: about(row.get(1)),
        who: row.get(2),
        peer: row.get(3),
        action: row.get(4),
        target: row.get(5),
        touched: row.get::<_, i64>(6).unsigned_abs(),
        before: row.get(7),
        after: row.get(8),
    };
    Ok(rows.iter().map(record).collect())
}

pub(super) async fn add_token(db: &Client, one: &ApiToken) -> Result<TokenAdded, Error> {
    db.change(|| add_token_once(db, one)).await
}

async fn add_token_once(t: &Client, one: &ApiToken) -> Result<TokenAdded, Error> {
    // One at a time, so that they are counted right.
    run(t, "LOCK TABLE api_tokens IN SHARE ROW EXCLUSIVE MODE", &[]).await?;
    let added = run(
        t,
        "INSERT INTO api_tokens (name, hash, scope, created, created_by, expires)
         SELECT $1::text, $2::bytea, $3::text, $4::bigint, $5::text, $6::bigint WHERE (SELECT count(*) FROM api_tokens) < $7
         ON CONFLICT (name) DO NOTHING",
        &[
            &plain(&one.name),
            &one.hash.as_slice(),
            &one.scope,
            &one.created.as_millisecond(),
            &plain(&one.created_by),
            &one.expires.map(Timestamp::as_millisecond),
            &limits::TOKENS,
        ],
    )
    .await?;
    if added > 0 {
        return Ok(TokenAdded::Added);
    }
    let same = query(
        t,
        "SELECT 1 FROM api_tokens WHERE name = $1",
        &[&plain(&one.name)],
    )
    .await?;
    Ok(match same.is_empty() {
        false => TokenAdded::Exists,
        true => TokenAdded::TooMany,
    })
}

pub(super) async fn remove_token(db: &Client, name: &str) -> Result<bool, Error> {
    let (sql, name) = ("DELETE FROM api_tokens WHERE name = $1", plain(name));
    let remove = || async { run(db, sql, &[&name]).await };
    Ok(db.change(remove).await? > 0)
}

pub(super) async fn tokens(db: &Client) -> Result<Vec<ApiToken>, Error> {
    let sql =
        "SELECT name, hash, scope, created, created_by, expires FROM api_tokens ORDER BY name COLLATE \"C\"";
    let rows = query(db, sql, &[]).await?;
    // One whose hash makes no sense opens nothing.
    let token = |row: &Row| {
        Some(ApiToken {
            name: row.get(0),
            hash: row.get::<_, &[u8]>(1).try_into().ok()?,
            scope: row.get(2),
            created: about(row.get(3)),
            created_by: row.get(4),
            expires: row.get::<_, Option<i64>>(5).map(about),
        })
    };
    Ok(rows.iter().filter_map(token).collect())
}

pub(super) async fn suspend(db: &Client, one: &Suspension) -> Result<bool, Error> {
    db.change(|| suspend_once(db, one)).await
}

async fn suspend_once(t: &Client, one: &Suspension) -> Result<bool, Error> {
    run(t, "LOCK TABLE suspensions IN SHARE ROW EXCLUSIVE MODE", &[]).await?;
    let inserted = run(
        t,
        "INSERT INTO suspensions (kind, name, reason, who, since, until)
         SELECT $1::text, $2::text, $3::text, $4::text, $5::bigint, $6::bigint WHERE (SELECT count(*) FROM suspensions) < $7
            OR EXISTS (SELECT 1 FROM suspensions WHERE kind = $1 AND name = $2)
         ON CONFLICT (kind, name) DO UPDATE SET reason = $3, who = $4, since = $5, until = $6",
        &[
            &one.kind.name(),
            &plain(&one.name),
            &plain(&one.reason),
            &plain(&one.who),
            &one.since.as_millisecond(),
            &one.until.map(Timestamp::as_millisecond),
            &limits::SUSPENSIONS,
        ],
    )
    .await?;
    suspensions_changed(t).await?;
    Ok(inserted > 0)
}

/// The other servers see that there is something to be read.
async fn suspensions_changed(t: &Client) -> Result<(), Error> {
    run(
        t,
        "UPDATE signals SET number = number + 1 WHERE name = 'suspensions'",
        &[],
    )
    .await?;
    Ok(())
}

pub(super) async fn suspensions(db: &Client) -> Result<Vec<Suspension>, Error> {
    let sql = "SELECT kind, name, reason, who, since, until FROM suspensions ORDER BY kind COLLATE \"C\", name COLLATE \"C\"";
    let rows = query(db, sql, &[]).await?;
    let suspension = |row: &Row| {
        Some(Suspension {
            kind: SuspensionKind::parse(row.get(0))?,
            name: row.get(1),
            reason: row.get(2),
            who: row.get(3),
            since: about(row.get(4)),
            until: row.get::<_, Option<i64>>(5).map(about),
        })
    };
    Ok(rows.iter().filter_map(suspension).collect())
}

/// What suspensions keep waiting, by one connection.
pub(super) struct Parks {
    pub(super) client: Client,
    /// Who tells the others.
    pub(super) me: Uuid,
}

#[async_trait]
impl Parking for Parks {
    async fn all(&self) -> Result<Vec<Suspension>, StoreError> {
        Ok(suspensions(&self.client).await?)
    }

    async fn end(&self, kind: SuspensionKind, name: &str) -> Result<bool, StoreError> {
        let (t, kind, name) = (&self.client, kind.name(), plain(name));
        let end = || async {
            let sql = "DELETE FROM suspensions WHERE kind = $1 AND name = $2";
            let ended = run(t, sql, &[&kind, &name]).await? > 0;
            if ended {
                suspensions_changed(t).await?;
            }
            Ok(ended)
        };
        let ended = t.change(end).await?;
        if ended {
            hints::say(&self.client, self.me, Hint::Suspensions).await;
        }
        Ok(ended)
    }

    async fn next_parked(&self, after: Place) -> Result<Vec<Parked>, StoreError> {
        let rows = query(
            &self.client,
            "SELECT r.message, r.idx, r.domain, m.sender, m.account FROM recipients AS r JOIN messages AS m ON m.key = r.message
             WHERE r.parked AND (r.message, r.idx) > ($1, $2) ORDER BY r.message, r.idx LIMIT $3",
            &[&after.0, &after.1, &(PORTION as i64)],
        )
        .await?;
        let parked = |row: &Row| Parked {
            place: (row.get(0), row.get(1)),
            domain: row.get(2),
            sender: stored::address(row.get(3)).ok(),
            account: row.get(4),
        };
        Ok(rows.iter().map(parked).collect())
    }

    async fn let_go(&self, places: Vec<Place>, now: Timestamp) -> Result<u64, StoreError> {
        let (messages, indices): (Vec<i64>, Vec<i32>) = places.into_iter().unzip();
        let now = now.as_millisecond();
        let sql = "UPDATE recipients AS r SET parked = false, due = $3 FROM unnest($1::bigint[], $2::integer[]) AS given (message, idx)
             WHERE r.message = given.message AND r.idx = given.idx AND r.parked";
        let let_go = || async { run(&self.client, sql, &[&messages, &indices, &now]).await };
        let touched = self.client.change_by_keys(let_go).await?;
        if touched > 0 {
            hints::say(&self.client, self.me, Hint::Due).await;
        }
        Ok(touched)
    }
}
