//! Separated roles: what the server's role in Postgres can do to the audit record, and how roles come apart.

use crate::audit::whole_sight;
use crate::support::TestDatabase;
use crate::world::World;
use chrono::NaiveDate;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use stalewatch::domain::audit::{Actor, Code, Verdict};
use stalewatch::domain::operator::Role;
use stalewatch::server::run::Databases;
use stalewatch::server::service::audit::{self, verify};
use stalewatch::server::store::events::raw;
use stalewatch::server::store::{audit as store, roles};

async fn append(conn: &mut PgConnection, n: i64) -> Result<i64, sqlx::Error> {
    let mut tx = conn.begin().await?;
    let body = json!({"n": n, "target": "main", "scope": "user:{id}:profile"});
    let appended = store::append(&mut tx, Code::FlushPlanned, &Actor::System, &body).await?;
    tx.commit().await?;
    Ok(appended.seq)
}

/// Every way to change the record that one can think of.
const TAMPERING: &[&str] = &[
    "UPDATE audit.log SET actor = 'someone' WHERE seq = 2",
    "DELETE FROM audit.log WHERE seq = 2",
    "TRUNCATE audit.log",
    "INSERT INTO audit.log SELECT seq + 100, at, code, actor, target, scope, canonical, sha256(prev), hash FROM audit.log WHERE seq = 1",
    "COPY audit.log FROM PROGRAM 'true'",
    "COPY audit.log (seq) FROM STDIN",
    "COPY (SELECT 1) TO '/tmp/stalewatch-never'",
    "MERGE INTO audit.log l USING (SELECT 2 AS seq) s ON l.seq = s.seq WHEN MATCHED THEN DELETE",
    "UPDATE audit.head SET seq = 0",
    "DELETE FROM audit.head",
    "TRUNCATE audit.head",
    "INSERT INTO audit.head VALUES (false, 0, now(), sha256(''))",
    "SELECT * FROM audit.head FOR UPDATE",
    "BEGIN; LOCK TABLE audit.log IN ACCESS EXCLUSIVE MODE",
    "ALTER TABLE audit.log DISABLE TRIGGER ALL",
    "ALTER TABLE audit.log DISABLE TRIGGER log_no_change",
    "DROP TRIGGER log_no_change ON audit.log",
    "CREATE TRIGGER mine BEFORE INSERT ON audit.log FOR EACH ROW EXECUTE FUNCTION audit.refuse()",
    "CREATE RULE mine AS ON INSERT TO audit.log DO INSTEAD NOTHING",
    "ALTER TABLE audit.log DROP COLUMN canonical",
    "ALTER TABLE audit.log RENAME TO gone",
    "ALTER TABLE audit.log SET SCHEMA events",
    "ALTER TABLE audit.log OWNER TO CURRENT_USER",
    "ALTER TABLE audit.log ENABLE ROW LEVEL SECURITY",
    "CREATE TABLE events.child () INHERITS (audit.log)",
    "DROP TABLE audit.log",
    "DROP INDEX audit.log_at",
    "DROP SCHEMA audit CASCADE",
    "ALTER SCHEMA audit RENAME TO old",
    "ALTER SCHEMA audit OWNER TO CURRENT_USER",
    "CREATE TABLE audit.mine (id int)",
    "CREATE VIEW audit.mine AS SELECT 1",
    "CREATE FUNCTION audit.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION audit.framed(part bytea) RETURNS bytea LANGUAGE sql AS 'SELECT part'",
    "CREATE OR REPLACE FUNCTION audit.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "DROP FUNCTION audit.append(text, bytea)",
    "ALTER FUNCTION audit.append(text, bytea) RESET search_path",
    "ALTER FUNCTION audit.append(text, bytea) SECURITY INVOKER",
    "ALTER FUNCTION audit.append(text, bytea) OWNER TO CURRENT_USER",
    "SELECT audit.framed('x')",
    "SET ROLE stalewatch_audit",
    "SET ROLE stalewatch_admin",
    "SET SESSION AUTHORIZATION stalewatch_audit",
    "GRANT stalewatch_audit TO CURRENT_USER",
    "CREATE ROLE another SUPERUSER",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "SET session_replication_role = replica",
    "ALTER SYSTEM SET fsync = off",
    "CREATE SCHEMA mine",
    "CREATE TABLE public.mine (id int)",
    "CREATE TABLE control.mine (id int)",
    "ALTER TABLE control.flushes DROP CONSTRAINT flushes_check",
    "CREATE TRIGGER mine BEFORE INSERT ON control.flushes FOR EACH ROW EXECUTE FUNCTION audit.refuse()",
    "TRUNCATE control.flushes",
    "DELETE FROM _sqlx_migrations",
    "UPDATE pg_catalog.pg_trigger SET tgenabled = 'D'",
    "UPDATE pg_catalog.pg_proc SET prosrc = ''",
];

