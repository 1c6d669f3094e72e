//! What the desktop window and the `nexa` command say to the tunnel service, over a local socket.
//!
//! The service runs with privileges and trusts nobody: a frame has a version, a kind and a bounded length, which
//! are checked before a byte of the payload is kept, and no message will ever carry a path or a command.
//!
//! There is the frame so far. The messages inside it come with the service.

mod frame;

pub use frame::{Decoded, Frame, FrameError, HEADER_BYTES, Kind, MAX_PAYLOAD_BYTES, VERSION};
