//! Step 3: the clients enrol, from their own side of the network.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use super::Walk;
use crate::{api::text, names::SERVER, profile::Profile};

pub(super) fn run(walk: &mut Walk<'_>) -> Result<String> {
    walk.admin()?;
    let mut seen = Vec::new();
    for index in 0..walk.lab.clients.len() {
        let profile = enrol(walk, index)?;
        seen.push(format!("{} {} {}", walk.lab.clients[index].name, profile.address.v4, profile.address.v6));
    }
    let [first, second] = [walk.lab.clients[0].profile()?, walk.lab.clients[1].profile()?];
    ensure!(first.address.v4 != second.address.v4, "both clients have {}", first.address.v4);
    ensure!(first.address.v6 != second.address.v6, "both clients have {}", first.address.v6);
    let server = [format!("{}/32", SERVER.v4), format!("{}/128", SERVER.v6)];
    for network in &server {
        ensure!(
            first.allowed_ips.contains(network),
            "{network} is granted, but not in {:?}",
            first.allowed_ips
        );
        ensure!(
            !second.allowed_ips.contains(network),
            "{network} is not granted, but in {:?}",
            second.allowed_ips
        );
    }
    Ok(seen.join(", "))
}

fn enrol(walk: &mut Walk<'_>, index: usize) -> Result<Profile> {
    let namespace = &walk.lab.network.clients[index];
    let mut api = walk.visitor(namespace)?;
    let client = &mut walk.lab.clients[index];
    let sign_in = json!({"username": client.user, "password": walk.lab.admin.1});
    let session = api.create("/api/v1/sessions", &sign_in)?;
    api.set_token(text(&session, "token")?);
    walk.facts.secrets.note("a client's session", text(&session, "token")?);

    let public_key = client.make_keys()?;
    let device = api.create(
        "/api/v1/devices",
        &json!({"name": format!("{}-laptop", client.name), "public_key": public_key}),
    )?;
    let id = text(&device, "id")?.to_owned();
    let file = api.get(&format!("/api/v1/devices/{id}/wg-quick"))?.expect(&[200])?;
    let Some(file) = file.body.as_str() else { bail!("the wg-quick file is JSON: {}", file.body) };
    let profile = Profile::parse(file).with_context(|| format!("this is no wg-quick file:\n{file}"))?;
    ensure!(
        device["v4"] == profile.address.v4.to_string(),
        "the file's address is not the device's: {device}"
    );
    ensure!(
        device["v6"] == profile.address.v6.to_string(),
        "the file's address is not the device's: {device}"
    );
    let gateway = walk.lab.gateway.registered.as_ref().context("there is no gateway: see step 2")?;
    ensure!(Some(&profile.peer) == gateway.public_key.as_ref(), "the file's peer is not the gateway");
    ensure!(profile.endpoint == gateway.endpoint, "the file's endpoint is not the gateway's");
    client.device = Some(id);
    client.profile = Some(profile.clone());
    client.complete()?;
    Ok(profile)
}
