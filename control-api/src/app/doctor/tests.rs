//! What no test server can be made to be.

use nexa_wire::doctor::Severity;

use super::*;

fn server() -> Server {
    Server {
        version: "15.9".into(),
        version_number: 150_009,
        in_recovery: false,
        read_only: false,
        connections: 97,
        connections_in_use: 3,
        encrypted: true,
    }
}

fn database(max_connections: u32) -> Database {
    Database { url: String::new(), max_connections }
}

#[test]
fn old_servers_and_those_that_do_not_write_are_problems() {
    assert!(!version(&server()).is_problem() && !writable(&server()).is_problem());
    assert!(version(&Server { version_number: 120_020, ..server() }).is_problem());
    assert!(writable(&Server { in_recovery: true, ..server() }).found.contains("standby"));
    assert!(writable(&Server { read_only: true, ..server() }).is_problem());
}

#[test]
fn connections_that_do_not_exist_are_a_problem_and_those_that_are_taken_a_warning() {
    for (max_connections, severity) in [(16, Severity::Ok), (90, Severity::Warning), (93, Severity::Problem)]
    {
        assert_eq!(pool(&server(), &database(max_connections)).severity, severity, "{max_connections}");
    }
}

#[test]
fn a_connection_over_a_network_should_be_verified() {
    let severity =
        |url: &str, encrypted| tls(&Server { encrypted, ..server() }, &Address::of(url).unwrap()).severity;
    for local in [
        "postgres://u@localhost/d",
        "postgres://u@127.0.0.1/d",
        "postgres://u@[::1]/d",
        "postgres://u@x/d?host=/run",
    ] {
        assert_eq!(severity(local, false), Severity::Ok, "{local}");
    }
    assert_eq!(severity("postgres://u@db/d", false), Severity::Warning);
    assert_eq!(severity("postgres://u@db/d?sslmode=require", true), Severity::Warning);
    assert_eq!(severity("postgres://u@db/d?sslmode=verify-full", true), Severity::Ok);
}

#[test]
fn clocks_that_differ_are_a_warning_and_then_a_problem() {
    for (seconds, severity) in [(1, Severity::Ok), (-20, Severity::Warning), (90, Severity::Problem)] {
        assert_eq!(clock(TimeDelta::seconds(seconds)).severity, severity);
    }
    assert!(clock(TimeDelta::seconds(90)).found.starts_with("90 s behind"));
}
