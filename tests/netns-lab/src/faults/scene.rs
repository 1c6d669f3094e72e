//! The lab that faults are played on, and what must hold on it between them.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    api::Answer,
    control::Control,
    lab::Lab,
    names::{CONTROL, SERVER, port},
    probe::{self, Hops},
    relay::{Mode, Relay},
    wait,
    walk::{LIMIT, REFUSED, Walk, tunnel},
};

/// The database that control-api uses.
pub const DATABASE: &str = "nexavpn";

/// Where the relay listens, beside control-api.
const RELAY_PORT: u16 = 9090;

/// A client notices a gateway that lost its sessions after 15 s, and asks again within 5 s.
pub const RECOVERY: Duration = Duration::from_secs(30);

/// After Postgres answers again, so soon must the API take changes.
pub const HEALS: Duration = Duration::from_secs(5);

/// A lab whose clients are connected, and a line to control-api that can be bad.
pub struct Scene<'a> {
    pub walk: Walk<'a>,
    pub relay: Relay,
    resource: String,
}

impl<'a> Scene<'a> {
    /// Brings the lab up to the tunnel, with the relay between gateway and control-api.
    pub fn set(lab: &'a mut Lab) -> Result<Self> {
        let address = CONTROL.sockets(RELAY_PORT)[0];
        let relay = Relay::start(&lab.network.control, address, Control::address())?;
        lab.gateway.set_control_url(relay.url());
        let walk = super::to_tunnel(lab)?;
        let traffic = json!([{"protocol": "tcp", "ports": port::SECOND_HTTP.to_string()}]);
        let resource = walk.make_resource("faults", &traffic)?;
        Ok(Self { walk, relay, resource })
    }

    /// The rule that is made and deleted all the time: it opens the second port to the first client.
    pub fn rule(&self) -> Result<Value> {
        self.walk.grant(&self.resource)
    }

    /// Starts what does not run, also after a round that failed in the middle.
    pub fn stand_up(&mut self) -> Result<()> {
        self.relay.set(Mode::Pass);
        let lab = &mut *self.walk.lab;
        lab.postgres.disk.free()?;
        lab.gateway.disk.free()?;
        if !lab.postgres.answers()? {
            lab.postgres.run(&lab.ledger)?;
        }
        if lab.control.pid().is_some() {
            lab.control.signal(Signal::SIGCONT)?;
        }
        if lab.control.check().is_err() {
            lab.control.start(&lab.network.control, &lab.ledger)?;
        }
        if lab.gateway.check().is_err() {
            self.start_gateway()?;
        }
        if self.walk.lab.clients[0].pid().is_none() {
            self.connect_client()?;
        }
        self.settle().map(drop)
    }

    pub fn start_gateway(&mut self) -> Result<()> {
        let lab = &mut *self.walk.lab;
        lab.gateway.start(&lab.network.gateway, &lab.ledger)
    }

    pub fn start_control(&mut self) -> Result<Duration> {
        let lab = &mut *self.walk.lab;
        lab.control.start(&lab.network.control, &lab.ledger)
    }

    pub fn connect_client(&mut self) -> Result<()> {
        let lab = &mut *self.walk.lab;
        lab.clients[0].connect(&lab.network.clients[0], &lab.ledger)?;
        tunnel::widen(&self.walk)
    }

    /// Waits until the client gets through to what it is granted, and says how long that took.
    pub fn client_gets_through(&mut self) -> Result<Duration> {
        let start = Instant::now();
        let address = SERVER.sockets(port::HTTP)[0];
        let through = self.walk.first().run(|| probe::first_connect(address, start + RECOVERY))?;
        self.walk.lab.gateway.check()?;
        Ok(through.context("the client does not get through")?.saturating_duration_since(start))
    }

