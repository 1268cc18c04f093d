//! Separated roles in Postgres: who owns the audit record is nobody who can sign in, and the server's role may read it and append to it.
//!
//! `stalewatch_audit` owns the schema `audit`. Whoever migrates owns `control`; the server's role changes rows there and nothing else. It owns
//! `events`, whose days it makes and drops while it runs.

use std::str::FromStr as _;

use percent_encoding::percent_decode_str;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

/// The server's role, made if it is missing.
#[derive(Clone)]
pub struct ServerRole {
    name: String,
    password: Option<String>,
}

impl ServerRole {
    /// As a connection string names it.
    pub fn of(url: &str) -> Result<Self, sqlx::Error> {
        let name = PgConnectOptions::from_str(url)?.get_username().to_owned();
        // `postgres://NAME:PASSWORD@…`; a password that comes from elsewhere belongs to a role that is there.
        let authority = url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
        let password = authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')).map(|(_, password)| password);
        Ok(Self { name, password: password.map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned()) })
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

/// When in the course of bringing the schema up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// `control` and `audit` are there; `events` may have to be made by the server's role.
    BeforeEvents,
    /// All is there.
    AfterEvents,
}

/// Gives everything to whom it belongs, as the role of `migration_url`, which may create roles and own what is there: a superuser, most simply.
/// May be done again and by several at once.
pub async fn separate(migration_url: &str, server: &ServerRole, events_are_here: bool, moment: Moment) -> Result<(), sqlx::Error> {
    let options = PgConnectOptions::from_str(migration_url)?.application_name("stalewatch roles");
    let mut conn = PgConnection::connect_with(&options.disable_statement_logging()).await?;
    let mut tx = conn.begin().await?;
    sqlx::query(
        "SELECT pg_advisory_xact_lock(hashtext('stalewatch roles')), set_config('stalewatch.app', $1, true),
                set_config('stalewatch.secret', $2, true), set_config('stalewatch.events', $3, true), set_config('stalewatch.first', $4, true)",
    )
    .bind(&server.name)
    .bind(server.password.as_deref().unwrap_or_default())
    .bind(events_are_here.to_string())
    .bind((moment == Moment::BeforeEvents).to_string())
    .execute(&mut *tx)
    .await?;
    sqlx::raw_sql(include_str!("roles.sql")).execute(&mut *tx).await?;
    tx.commit().await?;
    conn.close().await
}

/// Whether `stalewatch_audit` owns the record there already, so that what a migration adds has to be given to whom it belongs.
pub async fn are_separated(migration_url: &str) -> Result<bool, sqlx::Error> {
    let mut conn = super::migrations::connect(migration_url).await?;
    let separated = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'audit' AND nspowner = to_regrole('stalewatch_audit'))",
    )
    .fetch_one(&mut conn)
    .await?;
    conn.close().await?;
    Ok(separated)
}

/// What of the connection's own role would let it rewrite the record, as the end of a sentence; `None` where nothing does.
pub async fn why_not_separated(conn: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "WITH mine AS (SELECT oid, rolname, rolsuper, rolcreaterole FROM pg_roles WHERE pg_has_role(oid, 'MEMBER'))
         SELECT CASE
             WHEN EXISTS (SELECT FROM mine WHERE rolsuper) THEN 'is a superuser'
             WHEN EXISTS (SELECT FROM mine WHERE rolcreaterole) THEN 'may create roles, and so become any'
             WHEN EXISTS (SELECT FROM mine JOIN pg_namespace n ON n.nspowner = mine.oid WHERE n.nspname = 'audit')
               OR EXISTS (SELECT FROM mine JOIN pg_class c ON c.relowner = mine.oid WHERE c.relnamespace = 'audit'::regnamespace)
               OR EXISTS (SELECT FROM mine JOIN pg_proc p ON p.proowner = mine.oid WHERE p.pronamespace = 'audit'::regnamespace)
                 THEN 'owns the audit schema'
             WHEN EXISTS (SELECT FROM mine JOIN pg_database d ON d.datdba = mine.oid WHERE d.datname = current_database())
                 THEN 'owns the database'
             WHEN EXISTS (SELECT FROM mine WHERE rolname IN ('pg_write_server_files', 'pg_execute_server_program'))
                 THEN 'may write files of the database server'
             WHEN has_schema_privilege('audit', 'CREATE')
               OR has_table_privilege('audit.log', 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')
               OR has_table_privilege('audit.head', 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')
               OR has_any_column_privilege('audit.log', 'INSERT, UPDATE')
               OR has_any_column_privilege('audit.head', 'INSERT, UPDATE')
                 THEN 'may write to the audit tables'
         END"
    )
    .fetch_one(conn)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_read_from_its_connection_string() {
        for (url, name, password) in [
            ("postgres://stalewatch:s%40cr%3Aet@db.internal:5432/stalewatch", "stalewatch", Some("s@cr:et")),
            ("postgresql://app@%2Fvar%2Frun%2Fpostgresql/stalewatch", "app", None),
            ("postgres://app:x@h/d?application_name=a:b@c", "app", Some("x")),
        ] {
            let role = ServerRole::of(url).unwrap();
            assert_eq!((role.name(), role.password.as_deref()), (name, password), "{url}");
        }
    }
}
