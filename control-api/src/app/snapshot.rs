use std::sync::Arc;

use nexa_types::{GatewayId, Revision};
use nexa_wire::snapshot::{self, Peer, Resource, Rule, Sealed, Snapshot};
use tokio::sync::Mutex;

use super::{App, Error, Result};
use crate::store::{Db, network, snapshot as store};

/// What all gateways' snapshots of one revision share, so that a hundred gateways read it once.
#[derive(Default)]
pub(super) struct Cache(Mutex<Option<Arc<Shared>>>);

struct Shared {
    revision: Revision,
    peers: Vec<Peer>,
    resources: Vec<Resource>,
    rules: Vec<Rule>,
}

impl App {
    /// What a gateway should have in force; `None` where it is gone or has another token now.
    pub(super) async fn snapshot(&self, gateway: GatewayId, token_hash: &[u8; 32]) -> Result<Option<Sealed>> {
        let mut db = self.store().consistent_read().await?;
        let network = network::get(&mut db).await?;
        let Some(listen_port) = store::listen_port(&mut db, gateway, token_hash).await? else {
            return Ok(None);
        };
        let shared = self.0.snapshots.get(&mut db, network.revision).await?;
        let snapshot = Snapshot {
            network: snapshot::Network {
                gateway,
                pool_v4: network.pool_v4,
                pool_v6: network.pool_v6,
                tunnel_v4: network.tunnel_v4,
                tunnel_v6: network.tunnel_v6,
                proxy_v4: None,
                proxy_v6: None,
                listen_port,
                mtu: network.mtu,
            },
            peers: shared.peers.clone(),
            resources: shared.resources.clone(),
            rules: shared.rules.clone(),
        };
        let sealed = Sealed::new(network.revision, &snapshot);
        Ok(Some(sealed.map_err(|error| Error::Internal(format!("snapshot: {error}")))?))
    }
}

impl Cache {
    /// What is shared at `revision`, which is the one that `db` reads.
    async fn get(&self, db: &mut Db, revision: Revision) -> Result<Arc<Shared>> {
        let mut cached = self.0.lock().await;
        if let Some(shared) = cached.as_ref().filter(|shared| shared.revision == revision) {
            return Ok(Arc::clone(shared));
        }
        let shared = Arc::new(Shared {
            revision,
            peers: store::peers(db).await?,
            resources: store::resources(db).await?,
            rules: store::rules(db).await?,
        });
        *cached = Some(Arc::clone(&shared));
        Ok(shared)
    }
}
