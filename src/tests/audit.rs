//! The audit chain: appending, refusing changes, and two verifiers that know nothing of each other.

use crate::world::World;
use axum::http::StatusCode;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};
use stalewatch::domain::audit::{Actor, Code, Verdict};
use stalewatch::domain::operator::{Role, Viewer};
use stalewatch::domain::second_factor::Factor;
use stalewatch::server::clock::Clock;
use stalewatch::server::run::Databases;
use stalewatch::server::service::audit::{self, anchor, checkpoints, keep_anchored as anchoring, verify};
use stalewatch::server::service::sight::Sight;
use stalewatch::server::store::audit as store;
use std::process::Command;
use tokio_util::sync::CancellationToken;

/// What somebody sees who may see key names.
pub fn whole_sight() -> Sight {
    Sight::of(&Viewer {
        user_id: 1,
        email: String::new(),
        name: String::new(),
        role: Role::Auditor,
        session_id: 1,
        factor: Factor::default(),
        read_only: false,
    })
}

async fn append(world: &World, n: usize) {
    for i in 0..n {
        let mut tx = world.pool().begin().await.unwrap();
        let body = json!({"n": i, "target": "main", "scope": "user:{id}:profile", "reason": "ünïcode \u{1F600} \u{0}"});
        store::append(&mut tx, Code::FlushPlanned, &Actor::System, &body).await.unwrap();
        tx.commit().await.unwrap();
    }
}

/// What the Python verifier says of the export.
async fn by_python(world: &World, cookie: &str) -> (i32, Value) {
    let export = world.get("/audit.jsonl", cookie).await;
    assert_eq!(export.status, StatusCode::OK);
    python(world, export.body.as_bytes())
}

fn python(world: &World, export: &[u8]) -> (i32, Value) {
    let file = world.data_dir.join("export.jsonl");
    std::fs::write(&file, export).unwrap();
    let done = Command::new("python3")
        .args(["-B", concat!(env!("CARGO_MANIFEST_DIR"), "/docs/audit-verify.py")])
        .arg(&file)
        .arg("--checkpoints")
        .arg(checkpoints::file(&world.data_dir))
        .arg("--key")
        .arg(checkpoints::public_key_file(&world.data_dir))
        .output()
        .unwrap();
    let said = serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&done.stderr)));
    (done.status.code().unwrap(), said)
}

