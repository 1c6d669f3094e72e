//! Prometheus metrics, read from the programs' maps and the engine at the moment of the scrape.

mod collector;
mod listener;
mod wireguard;

pub use collector::GatewayCollector;
pub use listener::{Metrics, bind};
