//! Whether the control plane answers, and whether its clock and ours agree.

use std::io;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nexa_wire::doctor::Finding;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::config::ControlUrl;

const CHECK: &str = "control-api";
const TITLE: &str = "control plane";
const CLOCK: &str = "clock";

/// For the name, the connection and the answer together.
const PATIENCE: Duration = Duration::from_secs(3);

/// Leases and `valid until` begin to be off.
const CLOCK_WARNING: TimeDelta = TimeDelta::seconds(5);
/// Windows of rules open and close at the wrong time.
const CLOCK_PROBLEM: TimeDelta = TimeDelta::seconds(60);

/// The head of an answer is far smaller.
const HEAD_BYTES: u64 = 16 << 10;

/// Asks it whether it is ready.
pub async fn look(url: Option<&ControlUrl>) -> Vec<Finding> {
    let Some(url) = url else {
        let why = "`control_url` is not set; `run` needs it";
        return vec![
            Finding::skipped(CHECK, TITLE, why),
            Finding::skipped(CLOCK, CLOCK, "there is none to compare with"),
        ];
    };
    let answer = timeout(PATIENCE, ask(url)).await.unwrap_or(Err(Failure::Silent));
    match answer {
        Ok(answer) => vec![ready(url, &answer), clock(&answer)],
        Err(failure) => vec![
            Finding::problem(CHECK, TITLE, failure.found(url), failure.remedy(url)),
            Finding::skipped(CLOCK, CLOCK, "the control plane does not tell the time"),
        ],
    }
}

struct Answer {
    status: u16,
    /// Its time, and ours when it came.
    times: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

enum Failure {
    Name(io::Error),
    Refused,
    Silent,
    Io(io::Error),
    NoHttp,
}

async fn ask(url: &ControlUrl) -> Result<Answer, Failure> {
    let host = url.host().trim_matches(['[', ']']);
    let addresses: Vec<_> = lookup_host((host, url.port())).await.map_err(Failure::Name)?.collect();
    let mut stream = TcpStream::connect(&addresses[..]).await.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Refused,
        _ => Failure::Io(error),
    })?;
    let request =
        format!("GET /readyz HTTP/1.1\r\nHost: {}:{}\r\nConnection: close\r\n\r\n", url.host(), url.port());
    stream.write_all(request.as_bytes()).await.map_err(Failure::Io)?;
    let mut bytes = Vec::new();
    stream.take(HEAD_BYTES).read_to_end(&mut bytes).await.map_err(Failure::Io)?;
    let now = Utc::now();
    let text = String::from_utf8_lossy(&bytes);
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let status =
        head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
    let date = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("date").then(|| DateTime::parse_from_rfc2822(value.trim()).ok()).flatten()
    });
    Ok(Answer { status: status.ok_or(Failure::NoHttp)?, times: date.map(|date| (date.to_utc(), now)) })
}

impl Failure {
    fn found(&self, url: &ControlUrl) -> String {
        match self {
            Self::Name(error) => format!("{} is no known name: {error}", url.host()),
            Self::Refused => format!("{url} refuses the connection"),
            Self::Silent => format!("{url} does not answer within {} s", PATIENCE.as_secs()),
            Self::Io(error) => format!("{url}: {error}"),
            Self::NoHttp => format!("{url} does not answer in HTTP"),
        }
    }

    fn remedy(&self, url: &ControlUrl) -> String {
        let (host, port) = (url.host(), url.port());
        match self {
            Self::Name(_) => {
                format!("getent hosts {host}   # is the name right, and the resolver in /etc/resolv.conf?")
            }
            Self::Refused => format!(
                "start nexa-control there, with --listen on an address that this host reaches, port {port}; \
                 `ss -ltn` on its host shows where it listens"
            ),
            Self::Silent => format!("let TCP port {port} through the firewalls between here and {host}"),
            Self::Io(_) => {
                format!("ip route get {}   # is there a way to it?", host.trim_matches(['[', ']']))
            }
            Self::NoHttp => "give --control-url the address of nexa-control itself, without TLS".to_owned(),
        }
    }
}

fn ready(url: &ControlUrl, answer: &Answer) -> Finding {
    let found = format!("{url} answers {}", answer.status);
    match answer.status {
        200 => Finding::ok(CHECK, TITLE, format!("{url} is ready")),
        503 => Finding::problem(
            CHECK,
            TITLE,
            format!("{found}: its database is away or not migrated"),
            "nexa-control doctor   # on its host",
        ),
        404 => Finding::problem(CHECK, TITLE, found, "give --control-url the address of nexa-control itself"),
        _ => Finding::problem(CHECK, TITLE, found, "look into the log of nexa-control"),
    }
}

fn clock(answer: &Answer) -> Finding {
    let Some((theirs, ours)) = answer.times else {
        return Finding::skipped(CLOCK, CLOCK, "the control plane does not tell the time");
    };
    let ahead = ours - theirs;
    // The header counts whole seconds.
    if ahead.abs() <= CLOCK_WARNING {
        return Finding::ok(CLOCK, CLOCK, "agrees with the control plane's");
    }
    let direction = if ahead > TimeDelta::zero() { "ahead of" } else { "behind" };
    let found = format!("{} s {direction} the control plane's", ahead.abs().num_seconds());
    let remedy = "timedatectl set-ntp true   # or `apt install chrony`; on the control plane's host too";
    if ahead.abs() > CLOCK_PROBLEM {
        return Finding::problem(CLOCK, CLOCK, format!("{found}; leases and times of rules are off"), remedy);
    }
    Finding::warning(CLOCK, CLOCK, found, remedy)
}