#[tokio::test]
async fn the_servers_role_is_refused_every_way_to_change_the_record_and_still_appends() {
    let world = World::new().await;
    let mut conn = PgConnection::connect(&world.database.url).await.unwrap();
    for n in 1..=3 {
        append(&mut conn, n).await.unwrap();
    }
    assert_eq!(roles::why_not_separated(&mut conn).await.unwrap(), None);
    let mut otherwise = Vec::new();
    for sql in TAMPERING {
        let refused = conn.execute(*sql).await.expect_err(sql);
        // 42501 insufficient_privilege: not that something is missing or misspelled.
        let code = refused.as_database_error().and_then(|error| error.code().map(std::borrow::Cow::into_owned));
        if code.as_deref() != Some("42501") {
            otherwise.push(format!("{sql}: {refused}"));
        }
        conn.execute("ROLLBACK").await.unwrap();
    }
    assert!(otherwise.is_empty(), "{otherwise:#?}");
    // Postgres only warns of this one, and gives nothing.
    conn.execute("GRANT UPDATE ON audit.log TO CURRENT_USER").await.unwrap();
    assert!(conn.execute("UPDATE audit.log SET actor = 'someone'").await.is_err());
    let other = world.database.name.clone();
    let mut beside = PgConnection::connect(&world.database.url.replace(&format!("/{other}"), "/postgres")).await.unwrap();
    let refused = beside.execute(AssertSqlSafe(format!("DROP DATABASE {other}"))).await.unwrap_err();
    assert!(refused.to_string().contains("must be owner"), "{refused}");
    assert_eq!(append(&mut conn, 4).await.unwrap(), 4);
    let found = verify(world.pool(), &world.data_dir).await;
    assert_eq!((found.verdict, found.records), (Verdict::Whole, 4), "{}", found.detail);
}

#[tokio::test]
async fn what_the_servers_role_puts_in_the_way_does_not_reach_the_function() {
    let world = World::new().await;
    let mut conn = PgConnection::connect(&world.database.url).await.unwrap();
    for sql in [
        "CREATE FUNCTION pg_temp.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$ SELECT decode(repeat('00', 32), 'hex') $$",
        "CREATE FUNCTION pg_temp.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT '1999-01-01Z'::timestamptz $$",
        "CREATE FUNCTION pg_temp.framed(bytea) RETURNS bytea LANGUAGE sql AS $$ SELECT ''::bytea $$",
        "CREATE FUNCTION pg_temp.int8send(bigint) RETURNS bytea LANGUAGE sql AS $$ SELECT ''::bytea $$",
        "CREATE TEMP TABLE head (seq bigint, at timestamptz, hash bytea)",
        "CREATE TEMP TABLE log (LIKE audit.log)",
        "CREATE FUNCTION events.greatest(timestamptz, timestamptz) RETURNS timestamptz LANGUAGE sql AS 'SELECT $1'",
        "CREATE FUNCTION events.join_bytes(bytea, bytea) RETURNS bytea LANGUAGE sql AS 'SELECT $1'",
        "CREATE OPERATOR events.|| (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = events.join_bytes)",
        "SET search_path = pg_temp, events, audit, pg_catalog",
        "SET timezone = 'Pacific/Kiritimati'",
        "SET datestyle = 'SQL, DMY'",
        "SET bytea_output = 'escape'",
        "SET standard_conforming_strings = off",
        "SET default_transaction_isolation = 'repeatable read'",
    ] {
        conn.execute(sql).await.expect(sql);
    }
    for n in 1..=5 {
        append(&mut conn, n).await.unwrap();
    }
    // A type error and a made-up code leave nothing behind.
    for (code, canonical) in [("flush.planned", "\\x00"), ("flush.planned", "[]"), ("no code", "{\"actor\":\"x\"}"), ("a.b", "{}")] {
        let call = sqlx::query("SELECT * FROM audit.append($1, $2)").bind(code).bind(canonical.as_bytes());
        call.execute(&mut conn).await.expect_err(canonical);
    }
    let found = verify(world.pool(), &world.data_dir).await;
    assert_eq!((found.verdict, found.records), (Verdict::Whole, 5), "{}", found.detail);
}

