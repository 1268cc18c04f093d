//! The supervisor's promises, on real servers.

use super::*;
use sqlx::{Connection as _, PgConnection};
use std::process::Stdio;

async fn held(path: &Path) -> DataFolder {
    match DataFolder::claim(path, Holder::Server).await.unwrap() {
        Claim::Held(folder) => folder,
        Claim::Running(_) => panic!("a server's claim is held or refused"),
    }
}

async fn start(path: &Path, untouchable: &[Vec<u8>]) -> Servers {
    let rights = Rights { untouchable: untouchable.to_vec(), generations: vec!["gen:cart".to_owned()] };
    Servers::start(held(path).await, Durability::None, Some(&rights)).await.unwrap()
}

#[tokio::test]
async fn both_servers_start_keep_what_they_hold_and_end() {
    // A temporary folder is closed to other accounts, so that as root this also covers the servers' rooms elsewhere.
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("data");
    let servers = start(&path, &[]).await;
    let (database_url, redis_url) = (servers.postgres.database_url(), servers.redis.as_ref().unwrap().url());
    let mut admin = PgConnection::connect(&servers.postgres.admin_database_url()).await.unwrap();
    sqlx::query("CREATE TABLE kept (id int)").execute(&mut admin).await.unwrap();
    sqlx::query("GRANT SELECT ON kept TO stalewatch").execute(&mut admin).await.unwrap();
    let mut conn = PgConnection::connect(&database_url).await.unwrap();
    let is_super: String = sqlx::query_scalar("SHOW is_superuser").fetch_one(&mut conn).await.unwrap();
    assert_eq!(is_super, "off");
    let mut redis = ::redis::Client::open(redis_url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let () = ::redis::cmd("SET").arg("kept").arg("1").query_async(&mut redis).await.unwrap();

    let refused = DataFolder::claim(&path, Holder::Server).await.unwrap_err();
    assert!(matches!(&refused, PrivateError::InUse { pid, .. } if *pid == std::process::id().to_string()), "{refused}");
    let Claim::Running(notes) = DataFolder::claim(&path, Holder::Command).await.unwrap() else { panic!("the server holds it") };
    assert_eq!(notes.database_url().unwrap(), database_url);

    let (cluster, room) = (servers.postgres.cluster().to_owned(), servers.redis.as_ref().unwrap().room().to_owned());
    servers.stop().await;
    assert!(process::living_in("postgres", &cluster).is_empty());
    assert!(process::living_in("redis-server", &room).is_empty());

    let again = start(&path, &[]).await;
    assert_eq!(again.postgres.database_url(), database_url);
    let mut conn = PgConnection::connect(&database_url).await.unwrap();
    sqlx::query("SELECT FROM kept").execute(&mut conn).await.unwrap();
    let mut redis = ::redis::Client::open(redis_url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let kept: String = ::redis::cmd("GET").arg("kept").query_async(&mut redis).await.unwrap();
    assert_eq!(kept, "1");
    again.stop().await;
    let _ = std::fs::remove_dir_all(cluster.parent().unwrap());
    let _ = std::fs::remove_dir_all(room);
}

#[tokio::test]
async fn the_flush_identity_reaches_all_but_the_untouchable() {
    let outer = tempfile::tempdir().unwrap();
    let servers = start(outer.path(), &[b"session:".to_vec()]).await;
    let redis = servers.redis.as_ref().unwrap();
    let (user, password) = redis.flush_identity();
    let url = redis.url().replacen("default", user, 1);
    let (before, after) = url.split_once(&servers.folder.notes.redis_password).unwrap();
    let url = format!("{before}{password}{after}");
    let mut flush = ::redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
    for key in [b"user:1".as_slice(), b"s", b"sess", b"session", b"sessions:1", b"sw-self", b"\xff\x00*[]\\{}", b"cart:*"] {
        let removed: Result<i64, _> = ::redis::cmd("UNLINK").arg(key).query_async(&mut flush).await;
        assert!(removed.is_ok(), "{key:?}: {removed:?}");
    }
    for key in ["session:1", "session:", "sw-selfcheck:0"] {
        let refused = ::redis::cmd("UNLINK").arg(key).query_async::<i64>(&mut flush).await.unwrap_err();
        assert_eq!(refused.code(), Some("NOPERM"), "{key}");
    }
    let raised: i64 = ::redis::cmd("INCR").arg("gen:cart").query_async(&mut flush).await.unwrap();
    assert_eq!(raised, 1);
    let refused = ::redis::cmd("INCR").arg("gen:other").query_async::<i64>(&mut flush).await.unwrap_err();
    assert_eq!(refused.code(), Some("NOPERM"), "only a declared generation is raised");
    assert_eq!(::redis::cmd("FLUSHALL").query_async::<()>(&mut flush).await.unwrap_err().code(), Some("NOPERM"));
    servers.stop().await;
}

#[tokio::test]
async fn a_start_ends_what_a_killed_process_left_behind() {
    let outer = tempfile::tempdir().unwrap();
    let servers = start(outer.path(), &[]).await;
    let notes = servers.postgres.notes().clone();
    let (cluster, account) = (servers.postgres.cluster().to_owned(), servers.folder.account.clone());
    servers.stop().await;
    // As after `kill -9` of us and our watchdog: a server that nobody watches, and a pid file.
    let bin = process::find_program("postgres", None).unwrap();
    let mut stray = process::command(&bin.join("postgres"), account.as_ref());
    let mut stray = stray.arg("-D").arg(&cluster).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while process::living_in("postgres", &cluster).len() < 3 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let waiting = tokio::task::spawn_blocking(move || stray.wait());
    let again = start(outer.path(), &[]).await;
    waiting.await.unwrap().unwrap();
    assert_eq!(again.postgres.notes().postgres_port, notes.postgres_port);
    PgConnection::connect(&again.postgres.database_url()).await.unwrap();
    again.stop().await;
}

#[tokio::test]
async fn a_port_taken_meanwhile_is_replaced() {
    let outer = tempfile::tempdir().unwrap();
    let servers = start(outer.path(), &[]).await;
    let notes = servers.folder.notes.clone();
    servers.stop().await;
    let _postgres = std::net::TcpListener::bind(("127.0.0.1", notes.postgres_port.unwrap())).unwrap();
    let _redis = std::net::TcpListener::bind(("127.0.0.1", notes.redis_port.unwrap())).unwrap();
    let again = start(outer.path(), &[]).await;
    assert_ne!(again.postgres.notes().postgres_port, notes.postgres_port);
    PgConnection::connect(&again.postgres.database_url()).await.unwrap();
    again.stop().await;
}

#[tokio::test]
async fn a_stale_pid_file_does_not_stop_a_start() {
    let outer = tempfile::tempdir().unwrap();
    let servers = start(outer.path(), &[]).await;
    let cluster = servers.postgres.cluster().to_owned();
    servers.stop().await;
    // Our own id: alive, but no Postgres.
    std::fs::write(cluster.join("postmaster.pid"), format!("{}\n{}\n", std::process::id(), cluster.display())).unwrap();
    start(outer.path(), &[]).await.stop().await;
}
