//! The audit chain in Postgres: appending, queueing, listing. Nothing here changes or removes a record; the database refuses that too.

use crate::domain::audit::{Actor, Code};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::PgConnection;

/// Where a record ended up.
#[derive(Clone, Debug)]
pub struct Appended {
    pub seq: i64,
    pub at: DateTime<Utc>,
    pub hash: Vec<u8>,
}

/// One record as stored.
#[derive(Clone, Debug)]
pub struct Record {
    pub seq: i64,
    pub at: DateTime<Utc>,
    pub code: String,
    pub actor: String,
    pub target: Option<String>,
    pub scope: Option<String>,
    pub canonical: Vec<u8>,
    pub prev: Vec<u8>,
    pub hash: Vec<u8>,
}

/// Where the chain ends, by its own head row.
#[derive(Clone, Debug)]
pub struct Head {
    pub seq: i64,
    pub at: DateTime<Utc>,
    pub hash: Vec<u8>,
}

/// Which records to list; what is `None` does not narrow.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub actor: Option<String>,
    /// A code, or with a dot at its end all that begin with it (`flush.`).
    pub code: Option<String>,
    pub target: Option<String>,
    /// Any part of the scope's text.
    pub scope: Option<String>,
    /// Only what tells of this flush.
    pub flush: Option<i64>,
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
}

/// Appends one record. Has to be the last statement of the caller's transaction: from here to its commit nobody else can append.
///
/// `body` has to serialize to an object; `actor…` are added to it. Its fields `target` and `scope`, where they are texts, make the record
/// findable by them. Never put passwords, tokens or cached values into it.
pub async fn append(conn: &mut PgConnection, code: Code, actor: &Actor, body: &impl Serialize) -> Result<Appended, sqlx::Error> {
    append_canonical(conn, code.as_str(), &canonical(actor, body)?).await
}

/// Appends a record whose canonical bytes are already made.
async fn append_canonical(conn: &mut PgConnection, code: &str, canonical: &[u8]) -> Result<Appended, sqlx::Error> {
    sqlx::query_as!(Appended, r#"SELECT seq AS "seq!", at AS "at!", hash AS "hash!" FROM audit.append($1, $2)"#, code, canonical)
        .fetch_one(conn)
        .await
}

/// Puts a record aside in the caller's transaction, for [`move_queued`] to append: for acts that may not wait for the chain.
pub async fn queue(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    code: Code,
    actor: &Actor,
    body: &impl Serialize,
) -> Result<(), sqlx::Error> {
    let record = canonical(actor, body)?;
    sqlx::query!("INSERT INTO control.audit_queue (queued_at, code, record) VALUES ($1, $2, $3)", now, code.as_str(), record)
        .execute(conn)
        .await?;
    Ok(())
}

/// Moves the oldest queued record into the chain; false when none waits. The caller's transaction should hold nothing else.
pub async fn move_queued(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let next = sqlx::query!(
        "DELETE FROM control.audit_queue WHERE id = (SELECT id FROM control.audit_queue ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING code, record"
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(next) = next else { return Ok(false) };
    append_canonical(conn, &next.code, &next.record).await?;
    Ok(true)
}

/// The head row.
pub async fn find_head(conn: &mut PgConnection) -> Result<Option<Head>, sqlx::Error> {
    sqlx::query_as!(Head, "SELECT seq, at, hash FROM audit.head").fetch_optional(conn).await
}

/// The hash of one record.
pub async fn find_hash(conn: &mut PgConnection, seq: i64) -> Result<Option<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar!("SELECT hash FROM audit.log WHERE seq = $1", seq).fetch_optional(conn).await
}

/// One record by its number.
pub async fn find(conn: &mut PgConnection, seq: i64) -> Result<Option<Record>, sqlx::Error> {
    sqlx::query_as!(Record, "SELECT seq, at, code, actor, target, scope, canonical, prev, hash FROM audit.log WHERE seq = $1", seq)
        .fetch_optional(conn)
        .await
}

/// The latest record of that code.
pub async fn find_last(conn: &mut PgConnection, code: Code) -> Result<Option<Record>, sqlx::Error> {
    sqlx::query_as!(
        Record,
        "SELECT seq, at, code, actor, target, scope, canonical, prev, hash FROM audit.log WHERE code = $1 ORDER BY seq DESC LIMIT 1",
        code.as_str()
    )
    .fetch_optional(conn)
    .await
}

/// At most `limit` records with numbers over `after`, oldest first: the order of verification and exports.
pub async fn list_after(conn: &mut PgConnection, filter: &Filter, after: i64, limit: i64) -> Result<Vec<Record>, sqlx::Error> {
    if let Some(flush) = filter.flush {
        return list_flush(conn, flush, filter, after, limit).await;
    }
    sqlx::query_as!(
        Record,
        "SELECT seq, at, code, actor, target, scope, canonical, prev, hash FROM audit.log
         WHERE seq > $1
           AND ($3::text IS NULL OR actor = $3)
           AND ($4::text IS NULL OR code = $4 OR (right($4, 1) = '.' AND starts_with(code, $4)))
           AND ($5::text IS NULL OR target = $5)
           AND ($6::text IS NULL OR strpos(scope, $6) > 0)
           AND ($7::timestamptz IS NULL OR at >= $7)
           AND ($8::timestamptz IS NULL OR at < $8)
         ORDER BY seq LIMIT $2",
        after,
        limit,
        filter.actor,
        filter.code,
        filter.target,
        filter.scope,
        filter.from,
        filter.to
    )
    .fetch_all(conn)
    .await
}

/// As [`list_after`], of one flush: by the index that holds which flush a record tells of.
async fn list_flush(conn: &mut PgConnection, flush: i64, filter: &Filter, after: i64, limit: i64) -> Result<Vec<Record>, sqlx::Error> {
    sqlx::query_as!(
        Record,
        r#"SELECT seq, at, code, actor, target, scope, canonical, prev, hash FROM audit.log
         WHERE substring(encode(canonical, 'escape') FROM '[{,]"flush":([0-9]{1,18})[,}]') = $9::bigint::text
           AND seq > $1
           AND ($3::text IS NULL OR actor = $3)
           AND ($4::text IS NULL OR code = $4 OR (right($4, 1) = '.' AND starts_with(code, $4)))
           AND ($5::text IS NULL OR target = $5)
           AND ($6::text IS NULL OR strpos(scope, $6) > 0)
           AND ($7::timestamptz IS NULL OR at >= $7)
           AND ($8::timestamptz IS NULL OR at < $8)
         ORDER BY seq LIMIT $2"#,
        after,
        limit,
        filter.actor,
        filter.code,
        filter.target,
        filter.scope,
        filter.from,
        filter.to,
        flush
    )
    .fetch_all(conn)
    .await
}

/// At most `limit` records with numbers under `before`, newest first: the order of the page. Not for one flush, whose story is told forwards.
pub async fn list_before(conn: &mut PgConnection, filter: &Filter, before: i64, limit: i64) -> Result<Vec<Record>, sqlx::Error> {
    sqlx::query_as!(
        Record,
        "SELECT seq, at, code, actor, target, scope, canonical, prev, hash FROM audit.log
         WHERE seq < $1
           AND ($3::text IS NULL OR actor = $3)
           AND ($4::text IS NULL OR code = $4 OR (right($4, 1) = '.' AND starts_with(code, $4)))
           AND ($5::text IS NULL OR target = $5)
           AND ($6::text IS NULL OR strpos(scope, $6) > 0)
           AND ($7::timestamptz IS NULL OR at >= $7)
           AND ($8::timestamptz IS NULL OR at < $8)
         ORDER BY seq DESC LIMIT $2",
        before,
        limit,
        filter.actor,
        filter.code,
        filter.target,
        filter.scope,
        filter.from,
        filter.to
    )
    .fetch_all(conn)
    .await
}

/// Everybody who appears in the record, by name.
pub async fn list_actors(conn: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    // A walk along the index, one step per name: DISTINCT would read every record.
    sqlx::query_scalar!(
        r#"WITH RECURSIVE names AS (
               (SELECT actor FROM audit.log ORDER BY actor LIMIT 1)
               UNION ALL
               SELECT (SELECT l.actor FROM audit.log l WHERE l.actor > names.actor ORDER BY l.actor LIMIT 1) FROM names WHERE names.actor IS NOT NULL
           )
           SELECT actor AS "actor!" FROM names WHERE actor IS NOT NULL"#
    )
    .fetch_all(conn)
    .await
}

