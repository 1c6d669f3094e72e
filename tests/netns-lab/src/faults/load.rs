//! Changes through the API, all the time: what was acknowledged is written down.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::{Goes, scene::Scene};
use crate::{
    api::{Answer, Api, text},
    background::Background,
    lan::random_hex,
    wait,
    walk::LIMIT,
};

/// Between two changes, and before a try after one that was refused.
const PAUSE: Duration = Duration::from_millis(10);

/// What was acknowledged, and what was not.
#[derive(Debug, Default)]
pub struct Written {
    /// Ids of groups that the API said to have made.
    pub groups: Vec<String>,
    /// Rules that were made or deleted: each makes a snapshot.
    pub policies: u64,
    /// Answers 503, each with a time to try again.
    pub unavailable: u64,
}

/// Two writers: one makes groups, which gateways do not see, one makes and deletes a rule.
#[derive(Debug)]
pub struct Load {
    groups: Background<Written>,
    rules: Background<Written>,
    acknowledged: Arc<[AtomicU64; 2]>,
}

impl Load {
    /// Starts both, signed in as the admin. `api` says whether control-api may be gone meanwhile.
    pub fn start(scene: &Scene<'_>, api: Goes) -> Result<Self> {
        let acknowledged: Arc<[AtomicU64; 2]> = Arc::default();
        let writer = |index: usize| -> Result<Writer> {
            let acknowledged = Arc::clone(&acknowledged);
            Ok(Writer {
                api: scene.walk.admin()?.clone(),
                goes: api,
                written: Written::default(),
                acknowledged,
                index,
            })
        };
        let namespace = &scene.walk.lab.network.control;
        let (groups, rules) = (writer(0)?, writer(1)?);
        let rule = scene.rule()?;
        Ok(Self {
            groups: Background::start(namespace, move |stop| groups.make_groups(stop))?,
            rules: Background::start(namespace, move |stop| rules.toggle(&rule, stop))?,
            acknowledged,
        })
    }

    /// Waits until each had something acknowledged.
    pub fn wait_until_it_runs(&self) -> Result<()> {
        wait::until("no change is acknowledged", LIMIT, || {
            let failed = self.groups.has_failed() || self.rules.has_failed();
            let running = self.acknowledged.iter().all(|count| count.load(Ordering::Relaxed) > 0);
            // A writer that failed says why when it is finished.
            Ok((running || failed).then_some(()))
        })?;
        Ok(())
    }

    /// Ends both and returns what they have.
    pub fn finish(self) -> Result<Written> {
        let (groups, rules) = (self.groups.finish()?, self.rules.finish()?);
        Ok(Written {
            policies: rules.policies,
            unavailable: groups.unavailable + rules.unavailable,
            ..groups
        })
    }
}

struct Writer {
    api: Api,
    goes: Goes,
    written: Written,
    acknowledged: Arc<[AtomicU64; 2]>,
    index: usize,
}

impl Writer {
    fn make_groups(mut self, stop: &AtomicBool) -> Result<Written> {
        while !stop.load(Ordering::Relaxed) {
            let body = json!({"name": format!("load-{}", random_hex()?)});
            if let Some(answer) = self.call("POST", "/api/v1/groups", Some(&body), &[201])? {
                self.written.groups.push(text(&answer.body, "id")?.to_owned());
            }
            thread::sleep(PAUSE);
        }
        Ok(self.written)
    }

    fn toggle(mut self, rule: &Value, stop: &AtomicBool) -> Result<Written> {
        while !stop.load(Ordering::Relaxed) {
            if let Some(answer) = self.call("POST", "/api/v1/rules", Some(rule), &[201])? {
                self.written.policies += 1;
                let path = format!("/api/v1/rules/{}", answer.body["id"]);
                // An attempt whose answer was lost may have deleted it.
                while self.call("DELETE", &path, None, &[204, 404])?.is_none()
                    && !stop.load(Ordering::Relaxed)
                {
                    thread::sleep(PAUSE);
                }
                self.written.policies += 1;
            }
            thread::sleep(PAUSE);
        }
        Ok(self.written)
    }

    /// Calls; nothing when the change was refused or not answered in a way that the fault excuses.
    fn call(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        good: &[u16],
    ) -> Result<Option<Answer>> {
        let answer = match self.api.call(method, path, body) {
            Ok(answer) => answer,
            Err(_) if self.goes == Goes::OnAfterwards => return Ok(None),
            Err(error) => return Err(error),
        };
        if good.contains(&answer.status) {
            self.acknowledged[self.index].fetch_add(1, Ordering::Relaxed);
            return Ok(Some(answer));
        }
        if answer.status != 503 {
            bail!("{method} {path} was answered {} {}", answer.status, answer.body);
        }
        ensure!(answer.retry_after.is_some(), "503 without Retry-After: {}", answer.body);
        self.written.unavailable += 1;
        Ok(None)
    }
}
