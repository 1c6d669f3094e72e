//! Step 2: the admin makes everything that policy needs, and the gateway connects.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{Walk, ms};
use crate::{
    api::{Api, text},
    gateway::Registered,
    names::{GATEWAY, Pair, WIREGUARD_PORT, port},
};

pub(super) fn run(walk: &mut Walk<'_>) -> Result<String> {
    let mut admin = walk.visitor(&walk.lab.network.control)?;
    let (name, password) = walk.lab.admin.clone();
    let wrong = admin.call(
        "POST",
        "/api/v1/sessions",
        Some(&json!({"username": name, "password": "certainly not this one"})),
    )?;
    if (wrong.status, wrong.code()) != (401, "bad_credentials") {
        bail!("a wrong password was answered {} {}", wrong.status, wrong.body);
    }
    let session = admin.create("/api/v1/sessions", &json!({"username": name, "password": password}))?;
    admin.set_token(text(&session, "token")?);
    walk.facts.secrets.note("the admin's session", text(&session, "token")?);

    let group = admin.create("/api/v1/groups", &json!({"name": "engineering"}))?;
    let group = text(&group, "id")?.to_owned();
    for client in &walk.lab.clients {
        let user = admin.create("/api/v1/users", &json!({"username": client.user, "password": password}))?;
        if client.granted {
            let path = format!("/api/v1/groups/{group}/members/{}", text(&user, "id")?);
            admin.call("PUT", &path, None)?.expect(&[204])?;
        }
    }
    let (registered, token) = register(&admin)?;
    walk.facts.admin = Some(admin);
    walk.facts.group = Some(group);
    let resource =
        walk.make_resource("intranet", &json!([{"protocol": "tcp", "ports": port::HTTP.to_string()}]))?;
    walk.admin()?.create("/api/v1/rules", &walk.grant(&resource)?)?;

    walk.lab.gateway.set_token(&token)?;
    walk.lab.gateway.registered = Some(registered);
    walk.lab.gateway.start(&walk.lab.network.gateway, &walk.lab.ledger)?;
    let took = walk.wait_for_gateway()?;
    let admin = walk.facts.admin.as_ref().context("just signed in")?;
    let registered = walk.lab.gateway.registered.as_mut().context("just registered")?;
    let now = admin.read(&format!("/api/v1/gateways/{}", registered.id))?;
    registered.public_key = Some(text(&now, "public_key")?.to_owned());
    Ok(format!("gateway started and connected in {}", ms(took)))
}

fn register(admin: &Api) -> Result<(Registered, String)> {
    let endpoint = format!("{}:{WIREGUARD_PORT}", GATEWAY.v4);
    let made = admin.create("/api/v1/gateways", &json!({"name": "gw1", "endpoint": endpoint}))?;
    let network = admin.read("/api/v1/network")?;
    let registered = Registered {
        id: text(&made, "id")?.to_owned(),
        name: "gw1".to_owned(),
        endpoint,
        public_key: None,
        tunnel: tunnel(&network)?,
    };
    Ok((registered, text(&made, "token")?.to_owned()))
}

/// The gateways' tunnel addresses: the first host of each pool.
fn tunnel(network: &Value) -> Result<Pair> {
    let base = |member: &str| -> Result<String> {
        let pool = text(network, member)?;
        Ok(pool.split_once('/').with_context(|| format!("{pool} is no network"))?.0.to_owned())
    };
    let v4: Ipv4Addr = base("pool_v4")?.parse().context("pool_v4")?;
    let v6: Ipv6Addr = base("pool_v6")?.parse().context("pool_v6")?;
    Ok(Pair { v4: Ipv4Addr::from_bits(v4.to_bits() + 1), v6: Ipv6Addr::from_bits(v6.to_bits() + 1) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::tunnel;

    #[test]
    fn gateways_have_the_first_host_of_each_pool() {
        let pair = tunnel(&json!({"pool_v4": "100.96.0.0/16", "pool_v6": "fd6e:7861::/64"})).expect("read");
        assert_eq!(
            (pair.v4.to_string().as_str(), pair.v6.to_string().as_str()),
            ("100.96.0.1", "fd6e:7861::1")
        );
        assert!(tunnel(&json!({"pool_v4": "100.96.0.0"})).is_err());
    }
}