    /// Waits until the gateway is connected with at least the policy of now in force, and the client gets through.
    pub fn settle(&mut self) -> Result<Duration> {
        let start = Instant::now();
        let gateway = self.walk.lab.gateway.registered.as_ref().context("there is no gateway")?;
        let path = format!("/api/v1/gateways/{}", gateway.id);
        let admin = self.walk.admin()?;
        let (network, _) = wait::until("control-api does not answer", LIMIT, || {
            let answer = admin.get("/api/v1/network")?.expect(&[200, 503])?;
            Ok((answer.status == 200).then_some(answer.body))
        })?;
        let now = network["revision"].as_u64().context("no revision")?;
        wait::until("the gateway has not the newest policy in force", RECOVERY, || {
            self.walk.lab.gateway.check()?;
            let admin = self.walk.admin()?;
            let gateway = admin.get(&path)?;
            let applied = gateway.body["applied_revision"].as_u64();
            let settled = applied >= Some(now) && gateway.body["connected"] == true;
            Ok(settled.then_some(()))
        })?;
        self.client_gets_through()?;
        Ok(start.elapsed())
    }

    /// With no such rule the second port is closed, with one it is open: as soon as the gateway says so, and no later.
    pub fn port_follows_the_rules(&mut self) -> Result<()> {
        let rules = self.walk.admin()?.read("/api/v1/rules?limit=100")?;
        let ours = |rule: &&Value| rule["what"][0]["id"] == self.resource.as_str();
        for rule in rules["items"].as_array().context("no list of rules")?.iter().filter(ours) {
            self.walk.admin()?.delete(&format!("/api/v1/rules/{}", rule["id"]))?;
        }
        self.settle()?;
        let reached = |address| probe::connect(address, REFUSED, Hops::Usual).is_ok();
        let [v4, v6] = SERVER.sockets(port::SECOND_HTTP);
        ensure!(!self.walk.first().run(|| reached(v4))?, "{v4} is open without a rule");
        let rule = self.walk.admin()?.create("/api/v1/rules", &self.rule()?)?;
        self.settle()?;
        for address in [v4, v6] {
            ensure!(self.walk.first().run(|| reached(address))?, "{address} is closed with a rule");
        }
        self.walk.admin()?.delete(&format!("/api/v1/rules/{}", rule["id"])).map(drop)
    }

    /// How many of these groups the database does not have.
    pub fn missing(&self, groups: &[String]) -> Result<usize> {
        let ids: Vec<_> = groups.iter().map(|id| format!("'{id}'")).collect();
        if ids.is_empty() {
            return Ok(0);
        }
        let query = format!("SELECT count(*) FROM groups WHERE id IN ({})", ids.join(","));
        let there: usize =
            self.walk.lab.postgres.ask(DATABASE, &query)?.trim().parse().context("no count")?;
        Ok(groups.len() - there)
    }

    /// A gauge or counter of the gateway.
    pub fn metric(&self, name: &str) -> Result<f64> {
        self.metric_of(name, &[])
    }

    /// One of several series of the gateway.
    pub fn metric_of(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let metrics = self.walk.lab.gateway.metrics(&self.walk.lab.network.gateway)?;
        metrics.get(name, labels).with_context(|| format!("no {name}"))
    }

    /// Tries to make a group.
    pub fn try_to_write(&self) -> Result<Answer> {
        let body = json!({"name": format!("fault-{}", crate::lan::random_hex()?)});
        self.walk.admin()?.call("POST", "/api/v1/groups", Some(&body))
    }

    /// While the database is away, every answer says so in a way that a program understands.
    pub fn api_says_that_the_database_is_away(&self) -> Result<()> {
        let admin = self.walk.admin()?;
        let away = |path: &str| -> Result<()> {
            let answer = admin.get(path)?.expect(&[503])?;
            ensure!(answer.code() == "database_unavailable", "{path}: {}", answer.body);
            ensure!(answer.retry_after.is_some(), "{path}: 503 without Retry-After");
            Ok(())
        };
        admin.get("/healthz")?.expect(&[200])?;
        // At once: each waits a while for a connection before it gives up.
        thread::scope(|scope| {
            let ready = scope.spawn(|| away("/readyz"));
            away("/api/v1/groups")?;
            ready.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Waits until changes are taken again, and says how long that took.
    pub fn writes_heal(&self) -> Result<Duration> {
        let ((), took) = wait::until("changes are not taken again", HEALS, || {
            let answer = self.try_to_write()?.expect(&[201, 503])?;
            Ok((answer.status == 201).then_some(()))
        })?;
        Ok(took)
    }

    /// Waits until the relay has done what it was set to do.
    pub fn relay_strikes(&self) -> Result<()> {
        wait::until("no snapshot came by", LIMIT, || Ok(self.relay.passes().then_some(())))?;
        Ok(())
    }
}
