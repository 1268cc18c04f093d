//! The audit chain: appending, refusing changes, and two verifiers that know nothing of each other.

use crate::world::World;
use axum::http::StatusCode;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};
use stalewatch::domain::audit::{Actor, Code, Verdict};
use stalewatch::domain::operator::Role;
use stalewatch::server::service::audit::{self, anchor, checkpoints, verify};
use stalewatch::server::store::audit as store;
use std::process::Command;

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
    let file = world.data_dir.join("export.jsonl");
    std::fs::write(&file, export.body).unwrap();
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
            for n in 0..100 {
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
    assert_eq!((count, last), (1600, 1600));
    let found = verify(world.pool(), &world.data_dir).await;
    assert_eq!((found.verdict, found.records), (Verdict::Whole, 1600), "{}", found.detail);
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
    tamper(&world, "UPDATE audit.head SET seq = 8, hash = (SELECT hash FROM audit.log WHERE seq = 8)").await;
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
    let page = audit::load(&world.app, audit::AuditFilter::default()).await.unwrap();
    assert_eq!((page.rows.len(), page.rows[0].seq, page.older, page.head_seq), (100, 131, Some(32), 131));
    let older = audit::load(&world.app, audit::AuditFilter { before: page.older, ..Default::default() }).await.unwrap();
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
        assert_eq!(audit::load(&world.app, filter.clone()).await.unwrap().rows.len(), rows, "{filter:?}");
    }
    assert_eq!(page.actors, ["command line", "system"]);
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

#[tokio::test]
async fn a_restored_backup_is_accepted_only_with_a_reason_and_never_where_it_was_tampered_with() {
    let world = World::new().await;
    append(&world, 10).await;
    anchor(&world.app).await.unwrap();
    tamper(&world, "DELETE FROM audit.log WHERE seq > 6").await;
    tamper(&world, "UPDATE audit.head SET seq = 6, hash = (SELECT hash FROM audit.log WHERE seq = 6)").await;
    let now = world.app.clock.now();
    let again = |reason: &'static str| audit::re_anchor(world.pool(), &world.data_dir, &Actor::System, reason, now);
    assert!(again("because").await.is_err());
    assert_eq!(verify(world.pool(), &world.data_dir).await.verdict, Verdict::Truncated);
    assert_eq!(again("restored from Monday's backup").await.unwrap().seq, 7);
    let found = verify(world.pool(), &world.data_dir).await;
    assert_eq!((found.verdict, found.last_seq, found.last_anchored), (Verdict::Whole, 7, Some(7)), "{}", found.detail);
    tamper(&world, "UPDATE audit.log SET code = 'flush.started' WHERE seq = 2").await;
    assert!(again("restored from Monday's backup").await.is_err());
}
