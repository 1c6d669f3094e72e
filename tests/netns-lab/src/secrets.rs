//! Canaries: every secret of a lab is looked for where none may ever be. In the log they may not be at any level; names
//! and addresses of people may, below INFO.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use crate::{faults::DATABASE, lab::Lab, names::CLIENTS};

/// Secrets that came up so far, and what they are.
#[derive(Debug, Default)]
pub struct Secrets(Vec<(String, String)>);

impl Secrets {
    /// Notes a secret.
    pub fn note(&mut self, what: &str, secret: &str) {
        self.0.push((what.to_owned(), secret.trim().to_owned()));
    }

    /// Looks for every secret, those in the lab's files too, in all logs, the gateway's metrics and a dump of the
    /// database, and says how much was read.
    ///
    /// # Errors
    /// When one is found, or when what must be found is not: the search would be worth nothing.
    pub fn are_nowhere(&self, lab: &Lab) -> Result<String> {
        let secrets = self.all(lab)?;
        let mut places = logs(lab)?;
        let dump = lab.postgres.dump(DATABASE)?;
        ensure!(dump.contains("$argon2id$"), "the dump holds no hash of a password, so it is none");
        places.push(("the database's dump".to_owned(), dump));
        let metrics = lab.gateway.metrics_text(&lab.network.gateway)?;
        let device = lab.clients[0].device.as_deref().context("no device")?;
        ensure!(metrics.contains(device), "the metrics do not name a device, so they are none");
        places.push(("the gateway's metrics".to_owned(), metrics));

        let mut bytes = 0;
        for (place, text) in &places {
            bytes += text.len();
            for (what, secret) in &secrets {
                let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
                ensure!(!text.contains(secret.as_str()) && !text.contains(&hex), "{place} holds {what}");
            }
        }
        Ok(format!("{} secrets, none in {} KiB of logs, metrics and database", secrets.len(), bytes >> 10))
    }

    fn all(&self, lab: &Lab) -> Result<Vec<(String, String)>> {
        let read = |path: &Path| {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok::<_, anyhow::Error>(text.trim().to_owned())
        };
        let mut all = self.0.clone();
        all.push(("the admin's password".to_owned(), lab.admin.1.clone()));
        all.push(("the gateway's token".to_owned(), read(&lab.gateway.token())?));
        all.push(("the gateway's private key".to_owned(), read(&lab.gateway.state().join("private.key"))?));
        for client in &lab.clients {
            all.push((format!("{}'s private key", client.name), read(&client.key_file())?));
        }
        for (what, secret) in &all {
            ensure!(secret.len() >= 16, "{what} is too short to be looked for");
        }
        Ok(all)
    }
}

/// All logs, their lines of INFO and above without people.
fn logs(lab: &Lab) -> Result<Vec<(String, String)>> {
    let people: Vec<String> = lab.clients.iter().map(|client| format!("{}-laptop", client.name)).collect();
    let addresses: Vec<String> =
        CLIENTS.iter().flat_map(|client| client.both()).map(|address| address.to_string()).collect();
    let mut logs = Vec::new();
    for (name, path) in [("control-api", lab.control.log()), ("gateway", lab.gateway.log())] {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}'s log"))?;
        ensure!(text.contains("DEBUG"), "{name}'s log has no line of DEBUG, so little was looked at");
        for line in
            text.lines().filter(|line| ["ERROR", " WARN", " INFO"].iter().any(|level| line.contains(level)))
        {
            for person in people.iter().chain(&addresses) {
                ensure!(!line.contains(person.as_str()), "{name}'s log names a person above DEBUG: {line}");
            }
        }
        logs.push((format!("{name}'s log"), text));
    }
    logs.push(("Postgres' log".to_owned(), fs::read_to_string(lab.postgres.log()).context("Postgres' log")?));
    for client in &lab.clients {
        logs.push((
            format!("{}'s log", client.name),
            fs::read_to_string(client.log()).context("a client's log")?,
        ));
    }
    Ok(logs)
}
