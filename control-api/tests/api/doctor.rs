use std::process::{Command, Output};

use nexa_control::app::{App, Database};
use nexa_wire::doctor::{Finding, Report, Severity};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::support::Api;

fn run(database: &Database, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nexa-control"))
        .arg("doctor")
        .args(args)
        .env_clear()
        .env("NEXA_CONTROL_CONFIG", "/dev/null")
        .env("NEXA_CONTROL_DATABASE_URL", &database.url)
        .output()
        .unwrap()
}

/// The report, after its exit code was the one that it promises.
fn doctor(database: &Database, args: &[&str]) -> Report {
    let output = run(database, &[&["--json"], args].concat());
    let text = String::from_utf8_lossy(&output.stderr);
    let report: Report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{text}"));
    assert_eq!(output.status.code(), Some(i32::from(report.has_problem())), "{report}{text}");
    report
}

fn of<'a>(report: &'a Report, check: &str) -> &'a Finding {
    report.findings.iter().find(|finding| finding.check == check).unwrap_or_else(|| panic!("{report}"))
}

#[tokio::test]
async fn a_good_database_has_nothing_to_say_about() {
    let api = Api::start().await;
    api.owner().await;
    let report = doctor(&api.database, &[]);
    for finding in &report.findings {
        assert_eq!(finding.severity, Severity::Ok, "{finding}");
    }
    let checks: Vec<_> = report.findings.iter().map(|finding| finding.check.as_str()).collect();
    let wanted = [
        "database",
        "postgres-version",
        "database-writable",
        "connections",
        "database-tls",
        "clock",
        "migrations",
        "owner",
    ];
    assert_eq!(checks, wanted);

    let output = run(&api.database, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("✓ migrations: all applied\n"), "{text}");
    assert!(text.ends_with("0 problems, 0 warnings, 0 not looked at\n"), "{text}");
}

#[tokio::test]
async fn what_is_to_be_done_first_is_said_of_a_new_database() {
    let database = Api::empty_database().await;
    let report = doctor(&database, &[]);
    let migrations = of(&report, "migrations");
    assert_eq!(migrations.severity, Severity::Warning);
    assert_eq!(migrations.remedy.as_deref(), Some("nexa-control migrate"));
    assert_eq!(of(&report, "owner").severity, Severity::Skipped);

    App::migrate(&database).await.unwrap();
    let report = doctor(&database, &[]);
    assert_eq!(of(&report, "migrations").severity, Severity::Ok);
    let owner = of(&report, "owner");
    assert!(owner.severity == Severity::Warning && owner.remedy.as_ref().unwrap().contains("bootstrap"));
}

#[tokio::test]
async fn a_schema_that_is_not_this_program_s_is_a_problem() {
    for (change, found) in [
        (
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9999, 'later', true, '', 0)",
            "to 9999",
        ),
        (
            "UPDATE _sqlx_migrations SET checksum = '\\x00' WHERE version = 1",
            "migration 1 in the database is not",
        ),
        ("UPDATE _sqlx_migrations SET success = false WHERE version = 2", "migration 2 began"),
    ] {
        let api = Api::start().await;
        api.execute(change).await;
        let report = doctor(&api.database, &[]);
        let migrations = of(&report, "migrations");
        assert!(migrations.is_problem() && migrations.found.contains(found), "{migrations}");
    }
    let api = Api::start().await;
    api.execute("DELETE FROM _sqlx_migrations WHERE version = 2").await;
    assert!(of(&doctor(&api.database, &[]), "migrations").found.starts_with("1 still to come"));
}

#[tokio::test]
async fn more_connections_than_the_server_takes_are_a_problem() {
    let api = Api::start().await;
    let report = doctor(&api.database, &["--database-connections", "1000"]);
    let connections = of(&report, "connections");
    assert!(connections.is_problem(), "{connections}");
    assert!(connections.remedy.as_ref().unwrap().contains("ALTER SYSTEM SET max_connections"));
}

#[tokio::test]
async fn a_database_that_only_reads_is_a_problem() {
    let api = Api::start().await;
    api.execute("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$").await;
    assert!(of(&doctor(&api.database, &[]), "database-writable").is_problem());
}

#[tokio::test]
async fn each_reason_for_no_connection_has_its_remedy_and_no_password_is_shown() {
    const CANARY: &str = "canary-of-a-password";
    let good = Api::empty_database().await;
    let mut db = PgConnection::connect(&good.url).await.unwrap();
    // The cluster asks this user for its password.
    let role = AssertSqlSafe("CREATE ROLE locked LOGIN PASSWORD 'another'");
    sqlx::query(role).execute(&mut db).await.unwrap();
    let folder = good.url.split("host=").nth(1).unwrap();
    let name = good.url.split(['/', '?']).nth(3).unwrap();
    for (url, found, remedy) in [
        (format!("postgres://locked:{CANARY}@localhost/{name}?host={folder}"), "28P01", "\\password locked"),
        (
            format!("postgres://nexa:{CANARY}@localhost/nowhere?host={folder}"),
            "3D000",
            "createdb --owner=nexa nowhere",
        ),
        (
            format!("postgres://nexa:{CANARY}@localhost/{name}?host=/nowhere"),
            "No such file",
            "unix_socket_directories",
        ),
        (format!("postgres://nexa:{CANARY}@127.0.0.1:9/{name}"), "refused", "listen_addresses"),
        (format!("postgres://nexa:{CANARY}@host:port/{name}"), "no PostgreSQL URL", "%40"),
    ] {
        let database = Database { url, max_connections: 16 };
        let report = doctor(&database, &[]);
        let finding = of(&report, "database");
        assert!(finding.is_problem() && finding.found.contains(found), "{finding}");
        assert!(finding.remedy.as_ref().unwrap().contains(remedy), "{finding}");
        assert_eq!(of(&report, "clock").severity, Severity::Skipped);
        let output = run(&database, &[]);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!text.contains(CANARY) && !report.to_string().contains(CANARY), "{text}");
    }
}
