//! A whole NexaVPN network in namespaces of one machine.
//!
//! [`Lab::start`] makes a wide-area network, a control plane with its own Postgres, a gateway, a LAN with real servers
//! and clients that run WireGuard software which is not ours; [`walk`] then shows the main job on it, step by step, and
//! judges what it sees. Programs that drive a running lab find everything in its `lab.json` ([`description`]).
//!
//! The machine's own network stays as it is: nothing but listeners on loopback is added to it.

pub mod api;
pub mod background;
pub mod capture;
pub mod client;
pub mod control;
pub mod description;
pub mod disk;
pub mod down;
pub mod faults;
pub mod folder;
pub mod forward;
pub mod gateway;
pub mod interrupt;
mod lab;
pub mod lan;
pub mod ledger;
pub mod metrics;
pub mod names;
pub mod namespace;
mod network;
pub mod postgres;
pub mod probe;
pub mod process;
pub mod profile;
pub mod relay;
pub mod secrets;
pub mod ungranted;
pub mod wait;
pub mod walk;

pub use lab::{Lab, Programs};
pub use network::Network;
