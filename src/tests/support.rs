//! Real servers for tests: one private Postgres and Redis per test process, a database of its own for each test, and the real server on a
//! free port.
//!
//! The servers end with the process, however it ends: each has a watchdog that notices (`server::private`), and the folder has one here.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use reqwest::StatusCode;
use scraper::Html;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};
use stalewatch::domain::audit::Actor;
use stalewatch::domain::operator::Role;
use stalewatch::server::clock::Clock;
use stalewatch::server::config::Config;
use stalewatch::server::door;
use stalewatch::server::private::{Claim, DataFolder, Durability, Holder, Rights, Servers};
use stalewatch::server::run::{Databases, Server};
use stalewatch::server::service::accounts::{self, TokenRequest};
use stalewatch::server::state::AppState;
use stalewatch::server::store::tokens::Kind;
use tokio_util::sync::CancellationToken;

/// Every test account's password.
pub const PASSWORD: &str = "correct horse battery";
/// The migrated database that others are cloned from.
const TEMPLATE: &str = "stalewatch_template";
/// Redis has sixteen databases; 0 is left to those who need that one.
const REDIS_DATABASES: u32 = 15;

/// The process's own servers.
struct Shared {
    servers: Servers,
}

/// Starts the servers at the first call, in a runtime that belongs to no test.
fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        apart(async {
            let folder = std::env::temp_dir().join(format!("stalewatch-test-{}", std::process::id()));
            remove_at_end(&folder);
            let Claim::Held(folder) = DataFolder::claim(&folder, Holder::Server).await.unwrap() else { panic!("a new folder is free") };
            let rights = Rights { untouchable: vec![b"session:".to_vec()], generations: vec!["gen:catalog".to_owned()] };
            let servers = Servers::start(folder, Durability::None, Some(&rights)).await.unwrap();
            let mut admin = PgConnection::connect(&server_url(&servers, "postgres")).await.unwrap();
            admin.execute(AssertSqlSafe(format!("CREATE DATABASE {TEMPLATE}"))).await.unwrap();
            // With the roles apart, as everywhere.
            let (template, admin_url) = (app_url(&servers, TEMPLATE), server_url(&servers, TEMPLATE));
            Databases { migration: admin_url, separate: true, ..Databases::one(template) }.migrate().await.unwrap();
            Shared { servers }
        })
    })
}

/// Runs a future to its end on a thread with a runtime of its own.
fn apart<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    std::thread::spawn(run).join().unwrap()
}

/// A process that outlives this one just long enough to remove `folder`, once the servers in it have ended.
fn remove_at_end(folder: &std::path::Path) {
    use std::os::unix::process::CommandExt as _;
    let script =
        "cat; for i in 1 2 3 4 5 6 7 8 9 10; do [ -e \"$1/postgres/cluster/postmaster.pid\" ] || break; sleep 1; done; rm -rf \"$1\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(folder).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    // Its input stays open until this process is gone.
    std::mem::forget(shell.spawn().unwrap());
}

fn server_url(servers: &Servers, database: &str) -> String {
    let url = servers.postgres.admin_database_url();
    format!("{}/{database}", url.rsplit_once('/').unwrap().0)
}

fn app_url(servers: &Servers, database: &str) -> String {
    let url = servers.postgres.database_url();
    format!("{}/{database}", url.rsplit_once('/').unwrap().0)
}

/// A migrated database of one test, dropped with it.
pub struct TestDatabase {
    pub name: String,
    /// As the application's role.
    pub url: String,
    /// As the superuser.
    pub admin_url: String,
}

