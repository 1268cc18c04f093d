//! One test's own Postgres database and server state, asked in-process through the real router.

use std::path::PathBuf;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use sqlx::PgPool;
use stalewatch::domain::audit::Actor;
use stalewatch::domain::operator::Role;
use stalewatch::server::clock::Clock;
use stalewatch::server::config::Config;
use stalewatch::server::router::router;
use stalewatch::server::service::accounts;
use stalewatch::server::state::{AppState, Pools};
use stalewatch::server::store::pools;
use tower::ServiceExt as _;

use crate::support::TestDatabase;

pub const PASSWORD: &str = "correct horse battery";

/// Where the server of a test is reached.
const HOST: &str = "127.0.0.1:3000";

/// A database of its own, dropped at the end, and a server on it.
pub struct World {
    pub app: AppState,
    pub data_dir: PathBuf,
    pub database: TestDatabase,
    _folder: tempfile::TempDir,
}

/// What came back.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// `name=token` of the cookie that was set.
    pub fn cookie(&self) -> String {
        self.header("set-cookie").split(';').next().unwrap().to_owned()
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(Config::default(), Clock::system()).await
    }

    pub async fn with(config: Config, clock: Clock) -> Self {
        let (database, folder) = (TestDatabase::new().await, tempfile::tempdir().unwrap());
        let url = database.url.clone();
        let open = |purpose| pools::open(&url, purpose).unwrap();
        let pools = Pools {
            control: open(pools::Purpose::Web),
            record: open(pools::Purpose::Record),
            events: open(pools::Purpose::Ingest),
            events_read: open(pools::Purpose::Read),
        };
        let data_dir = folder.path().to_owned();
        let app = AppState::new(Config { data_dir: data_dir.clone(), ..config }, clock, pools);
        Self { app, data_dir, database, _folder: folder }
    }

    pub fn router(&self) -> Router {
        router(self.app.clone())
    }

    pub fn pool(&self) -> &PgPool {
        &self.app.pools.control
    }

    /// Somebody with that role, whose address is `role@example.com`.
    pub async fn add(&self, role: Role) -> String {
        let email = format!("{}@example.com", role.as_str());
        let added = accounts::add_user(&self.app.access, self.pool(), self.app.clock.now(), &Actor::System, &email, None, role, PASSWORD);
        added.await.unwrap();
        email
    }

    /// The cookie of a new session of somebody with that role.
    pub async fn signed_in(&self, role: Role) -> String {
        let email = self.add(role).await;
        let answer = self.sign_in(&email, PASSWORD).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
        answer.cookie()
    }

    pub async fn sign_in(&self, email: &str, password: &str) -> Answer {
        self.post("/sign-in", "", &[("email", email), ("password", password)]).await
    }

    pub async fn get(&self, path: &str, cookie: &str) -> Answer {
        let request = Request::get(path).header(header::HOST, HOST).header(header::COOKIE, cookie).body(Body::empty()).unwrap();
        self.ask(request).await
    }

    /// A form as a browser on the same site sends it.
    pub async fn post(&self, path: &str, cookie: &str, fields: &[(&str, &str)]) -> Answer {
        self.post_from(path, cookie, fields, &[("origin", "http://127.0.0.1:3000")]).await
    }

    pub async fn post_from(&self, path: &str, cookie: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, HOST)
            .header(header::COOKIE, cookie)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.ask(request.body(Body::from(body)).unwrap()).await
    }

    pub async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, body: String::from_utf8_lossy(&body).into_owned() }
    }

    /// The codes of the audit record, oldest first.
    pub async fn codes(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT code FROM audit.log ORDER BY seq").fetch_all(self.pool()).await.unwrap()
    }

    /// Postgres as it is when it was stopped: nothing connects and what was connected is cut.
    pub async fn stop_postgres(&self) {
        self.database.stop().await;
    }

    pub async fn start_postgres(&self) {
        self.database.start().await;
    }
}
