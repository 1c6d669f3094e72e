//! `lab.json`: what a program needs to drive a running lab. Its shape is documented in docs/lab.md and only grows.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use serde::Serialize;

use crate::{
    lab::Lab,
    lan::{HOST, LONG},
    names::{GATEWAY, OTHER_SERVER, SERVER, port},
};

/// The file's content. `null` stands for what is not built yet or did not come about.
#[derive(Debug, Serialize)]
pub struct Description {
    /// control-api, from the machine's loopback.
    pub control_url: String,
    /// Who signs in.
    pub admin: Admin,
    /// The first gateway's metrics, from the machine's loopback.
    pub metrics_url: String,
    /// Names of the namespaces.
    pub namespaces: Namespaces,
    /// The gateways.
    pub gateways: Vec<Gateway>,
    /// Servers on the LAN, as the clients address them.
    pub lan: Lan,
    /// The clients.
    pub clients: Vec<Client>,
    /// Log files by process.
    pub logs: BTreeMap<String, PathBuf>,
    /// Process ids by process.
    pub pids: BTreeMap<String, i32>,
}

/// A sign-in.
#[derive(Debug, Serialize)]
pub struct Admin {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

/// Names of namespaces, for `ip netns exec`.
#[derive(Debug, Serialize)]
pub struct Namespaces {
    /// The switch outside.
    pub wan: String,
    /// control-api's host.
    pub control: String,
    /// The gateways' hosts.
    pub gateways: Vec<String>,
    /// The LAN's host.
    pub lan: String,
    /// The clients' hosts.
    pub clients: Vec<String>,
}

/// A gateway.
#[derive(Debug, Serialize)]
pub struct Gateway {
    /// Its name in the control plane.
    pub name: String,
    /// Its id in the control plane.
    pub id: Option<String>,
    /// Its namespace.
    pub namespace: String,
    /// Its WireGuard key.
    pub public_key: Option<String>,
    /// Where clients reach it.
    pub endpoint: String,
    /// Its address inside the tunnel.
    pub tunnel_v4: Option<Ipv4Addr>,
    /// As `tunnel_v4`, for IPv6.
    pub tunnel_v6: Option<Ipv6Addr>,
    /// Tunnel DNS.
    pub dns_v4: Option<Ipv4Addr>,
    /// As `dns_v4`, for IPv6.
    pub dns_v6: Option<Ipv6Addr>,
    /// The access proxy.
    pub proxy_v4: Option<Ipv4Addr>,
    /// As `proxy_v4`, for IPv6.
    pub proxy_v6: Option<Ipv6Addr>,
    /// Its metrics, from the machine's loopback.
    pub metrics_url: String,
}

/// Servers on the LAN. `http_*` is granted to the clients that are granted something.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "an address each, named for what answers there; docs/lab.md has the table")]
pub struct Lan {
    pub http_v4: String,
    pub http_v6: String,
    pub second_http_v4: String,
    pub second_http_v6: String,
    pub never_granted_http_v4: String,
    pub never_granted_http_v6: String,
    pub https_v4: String,
    pub https_v6: String,
    pub https_certificate: PathBuf,
    pub https_name: String,
    pub dns_v4: Ipv4Addr,
    pub dns_v6: Ipv6Addr,
    pub dns_name: String,
    pub other_host_v4: Ipv4Addr,
    pub other_host_v6: Ipv6Addr,
    pub body: String,
    pub long_download: String,
}

/// A client.
#[derive(Debug, Serialize)]
pub struct Client {
    /// `c1`, …
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its WireGuard interface.
    pub interface: String,
    /// Its address inside the tunnel.
    pub v4: Option<Ipv4Addr>,
    /// As `v4`, for IPv6.
    pub v6: Option<Ipv6Addr>,
    /// Its device's id.
    pub device: Option<String>,
    /// Its user's name; the password is the admin's.
    pub user: String,
    /// Whether policy grants it anything.
    pub granted: bool,
}

impl Description {
    /// Describes a lab as it is now.
    pub fn of(lab: &Lab) -> Self {
        let network = &lab.network;
        let [(nginx, nginx_pid, nginx_log), (dnsmasq, dnsmasq_pid, dnsmasq_log)] = lab.servers.processes();
        let mut processes = vec![
            ("control", lab.control.pid(), lab.control.log()),
            ("gateway", lab.gateway.pid(), lab.gateway.log()),
            ("postgres", lab.postgres.pid(), lab.postgres.log()),
            (nginx, Some(nginx_pid), nginx_log),
            (dnsmasq, Some(dnsmasq_pid), dnsmasq_log),
        ];
        processes.extend(lab.clients.iter().map(|client| (client.name, client.pid(), client.log())));
        let pids = processes.iter().filter_map(|(name, pid, _)| Some(((*name).to_owned(), (*pid)?)));
        let logs = processes.iter().map(|(name, _, log)| ((*name).to_owned(), log.to_path_buf()));
        Self {
            control_url: lab.console.url(),
            admin: Admin { username: lab.admin.0.clone(), password: lab.admin.1.clone() },
            metrics_url: format!("{}/metrics", lab.metrics.url()),
            namespaces: Namespaces {
                wan: network.wan.name().to_owned(),
                control: network.control.name().to_owned(),
                gateways: vec![network.gateway.name().to_owned()],
                lan: network.lan.name().to_owned(),
                clients: network.clients.iter().map(|client| client.name().to_owned()).collect(),
            },
            gateways: vec![gateway(lab)],
            lan: lan(lab),
            clients: clients(lab),
            pids: pids.collect(),
            logs: logs.collect(),
        }
    }
}

fn gateway(lab: &Lab) -> Gateway {
    let registered = lab.gateway.registered.as_ref();
    Gateway {
        name: registered.map_or("gw1", |gateway| &gateway.name).to_owned(),
        id: registered.map(|gateway| gateway.id.clone()),
        namespace: lab.network.gateway.name().to_owned(),
        public_key: registered.and_then(|gateway| gateway.public_key.clone()),
        endpoint: format!("{}:{}", GATEWAY.v4, crate::names::WIREGUARD_PORT),
        tunnel_v4: registered.map(|gateway| gateway.tunnel.v4),
        tunnel_v6: registered.map(|gateway| gateway.tunnel.v6),
        dns_v4: None,
        dns_v6: None,
        proxy_v4: None,
        proxy_v6: None,
        metrics_url: format!("{}/metrics", lab.metrics.url()),
    }
}

fn lan(lab: &Lab) -> Lan {
    let url = |scheme: &str, port: u16| SERVER.sockets(port).map(|address| format!("{scheme}://{address}/"));
    let [http_v4, http_v6] = url("http", port::HTTP);
    let [second_http_v4, second_http_v6] = url("http", port::SECOND_HTTP);
    let [never_granted_http_v4, never_granted_http_v6] = url("http", port::NEVER);
    let [https_v4, https_v6] = url("https", port::HTTPS);
    Lan {
        http_v4,
        http_v6,
        second_http_v4,
        second_http_v6,
        never_granted_http_v4,
        never_granted_http_v6,
        https_v4,
        https_v6,
        https_certificate: lab.servers.certificate().to_owned(),
        https_name: HOST.to_owned(),
        dns_v4: SERVER.v4,
        dns_v6: SERVER.v6,
        dns_name: HOST.to_owned(),
        other_host_v4: OTHER_SERVER.v4,
        other_host_v6: OTHER_SERVER.v6,
        body: lab.servers.body().to_owned(),
        long_download: LONG.to_owned(),
    }
}

fn clients(lab: &Lab) -> Vec<Client> {
    lab.clients
        .iter()
        .zip(&lab.network.clients)
        .map(|(client, namespace)| {
            let address = client.profile.as_ref().map(|profile| profile.address);
            Client {
                name: client.name.to_owned(),
                namespace: namespace.name().to_owned(),
                interface: client.interface().to_owned(),
                v4: address.map(|address| address.v4),
                v6: address.map(|address| address.v6),
                device: client.device.clone(),
                user: client.user.to_owned(),
                granted: client.granted,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{Admin, Client, Description, Gateway, Lan, Namespaces};

    /// Other programs read the file: a member that goes or changes its name breaks them.
    #[test]
    fn members_stay() {
        let text = String::new;
        let (v4, v6) = (std::net::Ipv4Addr::LOCALHOST, std::net::Ipv6Addr::LOCALHOST);
        let description = Description {
            control_url: text(),
            admin: Admin { username: text(), password: text() },
            metrics_url: text(),
            namespaces: Namespaces {
                wan: text(),
                control: text(),
                gateways: vec![text()],
                lan: text(),
                clients: vec![text()],
            },
            gateways: vec![Gateway {
                name: text(),
                id: None,
                namespace: text(),
                public_key: None,
                endpoint: text(),
                tunnel_v4: Some(v4),
                tunnel_v6: Some(v6),
                dns_v4: None,
                dns_v6: None,
                proxy_v4: None,
                proxy_v6: None,
                metrics_url: text(),
            }],
            lan: Lan {
                http_v4: text(),
                http_v6: text(),
                second_http_v4: text(),
                second_http_v6: text(),
                never_granted_http_v4: text(),
                never_granted_http_v6: text(),
                https_v4: text(),
                https_v6: text(),
                https_certificate: "/x".into(),
                https_name: text(),
                dns_v4: v4,
                dns_v6: v6,
                dns_name: text(),
                other_host_v4: v4,
                other_host_v6: v6,
                body: text(),
                long_download: text(),
            },
            clients: vec![Client {
                name: text(),
                namespace: text(),
                interface: text(),
                v4: Some(v4),
                v6: None,
                device: None,
                user: text(),
                granted: true,
            }],
            logs: [(text(), "/x".into())].into(),
            pids: [("gateway".to_owned(), 7)].into(),
        };
        let shape = members(&serde_json::to_value(description).expect("written"));
        assert_eq!(
            shape,
            "{admin:{password,username},clients:[{device,granted,interface,name,namespace,user,v4,v6}],control_url,\
             gateways:[{dns_v4,dns_v6,endpoint,id,metrics_url,name,namespace,proxy_v4,proxy_v6,public_key,tunnel_v4,\
             tunnel_v6}],lan:{body,dns_name,dns_v4,dns_v6,http_v4,http_v6,https_certificate,https_name,https_v4,\
             https_v6,long_download,never_granted_http_v4,never_granted_http_v6,other_host_v4,other_host_v6,\
             second_http_v4,second_http_v6},logs:{},metrics_url,namespaces:{clients:[],control,gateways:[],lan,wan},\
             pids:{gateway}}"
        );
    }

    fn members(value: &Value) -> String {
        match value {
            Value::Object(object) => {
                let named = object.iter().map(|(name, value)| match members(value) {
                    inner if inner.is_empty() => name.clone(),
                    inner => format!("{name}:{inner}"),
                });
                format!("{{{}}}", named.collect::<Vec<_>>().join(","))
            }
            Value::Array(items) => format!("[{}]", items.iter().map(members).collect::<Vec<_>>().join(",")),
            _ => String::new(),
        }
    }
}