impl TestDatabase {
    pub async fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let servers = &tokio::task::spawn_blocking(shared).await.unwrap().servers;
        let mut admin = PgConnection::connect(&server_url(servers, "postgres")).await.unwrap();
        let create = format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}");
        admin.execute(AssertSqlSafe(create)).await.unwrap();
        admin.close().await.unwrap();
        let (url, admin_url) = (app_url(servers, &name), server_url(servers, &name));
        Self { name, url, admin_url }
    }

    /// A database without anything in it, that belongs to a new role, as both `url`s' names say.
    pub async fn empty_of_new_role(attributes: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("empty_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let servers = &tokio::task::spawn_blocking(shared).await.unwrap().servers;
        let mut admin = PgConnection::connect(&server_url(servers, "postgres")).await.unwrap();
        admin.execute(AssertSqlSafe(format!("CREATE ROLE {name} LOGIN PASSWORD 'secret' {attributes}"))).await.unwrap();
        admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name} OWNER {name}"))).await.unwrap();
        let admin_url = server_url(servers, &name);
        let url = format!("postgres://{name}:secret@{}", admin_url.rsplit_once('@').unwrap().1);
        Self { name, url, admin_url }
    }

    /// Postgres as it is when it was stopped, for this database: nothing connects, and what was connected is cut.
    pub async fn stop(&self) {
        self.say("ALTER DATABASE {} ALLOW_CONNECTIONS false").await;
        self.say("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'").await;
    }

    /// Undoes [`TestDatabase::stop`].
    pub async fn start(&self) {
        self.say("ALTER DATABASE {} ALLOW_CONNECTIONS true").await;
    }

    async fn say(&self, sql: &str) {
        say(sql.replace("{}", &self.name)).await;
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        apart(say(format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)));
    }
}

async fn say(sql: String) {
    let mut admin = PgConnection::connect(&server_url(&shared().servers, "postgres")).await.unwrap();
    admin.execute(AssertSqlSafe(sql)).await.unwrap();
}

/// A part of the shared Redis that is this test's own for now: an emptied database of it.
pub struct TestRedis {
    /// May do anything.
    pub url: String,
    /// The least-privilege identity of a flush: name and password.
    pub flush: (String, String),
    database: u32,
}

/// Databases of the shared Redis that no test has now.
static FREE: Mutex<VecDeque<u32>> = Mutex::new(VecDeque::new());

impl Drop for TestRedis {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.nothing_forbidden_was_tried();
        }
        FREE.lock().unwrap().push_back(self.database);
    }
}

impl TestRedis {
    pub fn database(&self) -> u32 {
        self.database
    }

    /// What was refused to the product's own users is in Redis' ACL log: nothing but the self-check's attempts.
    fn nothing_forbidden_was_tried(&self) {
        let mut conn = redis::Client::open(self.url.as_str()).unwrap().get_connection().unwrap();
        let log: Vec<BTreeMap<String, redis::Value>> = redis::cmd("ACL").arg("LOG").query(&mut conn).unwrap();
        for entry in log {
            let field = |name: &str| match entry.get(name) {
                Some(redis::Value::BulkString(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
                other => format!("{other:?}"),
            };
            let ours = field("username").starts_with("sw_");
            assert!(!ours || field("object").starts_with("sw-selfcheck:"), "a command that is forbidden was tried: {entry:?}");
        }
    }

    pub async fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let database = loop {
            if let Ok(new) = NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| (next <= REDIS_DATABASES).then_some(next + 1)) {
                break new;
            }
            if let Some(given_back) = FREE.lock().unwrap().pop_front() {
                break given_back;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let redis = tokio::task::spawn_blocking(shared).await.unwrap().servers.redis.as_ref().unwrap();
        let there = |url: String| format!("{}/{database}", url.rsplit_once('/').unwrap().0);
        let (user, password) = redis.flush_identity();
        let own = Self { url: there(redis.url()), flush: (user.to_owned(), password.to_owned()), database };
        let () = redis::cmd("FLUSHDB").query_async(&mut own.connect().await).await.unwrap();
        own
    }

    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        redis::Client::open(self.url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }
}

/// A private server of one test alone, for tests that stop, freeze or kill it.
pub async fn own_servers() -> (Servers, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let Claim::Held(held) = DataFolder::claim(folder.path(), Holder::Server).await.unwrap() else { panic!("a new folder is free") };
    (Servers::start(held, Durability::None, Some(&Rights::default())).await.unwrap(), folder)
}

/// The whole server on a free port, over a database of its own.
pub struct TestApp {
    pub app: AppState,
    /// Without a path.
    pub url: String,
    pub database: TestDatabase,
    pub data_dir: PathBuf,
    client: reqwest::Client,
    ending: CancellationToken,
    _folder: tempfile::TempDir,
}

impl TestApp {
    /// With nothing configured.
    pub async fn start() -> Self {
        Self::with(Config::default(), Clock::system()).await
    }

    pub async fn with(config: Config, clock: Clock) -> Self {
        let (database, folder) = (TestDatabase::new().await, tempfile::tempdir().unwrap());
        let listener = door::listen("127.0.0.1:0").await.unwrap();
        let config = Config { data_dir: folder.path().to_owned(), ..config };
        let server = Server::prepare(listener, config, clock, &Databases::one(database.url.clone())).await.unwrap();
        let (app, url, ending) = (server.app.clone(), server.url(), CancellationToken::new());
        tokio::spawn(server.run(ending.clone().cancelled_owned()));
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { app, url, database, data_dir: folder.path().to_owned(), client, ending, _folder: folder }
    }

    /// Ends the server in good order; its database stays.
    pub fn end(&self) {
        self.ending.cancel();
    }

    pub fn pool(&self) -> &PgPool {
        &self.app.pools.control
    }

    /// An account whose address is `ROLE@example.com`.
    pub async fn add_user(&self, role: Role) -> String {
        let email = format!("{}@example.com", role.as_str());
        accounts::add_user(&self.app.access, self.pool(), self.app.clock.now(), &Actor::System, &email, None, role, PASSWORD)
            .await
            .unwrap();
        email
    }

    /// Somebody new of that role, signed in through the door.
    pub async fn signed_in(&self, role: Role) -> Browser<'_> {
        self.add_user(role).await;
        self.signed_in_again(role).await
    }

    /// One more session of whoever has that role.
    pub async fn signed_in_again(&self, role: Role) -> Browser<'_> {
        let email = format!("{}@example.com", role.as_str());
        let answer = self.anonymous().post("/sign-in", &[("email", &email), ("password", PASSWORD)]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
        let mut browser = self.anonymous();
        browser.keep(&answer);
        browser
    }

    pub fn anonymous(&self) -> Browser<'_> {
        Browser { app: self, cookie: None }
    }

