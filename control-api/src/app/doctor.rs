//! `nexa-control doctor`: whether the database is one that this program can work with, and what to do where it is not.

use std::io::ErrorKind;

use chrono::TimeDelta;
use nexa_wire::doctor::{Finding, Report};

use super::Database;
use crate::store::doctor::{Address, ConnectError, Look, Schema, Server};

const DATABASE: (&str, &str) = ("database", "database");
const SERVER: (&str, &str) = ("postgres-version", "PostgreSQL 13 or newer");
const PRIMARY: (&str, &str) = ("database-writable", "writable primary");
const SCHEMA: (&str, &str) = ("migrations", "migrations");
const POOL: (&str, &str) = ("connections", "connections");
const TLS: (&str, &str) = ("database-tls", "encryption");
const CLOCK: (&str, &str) = ("clock", "clock");
const OWNER: (&str, &str) = ("owner", "owner");

/// The first version with all that the SQL uses.
const FIRST_SUPPORTED: i32 = 130_000;
/// Besides the pool: migrating, listening, and somebody who looks after it.
const BESIDES: i64 = 5;
/// Leases and tokens end at times that others see as wrong.
const CLOCK_WARNING: TimeDelta = TimeDelta::seconds(5);
const CLOCK_PROBLEM: TimeDelta = TimeDelta::seconds(60);

/// Looks at everything, changing nothing.
pub async fn look(database: &Database) -> Report {
    let findings = findings(database).await;
    Report { program: "nexa-control".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), findings }
}

async fn findings(database: &Database) -> Vec<Finding> {
    let address = match Address::of(&database.url) {
        Ok(address) => address,
        Err(_) => return unreachable(problem(DATABASE, "its URL is no PostgreSQL URL", URL_REMEDY)),
    };
    let mut look = match Look::connect(&database.url).await {
        Ok(look) => look,
        Err(error) => return unreachable(refused(&address, &error)),
    };
    let mut findings = vec![ok(DATABASE, format!("{} answers", address.shown))];
    match look.server().await {
        Ok(server) => {
            findings.extend([
                version(&server),
                writable(&server),
                pool(&server, database),
                tls(&server, &address),
            ]);
        }
        Err(error) => findings.push(skipped(SERVER, error.to_string())),
    }
    findings.push(match look.clock_ahead().await {
        Ok(ahead) => clock(ahead),
        Err(error) => skipped(CLOCK, error.to_string()),
    });
    let state = look.schema().await;
    let is_current = matches!(state, Ok(Schema::Current));
    findings.push(match state {
        Ok(state) => schema(&state),
        Err(error) => {
            problem(SCHEMA, error.to_string(), "let the user of --database-url read its own tables")
        }
    });
    findings.push(if is_current {
        owner(&mut look).await
    } else {
        skipped(OWNER, "the schema is not current")
    });
    findings
}

const URL_REMEDY: &str = "write it as postgres://user:password@host:5432/name; characters such as `@` or `/` in the \
                          password as %40 or %2F";

/// Nothing else can be looked at then.
fn unreachable(finding: Finding) -> Vec<Finding> {
    let rest = [SERVER, PRIMARY, POOL, TLS, CLOCK, SCHEMA, OWNER];
    std::iter::once(finding).chain(rest.map(|check| skipped(check, "there is no connection"))).collect()
}

fn refused(address: &Address, error: &ConnectError) -> Finding {
    let Address { shown, host, port, user, database, .. } = address;
    let (found, remedy) = match error {
        ConnectError::Url => return problem(DATABASE, "its URL is not understood", URL_REMEDY),
        ConnectError::Silent => (
            "does not answer within 5 s".to_owned(),
            format!("let TCP port {port} through the firewalls between here and {host}"),
        ),
        ConnectError::Io(error) => (error.to_string(), io_remedy(address, error.kind())),
        ConnectError::Tls(words) => (
            format!("TLS did not come about: {words}"),
            "turn `ssl` on in postgresql.conf, and give the URL sslrootcert=FILE with the authority of its certificate"
                .to_owned(),
        ),
        ConnectError::Server(code, words) => {
            let remedy = match code.as_str() {
                "28P01" => format!("psql -c '\\password {user}'   # as a superuser there, then put the same into the URL"),
                "28000" => format!("add a line for user {user} and database {database} to pg_hba.conf, then reload"),
                "3D000" => format!("createdb --owner={user} {database}   # as a superuser there"),
                "53300" => "psql -c 'ALTER SYSTEM SET max_connections = 200'   # then restart PostgreSQL".to_owned(),
                "57P03" => "wait until PostgreSQL has started".to_owned(),
                _ => "look into the log of PostgreSQL".to_owned(),
            };
            (format!("{words} ({code})"), remedy)
        }
        ConnectError::Other(words) => (words.clone(), "is there PostgreSQL at that address?".to_owned()),
    };
    problem(DATABASE, format!("{shown}: {found}"), remedy)
}

