//! Parses what people send. Each error names the field and says what to do.

mod when;

use std::net::{Ipv4Addr, Ipv6Addr};

use nexa_types::{Cidr, CidrError, PortError, PortRange, PublicKey};
use nexa_wire::snapshot::{Traffic, TrafficError};

use super::{Error, Result};
use crate::model::TrafficBody;
pub(super) use when::when;

const NAME_MAX: usize = 63;
const PASSWORD_MIN: usize = 10;
const PASSWORD_MAX: usize = 1024;

/// A name of one line, 1 to 63 printable characters: it is written into configuration files and logs.
pub(super) fn name(field: &'static str, text: &str) -> Result<String> {
    let length = text.chars().count();
    if length == 0 || length > NAME_MAX {
        return Err(Error::invalid(
            "invalid_name",
            field,
            format!("use 1 to {NAME_MAX} characters, not {length}"),
        ));
    }
    if text.trim() != text {
        return Err(Error::invalid("invalid_name", field, "leave out the spaces at the ends"));
    }
    if !text.chars().all(is_printable) {
        let detail = "use printable characters only, without line breaks, control or direction characters";
        return Err(Error::invalid("invalid_name", field, detail));
    }
    Ok(text.to_owned())
}

/// Text of one line that may be empty, up to `max` characters.
pub(super) fn note(field: &'static str, text: &str, max: usize) -> Result<String> {
    if text.chars().count() > max {
        return Err(Error::invalid("too_long", field, format!("use at most {max} characters")));
    }
    if !text.chars().all(is_printable) {
        return Err(Error::invalid("invalid_text", field, "use printable characters on one line"));
    }
    Ok(text.to_owned())
}

/// Neither control characters, nor line separators, nor what reorders or hides text.
fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{2028}' | '\u{2029}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{ad}' | '\u{61c}' | '\u{fff0}'..='\u{ffff}')
}

/// A name to sign in with.
pub(super) fn username(text: &str) -> Result<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+@".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    let detail = "use 1 to 64 letters, digits and . _ - + @, for example an e-mail address";
    Err(Error::invalid("invalid_username", "username", detail))
}

/// A password that may be set.
pub(super) fn password(text: &str) -> Result<()> {
    match text.chars().count() {
        ..PASSWORD_MIN => {
            let detail = format!("use at least {PASSWORD_MIN} characters; a few random words are good");
            Err(Error::invalid("password_too_short", "password", detail))
        }
        PASSWORD_MIN..=PASSWORD_MAX => Ok(()),
        _ => Err(Error::invalid(
            "password_too_long",
            "password",
            format!("use at most {PASSWORD_MAX} characters"),
        )),
    }
}

/// A WireGuard public key.
pub(super) fn public_key(text: &str) -> Result<PublicKey> {
    text.parse().map_err(|error| Error::invalid("invalid_public_key", "public_key", error))
}

/// One prefix.
pub(super) fn cidr(field: impl Into<String>, text: &str) -> Result<Cidr> {
    text.parse().map_err(|error| match error {
        CidrError::Syntax(_) => Error::invalid("invalid_cidr", field, error),
        CidrError::HostBits { .. } => Error::invalid("host_bits", field, error),
    })
}

/// Prefixes of one resource: at least one, and none within another.
pub(super) fn cidrs(texts: &[String]) -> Result<Vec<Cidr>> {
    if texts.is_empty() {
        return Err(Error::invalid("empty_list", "cidrs", "name at least one prefix, like 10.20.0.0/24"));
    }
    let mut cidrs: Vec<Cidr> = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let field = format!("cidrs[{index}]");
        let new = cidr(&*field, text)?;
        if let Some(old) = cidrs.iter().find(|old| old.overlaps(new)) {
            let detail = format!("{new} overlaps {old} of the same resource; keep the wider one only");
            return Err(Error::invalid("cidr_overlap", field, detail));
        }
        cidrs.push(new);
    }
    Ok(cidrs)
}

/// Traffic of one resource: at least one kind, and none twice.
pub(super) fn traffic(bodies: &[TrafficBody]) -> Result<Vec<Traffic>> {
    if bodies.is_empty() {
        let detail =
            r#"name at least one protocol, like {"protocol": "tcp", "ports": "443"} or {"protocol": "any"}"#;
        return Err(Error::invalid("empty_list", "traffic", detail));
    }
    let mut kinds: Vec<Traffic> = Vec::with_capacity(bodies.len());
    for (index, body) in bodies.iter().enumerate() {
        let kind = one_traffic(index, body)?;
        if kinds.contains(&kind) {
            let detail = "this traffic is in the list already; leave it out here";
            return Err(Error::invalid("duplicate", format!("traffic[{index}]"), detail));
        }
        kinds.push(kind);
    }
    Ok(kinds)
}

