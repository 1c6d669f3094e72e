use std::fmt::Write as _;

use crate::model::Profile;

/// What the user puts the private key in the place of.
const PLACEHOLDER: &str = "REPLACE_WITH_YOUR_PRIVATE_KEY";

/// Keeps address translation on the way open, seconds.
const KEEPALIVE_SECONDS: u16 = 25;

/// Writes a profile as a file for wg-quick(8), with the best gateway as its peer: WireGuard gives a prefix to one
/// peer only. `None` without a gateway.
///
/// Nothing in it can break out of its line: names are of one line, the rest is written from parsed values.
pub(super) fn render(profile: &Profile) -> Option<String> {
    let gateway = profile.gateways.first()?;
    let mut file = String::new();
    let mut line =
        |text: std::fmt::Arguments<'_>| writeln!(file, "{text}").expect("writing to a string cannot fail");
    line(format_args!("# {} ({})", profile.device.name, profile.device.public_key));
    line(format_args!("[Interface]"));
    line(format_args!("PrivateKey = {PLACEHOLDER}"));
    line(format_args!("Address = {}/32, {}/128", profile.address_v4, profile.address_v6));
    if !profile.dns.is_empty() {
        line(format_args!("DNS = {}", list(&profile.dns)));
    }
    line(format_args!("MTU = {}", profile.mtu));
    line(format_args!(""));
    line(format_args!("# {}", gateway.name));
    line(format_args!("[Peer]"));
    line(format_args!("PublicKey = {}", gateway.public_key));
    line(format_args!("Endpoint = {}", gateway.endpoint));
    line(format_args!("AllowedIPs = {}", list(&profile.allowed_ips)));
    line(format_args!("PersistentKeepalive = {KEEPALIVE_SECONDS}"));
    Some(file)
}

fn list(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
