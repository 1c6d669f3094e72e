//! Why a packet was dropped. The numbers index counters, so they are only ever appended to.

/// Room in the counter arrays; more than there are reasons, so that a new one does not change the layout.
pub const MAX_REASONS: usize = 16;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// Why a packet was dropped.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name = $number,)*
        }

        impl Reason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in metrics and messages.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// From the device: no peer has this source address.
    UnknownSource = 0, "unknown_source";
    /// To a device: no peer has this destination address.
    UnknownPeer = 1, "unknown_peer";
    /// No rule speaks of this destination and port.
    NoRule = 2, "no_rule";
    /// A rule refuses it.
    RuleDeny = 3, "rule_deny";
    /// It answers nothing that the peer began.
    NoFlow = 4, "no_flow";
    /// The lease on the device or on the whole policy has run out.
    LeaseExpired = 5, "lease_expired";
    /// Its headers contradict themselves or end too early.
    Malformed = 6, "malformed";
    /// It is a fragment of a datagram whose first one was not admitted, or has too little of the headers in it.
    Fragment = 7, "fragment";
    /// More extension headers than are walked, or one that redirects the packet.
    ExtensionHeader = 8, "extension_header";
    /// The maps contradict each other: a swap is being observed half-way, or a map was damaged.
    Inconsistent = 9, "inconsistent";
    /// A rule allows it, but the peer has begun too many flows too fast.
    NewFlowLimit = 10, "new_flow_limit";
    /// No rule speaks of it, and no range of a resource ever does: it is to the gateway itself, to other devices, or to
    /// addresses that are no host's.
    Excluded = 11, "excluded";
}

const _: () = assert!(Reason::ALL.len() <= MAX_REASONS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_positions() {
        for (position, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, position, "{}", reason.as_str());
        }
    }
}