fn one_traffic(index: usize, body: &TrafficBody) -> Result<Traffic> {
    let protocol = body.protocol.parse();
    let protocol = protocol
        .map_err(|error| Error::invalid("invalid_protocol", format!("traffic[{index}].protocol"), error))?;
    let field = format!("traffic[{index}].ports");
    let ports = body.ports.as_deref().map(str::parse::<PortRange>).transpose().map_err(|error| {
        let code = match error {
            PortError::Syntax(_) => "invalid_ports",
            PortError::Zero => "port_zero",
            PortError::Reversed { .. } => "ports_reversed",
        };
        Error::invalid(code, &*field, error)
    })?;
    Traffic::new(protocol, ports).map_err(|error| {
        let code = match error {
            TrafficError::PortsMissing(_) => "ports_missing",
            TrafficError::PortsWithout(_) => "ports_not_allowed",
        };
        Error::invalid(code, field, error)
    })
}

/// Where a gateway's WireGuard is reached, as host (IPv6 in brackets) and port.
pub(super) fn endpoint(text: &str) -> Result<(String, u16)> {
    let wrong = |detail: &str| Error::invalid("invalid_endpoint", "endpoint", detail);
    let shape = "write it as host:port, like vpn.example.com:51900, 192.0.2.1:51900 or [2001:db8::1]:51900";
    let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong(shape))?;
    let host = parse_host(host).ok_or_else(|| wrong(shape))?;
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong(shape));
    }
    match port.parse() {
        Ok(0) | Err(_) => Err(wrong("the port must be 1 to 65535")),
        Ok(port) => Ok((host, port)),
    }
}

fn parse_host(host: &str) -> Option<String> {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().ok().map(|address| format!("[{address}]"));
    }
    if host.parse::<Ipv4Addr>().is_ok() {
        return Some(host.to_owned());
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A last label of digits only would be a mistyped address.
    let named = host.len() <= 253 && host.split('.').all(label);
    let numeric = host.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    (named && !numeric).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T: std::fmt::Debug>(result: Result<T>) -> &'static str {
        match result {
            Err(Error::Invalid { code, .. }) => code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_are_one_printable_line() {
        for good in ["laptop", "Ann's phone 2", "büro-пк", &"x".repeat(63)] {
            assert_eq!(name("name", good).unwrap(), good);
        }
        let injected = "x\nPostUp = reboot";
        for bad in [
            "",
            " a",
            "a ",
            injected,
            "a\rb",
            "a\0b",
            "a\u{85}b",
            "a\u{2028}b",
            "a\u{202e}b",
            &"x".repeat(64),
        ] {
            assert_eq!(code(name("name", bad)), "invalid_name", "{bad:?}");
        }
    }

    #[test]
    fn endpoints_have_a_host_and_a_port() {
        for (good, host, port) in [
            ("vpn.Example.com:51900", "vpn.example.com", 51900),
            ("10.99.0.10:1", "10.99.0.10", 1),
            ("[2001:DB8::1]:65535", "[2001:db8::1]", 65535),
            ("localhost:51900", "localhost", 51900),
        ] {
            assert_eq!(endpoint(good).unwrap(), (host.to_owned(), port));
        }
        for bad in [
            "",
            ":1",
            "host",
            "host:0",
            "host:65536",
            "host:+1",
            "host:-1",
            "2001:db8::1",
            "::1:51900",
            "[::1]",
            "a b:1",
            "host\n:1",
            "10.0.0.256:1",
            "-a:1",
            "a..b:1",
            "host:1\nPostUp = x",
        ] {
            assert_eq!(code(endpoint(bad)), "invalid_endpoint", "{bad:?}");
        }
    }

    #[test]
    fn prefixes_of_one_resource_do_not_overlap() {
        let list = |texts: &[&str]| cidrs(&texts.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(list(&["10.20.0.0/24", "10.21.0.0/24", "fd20::/64", "0.0.0.0/32"]).unwrap().len(), 4);
        assert_eq!(code(list(&[])), "empty_list");
        assert_eq!(code(list(&["10.20.0.0/24", "10.20.0.0/24"])), "cidr_overlap");
        assert_eq!(code(list(&["10.20.0.0/24", "10.20.0.9"])), "cidr_overlap");
        assert_eq!(code(list(&["10.20.0.1/24"])), "host_bits");
        assert_eq!(code(list(&["10.20.0/24"])), "invalid_cidr");
    }
}