    /// A token's text; `source` is the name under which its events are stored.
    pub async fn token(&self, kind: Kind, source: &str) -> String {
        let request = TokenRequest { kind, source, target: None, expires_at: None };
        accounts::create_token(self.pool(), self.app.clock.now(), &Actor::System, &request).await.unwrap().text
    }

    /// Posts events and gives the answer as it is.
    pub async fn post_events(&self, token: &str, events: &Value) -> Answer {
        let request = self.client.post(format!("{}/api/v1/events", self.url)).bearer_auth(token);
        Answer::of(request.json(&serde_json::json!({ "events": events }))).await
    }

    /// Any other request, for the test to finish; nothing is added to it.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// The codes of the audit record, oldest first.
    pub async fn audit_codes(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT code FROM audit.log ORDER BY seq").fetch_all(self.pool()).await.unwrap()
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

/// A client that behaves like a browser without scripts: sends its cookie, and says where its forms come from.
pub struct Browser<'a> {
    app: &'a TestApp,
    pub cookie: Option<String>,
}

impl Browser<'_> {
    /// Keeps the cookie that an answer sets, if it sets one.
    pub fn keep(&mut self, answer: &Answer) {
        if let Some((cookie, _)) = answer.header("set-cookie").split_once(';') {
            self.cookie = Some(cookie.to_owned());
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.with_cookie(self.app.request(reqwest::Method::GET, path))).await
    }

    /// The page at `path`, which has to answer 200.
    pub async fn page(&self, path: &str) -> Html {
        let answer = self.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        answer.html()
    }

    /// Sends a form from the page at `path` to its own URL.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.app.request(reqwest::Method::POST, path).header("origin", &self.app.url);
        Answer::of(self.with_cookie(request.header("content-type", "application/x-www-form-urlencoded").body(body))).await
    }

    fn with_cookie(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        }
    }
}

/// What came back.
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: String,
}

impl Answer {
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Self { status, headers, body: String::from_utf8_lossy(&response.bytes().await.unwrap()).into_owned() }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn html(&self) -> Html {
        Html::parse_document(&self.body)
    }

