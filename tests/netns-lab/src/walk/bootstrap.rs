//! Step 1: the first admin.

use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::json;

use super::{Walk, ms};

pub(super) fn run(walk: &mut Walk<'_>) -> Result<String> {
    let token = walk.lab.control.bootstrap_token(&walk.lab.network.control)?;
    walk.facts.secrets.note("the bootstrap token", &token);
    let lab = &walk.lab;
    let visitor = walk.visitor(&lab.network.control)?;
    let body = json!({"token": token, "username": lab.admin.0, "password": lab.admin.1});
    let start = Instant::now();
    visitor.create("/api/v1/bootstrap", &body)?;
    let took = start.elapsed();

    let again = json!({"token": token, "username": "second", "password": lab.admin.1});
    let second = visitor.call("POST", "/api/v1/bootstrap", Some(&again))?;
    if !["bootstrap_closed", "bootstrap_token_invalid"].contains(&second.code()) || second.status < 400 {
        bail!("a second use was answered {} {}", second.status, second.body);
    }
    if let Ok(token) = lab.control.bootstrap_token(&lab.network.control) {
        bail!("with an owner there, `nexa-control bootstrap` made another token of {} bytes", token.len());
    }
    Ok(format!("made in {}, second use {} {}", ms(took), second.status, second.code()))
}
