//! `nexa-gateway status`, `explain`, `flows`, `drops` and `verify`: questions to the daemon of this host, and its answers for people.

use std::fmt::Display;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use nexa_wire::local::{Answer, Query, Question, Request};

use crate::config::{Asking, Drops, Explain, Flows};

/// How long a daemon may take: a million entries are compared in seconds.
const PATIENCE: Duration = Duration::from_secs(60);

const OTHER_VERSION: &str = "the daemon answers in words of another version; restart it";

/// Prints how the daemon and its peers are.
pub fn status(asking: &Asking) -> ExitCode {
    told(asking, Question::Status, |answer| match answer {
        Answer::Status(status) => Some((status.at(SystemTime::now()).to_string(), ExitCode::SUCCESS)),
        _ => None,
    })
}

/// Prints what would happen to a packet; exit 1 where the kernel's maps say something else than the rules.
pub fn explain(explain: &Explain) -> ExitCode {
    let query = Query {
        peer: explain.peer.clone(),
        destination: explain.dst,
        protocol: explain.proto,
        port: explain.port,
    };
    told(&explain.asking, Question::Explain(query), |answer| match answer {
        Answer::Explained(explained) => Some((explained.to_string(), success_if(explained.agrees()))),
        _ => None,
    })
}

/// Prints the live conversations, a line each, or with `--follow` those that begin until it is ended.
pub fn flows(flows: &Flows) -> ExitCode {
    let question = Question::Flows { peer: flows.peer.clone(), follow: flows.follow };
    if flows.follow {
        return followed(&flows.asking, question, flows_text);
    }
    told(&flows.asking, question, |answer| Some((flows_text(answer)?, ExitCode::SUCCESS)))
}

fn flows_text(answer: &Answer) -> Option<String> {
    let Answer::Flows { flows, total } = answer else { return None };
    let mut text: String = flows.iter().map(|flow| format!("{flow}\n")).collect();
    if *total > flows.len() as u64 {
        text += &format!("and {} more\n", total - flows.len() as u64);
    }
    Some(text)
}

/// Prints the latest drops, a line each, and with `--follow` those that come until it is ended.
pub fn drops(drops: &Drops) -> ExitCode {
    let question = Question::Drops { peer: drops.peer.clone(), follow: drops.follow };
    if drops.follow {
        return followed(&drops.asking, question, drops_text);
    }
    told(&drops.asking, question, |answer| Some((drops_text(answer)?, ExitCode::SUCCESS)))
}

fn drops_text(answer: &Answer) -> Option<String> {
    let Answer::Drops { drops, missed } = answer else { return None };
    let mut text: String = drops.iter().map(|drop| format!("{drop}\n")).collect();
    if *missed > 0 {
        text += &format!("{missed} more came too fast to be told\n");
    }
    Some(text)
}

fn followed(asking: &Asking, question: Question, text_of: fn(&Answer) -> Option<String>) -> ExitCode {
    let followed = follow(asking, question, text_of);
    followed.map_or_else(|error| complain(format_args!("{error:#}")), |()| ExitCode::SUCCESS)
}

/// Prints one answer after the other; as JSON each is a line.
fn follow(asking: &Asking, question: Question, text_of: fn(&Answer) -> Option<String>) -> anyhow::Result<()> {
    let stream = put(asking, question)?;
    for line in BufReader::new(stream).lines() {
        let line = line.context("the daemon does not answer")?;
        let answer = serde_json::from_str(&line).context(OTHER_VERSION)?;
        if let Answer::Refused { reason } = &answer {
            anyhow::bail!("{reason}");
        }
        let text = text_of(&answer).context("the daemon answered something else; restart it")?;
        let text = if asking.json { format!("{line}\n") } else { text };
        if io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()).is_err() {
            // Who stops reading, like `head`, has read enough.
            return Ok(());
        }
    }
    anyhow::bail!("the daemon ended; its log says why")
}

/// Prints how the kernel's maps differ from the policy in force; exit 1 where they do.
pub fn verify(asking: &Asking) -> ExitCode {
    told(asking, Question::Verify, |answer| match answer {
        Answer::Verified(verified) => Some((verified.to_string(), success_if(verified.drift() == 0))),
        _ => None,
    })
}

fn success_if(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn told(
    asking: &Asking,
    question: Question,
    read: impl FnOnce(&Answer) -> Option<(String, ExitCode)>,
) -> ExitCode {
    let outcome = ask(asking, question).and_then(|answer| {
        if let Answer::Refused { reason } = &answer {
            anyhow::bail!("{reason}");
        }
        let (text, code) = read(&answer).context("the daemon answered something else; restart it")?;
        let text = if asking.json { format!("{}\n", serde_json::to_string_pretty(&answer)?) } else { text };
        // Who stops reading, like `head`, has read enough.
        let _ = io::stdout().write_all(text.as_bytes());
        Ok(code)
    });
    outcome.unwrap_or_else(|error| complain(format_args!("{error:#}")))
}

#[expect(clippy::print_stderr, reason = "this is for a person's terminal")]
fn complain(what: impl Display) -> ExitCode {
    eprintln!("nexa-gateway: {what}");
    ExitCode::FAILURE
}

/// Puts a question; the answer is still to be read.
fn put(asking: &Asking, question: Question) -> anyhow::Result<UnixStream> {
    let path = asking.socket().context("say where the daemon is: give --state-dir or --socket")?;
    let mut stream = connect(&path)?;
    let mut line = serde_json::to_string(&Request::new(question))?;
    line.push('\n');
    stream.write_all(line.as_bytes()).context("the daemon does not listen")?;
    Ok(stream)
}

fn ask(asking: &Asking, question: Question) -> anyhow::Result<Answer> {
    let stream = put(asking, question)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).context("the daemon does not answer")?;
    anyhow::ensure!(!answer.is_empty(), "the daemon ended before it answered; its log says why");
    serde_json::from_str(&answer).context(OTHER_VERSION)
}

fn connect(path: &Path) -> anyhow::Result<UnixStream> {
    UnixStream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => anyhow::anyhow!(
            "no daemon answers at {}; start it with `nexa-gateway run`, or give the --state-dir or --socket that it \
             was started with",
            path.display()
        ),
        io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("only root may ask the daemon at {}", path.display())
        }
        _ => anyhow::Error::from(error).context(format!("cannot reach the daemon at {}", path.display())),
    })
}