/// As somebody who owns the database and knows of the triggers.
async fn tamper(world: &World, sql: &'static str) {
    let mut conn = PgConnection::connect(&world.database.admin_url).await.unwrap();
    conn.execute("ALTER TABLE audit.log DISABLE TRIGGER ALL").await.unwrap();
    conn.execute(sql).await.unwrap();
    conn.execute("ALTER TABLE audit.log ENABLE ALWAYS TRIGGER log_no_change, ENABLE ALWAYS TRIGGER log_no_truncate").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_writers_leave_no_gap() {
    let world = World::new().await;
    let writers = (0..16).map(|writer| {
        let pool = world.pool().clone();
        tokio::spawn(async move {
            for n in 0..500 {
                // More writers than connections: whoever waits too long for one tries again, like any request.
                let mut tx = loop {
                    match pool.begin().await {
                        Ok(tx) => break tx,
                        Err(sqlx::Error::PoolTimedOut) => {}
                        Err(error) => panic!("{error}"),
                    }
                };
                store::append(&mut tx, Code::FlushProgress, &Actor::System, &json!({"writer": writer, "n": n})).await.unwrap();
                tx.commit().await.unwrap();
            }
        })
    });
    for writer in futures::future::join_all(writers).await {
        writer.unwrap();
    }
    let (count, last): (i64, i64) = sqlx::query_as("SELECT count(*), max(seq) FROM audit.log").fetch_one(world.pool()).await.unwrap();
    assert_eq!((count, last), (8_000, 8_000));
    let found = verify(world.pool(), &world.data_dir).await;
    assert_eq!((found.verdict, found.records), (Verdict::Whole, 8_000), "{}", found.detail);
    let backwards: i64 = sqlx::query_scalar("SELECT count(*) FROM audit.log a JOIN audit.log b ON b.seq = a.seq + 1 WHERE b.at < a.at")
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert_eq!(backwards, 0);
}

#[tokio::test]
async fn changes_are_refused_even_to_a_superuser() {
    let world = World::new().await;
    append(&world, 3).await;
    let mut conn = PgConnection::connect(&world.database.admin_url).await.unwrap();
    let superuser: bool =
        sqlx::query_scalar("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetch_one(&mut conn).await.unwrap();
    assert!(superuser, "this test says something only as a superuser");
    for role in ["origin", "replica", "local"] {
        conn.execute(sqlx::AssertSqlSafe(format!("SET session_replication_role = {role}"))).await.unwrap();
        for sql in
            ["UPDATE audit.log SET actor = 'x'", "DELETE FROM audit.log WHERE seq = 2", "TRUNCATE audit.log", "DELETE FROM audit.head"]
        {
            let refused = conn.execute(sql).await.unwrap_err().to_string();
            assert!(refused.contains("can only be appended to"), "{sql}: {refused}");
        }
    }
    assert_eq!(verify(world.pool(), &world.data_dir).await.verdict, Verdict::Whole);
}

#[tokio::test]
async fn a_flipped_byte_is_named_by_both_verifiers() {
    let world = World::new().await;
    let cookie = world.signed_in(Role::Auditor).await;
    append(&world, 20).await;
    anchor(&world.app).await.unwrap();
    assert_eq!(verify(world.pool(), &world.data_dir).await.verdict, Verdict::Whole);
    let (code, said) = by_python(&world, &cookie).await;
    assert_eq!((code, said["verdict"].as_str()), (0, Some("whole")), "{said}");

    tamper(&world, "UPDATE audit.log SET canonical = set_byte(canonical, 12, get_byte(canonical, 12) # 1) WHERE seq = 9").await;
    let found = verify(world.pool(), &world.data_dir).await;
    assert_eq!((found.verdict, found.first_bad), (Verdict::Tampered, Some(9)));
    let (code, said) = by_python(&world, &cookie).await;
    assert_eq!((code, said["first_bad"].as_i64()), (2, Some(9)), "{said}");
}

#[tokio::test]
async fn every_column_is_held_by_the_chain() {
    for (sql, first_bad) in [
        ("UPDATE audit.log SET at = at + interval '1 microsecond' WHERE seq = 3", 3),
        ("UPDATE audit.log SET code = 'flush.started' WHERE seq = 3", 3),
        ("UPDATE audit.log SET actor = 'someone' WHERE seq = 3", 3),
        ("UPDATE audit.log SET target = NULL WHERE seq = 3", 3),
        ("UPDATE audit.log SET scope = 'other:' WHERE seq = 3", 3),
        ("UPDATE audit.log SET hash = sha256(hash) WHERE seq = 5", 5),
        ("UPDATE audit.log SET prev = sha256(prev) WHERE seq = 3", 3),
        ("DELETE FROM audit.log WHERE seq = 2", 2),
        ("UPDATE audit.log SET seq = 9 WHERE seq = 5", 5),
        ("UPDATE audit.head SET hash = sha256(hash)", 5),
        ("UPDATE audit.head SET at = at + interval '1 day'", 5),
        ("UPDATE audit.head SET seq = 3", 4),
    ] {
        let world = World::new().await;
        append(&world, 5).await;
        tamper(&world, sql).await;
        let found = verify(world.pool(), &world.data_dir).await;
        assert_eq!((found.verdict, found.first_bad), (Verdict::Tampered, Some(first_bad)), "{sql}: {}", found.detail);
    }
}

#[tokio::test]
async fn a_cut_tail_is_truncated_also_where_the_head_was_set_back() {
    let world = World::new().await;
    let cookie = world.signed_in(Role::Auditor).await;
    append(&world, 10).await;
    let anchored = anchor(&world.app).await.unwrap().seq;
    assert_eq!(anchored, 12);
    tamper(&world, "DELETE FROM audit.log WHERE seq > 8").await;
    assert_eq!(verify(world.pool(), &world.data_dir).await.verdict, Verdict::Truncated);
    set_back(&world, 8).await;
    let found = verify(world.pool(), &world.data_dir).await;
    assert_eq!((found.verdict, found.last_seq, found.last_anchored), (Verdict::Truncated, 8, Some(12)));
    assert!(anchor(&world.app).await.is_err(), "a shorter chain is not anchored over a longer one");
    // The export itself adds one record, and the end is missing all the same.
    let (code, said) = by_python(&world, &cookie).await;
    assert_eq!((code, said["verdict"].as_str()), (3, Some("truncated")), "{said}");
}

#[tokio::test]
async fn a_chain_written_anew_disagrees_with_its_checkpoints() {
    let world = World::new().await;
    append(&world, 5).await;
    anchor(&world.app).await.unwrap();
    tamper(&world, "DELETE FROM audit.log").await;
    tamper(&world, "UPDATE audit.head SET seq = 0, hash = decode(repeat('00', 32), 'hex')").await;
    append(&world, 7).await;
    let found = verify(world.pool(), &world.data_dir).await;
    assert_eq!((found.verdict, found.first_bad), (Verdict::Tampered, Some(5)));
}

#[tokio::test]
async fn without_checkpoints_it_cannot_be_told_whether_the_end_is_missing() {
    let world = World::new().await;
    append(&world, 5).await;
    anchor(&world.app).await.unwrap();
    std::fs::remove_file(checkpoints::file(&world.data_dir)).unwrap();
    assert_eq!(verify(world.pool(), &world.data_dir).await.verdict, Verdict::CannotTell);
    // Tampering is seen all the same, and it is the lower code.
    tamper(&world, "UPDATE audit.log SET code = 'flush.started' WHERE seq = 2").await;
    assert_eq!(verify(world.pool(), &world.data_dir).await.verdict, Verdict::Tampered);
}

#[tokio::test]
async fn a_chain_that_is_held_up_does_not_keep_anybody_out() {
    let world = World::new().await;
    world.add(Role::Viewer).await;
    let mut holder = PgConnection::connect(&world.database.admin_url).await.unwrap();
    let mut tx = holder.begin().await.unwrap();
    tx.execute("SELECT * FROM audit.head FOR UPDATE").await.unwrap();
    let answer = world.sign_in("viewer@example.com", crate::world::PASSWORD).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    tx.rollback().await.unwrap();
    for _ in 0..50 {
        stalewatch::server::service::accounts::move_queued_records(world.pool()).await;
        if world.codes().await.len() == 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(world.codes().await, ["user.created", "sign_in.ok"]);
}

#[tokio::test]
async fn the_page_filters_and_pages() {
    let world = World::new().await;
    append(&world, 130).await;
    let mut tx = world.pool().begin().await.unwrap();
    store::append(&mut tx, Code::TokenCreated, &Actor::CommandLine { uid: 0 }, &json!({"token": "x"})).await.unwrap();
    tx.commit().await.unwrap();
    let reader = whole_sight();
    let page = audit::load(&world.app, audit::AuditFilter::default(), reader).await.unwrap();
    assert_eq!((page.rows.len(), page.rows[0].seq, page.older, page.head_seq), (100, 131, Some(32), 131));
    let older = audit::load(&world.app, audit::AuditFilter { before: page.older, ..Default::default() }, reader).await.unwrap();
    assert_eq!((older.rows.len(), older.older), (31, None));
    let filter = |who: &str, code: &str, scope: &str| audit::AuditFilter {
        who: Some(who.to_owned()).filter(|text| !text.is_empty()),
        code: Some(code.to_owned()).filter(|text| !text.is_empty()),
        scope: Some(scope.to_owned()).filter(|text| !text.is_empty()),
        ..Default::default()
    };
    for (filter, rows) in [
        (filter("command line", "", ""), 1),
        (filter("", "token", ""), 1),
        (filter("", "flush.planned", "profile"), 100),
        (filter("", "", "nowhere"), 0),
    ] {
        assert_eq!(audit::load(&world.app, filter.clone(), reader).await.unwrap().rows.len(), rows, "{filter:?}");
    }
    assert_eq!(page.actors, ["command line", "system"]);
}

#[tokio::test]
async fn a_flushs_story_is_told_forwards_on_one_page_and_in_exports() {
    let world = World::new().await;
    let cookie = world.signed_in(Role::Auditor).await;
    // Neighbours: a longer number, another field, and a text that looks like the field.
    for body in [
        json!({"flush": 12, "state": "planning", "target": "main", "scope": "user:"}),
        json!({"flush": 123, "state": "planning", "target": "main", "scope": "user:"}),
        json!({"flush": 12, "state": "planned", "target": "main", "scope": "user:", "matched": 5}),
        json!({"reason": "{\"flush\":12}", "target": "main"}),
        json!({"flush_filter": 12}),
        json!({"a": "\\\",\"flush\":12,", "target": "main"}),
        json!({"flush": 12, "state": "expired", "target": "main", "scope": "user:", "reason": "ünïcode \u{1F600}"}),
    ] {
        let mut tx = world.pool().begin().await.unwrap();
        store::append(&mut tx, Code::FlushPlanned, &Actor::System, &body).await.unwrap();
        tx.commit().await.unwrap();
    }
    let filter = audit::AuditFilter { flush: Some(12), ..Default::default() };
    let rows = audit::load(&world.app, filter, whole_sight()).await.unwrap().rows;
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [3, 5, 9]);
    let page = world.get("/audit?flush=12", &cookie).await;
    assert!(page.body.contains("Records of flush 12, oldest first") && page.body.contains("/audit.csv?flush=12"), "{}", page.body);
    assert!(world.get("/audit", &cookie).await.body.contains("href=\"/audit?flush=12\""), "a record leads to the others of its flush");
    let export = world.get("/audit.jsonl?flush=12&code=flush", &cookie).await.body;
    assert_eq!(export.lines().count(), 3, "{export}");
    assert_eq!(world.get("/audit?flush=twelve", &cookie).await.status, StatusCode::BAD_REQUEST);
    let mut conn = world.pool().acquire().await.unwrap();
    sqlx::query("SET enable_seqscan = off").execute(&mut *conn).await.unwrap();
    let plan: Vec<String> = sqlx::query_scalar(
        "EXPLAIN SELECT seq FROM audit.log WHERE substring(encode(canonical, 'escape') FROM '[{,]\"flush\":([0-9]{1,18})[,}]') = '12' ORDER BY seq",
    )
    .fetch_all(&mut *conn)
    .await
    .unwrap();
    assert!(plan.join(" ").contains("log_flush"), "{plan:?}");
}

#[tokio::test]
async fn only_auditors_and_admins_export_and_a_formula_stays_a_text() {
    let world = World::new().await;
    let mut tx = world.pool().begin().await.unwrap();
    store::append(&mut tx, Code::FlushPlanned, &Actor::System, &json!({"scope": "=cmd:", "target": "main"})).await.unwrap();
    tx.commit().await.unwrap();
    let (auditor, operator) = (world.signed_in(Role::Auditor).await, world.signed_in(Role::Operator).await);
    assert_eq!(world.get("/audit.csv", &operator).await.status, StatusCode::FORBIDDEN);
    let answer = world.get("/audit.csv", &auditor).await;
    assert!(answer.body.contains(",main,'=cmd:,"), "{}", answer.body);
    assert!(answer.header("content-disposition").contains("attachment"));
    assert_eq!(answer.body.lines().next(), Some("seq,at,code,actor,target,scope,record,prev,hash"));
}

/// As after restoring a backup that was made when the record was `seq` long.
async fn set_back(world: &World, seq: i64) {
    let mut conn = PgConnection::connect(&world.database.admin_url).await.unwrap();
    conn.execute("ALTER TABLE audit.log DISABLE TRIGGER ALL").await.unwrap();
    sqlx::query("DELETE FROM audit.log WHERE seq > $1").bind(seq).execute(&mut conn).await.unwrap();
    sqlx::query("UPDATE audit.head h SET seq = l.seq, at = l.at, hash = l.hash FROM audit.log l WHERE l.seq = $1")
        .bind(seq)
        .execute(&mut conn)
        .await
        .unwrap();
    conn.execute("ALTER TABLE audit.log ENABLE ALWAYS TRIGGER log_no_change, ENABLE ALWAYS TRIGGER log_no_truncate").await.unwrap();
}

#[tokio::test]
async fn a_restored_backup_is_accepted_only_with_a_reason_once_and_never_where_it_was_tampered_with() {
    let world = World::new().await;
    append(&world, 10).await;
    anchor(&world.app).await.unwrap();
    set_back(&world, 6).await;
    let now = world.app.clock.now();
    let again = |reason: &'static str| audit::re_anchor(world.pool(), &world.data_dir, &Actor::System, reason, now);
    assert!(again("because").await.is_err());
    assert_eq!(verify(world.pool(), &world.data_dir).await.verdict, Verdict::Truncated);
    assert_eq!(again("restored from Monday's backup").await.unwrap().seq, 7);
    let found = verify(world.pool(), &world.data_dir).await;
    assert_eq!((found.verdict, found.last_seq, found.last_anchored), (Verdict::Whole, 7, Some(7)), "{}", found.detail);
    assert_eq!(found.reanchored, Some(7));
    assert!(found.detail.contains("anchored anew at record 7; what had been recorded as 7 to 10 before is lost"), "{}", found.detail);
    let refused = again("restored from Monday's backup").await.unwrap_err().to_string();
    assert!(refused.contains("The record is whole"), "{refused}");
    let body: Value = record(&world, 7).await;
    assert_eq!(
        (&body["last_anchored_before"], &body["last_seq"], &body["lost_from"], &body["lost_to"]),
        (&json!(10), &json!(6), &json!(7), &json!(10))
    );
    assert!(body["last_anchored_hash_before"].is_string() && body["last_hash"].is_string(), "{body}");
    let aside = std::fs::read_dir(world.data_dir.join("audit")).unwrap();
    assert!(aside.flatten().any(|file| file.file_name().to_string_lossy().starts_with("checkpoints.until-")));
    tamper(&world, "UPDATE audit.log SET code = 'flush.started' WHERE seq = 2").await;
    assert!(again("restored from Monday's backup").await.is_err());
}

async fn record(world: &World, seq: i64) -> Value {
    let canonical: Vec<u8> =
        sqlx::query_scalar("SELECT canonical FROM audit.log WHERE seq = $1").bind(seq).fetch_one(world.pool()).await.unwrap();
    serde_json::from_slice(&canonical).unwrap()
}

#[tokio::test]
async fn a_restored_backup_stays_truncated_however_long_it_grows_until_it_is_anchored_anew() {
    let world = World::new().await;
    let cookie = world.signed_in(Role::Auditor).await;
    append(&world, 18).await;
    anchor(&world.app).await.unwrap();
    set_back(&world, 15).await;
    // What every process does before it appends anything; twice says it once.
    audit::notice_cut(world.pool(), &world.data_dir).await.unwrap();
    audit::notice_cut(world.pool(), &world.data_dir).await.unwrap();
    assert_eq!(world.codes().await.last().unwrap(), "audit.cut_noticed");
    append(&world, 20).await;
    audit::notice_cut(world.pool(), &world.data_dir).await.unwrap();
    let found = verify(world.pool(), &world.data_dir).await;
    assert_eq!((found.verdict, found.first_bad, found.last_seq), (Verdict::Truncated, None, 36), "{}", found.detail);
    assert_eq!(found.lost, Some(audit::Lost { from: 16, to: 20, behind_the_head: false }));
    assert!(anchor(&world.app).await.is_err(), "nothing is anchored behind what is missing");
    let (code, said) = by_python(&world, &cookie).await;
    assert_eq!((code, said["verdict"].as_str()), (3, Some("truncated")), "{said}");
    let now = world.app.clock.now();
    let done = audit::re_anchor(world.pool(), &world.data_dir, &Actor::System, "restored from Monday's backup", now).await.unwrap();
    assert_eq!(done.seq, 38, "the export is a record, too");
    assert_eq!(verify(world.pool(), &world.data_dir).await.verdict, Verdict::Whole);
    anchor(&world.app).await.unwrap();
    let (code, said) = by_python(&world, &cookie).await;
    assert_eq!((code, said["verdict"].as_str(), said["reanchored"].as_i64()), (0, Some("whole"), Some(38)), "{said}");
}

#[tokio::test]
async fn a_notice_does_not_cover_what_it_does_not_speak_of() {
    let world = World::new().await;
    let cookie = world.signed_in(Role::Auditor).await;
    append(&world, 8).await;
    anchor(&world.app).await.unwrap();
    // Written anew from record 4 on by somebody who says afterwards that the end was missing, but cannot name the checkpoint's hash.
    set_back(&world, 3).await;
    append(&world, 8).await;
    let mut tx = world.pool().begin().await.unwrap();
    let body = json!({"last_seq": 3, "last_anchored": 10, "last_anchored_hash": "AAAA"});
    store::append(&mut tx, Code::AuditCutNoticed, &Actor::System, &body).await.unwrap();
    tx.commit().await.unwrap();
    let found = verify(world.pool(), &world.data_dir).await;
    assert_eq!((found.verdict, found.first_bad), (Verdict::Tampered, Some(10)), "{}", found.detail);
    let (code, said) = by_python(&world, &cookie).await;
    assert_eq!((code, said["first_bad"].as_i64()), (2, Some(10)), "{said}");
}

/// A dump as an operator makes it, as the server's own role, and its restoring into an empty database as the superuser.
#[tokio::test]
async fn a_dump_is_restored_as_the_manual_says() {
    let world = World::new().await;
    append(&world, 10).await;
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("stalewatch.dump");
    let run = |program: &str, arguments: &[&str]| {
        let done = Command::new(program).args(arguments).output().unwrap();
        assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    };
    run("pg_dump", &["--format=custom", "--file", dump.to_str().unwrap(), &world.database.url]);
    append(&world, 5).await;
    anchor(&world.app).await.unwrap();

    let fresh = crate::support::TestDatabase::empty_of_new_role("").await;
    run("pg_restore", &["--no-owner", "--no-privileges", "--exit-on-error", "--dbname", &fresh.admin_url, dump.to_str().unwrap()]);
    let url = format!("{}/{}", world.database.url.rsplit_once('/').unwrap().0, fresh.name);
    let databases = Databases { migration: fresh.admin_url.clone(), separate: true, ..Databases::one(url.clone()) };
    databases.migrate().await.unwrap();
    let pools = databases.pools().unwrap();
    let mut conn = pools.control.acquire().await.unwrap();
    assert_eq!(audit::why_not_separated(&mut conn).await.unwrap(), None);
    let found = verify(&pools.record, &world.data_dir).await;
    assert_eq!((found.verdict, found.last_seq, found.last_anchored), (Verdict::Truncated, 10, Some(15)), "{}", found.detail);
    for sql in ["UPDATE audit.log SET actor = 'x'", "TRUNCATE audit.log"] {
        let refused = PgConnection::connect(&fresh.admin_url).await.unwrap().execute(sql).await.unwrap_err().to_string();
        assert!(refused.contains("can only be appended to"), "the triggers came back, too: {refused}");
    }
    let now = world.app.clock.now();
    audit::re_anchor(&pools.record, &world.data_dir, &Actor::System, "restored from Monday's backup", now).await.unwrap();
    let found = verify(&pools.record, &world.data_dir).await;
    assert_eq!((found.verdict, found.last_seq, found.reanchored), (Verdict::Whole, 11, Some(11)), "{}", found.detail);
}

#[tokio::test]
async fn flushes_and_what_the_record_says_of_them_have_to_agree() {
    let insert = "INSERT INTO control.flushes (id, target, scope, scope_kind, mode, pace, author_id, author, author_role, created_at, state, state_at)
        OVERRIDING SYSTEM VALUE VALUES (7, 'main', 'user:', 'literal', 'flush', 'normal', 1, 'mara@example.com', 'operator', now(), 'planning', now())";
    let world = World::new().await;
    append(&world, 2).await;
    let tell = async |state: &str| {
        let mut tx = world.pool().begin().await.unwrap();
        let body = json!({"flush": 7, "state": state, "target": "main", "scope": "user:"});
        let seq = store::append(&mut tx, Code::FlushRequested, &Actor::System, &body).await.unwrap().seq;
        tx.commit().await.unwrap();
        seq
    };
    let found = async || {
        let found = verify(world.pool(), &world.data_dir).await;
        (found.verdict, found.first_bad, found.detail)
    };
    sqlx::query(insert).execute(world.pool()).await.unwrap();
    let (verdict, bad, detail) = found().await;
    assert_eq!((verdict, bad), (Verdict::Tampered, Some(2)));
    assert!(detail.contains("Flush 7 is planning in its own table, but no record says anything of it"), "{detail}");
    let seq = tell("planning").await;
    assert_eq!(found().await.0, Verdict::Whole);
    sqlx::query("UPDATE control.flushes SET state = 'plan_failed' WHERE id = 7").execute(world.pool()).await.unwrap();
    let (verdict, bad, detail) = found().await;
    assert_eq!((verdict, bad), (Verdict::Tampered, Some(seq)), "{detail}");
    sqlx::query("DELETE FROM control.flushes WHERE id = 7").execute(world.pool()).await.unwrap();
    let (verdict, bad, detail) = found().await;
    assert_eq!((verdict, bad), (Verdict::Tampered, Some(seq)));
    assert!(detail.contains("there is no such flush"), "{detail}");

    // Where records are missing, only they may explain it; what is accepted then is what they are held to from there on.
    anchor(&world.app).await.unwrap();
    sqlx::query(insert).execute(world.pool()).await.unwrap();
    sqlx::query("UPDATE control.flushes SET state = 'plan_failed' WHERE id = 7").execute(world.pool()).await.unwrap();
    set_back(&world, 2).await;
    assert_eq!(found().await.0, Verdict::Truncated);
    let now = world.app.clock.now();
    audit::re_anchor(world.pool(), &world.data_dir, &Actor::System, "restored from Monday's backup", now).await.unwrap();
    let (verdict, _, detail) = found().await;
    assert_eq!(verdict, Verdict::Whole, "{detail}");
    sqlx::query("UPDATE control.flushes SET state = 'planning' WHERE id = 7").execute(world.pool()).await.unwrap();
    assert_eq!((found().await.0, found().await.1), (Verdict::Tampered, Some(3)));
}

/// What a superuser does to a record of 40, and where both verifiers have to see it. Half of it is anchored, so that the end is known, too.
#[tokio::test]
async fn both_verifiers_name_the_same_record_whatever_was_done() {
    for (what, sql, verdict, first_bad) in [
        (
            "flip",
            "UPDATE audit.log SET canonical = set_byte(canonical, 20, get_byte(canonical, 20) # 4) WHERE seq = 1",
            Verdict::Tampered,
            Some(1),
        ),
        ("flip", "UPDATE audit.log SET canonical = set_byte(canonical, 0, 0) WHERE seq = 23", Verdict::Tampered, Some(23)),
        ("flip", "UPDATE audit.log SET hash = set_byte(hash, 31, get_byte(hash, 31) # 128) WHERE seq = 40", Verdict::Tampered, Some(40)),
        ("flip", "UPDATE audit.log SET prev = set_byte(prev, 0, get_byte(prev, 0) # 1) WHERE seq = 17", Verdict::Tampered, Some(17)),
        ("delete", "DELETE FROM audit.log WHERE seq = 1", Verdict::Tampered, Some(1)),
        ("delete", "DELETE FROM audit.log WHERE seq IN (12, 13, 30)", Verdict::Tampered, Some(12)),
        (
            "delete and close up",
            "DELETE FROM audit.log WHERE seq = 25; UPDATE audit.log SET seq = seq + 1000 WHERE seq > 25;
             UPDATE audit.log SET seq = seq - 1001 WHERE seq > 1000; UPDATE audit.head SET seq = 39",
            Verdict::Tampered,
            Some(25),
        ),
        (
            "swap",
            "UPDATE audit.log SET seq = 1000 WHERE seq = 8; UPDATE audit.log SET seq = 8 WHERE seq = 9; UPDATE audit.log SET seq = 9 WHERE seq = 1000",
            Verdict::Tampered,
            Some(8),
        ),
        (
            "insert",
            "UPDATE audit.log SET seq = seq + 1000 WHERE seq > 31; UPDATE audit.log SET seq = seq - 999 WHERE seq > 1000;
             INSERT INTO audit.log SELECT 32, at, code, actor, target, scope, canonical, sha256(prev), sha256(hash) FROM audit.log WHERE seq = 31;
             UPDATE audit.head SET seq = 41",
            Verdict::Tampered,
            Some(32),
        ),
        ("rename", "UPDATE audit.log SET actor = 'someone' WHERE seq = 19", Verdict::Tampered, Some(19)),
        ("cut tail", "DELETE FROM audit.log WHERE seq > 39", Verdict::Truncated, None),
        (
            "cut tail",
            "DELETE FROM audit.log WHERE seq > 20; UPDATE audit.head h SET seq = l.seq, at = l.at, hash = l.hash FROM audit.log l WHERE l.seq = 20",
            Verdict::Truncated,
            None,
        ),
        ("nothing", "SELECT 1", Verdict::Whole, None),
    ] {
        let world = World::new().await;
        for n in [20, 20] {
            append(&world, n).await;
            anchor(&world.app).await.unwrap();
        }
        tamper(&world, sql).await;
        let found = verify(world.pool(), &world.data_dir).await;
        assert_eq!((found.verdict, found.first_bad), (verdict, first_bad), "{what}: {sql}: {}", found.detail);
        // The lines as an export writes them; exporting itself would append a record.
        let records = {
            let mut conn = world.pool().acquire().await.unwrap();
            store::list_after(&mut conn, &store::Filter::default(), 0, 1_000).await.unwrap()
        };
        let (code, said) = python(&world, &audit::as_lines(&records));
        assert_eq!((code, said["first_bad"].as_i64()), (i32::from(verdict.exit_code()), first_bad), "{what}: {sql}: {said}");
    }
}

#[tokio::test]
async fn an_idle_record_is_anchored_every_five_minutes_and_a_busy_one_every_thousand_records() {
    let clock = Clock::fixed("2026-11-23T02:00:00Z".parse().unwrap());
    let world = World::with(stalewatch::server::config::Config::default(), clock.clone()).await;
    let ending = CancellationToken::new();
    let kept = tokio::spawn(anchoring(world.app.clone(), ending.clone()));
    let notes = async |at_least: usize| {
        for _ in 0..200 {
            // The file is made with the first of them.
            let notes = checkpoints::read_all(&world.data_dir).unwrap_or_default();
            if notes.len() >= at_least {
                return notes;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("no {at_least} checkpoints within 20 s: {:?}", checkpoints::read_all(&world.data_dir));
    };
    notes(1).await;
    // The clock stands: no further one is due, however often it is looked.
    append(&world, 3).await;
    clock.advance(chrono::TimeDelta::seconds(299));
    // Longer than it takes to look again: that nothing happens can only be waited for.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(notes(1).await.len(), 1);
    clock.advance(chrono::TimeDelta::seconds(1));
    let second = notes(2).await[1].clone();
    assert_eq!(second.at, clock.now());
    // Nothing happens, and it is anchored all the same.
    clock.advance(chrono::TimeDelta::minutes(5));
    let third = notes(3).await[2].clone();
    assert_eq!((third.seq, third.at), (second.seq, clock.now()));
    append(&world, 1_000).await;
    let fourth = notes(4).await[3].clone();
    assert!(fourth.seq >= third.seq + 1_000, "{fourth:?}");
    world.app.anchoring.request();
    notes(5).await;
    ending.cancel();
    kept.await.unwrap();
}

#[tokio::test]
async fn a_backup_restored_under_a_running_server_is_told_on_every_page_until_it_is_anchored_anew() {
    let world = World::new().await;
    let cookie = world.signed_in(Role::Auditor).await;
    append(&world, 20).await;
    anchor(&world.app).await.unwrap();
    let ending = CancellationToken::new();
    let kept = tokio::spawn(anchoring(world.app.clone(), ending.clone()));
    let page_says = async |words: &str, wanted: bool| {
        for _ in 0..100 {
            if world.get("/audit", &cookie).await.body.contains(words) == wanted {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("10 s later the page says of {words:?} still {}", !wanted);
    };
    page_says("Record is whole", true).await;
    set_back(&world, 12).await;
    page_says("Audit record cut short", true).await;
    page_says("Record was cut short", true).await;
    assert!(world.codes().await.contains(&"audit.cut_noticed".to_owned()));
    assert_eq!(world.app.anchoring.is_whole(), Some(false));
    let now = world.app.clock.now();
    audit::re_anchor(world.pool(), &world.data_dir, &Actor::System, "restored from Monday's backup", now).await.unwrap();
    page_says("Audit record cut short", false).await;
    page_says("anchored anew at record", true).await;
    ending.cancel();
    kept.await.unwrap();
}