    /// `data-error` of the refused form.
    pub fn refusal(&self) -> Option<String> {
        attribute(&self.html(), "form[data-error]", "data-error")
    }
}

/// The text of the first element that `selector` finds, with its white space evened out.
pub fn text(page: &Html, selector: &str) -> Option<String> {
    let found = page.select(&scraper::Selector::parse(selector).unwrap()).next()?;
    Some(found.text().collect::<String>().split_whitespace().collect::<Vec<_>>().join(" "))
}

/// An attribute of the first element that `selector` finds.
pub fn attribute(page: &Html, selector: &str, name: &str) -> Option<String> {
    page.select(&scraper::Selector::parse(selector).unwrap()).next()?.attr(name).map(str::to_owned)
}

/// All `data-…` attributes of the first element that `selector` finds.
pub fn data(page: &Html, selector: &str) -> BTreeMap<String, String> {
    let found = page.select(&scraper::Selector::parse(selector).unwrap()).next();
    let attributes = found.into_iter().flat_map(|element| element.value().attrs());
    attributes.filter_map(|(name, value)| Some((name.strip_prefix("data-")?.to_owned(), value.to_owned()))).collect()
}

mod tests {
    use super::*;

    #[tokio::test]
    async fn a_test_has_a_server_people_tokens_and_pages() {
        let test = TestApp::start().await;
        let page = test.anonymous().page("/sign-in").await;
        assert!(text(&page, "h1").is_some());
        assert_eq!(attribute(&page, "input[type=password]", "name").as_deref(), Some("password"));
        assert!(data(&page, "html").is_empty());
        let viewer = test.signed_in(Role::Viewer).await;
        assert!(viewer.cookie.is_some());
        let refused = test.anonymous().post("/sign-in", &[("email", "viewer@example.com"), ("password", "wrong")]).await;
        assert_eq!((refused.status, refused.refusal().as_deref()), (StatusCode::UNPROCESSABLE_ENTITY, Some("wrong")));
        assert_eq!(refused.header("cache-control"), "no-store");
        let answer = Answer::of(test.request(reqwest::Method::GET, "/nowhere")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert!(test.audit_codes().await.contains(&"user.created".to_owned()));
        assert!(test.data_dir.is_dir());
        let token = test.token(Kind::Ingest, "accounts-api").await;
        let answer = test.post_events(&token, &serde_json::json!([])).await;
        if answer.status == StatusCode::OK {
            assert_eq!(answer.json()["accepted"], 0);
        }
        test.database.stop().await;
        test.database.start().await;
    }

    #[tokio::test]
    async fn a_test_stops_and_starts_its_database() {
        let database = TestDatabase::new().await;
        PgConnection::connect(&database.url).await.unwrap();
        database.stop().await;
        PgConnection::connect(&database.url).await.unwrap_err();
        database.start().await;
        PgConnection::connect(&database.admin_url).await.unwrap();
    }

    #[tokio::test]
    async fn a_test_has_an_empty_redis() {
        let own = TestRedis::new().await;
        let size: u64 = redis::cmd("DBSIZE").query_async(&mut own.connect().await).await.unwrap();
        assert_eq!(size, 0);
    }

    #[tokio::test]
    async fn two_of_the_three_identities_change_nothing_by_themselves() {
        // On a server of its own: what is tried here must never be tried on the shared one.
        let (servers, _folder) = own_servers().await;
        let redis = servers.redis.as_ref().unwrap();
        let (user, password) = redis.flush_identity();
        let flush = format!("redis://{user}:{password}@{}", redis.url().rsplit_once('@').unwrap().1);
        for url in [redis.read_url(), flush] {
            let mut conn = redis::Client::open(url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
            let refused = redis::cmd("SET").arg("a").arg(1).query_async::<()>(&mut conn).await.unwrap_err();
            assert_eq!(refused.code(), Some("NOPERM"));
        }
        servers.stop().await;
    }

    #[tokio::test]
    async fn a_test_may_have_servers_that_it_alone_kills() {
        let (servers, _folder) = own_servers().await;
        PgConnection::connect(&servers.postgres.database_url()).await.unwrap();
        servers.stop().await;
    }
}
