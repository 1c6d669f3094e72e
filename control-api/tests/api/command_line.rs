use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use nexa_control::app::{App, Database};

use crate::support::{Api, Stream, key};

fn command(args: &[&str], database: Option<&Database>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexa-control"));
    command.args(args).env_clear().env("NEXA_CONTROL_CONFIG", "/dev/null");
    if let Some(database) = database {
        command.env("NEXA_CONTROL_DATABASE_URL", &database.url);
    }
    command
}

fn run(args: &[&str], database: Option<&Database>) -> Output {
    command(args, database).output().unwrap()
}

/// Kills it, should the test fail.
struct Server(Child);

impl Server {
    /// Serves on a free port; gives its further log, and the address.
    fn start(args: &[&str], database: &Database) -> (Self, BufReader<ChildStderr>, SocketAddr) {
        let args = [&["serve", "--listen", "127.0.0.1:0"], args].concat();
        let mut server = Self(command(&args, Some(database)).stderr(Stdio::piped()).spawn().unwrap());
        let mut log = BufReader::new(server.0.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on ") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended early");
        }
        let address = line.split("listening on ").nth(1).unwrap().trim().parse().unwrap();
        (server, log, address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn bootstrap_prints_one_token_and_refuses_once_there_is_an_owner() {
    let database = Api::empty_database().await;
    let output = run(&["bootstrap"], Some(&database));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!((text.lines().count(), text.trim().len()), (1, 43));

    let api = Api::over(database.clone()).await;
    api.owner().await;
    let output = run(&["bootstrap"], Some(&database));
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is an owner already"));
}

#[tokio::test]
async fn serve_says_where_it_listens_and_stops_on_sigterm() {
    let database = Api::empty_database().await;
    let (mut server, mut log, address) = Server::start(&[], &database);
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    assert!(line.contains("nexa-control bootstrap"), "{line}");

    let mut idle = TcpStream::connect(address).unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = [0; 15];
    idle.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    let killed = Command::new("kill").args(["-TERM", &server.0.id().to_string()]).status().unwrap();
    assert!(killed.success());
    // An idle connection does not hold it up.
    assert!(server.0.wait().unwrap().success());
    assert!(TcpStream::connect(address).is_err());
}

#[tokio::test]
async fn a_stopping_server_says_goodbye_to_its_gateways() {
    let api = Api::start().await;
    let gateway = api.owner().await.make_gateway().await;
    let (mut server, _log, address) = Server::start(&[], &api.database);
    let mut stream = Stream::connect(address, gateway["token"].as_str().unwrap()).await.unwrap();
    stream.hello(&key()).await;
    stream.snapshot().await;
    Command::new("kill").args(["-TERM", &server.0.id().to_string()]).status().unwrap();
    assert_eq!(stream.close_code().await, 1001);
    assert!(server.0.wait().unwrap().success());
    assert_eq!(api.scalar::<i64>("SELECT count(*) FROM gateways WHERE connection_id IS NOT NULL").await, 0);
}

#[tokio::test]
async fn an_audit_row_says_where_the_request_came_from() {
    let api = Api::start().await;
    let admin = api.owner().await;
    let token = admin.token.clone().unwrap();
    let behind: [&str; 2] = ["--trusted-proxies", "127.0.0.0/8"];
    for (args, from) in [(&[] as &[&str], "127.0.0.1"), (&behind, "203.0.113.5")] {
        let (_server, _log, address) = Server::start(args, &api.database);
        let body = format!(r#"{{"name":"from {from}"}}"#);
        let mut connection = TcpStream::connect(address).unwrap();
        write!(
            connection,
            "POST /api/v1/groups HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             X-Forwarded-For: 198.51.100.9, 203.0.113.5\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        let newest = admin.get("/api/v1/audit?limit=1").await.ok(200)["items"][0].clone();
        assert_eq!(newest["actor"]["address"], from);
    }
}

#[tokio::test]
async fn without_a_database_it_says_what_to_do() {
    let output = run(&["serve"], None);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("--database-url-file"));
}

#[tokio::test]
async fn the_url_may_come_from_a_file() {
    let database = Api::empty_database().await;
    let file = std::env::temp_dir().join(format!("nexa-url-{}", uuid::Uuid::now_v7().simple()));
    std::fs::write(&file, format!("{}\n", database.url)).unwrap();
    let output = run(&["migrate", "--database-url-file", file.to_str().unwrap()], None);
    std::fs::remove_file(&file).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_start_together_migrate_once() {
    let database = Api::empty_database().await;
    let starts = (0..6).map(|_| {
        let database = database.clone();
        tokio::spawn(
            async move { App::start(&database).await.map(drop).map_err(|error| format!("{error:#}")) },
        )
    });
    for start in starts.collect::<Vec<_>>() {
        start.await.unwrap().unwrap();
    }
    let api = Api::over(database).await;
    let migrations = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap().count();
    assert_eq!(api.scalar::<i64>("SELECT count(*) FROM _sqlx_migrations").await, migrations as i64);
}

#[test]
fn openapi_prints_the_document() {
    let output = run(&["openapi"], None);
    assert!(output.status.success());
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(document["paths"]["/api/v1/users"].is_object());
}