fn io_remedy(address: &Address, kind: ErrorKind) -> String {
    let Address { host, port, .. } = address;
    match kind {
        ErrorKind::ConnectionRefused => {
            format!("start PostgreSQL there, with listen_addresses that include {host}, port {port}")
        }
        ErrorKind::NotFound => {
            "start PostgreSQL, with that folder among its unix_socket_directories".to_owned()
        }
        ErrorKind::PermissionDenied => "let this user reach the folder of the socket".to_owned(),
        _ => format!("getent hosts {host}   # is the name right, and is there a way to it?"),
    }
}

fn version(server: &Server) -> Finding {
    let found = format!("this is {}", server.version);
    if server.version_number >= FIRST_SUPPORTED {
        return ok(SERVER, found);
    }
    problem(SERVER, found, "upgrade it, on Debian with pg_upgradecluster")
}

fn writable(server: &Server) -> Finding {
    if server.in_recovery {
        let remedy =
            "give --database-url the primary's address, or add target_session_attrs of your proxy for it";
        return problem(PRIMARY, "this is a standby: it only reads", remedy);
    }
    if server.read_only {
        let remedy = "psql -c 'ALTER SYSTEM RESET default_transaction_read_only' -c 'SELECT pg_reload_conf()'   # or \
                      where else it is set: ALTER ROLE, ALTER DATABASE";
        return problem(PRIMARY, "default_transaction_read_only is on", remedy);
    }
    ok(PRIMARY, "it is one")
}

fn pool(server: &Server, database: &Database) -> Finding {
    let needed = i64::from(database.max_connections) + BESIDES;
    let (allowed, used) = (i64::from(server.connections), server.connections_in_use);
    let found = format!(
        "the server takes {allowed}, others use {used} now; this program wants up to {} and {BESIDES} more",
        database.max_connections
    );
    let remedy = format!(
        "psql -c 'ALTER SYSTEM SET max_connections = {}'   # then restart PostgreSQL; or lower --database-connections",
        (needed + used).max(100)
    );
    if needed > allowed {
        problem(POOL, found, remedy)
    } else if needed + used > allowed {
        Finding::warning(POOL.0, POOL.1, found, remedy)
    } else {
        ok(POOL, found)
    }
}

fn tls(server: &Server, address: &Address) -> Finding {
    match (address.is_local, server.encrypted, address.is_verified) {
        (true, true, _) => ok(TLS, "on, and local"),
        (true, false, _) => ok(TLS, "off; the connection does not leave this host"),
        (false, true, true) => ok(TLS, "on, and the server has to prove who it is"),
        (false, encrypted, _) => Finding::warning(
            TLS.0,
            TLS.1,
            if encrypted { "on, but the server need not prove who it is" } else { "off, over a network" },
            "add sslmode=verify-full&sslrootcert=FILE to the database's URL",
        ),
    }
}

fn clock(ahead: TimeDelta) -> Finding {
    if ahead.abs() <= CLOCK_WARNING {
        return ok(CLOCK, "agrees with the database's");
    }
    let direction = if ahead > TimeDelta::zero() { "behind" } else { "ahead of" };
    let found = format!("{} s {direction} the database's", ahead.abs().num_seconds());
    let remedy = "timedatectl set-ntp true   # or `apt install chrony`; on the database's host too";
    if ahead.abs() > CLOCK_PROBLEM {
        return problem(CLOCK, found, remedy);
    }
    Finding::warning(CLOCK.0, CLOCK.1, found, remedy)
}

fn schema(state: &Schema) -> Finding {
    match state {
        Schema::Current => ok(SCHEMA, "all applied"),
        Schema::Pending(number) => Finding::warning(
            SCHEMA.0,
            SCHEMA.1,
            format!("{number} still to come; `serve` applies them when it starts"),
            "nexa-control migrate",
        ),
        Schema::Newer(version) => problem(
            SCHEMA,
            format!("a later version of this program migrated the database, to {version}"),
            "run that version or a later one; there is no way back but a backup",
        ),
        Schema::Changed(version) => problem(
            SCHEMA,
            format!("migration {version} in the database is not the one of this program"),
            "run a released version; merged migrations never change",
        ),
        Schema::Unfinished(version) => problem(
            SCHEMA,
            format!("migration {version} began and did not end"),
            "restore the backup of before it, then run `nexa-control migrate`",
        ),
    }
}

async fn owner(look: &mut Look) -> Finding {
    match look.any_owner().await {
        Ok(true) => ok(OWNER, "there is one"),
        Ok(false) => Finding::warning(
            OWNER.0,
            OWNER.1,
            "there is none, so nobody can sign in",
            "nexa-control bootstrap   # its token makes the first one, at POST /api/v1/bootstrap",
        ),
        Err(error) => skipped(OWNER, error.to_string()),
    }
}

fn ok((check, title): (&str, &str), found: impl Into<String>) -> Finding {
    Finding::ok(check, title, found)
}

fn problem((check, title): (&str, &str), found: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding::problem(check, title, found, remedy)
}

fn skipped((check, title): (&str, &str), why: impl Into<String>) -> Finding {
    Finding::skipped(check, title, why)
}

#[cfg(test)]
mod tests;
