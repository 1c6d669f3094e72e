//! `nexactl status` against servers of every mood.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::thread;

const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// Serves one answer per connection, in order, and returns the server's address.
fn server(answers: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("a client connects");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("the request is whole");
                request.extend(byte);
            }
            stream.write_all(answer.as_bytes()).expect("the client reads");
        }
    });
    format!("http://{address}")
}

fn answer(status: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

fn status(server: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexactl"));
    command.args(["status", "--server", server]).env("NO_PROXY", "*");
    for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command.output().expect("the program starts")
}

fn refusal(server: &str) -> String {
    let output = status(server);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).expect("messages are UTF-8")
}

#[test]
fn a_ready_server_is_one_line_and_success() {
    let server = server(vec![OK.to_owned(), OK.to_owned()]);
    let output = status(&format!("{server}/"));
    assert!(output.status.success());
    let line = String::from_utf8_lossy(&output.stdout);
    assert!(line.starts_with(&format!("{server}: ready, answered in ")), "{line}");
}

#[test]
fn a_server_that_is_not_ready_is_told_with_its_reason() {
    let problem = answer(
        "503 Service Unavailable",
        "application/problem+json",
        r#"{"type":"about:blank","title":"Not ready","status":503,"detail":"Postgres does not answer."}"#,
    );
    let message = refusal(&server(vec![OK.to_owned(), problem]));
    assert!(message.contains("503 Service Unavailable: Postgres does not answer."), "{message}");
}

#[test]
fn a_page_of_something_else_is_not_taken_for_the_control_api() {
    for other in
        [answer("200 OK", "text/html; charset=utf-8", "<p>hello"), answer("404 Not Found", "text/plain", "")]
    {
        let message = refusal(&server(vec![other]));
        assert!(message.contains("not a NexaVPN control API"), "{message}");
    }
}

#[test]
fn silence_and_nonsense_are_named() {
    let free =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    assert!(refusal(&format!("http://{free}")).contains("does not answer"));
    assert!(refusal("vpn.example.org").contains("write it like https://"));
}
