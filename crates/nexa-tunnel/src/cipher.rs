//! What seals and opens the data of a session. It is boringtun, but in a build for benches, which has a copy in its
//! place: what remains is what everything around the cipher costs.

#[cfg(feature = "copy-cipher")]
mod copied;

#[cfg(not(feature = "copy-cipher"))]
pub(crate) use boringtuns::Cipher;
#[cfg(feature = "copy-cipher")]
pub(crate) use copied::Cipher;

/// Whether this build encrypts. A program that is to be used refuses to be built without.
pub const ENCRYPTS: bool = !cfg!(feature = "copy-cipher");

#[cfg(not(feature = "copy-cipher"))]
mod boringtuns {
    use boringtun::noise::Tunn;

    use crate::peer::Output;

    /// Of one peer.
    pub(crate) struct Cipher;

    #[expect(clippy::unused_self, reason = "the one in its place has a state")]
    impl Cipher {
        pub(crate) const fn new() -> Self {
            Self
        }

        /// Seals a packet, or keeps it until there is a session.
        pub(crate) fn seal(&mut self, tunn: &mut Tunn, packet: &[u8], out: &mut [u8]) -> Output {
            tunn.encapsulate(packet, out).into()
        }

        /// Opens a data message.
        pub(crate) fn open(&mut self, tunn: &mut Tunn, message: &[u8], out: &mut [u8]) -> Output {
            tunn.decapsulate(None, message, out).into()
        }
    }
}