#[tokio::test]
async fn one_role_that_owned_all_is_separated_in_place_and_by_several_at_once() {
    let database = TestDatabase::empty_of_new_role("").await;
    let alone = Databases::one(database.url.clone());
    alone.migrate().await.unwrap();
    let mut conn = PgConnection::connect(&database.url).await.unwrap();
    append(&mut conn, 1).await.unwrap();
    assert_eq!(roles::why_not_separated(&mut conn).await.unwrap().as_deref(), Some("owns the audit schema"));
    let day = NaiveDate::from_ymd_opt(2026, 11, 1).unwrap();
    raw::ensure_day(&mut conn, day).await.unwrap();
    // As a release before this one left it: one list of migrations for all.
    conn.execute("INSERT INTO _sqlx_migrations SELECT * FROM events._sqlx_migrations; DROP TABLE events._sqlx_migrations").await.unwrap();

    let apart = Databases { migration: database.admin_url.clone(), separate: true, ..alone.clone() };
    let at_once = futures::future::join_all((0..4).map(|_| apart.migrate())).await;
    at_once.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    apart.migrate().await.unwrap();

    // The same connection, whose transaction-less session goes on.
    assert_eq!(roles::why_not_separated(&mut conn).await.unwrap(), None);
    assert_eq!(append(&mut conn, 2).await.unwrap(), 2);
    for sql in ["DELETE FROM audit.log", "ALTER TABLE audit.log DISABLE TRIGGER ALL", "ALTER TABLE control.users DROP COLUMN name"] {
        let refused = conn.execute(sql).await.unwrap_err().to_string();
        assert!(refused.contains("permission denied") || refused.contains("must be owner"), "{sql}: {refused}");
    }
    // What the server does by itself while it runs.
    raw::ensure_day(&mut conn, day + chrono::TimeDelta::days(1)).await.unwrap();
    raw::drop_day(&mut conn, day).await.unwrap();
    assert_eq!(raw::list_days(&mut conn).await.unwrap(), [day + chrono::TimeDelta::days(1)]);
    // A server that knows of one role only starts, since nothing is missing.
    alone.migrate().await.unwrap();
    // Migrating as the other one keeps them apart without being told to.
    Databases { separate: false, ..apart }.migrate().await.unwrap();
    assert_eq!(roles::why_not_separated(&mut conn).await.unwrap(), None);
}

