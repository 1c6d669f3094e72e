use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, Version};
use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use nexa_control::app::{App, Background, Database};
use nexa_control::http::{self, Serving};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::cluster::socket_folder;
use super::{Client, Stream};

/// The password of every user that [`Api::user`] makes.
pub const PASSWORD: &str = "correct horse battery";
/// Its hash, of the least cost that argon2 takes, so that tests sign in fast.
static PASSWORD_HASH: LazyLock<String> = LazyLock::new(|| {
    let cheap = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
    cheap.hash_password(PASSWORD.as_bytes()).unwrap().to_string()
});

/// A server with a database of its own.
pub struct Api {
    pub router: Router,
    pub database: Database,
    _background: Background,
}

impl Api {
    /// A server over a migrated, empty database.
    pub async fn start() -> Self {
        Self::over(database(&new_database(Some(template().await)).await)).await
    }

    /// A server over a database.
    pub async fn over(database: Database) -> Self {
        let (app, background) = App::start(&database).await.unwrap();
        Self { router: http::router(app, Serving::default()), database, _background: background }
    }

    /// A server that also serves the web app in `folder`.
    pub async fn with_web(folder: &Path) -> Self {
        let database = database(&new_database(Some(template().await)).await);
        let (app, background) = App::start(&database).await.unwrap();
        Self {
            router: http::router(app, Serving { web: Some(folder), ..Serving::default() }),
            database,
            _background: background,
        }
    }

    /// A database without any table.
    pub async fn empty_database() -> Database {
        database(&new_database(None).await)
    }

    /// A connection to this server's database.
    pub async fn sql(&self) -> PgConnection {
        PgConnection::connect(&self.database.url).await.unwrap()
    }

    /// Runs a statement, and gives the first column of its first row.
    pub async fn scalar<T>(&self, sql: &str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut self.sql().await).await.unwrap()
    }

    /// Runs a statement.
    pub async fn execute(&self, sql: &str) {
        sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&mut self.sql().await).await.unwrap();
    }

    /// A caller without a token.
    pub fn anonymous(&self) -> Client {
        Client::new(self.router.clone(), None, Uuid::nil())
    }

    /// A new user of a role, signed in. Written into the database, to do without the cost of passwords.
    pub async fn user(&self, name: &str, role: &str) -> Client {
        let id = Uuid::now_v7();
        let token = URL_SAFE_NO_PAD.encode(rand32());
        let mut db = self.sql().await;
        sqlx::query(
            "INSERT INTO users (id, username, display_name, role, password_hash) VALUES ($1, $2, $2, $3, $4)",
        )
        .bind(id)
        .bind(name)
        .bind(role)
        .bind(PASSWORD_HASH.as_str())
        .execute(&mut db)
        .await
        .unwrap();
        sqlx::query("INSERT INTO sessions (id, token_hash, user_id, expires_at) VALUES ($1, $2, $3, now() + interval '1 h')")
            .bind(Uuid::now_v7())
            .bind(&Sha256::digest(&token)[..])
            .bind(id)
            .execute(&mut db)
            .await
            .unwrap();
        Client::new(self.router.clone(), Some(token), id)
    }

    /// An owner, signed in.
    pub async fn owner(&self) -> Client {
        self.user(&unique("owner"), "owner").await
    }

    /// Opens a gateway's stream on a real listener, without a hello yet.
    pub async fn stream(&self, token: &str) -> Stream {
        Stream::open(self.router.clone(), token).await
    }
}

/// A name that no other call gives.
pub fn unique(name: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A new public key, in text.
pub fn key() -> String {
    STANDARD.encode(rand32())
}

/// A time in an hour, in text.
pub fn in_an_hour() -> String {
    (chrono::Utc::now() + chrono::TimeDelta::hours(1)).to_rfc3339()
}

/// Requests that make the usual things, and give what was made.
impl Client {
    pub async fn make_group(&self) -> Value {
        self.post("/api/v1/groups", json!({ "name": unique("group") })).await.ok(201)
    }

    pub async fn make_resource(&self, cidrs: &[&str]) -> Value {
        let traffic = json!([{ "protocol": "tcp", "ports": "443" }]);
        let body = json!({ "name": unique("resource"), "cidrs": cidrs, "traffic": traffic });
        self.post("/api/v1/resources", body).await.ok(201)
    }

    pub async fn make_rule(&self, who: Value, resource: &Value) -> Value {
        let what = json!([{ "kind": "resource", "id": resource["id"] }]);
        self.post("/api/v1/rules", json!({ "effect": "allow", "who": [who], "what": what })).await.ok(201)
    }

    pub async fn enrol(&self) -> Value {
        self.post("/api/v1/devices", json!({ "name": unique("device"), "public_key": key() })).await.ok(201)
    }

    pub async fn make_api_token(&self, scopes: &[&str]) -> Value {
        let body = json!({ "name": unique("token"), "scopes": scopes, "expires_at": in_an_hour() });
        self.post("/api/v1/api-tokens", body).await.ok(201)
    }

    pub async fn make_gateway(&self) -> Value {
        let body = json!({ "name": unique("gateway"), "endpoint": "10.99.0.10:51900" });
        self.post("/api/v1/gateways", body).await.ok(201)
    }
}

/// The URL of a database behind the socket in `folder`.
pub fn url(folder: &Path, name: &str) -> String {
    format!("postgres://nexa@localhost/{name}?host={}", folder.display())
}

fn database(name: &str) -> Database {
    Database { url: url(socket_folder(), name), max_connections: 16 }
}

async fn new_database(template: Option<&str>) -> String {
    let name = format!("t{}", Uuid::now_v7().simple());
    let mut db = PgConnection::connect(&url(socket_folder(), "postgres")).await.unwrap();
    let sql = match template {
        Some(template) => format!("CREATE DATABASE {name} TEMPLATE {template}"),
        None => format!("CREATE DATABASE {name}"),
    };
    sqlx::query(AssertSqlSafe(sql)).execute(&mut db).await.unwrap();
    name
}

async fn template() -> &'static str {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    let migrate = async || {
        let name = new_database(None).await;
        App::migrate(&database(&name)).await.unwrap();
        name
    };
    TEMPLATE.get_or_init(migrate).await
}

fn rand32() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}
