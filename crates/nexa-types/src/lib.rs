//! Newtypes that every part of NexaVPN shares.
//!
//! A value of one of these types has been parsed once and is right from then on: a [`Cidr`] has no host bits,
//! a [`PortRange`] is neither empty nor reversed and never holds port 0, a [`PublicKey`] has 32 bytes.
//! The text forms are the usual ones (`10.0.0.0/8`, `8000-8100`, base64), and serde uses those texts.

mod cidr;
mod id;
mod key;
mod port;
mod revision;
pub mod when;

pub use cidr::{Cidr, CidrError};
pub use id::{DeviceId, GatewayId, GroupId, ResourceId, RuleId, UserId};
pub use key::{KeyError, PublicKey};
pub use port::{PortError, PortRange, Protocol, ProtocolError};
pub use revision::{Generation, Revision};
pub use when::When;

/// Serde through `Display` and `FromStr`, so that the text form is defined in one place only.
macro_rules! serde_as_text {
    ($name:ty) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;