/// What is hashed: RFC 8785 JSON of `body` with the actor's fields beside.
fn canonical(actor: &Actor, body: &impl Serialize) -> Result<Vec<u8>, sqlx::Error> {
    let encode = |error: serde_json::Error| sqlx::Error::Encode(Box::new(error));
    let mut record = match serde_json::to_value(body).map_err(encode)? {
        Value::Object(fields) => fields,
        Value::Null => Map::new(),
        other => Map::from_iter([("detail".to_owned(), other)]),
    };
    record.insert("actor".to_owned(), actor.name().into());
    match actor {
        Actor::User { id, role, .. } => {
            record.insert("actor_id".to_owned(), (*id).into());
            record.insert("actor_role".to_owned(), role.as_str().into());
        }
        Actor::CommandLine { uid } => {
            record.insert("actor_uid".to_owned(), (*uid).into());
        }
        Actor::System => {}
    }
    let mut record = Value::Object(record);
    without_nul(&mut record);
    serde_json_canonicalizer::to_vec(&record).map_err(encode)
}

/// Postgres cannot take U+0000 in a JSON text; the replacement character stands for it.
fn without_nul(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = text.replace('\0', "\u{fffd}"),
        Value::Array(items) => items.iter_mut().for_each(without_nul),
        Value::Object(fields) => fields.values_mut().for_each(without_nul),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::operator::Role;
    use serde_json::json;

    #[test]
    fn the_canonical_form_is_sorted_and_names_the_actor() {
        let actor = Actor::User { id: 7, email: "mara@example.com".into(), role: Role::Operator };
        let bytes = canonical(&actor, &json!({"target": "main", "count": 3})).unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            r#"{"actor":"mara@example.com","actor_id":7,"actor_role":"operator","count":3,"target":"main"}"#
        );
    }

    #[test]
    fn nul_never_reaches_postgres() {
        let bytes = canonical(&Actor::System, &json!({"reason": "a\u{0}b"})).unwrap();
        assert!(String::from_utf8(bytes).unwrap().contains("a\u{fffd}b"));
    }
}