#[tokio::test]
async fn roles_are_made_by_a_role_that_is_no_superuser_and_the_servers_is_made_with_its_password() {
    let database = TestDatabase::empty_of_new_role("CREATEROLE").await;
    let name = format!("{}_server", database.name);
    let url = format!("postgres://{name}:s%40cret@{}", database.url.rsplit_once('@').unwrap().1);
    // Another database's arranging may have made the owner of records before; only who made it, or a superuser, may hand it out.
    let mut admin = PgConnection::connect(&database.admin_url).await.unwrap();
    admin.execute(AssertSqlSafe(format!("GRANT stalewatch_audit TO {} WITH ADMIN OPTION", database.name))).await.unwrap();
    let databases = Databases { migration: database.url.clone(), separate: true, ..Databases::one(url.clone()) };
    databases.migrate().await.unwrap();
    let mut conn = PgConnection::connect(&url).await.unwrap();
    assert_eq!(roles::why_not_separated(&mut conn).await.unwrap(), None);
    assert_eq!(append(&mut conn, 1).await.unwrap(), 1);
    raw::ensure_day(&mut conn, NaiveDate::from_ymd_opt(2026, 11, 1).unwrap()).await.unwrap();
    let refused = conn.execute("CREATE SCHEMA mine").await.unwrap_err().to_string();
    assert!(refused.contains("permission denied"), "{refused}");
}

#[tokio::test]
async fn a_server_that_may_do_anything_is_not_called_separated() {
    for (attributes, why) in [("SUPERUSER", "is a superuser"), ("CREATEROLE", "may create roles, and so become any")] {
        let database = TestDatabase::empty_of_new_role(attributes).await;
        let apart = Databases { migration: database.admin_url.clone(), separate: true, ..Databases::one(database.url.clone()) };
        Databases::one(database.url.clone()).migrate().await.unwrap();
        let refused = apart.migrate().await.unwrap_err().to_string();
        assert!(refused.contains("so may do anything"), "{refused}");
        let mut conn = PgConnection::connect(&database.url).await.unwrap();
        assert_eq!(roles::why_not_separated(&mut conn).await.unwrap().as_deref(), Some(why));
    }
    // Whatever is given away by hand is seen, each by itself.
    let world = World::new().await;
    let mut admin = PgConnection::connect(&world.database.admin_url).await.unwrap();
    for (give, take, why) in [
        ("GRANT INSERT ON audit.log TO stalewatch", "REVOKE INSERT ON audit.log FROM stalewatch", "may write to the audit tables"),
        ("GRANT UPDATE (seq) ON audit.head TO PUBLIC", "REVOKE UPDATE (seq) ON audit.head FROM PUBLIC", "may write to the audit tables"),
        ("GRANT CREATE ON SCHEMA audit TO stalewatch", "REVOKE CREATE ON SCHEMA audit FROM stalewatch", "may write to the audit tables"),
        (
            "ALTER FUNCTION audit.append(text, bytea) OWNER TO stalewatch",
            "ALTER FUNCTION audit.append(text, bytea) OWNER TO stalewatch_audit",
            "owns the audit schema",
        ),
    ] {
        admin.execute(give).await.unwrap();
        let page = audit::load(&world.app, audit::AuditFilter::default(), whole_sight()).await.unwrap();
        assert_eq!(page.not_separated.as_deref(), Some(why), "{give}");
        admin.execute(take).await.unwrap();
        assert_eq!(audit::load(&world.app, audit::AuditFilter::default(), whole_sight()).await.unwrap().not_separated, None, "{take}");
    }
}

#[tokio::test]
async fn what_is_not_separated_is_said_on_every_page_and_to_the_monitor() {
    let world = World::new().await;
    let cookie = world.signed_in(Role::Auditor).await;
    assert!(world.get("/audit", &cookie).await.body.contains("Audit separated"));
    assert!(!world.get("/readyz", "").await.body.contains("not separated"));
    let mut admin = PgConnection::connect(&world.database.admin_url).await.unwrap();
    admin.execute("GRANT DELETE ON audit.log TO stalewatch").await.unwrap();
    let page = world.get("/audit", &cookie).await.body;
    assert!(page.contains("Audit not separated"), "the strip says it");
    assert!(page.contains("Not separated: the server's Postgres role may write to the audit tables"), "{page}");
    let ready = world.get("/readyz", "").await;
    assert_eq!(ready.status, axum::http::StatusCode::OK);
    assert!(ready.body.contains("audit: not separated, the server's role in Postgres may write to the audit tables"), "{}", ready.body);
}
