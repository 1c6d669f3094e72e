use std::path::PathBuf;

use nexa_control::app::Database;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::api;
use super::cluster::socket_folder;

/// A way to the cluster that can be cut.
pub struct Proxy {
    folder: PathBuf,
    connections: JoinSet<()>,
}

impl Proxy {
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("nexa-cut-{}", Uuid::now_v7().simple()));
        std::fs::create_dir(&folder).unwrap();
        let mut proxy = Self { folder, connections: JoinSet::new() };
        proxy.restore();
        proxy
    }

    /// The same database, by this way.
    pub fn way_to(&self, database: &Database) -> Database {
        let name = database.url.split(['/', '?']).nth(3).unwrap();
        Database { url: api::url(&self.folder, name), max_connections: database.max_connections }
    }

    /// Ends all connections, and refuses new ones.
    pub async fn cut(&mut self) {
        self.connections.shutdown().await;
        std::fs::remove_file(self.socket()).unwrap();
    }

    /// Takes connections again.
    pub fn restore(&mut self) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        self.connections.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                connections.spawn(async move {
                    let server = UnixStream::connect(socket_folder().join(".s.PGSQL.5432")).await;
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server.unwrap()).await;
                });
            }
        });
    }

    fn socket(&self) -> PathBuf {
        self.folder.join(".s.PGSQL.5432")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
