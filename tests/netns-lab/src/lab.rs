//! A running lab.

use std::path::PathBuf;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::{
    client::Client, control::Control, down, folder::Folder, forward::Forward, gateway::Gateway, lan::Servers,
    ledger::Ledger, network::Network, postgres::Postgres, process,
};

/// The programs that a lab runs, besides the system's.
#[derive(Clone, Debug)]
pub struct Programs {
    /// nexa-control.
    pub control: PathBuf,
    /// nexa-gateway.
    pub gateway: PathBuf,
    /// Folder of the web app that nexa-control serves, if any.
    pub web: Option<PathBuf>,
}

/// Everything that runs. The fields end in this order when it goes: who uses something ends before it.
#[derive(Debug)]
pub struct Lab {
    /// The clients: the first is granted something, the second nothing.
    pub clients: [Client; 2],
    /// The gateway, not started before it is registered.
    pub gateway: Gateway,
    /// control-api.
    pub control: Control,
    /// The LAN's servers.
    pub servers: Servers,
    /// control-api's database.
    pub postgres: Postgres,
    /// control-api, from the machine's loopback.
    pub console: Forward,
    /// The gateway's metrics, from the machine's loopback.
    pub metrics: Forward,
    /// Who signs in to the console: name and password.
    pub admin: (String, String),
    /// The namespaces.
    pub network: Network,
    /// What is on the machine.
    pub ledger: Ledger,
    /// Where the lab keeps its files.
    pub folder: Folder,
}

impl Lab {
    /// Starts everything but the gateway and the clients' tunnels, which the walk-through does. `say` is told each step.
    ///
    /// Removes first what an earlier lab in the folder left. The folder must be locked.
    ///
    /// # Errors
    /// When something does not start; what did is ended and removed.
    pub fn start(folder: &Folder, programs: &Programs, say: &mut dyn FnMut(&str)) -> Result<Self> {
        Self::launch(folder, programs, say).or_else(|error| {
            down::clean(folder)?;
            Err(error)
        })
    }

    fn launch(folder: &Folder, programs: &Programs, say: &mut dyn FnMut(&str)) -> Result<Self> {
        for line in down::clean(folder)? {
            say(&line);
        }
        folder.make_reachable()?;
        folder.remove_logs()?;
        let ledger = Ledger::new(&folder.state(), folder.root())?;
        ledger.supervisor(process::record("nexa-lab", nix::unistd::getpid().as_raw(), Signal::SIGTERM)?)?;
        ledger.folder(&folder.reachable())?;

        say("lab: network namespaces");
        let network = Network::new(folder.prefix(), &ledger)?;
        say("lab: Postgres");
        let postgres = Postgres::start(folder, &ledger)?;
        say("lab: web and DNS servers on the LAN");
        let servers = Servers::start(&network.lan, folder, &ledger)?;
        say("lab: control-api");
        let mut control = Control::new(programs, postgres.database("nexavpn")?, folder);
        control.start(&network.control, &ledger)?;

        let client = |name, user, granted| Client::new(name, user, granted, folder, folder.prefix());
        Ok(Self {
            clients: [client("c1", "ada", true)?, client("c2", "bob", false)?],
            gateway: Gateway::new(&programs.gateway, folder, &ledger)?,
            console: Forward::start(&network.control, Control::address())?,
            metrics: Forward::start(&network.gateway, Gateway::metrics_address())?,
            admin: ("admin".to_owned(), crate::lan::random_hex()?),
            control,
            servers,
            postgres,
            network,
            ledger,
            folder: folder.clone(),
        })
    }

    /// Ends everything and removes it from the machine; logs stay.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn end(self) -> Result<()> {
        let folder = self.folder.clone();
        drop(self);
        down::clean(&folder).map(drop)
    }
}
