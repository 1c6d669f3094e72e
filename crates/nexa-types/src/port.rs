use std::fmt;
use std::str::FromStr;

/// The protocol that a grant speaks of. `icmp` means ICMP on IPv4 and ICMPv6 on IPv6.
///
/// In text: `any`, `tcp`, `udp`, `icmp`, or the number that IANA assigned (0 to 255).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Every protocol.
    Any,
    /// 6.
    Tcp,
    /// 17.
    Udp,
    /// 1 on IPv4, 58 on IPv6.
    Icmp,
    /// Any other, by its number.
    Number(u8),
}

/// Why a text is no [`Protocol`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a protocol; use any, tcp, udp, icmp, or a protocol number from 0 to 255")]
pub struct ProtocolError(String);

impl FromStr for Protocol {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ProtocolError(text.to_owned());
        Ok(match text {
            "any" => Self::Any,
            "tcp" => Self::Tcp,
            "udp" => Self::Udp,
            "icmp" => Self::Icmp,
            // `u8::from_str` takes a leading plus sign, which nobody means here.
            _ if text.starts_with('+') => return Err(wrong()),
            _ => match text.parse().map_err(|_| wrong())? {
                6 => Self::Tcp,
                17 => Self::Udp,
                1 | 58 => Self::Icmp,
                number => Self::Number(number),
            },
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Tcp => f.write_str("tcp"),
            Self::Udp => f.write_str("udp"),
            Self::Icmp => f.write_str("icmp"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// Ports from `first` to `last`, both included, neither 0 nor reversed. In text `443`, `8000-8100` or `any`
/// (1 to 65535).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Why a text or two numbers are no [`PortRange`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Not a number, a range or `any`.
    #[error("`{0}` is not a port; use one like 443, a range like 8000-8100, or any")]
    Syntax(String),
    /// Port 0 cannot be reached.
    #[error("port 0 does not exist; ports are 1 to 65535")]
    Zero,
    /// The first port is above the last.
    #[error("the range {first}-{last} is reversed; write {last}-{first}")]
    Reversed {
        /// The first port given.
        first: u16,
        /// The last port given.
        last: u16,
    },
}

impl PortRange {
    /// Ports 1 to 65535.
    pub const ANY: Self = Self { first: 1, last: u16::MAX };

    /// Takes both ends, included.
    ///
    /// # Errors
    /// [`PortError::Zero`] and [`PortError::Reversed`].
    pub const fn new(first: u16, last: u16) -> Result<Self, PortError> {
        if first == 0 || last == 0 {
            return Err(PortError::Zero);
        }
        if first > last {
            return Err(PortError::Reversed { first, last });
        }
        Ok(Self { first, last })
    }

    /// The lowest port inside.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port inside.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// Whether `port` is inside.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl FromStr for PortRange {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "any" {
            return Ok(Self::ANY);
        }
        let number = |part: &str| {
            // `u16::from_str` takes a leading plus sign, which nobody means here.
            if part.starts_with('+') {
                return Err(PortError::Syntax(text.to_owned()));
            }
            part.parse::<u16>().map_err(|_| PortError::Syntax(text.to_owned()))
        };
        match text.split_once('-') {
            Some((first, last)) => Self::new(number(first)?, number(last)?),
            None => number(text).and_then(|port| Self::new(port, port)),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ANY => f.write_str("any"),
            Self { first, last } if first == last => first.fmt(f),
            Self { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

crate::serde_as_text!(Protocol);
crate::serde_as_text!(PortRange);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_round_trip_through_text() {
        for text in ["443", "8000-8100", "any", "1", "65535"] {
            assert_eq!(text.parse::<PortRange>().unwrap().to_string(), text);
        }
        assert_eq!("1-65535".parse::<PortRange>(), Ok(PortRange::ANY));
    }

    #[test]
    fn zero_reversed_and_nonsense_ranges_are_refused() {
        assert_eq!("0".parse::<PortRange>(), Err(PortError::Zero));
        assert_eq!("0-10".parse::<PortRange>(), Err(PortError::Zero));
        assert_eq!("9-8".parse::<PortRange>(), Err(PortError::Reversed { first: 9, last: 8 }));
        for bad in ["", "-", "1-", "-1", "65536", "http", "1-2-3", " 80", "+80"] {
            assert!(matches!(bad.parse::<PortRange>(), Err(PortError::Syntax(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_protocol_has_one_value_however_it_is_written() {
        assert_eq!("6".parse::<Protocol>(), Ok(Protocol::Tcp));
        assert_eq!("58".parse::<Protocol>(), Ok(Protocol::Icmp));
        assert_eq!("006".parse::<Protocol>(), Ok(Protocol::Tcp));
        assert!("+6".parse::<Protocol>().is_err());
        assert_eq!("132".parse::<Protocol>().unwrap().to_string(), "132");
        assert!("256".parse::<Protocol>().is_err() && "TCP".parse::<Protocol>().is_err());
    }
}
